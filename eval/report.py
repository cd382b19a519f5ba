"""One HTML file that shows runs: quality with its uncertainty, times, and what went wrong.

Everything is inside the file: plots are SVG, page pictures WebP in data URLs, no script, nothing
is fetched. Light and dark follow the reader's settings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from eval.answer_measures import answer_measures
from eval.curve_plots import Section, curve_sections
from eval.datasets import Question
from eval.harness import compare_runs, is_same, measure, read_document, results_path
from eval.measures import MEASURES, per_question
from eval.plots import Bars, Line, bar_plot, line_plot
from eval.report_pages import Missed, worst_questions
from eval.runs import Run, read_run
from retrieval.errors import InputError

_STAGES = ("encode", "coarse", "fetch", "rerank")
_KS = (1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000)
_NAMES = {"Success": "hit", "R": "recall", "RR": "MRR"}
# More kinds than this make bars too thin to compare.
_KINDS = 14


@dataclass(frozen=True, slots=True)
class Shown:
    """A run with all that was measured of it, on the questions that every run answered."""

    name: str
    run: Run
    questions: Sequence[Question]
    results: Mapping[str, Any]

    @property
    def total(self) -> Mapping[str, Any]:
        """The group of all questions."""
        groups: Sequence[Mapping[str, Any]] = self.results["groups"]
        return groups[-1]


def write_report(
    paths: Sequence[Path],
    out: Path,
    *,
    worst: int = 12,
    index: Path | None = None,
    curves: Mapping[str, Any] | None = None,
) -> int:
    """Write ``out`` about the runs at ``paths``, the first being the one others are compared
    with; returns its size in bytes.

    ``worst`` questions of the first run are shown with pictures from the ``index`` (default:
    where the run found it). ``curves`` is what ``folioscope eval curves`` kept. Raises
    ``InputError`` if runs are of different questions or the file cannot be written.
    """
    shown = [_shown(path, read_run(path)) for path in paths]
    shown = _alike(shown)
    page = render(shown, worst_questions(shown[0].run, worst, index), curves)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(page, "utf-8")
    except OSError as error:
        raise InputError(f"cannot write {out}: {error.strerror}; name another --out") from error
    return len(page.encode())


def _shown(path: Path, run: Run) -> Shown:
    questions = [q for q in run.questions.values() if q.relevant or not q.answerable]
    if not any(question.relevant for question in questions):
        raise InputError(f"{path}: holds no answered question with a page that answers it")
    kept = results_path(path)
    results = read_document(kept) if kept.exists() else {}
    return Shown(path.name.removesuffix(".jsonl"), run, questions, results)


def _alike(shown: Sequence[Shown]) -> list[Shown]:
    """All runs on the questions that every one of them answered, measured."""
    shared = set.intersection(*({q.qid for q in each.questions} for each in shown))
    first = {q.qid: q for q in shown[0].questions}
    for each in shown[1:]:
        same = (is_same(first[q.qid], q) for q in each.questions if q.qid in shared)
        if not shared or not all(same):
            raise InputError(
                f"{each.name} and {shown[0].name} are runs of different questions; "
                "report runs of one data set together"
            )
    found = []
    for each in shown:
        kept = [q for q in each.questions if q.qid in shared]
        results = measure(each.run, kept)
        # Known only to the process that asked: what it took in memory, and what building took.
        then = each.results.get("efficiency", {})
        memory = {name: then.get(name) for name in ("resident_mb", "build")}
        results["efficiency"] = {**results["efficiency"], **memory}
        # Other runs need not have answered at all.
        results["answers"] = answer_measures(each.questions, each.run)
        found.append(Shown(each.name, each.run, kept, results))
    return found


def render(
    shown: Sequence[Shown], missed: Sequence[Missed], curves: Mapping[str, Any] | None = None
) -> str:
    """The page as text."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    if curves is not None and curves.get("format") != "folioscope-curves/1":
        raise InputError("--curves wants the curves.json of `folioscope eval curves`")
    environment.filters["amount"] = _amount
    environment.filters["called"] = _called
    template = files("eval").joinpath("report.html").read_text("utf-8")
    others = [(each, compare_runs(shown[0].run, each.run)) for each in shown[1:]]
    first = shown[0]
    return environment.from_string(template).render(
        runs=shown,
        first=first,
        # A run that was stopped makes the others shorter.
        asked=max(sum(bool(q.relevant) for q in each.run.questions.values()) for each in shown),
        others=others,
        measures=MEASURES,
        sections=sections(shown),
        curves=curves,
        curve_sections=curve_sections(curves) if curves else [],
        missed=missed,
        facts=_facts(first),
        answers=[each for each in shown if each.results["answers"]["questions"]],
        places=[each for each in shown if each.results["places"]["questions"]],
    )


def sections(shown: Sequence[Shown]) -> list[Section]:
    """The plots that every report has."""
    return [_recall(shown), *_by_kind(shown), _stages(shown), _spread(shown)]


def _recall(shown: Sequence[Shown]) -> Section:
    depth = min(int(each.run.header["depth"]) for each in shown)
    ks = [k for k in _KS if k <= depth]
    names = {k: f"R@{k}" for k in ks}
    lines = []
    for each in shown:
        values = per_question(each.questions, each.run, list(names.values()))
        means = [float(np.mean(list(values[name].values()))) for name in names.values()]
        lines.append(Line(each.name, ks, means))
    return Section(
        "recall",
        "How many of the answering pages are found",
        line_plot(lines, "pages looked at", "recall", x_log=True, x_ticks=ks, y_range=(0, 1.02)),
        "Share of the answering pages among the first k, mean over questions.",
    )


def _by_kind(shown: Sequence[Shown]) -> list[Section]:
    rows = [{row["group"]: row for row in each.results["groups"][:-1]} for each in shown]
    counts = {name: row["questions"] for name, row in rows[0].items()}
    # Runs may differ in the scope of a question, and so in the names of their groups.
    shared = [name for name in counts if all(name in found for found in rows)]
    kinds = sorted(shared, key=lambda name: -counts[name])[:_KINDS]
    if len(kinds) < 2:
        return []
    groups = [
        Bars(
            each.name,
            [found[kind][MEASURES[0]] for kind in kinds],
            [found[kind]["interval"][0] for kind in kinds],
            [found[kind]["interval"][1] for kind in kinds],
        )
        for each, found in zip(shown, rows, strict=True)
    ]
    labels = [f"{kind} · {counts[kind]}" for kind in kinds]
    return [
        Section(
            "kinds",
            "By kind of question",
            bar_plot(labels, groups, MEASURES[0]),
            f"{MEASURES[0]} with its 95 % bootstrap interval; the number of questions behind "
            "the kind.",
        )
    ]


def _stages(shown: Sequence[Shown]) -> Section:
    found = [each.results["efficiency"]["latency_ms"] for each in shown]
    groups = [
        Bars(stage, [stages.get(stage, {}).get("p50", 0.0) for stages in found])
        for stage in _STAGES
    ]
    return Section(
        "stages",
        "Where the time of a question goes",
        bar_plot(
            [each.name for each in shown],
            groups,
            "milliseconds, median of each stage",
            x_range=None,
            stacked=True,
        ),
        "Medians of stages need not add up to the median of the total.",
    )


def _spread(shown: Sequence[Shown]) -> Section:
    lines = []
    for each in shown:
        took = sorted(
            answer.timing_ms["total"]
            for answer in each.run.answered.values()
            if "total" in answer.timing_ms
        )
        share = [(n + 1) / len(took) for n in range(len(took))]
        lines.append(Line(each.name, took, share))
    return Section(
        "times",
        "How times spread",
        line_plot(lines, "milliseconds", "share of questions", x_log=True, y_range=(0, 1.02)),
        "Share of the questions answered within a time.",
    )


def _facts(shown: Shown) -> list[tuple[str, str]]:
    """What a reader needs to judge the figures, in words."""
    header, collection = shown.run.header, shown.run.header["collection"]
    machine = header["machine"]
    build = shown.results["efficiency"].get("build")
    facts = [
        ("data set", header["dataset"]["name"]),
        ("fingerprint", header["dataset"]["fingerprint"][:16]),
        ("questions", f"{len(shown.questions)}"),
        ("pages searched", f"{collection['pages']:,} in {collection['documents']:,} documents"),
        ("encoder", f"{collection['encoder']} ({collection['encoder_fingerprint'][:12]})"),
        ("patches", f"{shown.results['efficiency']['patches_a_page']:,.0f} a page"),
        ("compression", collection["compression"]),
        ("coarse index", f"{collection['coarse_kind']}, {collection['page_vectors']:,} vectors"),
        ("processor", f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']} GB"),
        ("system", f"{machine['platform']}, Python {machine['python']}"),
        ("asked on", header["date"]),
    ]
    if build:
        facts.append(("built", f"{build['pages']:,} pages, {build['pages_per_second']} a second"))
    return facts


def _amount(value: Any, digits: int = 3) -> str:
    """A figure for a table cell: no leading zero before a fraction, a dash for nothing."""
    if value is None:
        return "\u2013"
    text = f"{float(value):.{digits}f}"
    return text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text


def _called(measure: str) -> str:
    """A measure's usual name: what trec_eval calls success is called hit rate today."""
    family, _, k = measure.partition("@")
    return f"{_NAMES.get(family, family)}@{k}"
