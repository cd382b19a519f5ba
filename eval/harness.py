"""One evaluation from its configuration to its results, and two runs side by side."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from eval.answer_measures import answer_measures
from eval.collections import DataSet, build_collection, open_data_set
from eval.config import EvalConfig
from eval.datasets import Question, by_one_name, only_documents
from eval.machine import machine, resident_mb
from eval.measures import (
    MEASURES,
    interval,
    kept_of_best,
    latency,
    paired_p_value,
    per_question,
    summarise,
)
from eval.places import place_measures
from eval.runs import Answering, Run, collection_figures, run_questions
from indexing.index import Index
from retrieval.errors import InputError

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A configuration with its questions chosen and its index found or built."""

    data: DataSet
    questions: list[Question]
    index: Path
    listed: list[str] | None
    absent: frozenset[str]
    built: Mapping[str, Any] | None


def prepare(config: EvalConfig, tell: Say) -> Prepared:
    """Read the data set, choose from it, and index its pages if it brings some."""
    data = open_data_set(config.dataset, split=config.split, unanswerable=config.answers)
    questions, listed = choose(config, data)
    if data.images is None:
        if config.index is None:
            raise InputError(f"{config.dataset} brings no pages of its own: name an --index")
        return Prepared(data, questions, config.index, listed, frozenset(), None)
    tell("indexing the data set's pages")
    made = build_collection(
        data,
        encoder=config.encoder,
        settings=config.build.settings(),
        index=config.index,
        progress=lambda at: tell(f"indexing, {at.pages_done} of {at.pages_total} pages"),
        writing=lambda n: tell(f"writing pages, {n}"),
    )
    questions = made.named(questions)
    return Prepared(data, questions, made.index, listed, made.absent(questions), made.built)


def run_config(config: EvalConfig, out: Path, say: Say | None = None) -> dict[str, Any]:
    """Ask what ``config`` says, into the run ``out``; measure it; keep the results beside it.

    ``say`` hears what is being done. Raises ``InputError`` if no question is left, or there is
    nothing to ask them of.
    """
    tell = say or (lambda _: None)
    ready = prepare(config, tell)
    with Index.open(ready.index, search=config.search()) as index:
        run = run_questions(
            index,
            ready.questions,
            out,
            mode=config.mode,
            depth=config.depth,
            documents=ready.listed,
            absent=ready.absent,
            answer=_answering(index) if config.answers else None,
            about={
                "dataset": {"name": ready.data.name, "fingerprint": ready.data.fingerprint},
                "answers": config.answers,
            },
            progress=lambda done, total: tell(f"asking, {done} of {total}"),
        )
    results = measure(run, list(run.questions.values()))
    results["efficiency"]["build"] = None if ready.built is None else dict(ready.built)
    results["config"] = config.model_dump(mode="json")
    results["run"] = str(out)
    keep_results(out, results)
    return results


def _answering(index: Index) -> Answering:
    """The embedded reader, as a run keeps its answers."""
    from serving.answering.pipeline import Answerer

    answerer = Answerer(index)

    def answer(question: Question, doc: int | None) -> dict[str, Any]:
        began = time.perf_counter()
        found = answerer.ask(question.text, doc=doc)
        took = (time.perf_counter() - began) * 1000
        cites = [(c.name, c.page) for claim in found.claims for c in claim.citations]
        return {
            "status": found.status,
            "text": found.text,
            "verdict": found.verdict,
            "cites": cites,
            "ms": round(took, 2),
        }

    return answer


def curves_config(
    config: EvalConfig,
    count: int | None,
    ks: Sequence[int],
    *,
    compressed: int = 20,
    say: Say | None = None,
) -> dict[str, Any]:
    """The curves of ``eval.curves`` on ``count`` of a configuration's questions, with all that
    is needed to judge them."""
    from eval.curves import Setup, measure_curves, sample

    tell = say or (lambda _: None)
    ready = prepare(config, tell)
    questions = sample(ready.questions, count)
    with Index.open(ready.index) as index:
        named = {doc for q in questions for doc in (q.doc, *(doc for doc, _ in q.relevant))}
        wanted = (named | set(ready.listed or ())) - ready.absent
        ids = {name: index.find(name) for name in sorted(wanted)}
        collection = collection_figures(index)
    listed = None
    if ready.listed is not None:
        listed = f"doc_id IN ({', '.join(str(ids[name]) for name in ready.listed)})"
    questions = by_one_name(questions, ids)
    names = {ids[name]: name for name in reversed(ids)}
    setup = Setup(ready.index, questions, ids, names, listed)
    found = measure_curves(setup, ks, compressed=compressed, say=tell)
    return {
        "format": "folioscope-curves/1",
        "dataset": {"name": ready.data.name, "fingerprint": ready.data.fingerprint},
        "config": config.model_dump(mode="json"),
        "collection": collection,
        "date": time.strftime("%Y-%m-%dT%H:%M%z"),
        "machine": machine(),
        **found,
    }


def choose(config: EvalConfig, data: DataSet) -> tuple[list[Question], list[str] | None]:
    """The questions that a configuration asks, and the documents it asks among (None: all)."""
    questions: Sequence[Question] = data.questions
    listed = None
    if config.documents is not None:
        questions, listed = only_documents(questions, config.documents)
    chosen = [
        replace(question, scope=config.scope or question.scope)
        for question in questions
        if (not config.kind or question.kind in config.kind)
        and (config.half is None or question.half == config.half)
        and (config.language is None or question.language == config.language)
    ]
    if not chosen:
        raise InputError(
            f"{config.dataset}: no question is left after --documents, --kind, --language, --half"
        )
    return chosen, listed


def measure(run: Run, questions: Sequence[Question]) -> dict[str, Any]:
    """Everything that is measured of a run, with its configuration and the machine."""
    asked = [question for question in questions if question.qid in run.answered]
    return {
        "format": "folioscope-results/1",
        "header": dict(run.header),
        "measured": {"date": time.strftime("%Y-%m-%dT%H:%M%z"), "machine": machine()},
        "groups": summarise(asked, run),
        "places": place_measures(asked, run),
        "answers": answer_measures(asked, run),
        "efficiency": efficiency(run),
    }


def efficiency(run: Run) -> dict[str, Any]:
    """What a run took: times by stage, questions a second one after the other, bytes a page,
    memory."""
    collection = run.header.get("collection", {})
    total = sum(answer.timing_ms.get("total", 0.0) for answer in run.answered.values()) / 1000
    pages = max(1, int(collection.get("pages", 0)))
    return {
        "latency_ms": latency(run),
        "questions_per_second": round(len(run.answered) / total, 2) if total else None,
        "disk_bytes_a_page": round(collection.get("disk_bytes", 0) / pages, 1),
        "coarse_bytes_a_page": round(collection.get("coarse_memory_bytes", 0) / pages, 1),
        "patches_a_page": round(collection.get("patches", 0) / pages, 1),
        "resident_mb": round(resident_mb(), 1),
    }


def results_path(out: Path) -> Path:
    """Where the results of the run ``out`` are kept."""
    return out.with_name(f"{out.stem}.results.json")


def keep_results(out: Path, results: dict[str, Any]) -> None:
    """Write the results beside the run."""
    path = results_path(out)
    try:
        path.write_text(json.dumps(results, indent=1, default=str) + "\n", "utf-8")
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}; name another --out") from error


def read_document(path: Path) -> dict[str, Any]:
    """A JSON object from a file. Raises ``InputError`` if it is none."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({error})") from error
    if not isinstance(found, dict):
        raise InputError(f"{path}: must hold a JSON object")
    return found


def compare_runs(first: Run, second: Run) -> dict[str, Any]:
    """``second`` against ``first`` on the questions that both answered and some page answers.

    Each measure's means, the difference with a 95 % interval of its own, and p of a paired
    randomisation test; ``not_in_a`` and ``not_in_b`` count what only the other run has, because it
    asks something else or was stopped. Raises ``InputError`` if they share no question.
    """
    shared = [
        question
        for qid, question in first.questions.items()
        if question.relevant and is_same(question, second.questions.get(qid))
    ]
    if not shared:
        raise InputError("the two runs have no question in common; compare runs of one data set")
    one, two = per_question(shared, first), per_question(shared, second)
    rows = []
    for name in MEASURES:
        left = [one[name][question.qid] for question in shared]
        right = [two[name][question.qid] for question in shared]
        rows.append(
            {
                "measure": name,
                "a": sum(left) / len(left),
                "b": sum(right) / len(right),
                "interval": interval([y - x for x, y in zip(left, right, strict=True)]),
                "p": paired_p_value(left, right),
            }
        )
    both = {question.qid for question in shared}
    answered = {qid: found for qid, found in first.answered.items() if qid in both}
    return {
        "questions": len(shared),
        "not_in_b": _measurable(first) - len(shared),
        "not_in_a": _measurable(second) - len(shared),
        "measures": rows,
        "top10_of_a_found_by_b": kept_of_best(replace(first, answered=answered), second),
    }


def _measurable(run: Run) -> int:
    """How many questions of a run some page answers."""
    return sum(bool(question.relevant) for question in run.questions.values())


def is_same(one: Question, other: Question | None) -> bool:
    """Whether two runs were asked the same and judged by the same pages. The scope may differ: how
    much easier a question is within its document is worth a comparison."""
    return other is not None and (one.text, one.relevant) == (other.text, other.relevant)
