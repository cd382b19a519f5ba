"""A run: what one configuration found for every question, kept whole so that any measure can
be taken from it later. One JSON line for the configuration, then one a question, with the
question itself and its judgements, appended as they are answered; a run that was stopped goes on
where it ended, and one that is finished needs no other file to be measured, compared or shown.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from eval.datasets import GoldBox, Judged, Question, by_one_name
from eval.machine import machine
from indexing.index import Index
from retrieval.errors import InputError
from retrieval.search import SearchMode
from retrieval.types import Hit, SearchResult

FORMAT = "folioscope-run/2"
_WITH_REGIONS = 10
_SHOWN = 3
# Mistakes in the questions that are told at once.
_TOLD = 5


@dataclass(frozen=True, slots=True)
class Answered:
    """One question's ranking: documents and 0-based pages, best first, with scores and times.

    ``regions`` are those of the first hit on a page with a marked answer, as page fractions
    ``[n][4]``, with the hit's ``doc`` and ``page`` and the page's ``size`` (points; pixels of a
    picture); empty if there is none among the first ten. ``shown`` has the same for the first
    three hits, and their ``page_id``, so that a report can show what was found. ``answer`` is
    what was answered, if answers were asked for: ``status``, ``text``, ``verdict``, ``cites``
    (names and pages) and ``ms``.
    """

    qid: str
    ranked: tuple[tuple[str, int], ...]
    scores: tuple[float, ...]
    timing_ms: Mapping[str, float]
    regions: Mapping[str, Any]
    shown: tuple[Mapping[str, Any], ...] = ()
    answer: Mapping[str, Any] = field(default_factory=dict)


Answering = Callable[[Question, int | None], Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Run:
    """A configuration and what it answered, by question id; ``questions`` are those answered."""

    header: Mapping[str, Any]
    answered: Mapping[str, Answered]
    questions: Mapping[str, Question] = field(default_factory=dict)


def read_run(path: Path) -> Run:
    """Read a run. Raises ``InputError`` if it is not one; a torn last line is dropped."""
    try:
        # What follows the last line end was being written when the run was stopped; it may end
        # within a letter.
        lines = path.read_bytes().rpartition(b"\n")[0].decode("utf-8").split("\n")
        header = json.loads(lines[0])
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not a run of `folioscope eval run` ({error})") from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise InputError(f"{path}: not a run of `folioscope eval run` (no {FORMAT} header)")
    answered: dict[str, Answered] = {}
    questions: dict[str, Question] = {}
    for number, line in enumerate(lines[1:], 2):
        try:
            row = json.loads(line)
            question = _question(row.pop("question"))
            row["ranked"] = tuple((doc, page) for doc, page in row["ranked"])
            row["scores"] = tuple(row["scores"])
            row["shown"] = tuple(row.get("shown", ()))
            answered[row["qid"]] = Answered(**row)
            questions[row["qid"]] = question
        except (ValueError, TypeError, KeyError) as error:
            raise InputError(
                f"{path}, line {number}: not an answer of a run ({error}); take the line out to "
                "have its question asked again"
            ) from error
    return Run(header, answered, questions)


def _plain(question: Question) -> dict[str, Any]:
    """A question as JSON has it."""
    row = asdict(question)
    row["pages"], row["ignored"] = sorted(question.pages), sorted(question.ignored)
    return row


def _question(row: dict[str, Any]) -> Question:
    row["pages"], row["ignored"] = frozenset(row["pages"]), frozenset(row["ignored"])
    row["boxes"] = tuple(GoldBox(**{**box, "box": tuple(box["box"])}) for box in row["boxes"])
    row["judged"] = tuple(Judged(**page) for page in row["judged"])
    row["answers"] = tuple(row["answers"])
    return Question(**row)


def run_questions(
    index: Index,
    questions: Sequence[Question],
    path: Path,
    *,
    mode: SearchMode,
    depth: int,
    documents: Sequence[str] | None = None,
    absent: Collection[str] = (),
    answer: Answering | None = None,
    about: Mapping[str, Any] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Run:
    """Ask every question and write the run to ``path``; questions answered there stay.

    Questions of scope ``doc`` are asked within their document, the others of ``documents``
    (names as in the questions; None: the whole index). Documents in ``absent`` are known not to
    be in the index: what they answer counts as not found. ``answer`` also answers each question,
    within the document whose id it is given. ``about`` is part of what a run may
    not differ in to be resumed. Raises ``InputError`` if another document of a question is not
    in the index or has fewer pages than the question says, or ``path`` holds a run of another
    configuration.
    """
    named = {doc for q in questions for doc in (q.doc, *(doc for doc, _ in q.relevant))}
    wanted = (named | set(documents or ())) - set(absent)
    ids = _documents(index, wanted, questions)
    questions = by_one_name(questions, ids)
    names = {ids[name]: name for name in reversed(ids)}
    listed = None if documents is None else ", ".join(str(ids[name]) for name in documents)
    config = {
        "format": FORMAT,
        "mode": mode,
        "depth": depth,
        "index": {"path": str(index.path), "generation": index.status().generation},
        "documents": None if documents is None else sorted(documents),
        "questions": {"count": len(questions), "sha256": _digest(questions)},
        # With the weights that were fitted for this index, if some were: what searches go by.
        "settings": asdict(replace(index.search_settings, weights=index.weights())),
        **(about or {}),
    }
    header = {
        **config,
        "collection": collection_figures(index),
        "absent": sorted(absent),
        "machine": machine(),
        "date": datetime.now(UTC).isoformat("T", "minutes"),
    }
    with _opened(path) as file:
        run = _resume(path, config)
        answered = dict(run.answered) if run else {}
        index.search("warm up", 1)
        if run is None:
            file.write(json.dumps(header) + "\n")
        for number, question in enumerate(questions):
            if question.qid not in answered:
                result = index.search(
                    question.text,
                    depth,
                    mode=mode,
                    doc=ids.get(question.doc) if question.scope == "doc" else None,
                    filter=None
                    if listed is None or question.scope == "doc"
                    else f"doc_id IN ({listed})",
                )
                found = _answered(question, result, names)
                if answer is not None:
                    within = ids.get(question.doc) if question.scope == "doc" else None
                    found = replace(found, answer=answer(question, within))
                answered[question.qid] = found
                row = {**asdict(found), "question": _plain(question)}
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
                file.flush()
            if progress is not None:
                progress(number + 1, len(questions))
    asked = {question.qid: question for question in questions}
    return Run(run.header if run else header, answered, asked)


def _opened(path: Path) -> TextIO:
    """The run, to be written on by this process alone: two would answer everything twice, and each
    take the other's last line for torn. Raises ``InputError``."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a", encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}; name another file") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise InputError(
            f"another process is writing {path}; wait for it, or name another file"
        ) from error
    return file


def _documents(
    index: Index, names: Collection[str], questions: Sequence[Question]
) -> dict[str, int]:
    """The ids of documents by name. Raises ``InputError`` that names those which are not there,
    and pages beyond a document's last: they can never be found, and would count against the
    search."""
    ids: dict[str, int] = {}
    wrong: list[str] = []
    for name in sorted(names):
        try:
            ids[name] = index.find(name)
        except InputError as error:
            wrong.append(str(error))
    for question in questions:
        for doc, page in question.relevant:
            if doc in ids and page >= (pages := index.document(ids[doc]).pages):
                wrong.append(
                    f"question {question.qid} names page {page + 1} of {doc}, which has {pages} "
                    f"in this index (counted from 1; {page} of 0 to {pages - 1} in JSONL)"
                )
    if wrong:
        more = f"; and {len(wrong) - _TOLD} more" if len(wrong) > _TOLD else ""
        raise InputError(f"{'; '.join(wrong[:_TOLD])}{more}: mend the questions, or leave them out")
    return ids


def collection_figures(index: Index) -> dict[str, Any]:
    """What was searched, in figures: what bytes and times are to be judged by."""
    status = index.status()
    return {
        "documents": status.documents,
        "pages": status.pages,
        "patches": status.patches,
        "page_vectors": status.page_vectors,
        "encoder": status.encoder,
        "encoder_fingerprint": index.encoder.fingerprint,
        "compression": status.compression,
        "coarse_kind": status.coarse_kind,
        "coarse_memory_bytes": status.coarse_memory_bytes,
        "disk_bytes": status.disk_bytes,
    }


def _digest(questions: Sequence[Question]) -> str:
    """What was asked, of what, and what answers it: another wording, or other judgements, must
    not be taken for the same question."""
    asked = [(q.qid, q.text, q.scope, q.doc, sorted(q.relevant.items())) for q in questions]
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:16]


def _resume(path: Path, config: Mapping[str, Any]) -> Run | None:
    if _torn_header(path):
        os.truncate(path, 0)
        return None
    run = read_run(path)
    plain = json.loads(json.dumps(config))
    different = [key for key, value in plain.items() if run.header.get(key) != value]
    if different:
        raise InputError(
            f"{path} holds a run with another {', '.join(different)}; name another file"
        )
    data = path.read_bytes()
    os.truncate(path, data.rfind(b"\n") + 1)
    return run


def _torn_header(path: Path) -> bool:
    """Whether a run was not begun, or stopped before its first line was on disk."""
    text = path.read_bytes()
    begin = json.dumps({"format": FORMAT})[:-1].encode()
    return b"\n" not in text and (text.startswith(begin) or begin.startswith(text))


def _answered(question: Question, result: SearchResult, names: Mapping[int, str]) -> Answered:
    hits = result.hits
    return Answered(
        qid=question.qid,
        ranked=tuple((names.get(hit.doc_id, hit.source), hit.page) for hit in hits),
        scores=tuple(round(hit.score, 6) for hit in hits),
        timing_ms=dict(result.timing_ms),
        regions=_regions(question, hits[:_WITH_REGIONS], names),
        shown=tuple({"page_id": hit.page_id, **_places(hit, names)} for hit in hits[:_SHOWN]),
    )


def _regions(question: Question, hits: Sequence[Hit], names: Mapping[int, str]) -> dict[str, Any]:
    for hit in hits:
        name = names.get(hit.doc_id)
        if name is not None and question.boxes_on(name, hit.page):
            return _places(hit, names)
    return {}


def _places(hit: Hit, names: Mapping[int, str]) -> dict[str, Any]:
    boxes = [[round(float(x), 5) for x in region.box] for region in hit.regions]
    name = names.get(hit.doc_id, hit.source)
    return {"doc": name, "page": hit.page, "boxes": boxes, "size": list(hit.size)}
