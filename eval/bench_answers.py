"""Answers and their citations: ``folioscope bench answers QUESTIONS -i INDEX``.

QUESTIONS is JSONL with ``answers``, ``answerable`` and, for some, ``boxes`` (data/README.md). The
embedded reader answers each. By kind of question: how many were answered, how many of these are
right (the same number, or the expected text within the answer), how many cite a page that
answers, and how many were let pass as unanswerable that are, and are not.

Of every question with marked boxes, answered or shown passages: whether a cited box, or the part
of it that is the answer, overlaps a marked one by a quarter and by half of their union, and
whether the cited box holds a marked one whole.
"""

from __future__ import annotations

import json
import re
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np

from eval.benchmark import Benchmark
from eval.datasets import Question, read_questions
from eval.places import iou
from indexing.index import Index
from retrieval.errors import InputError
from serving.answering.pipeline import Answerer
from serving.answering.spans import DATE, TIME, date_key, number_value
from serving.answering.types import Answer

_SHORT = 25
_LONGEST = 240
# Marked boxes are drawn by hand or around letters: so much may stick out, in page fractions.
_SLACK = 0.01


@dataclass(slots=True)
class Row:
    """Counts over the questions of one kind."""

    questions: int = 0
    unanswerable: int = 0
    declined: int = 0
    answered: int = 0
    right: int = 0
    wrongly_answered: int = 0
    supported: int = 0
    page: int = 0
    boxed: int = 0
    quarter: int = 0
    half: int = 0
    inside: int = 0


def is_right(said: str, expected: list[str]) -> bool:
    """The same number, date or time where a short one is expected; else the expected text within
    what was said, which may not be much longer."""
    for answer in expected:
        if len(answer) <= _SHORT:
            if moments := _moments(answer):
                if moments & _moments(said):
                    return True
                continue
            a, b = number_value(said), number_value(answer)
            if a is not None and b is not None and _same(abs(a), abs(b)):
                return True
        wanted, got = _plain(answer), _plain(said)
        if len(wanted) > 2 and wanted in got and len(got) <= len(wanted) + _LONGEST:
            return True
    return False


def _moments(text: str) -> set[tuple[int, ...]]:
    """Dates, and times of the day, of a text, as numbers; day and month in either order."""
    keys = (date_key(match.group()) for match in DATE.finditer(text))
    dates = {(key[0], *sorted(key[1:])) for key in keys if key}
    times = (re.findall(r"\d+", match.group()) for match in TIME.finditer(text))
    return dates | {(int(part[0]), int(part[1])) for part in times if len(part) > 1}


def _same(said: Decimal, expected: Decimal) -> bool:
    """The same number; from a thousand on within 0.05 %, as data sets round what a page says."""
    return said == expected or (expected >= 1000 and abs(said - expected) <= expected / 2000)


def _plain(text: str) -> str:
    return re.sub(r"[^a-z0-9%.]+", " ", text.lower()).strip()


def measure_answers(questions_file: Path, index_folder: Path, half: str | None = None) -> Benchmark:
    """Ask everything; one row a kind of question, then one for all."""
    gold = {q.qid: q for q in read_questions(questions_file)}
    index = Index.open(index_folder)
    answerer = Answerer(index)
    counted: dict[str, Row] = defaultdict(Row)
    took: list[float] = []
    for row in map(json.loads, questions_file.read_text("utf-8").splitlines()):
        question = gold.get(row["qid"]) or _unanswerable(row)
        if question is None or (half and question.half != half):
            continue
        if row.get("answerable", True) and not row["answers"] and not question.boxes:
            continue  # it asks for a page, not for an answer or a place
        doc = index.find(question.doc) if question.scope == "doc" else None
        began = time.perf_counter()
        answer = answerer.ask(question.text, doc=doc)
        took.append((time.perf_counter() - began) * 1000)
        for name in (question.kind, "all"):
            _count(counted[name], row, question, answer)
    rows = [
        {
            "questions": name,
            "n": r.questions,
            "answered": r.answered,
            "right_of_these": _share(r.right, r.answered),
            "citation_checks": _share(r.supported, r.answered),
            "cites_an_answering_page": _share(r.page, r.answered),
            "with_boxes": r.boxed,
            "iou_25": _share(r.quarter, r.boxed),
            "iou_50": _share(r.half, r.boxed),
            "box_inside": _share(r.inside, r.boxed),
            "unanswerable": r.unanswerable,
            "of_these_answered": r.wrongly_answered,
        }
        for name, r in sorted(counted.items(), key=lambda item: (item[0] == "all", item[0]))
    ]
    if not took:
        raise InputError(f"{questions_file}: no question with an answer is left")
    facts = {
        "questions": len(took),
        "p50_ms": float(np.median(took)),
        "p99_ms": float(np.quantile(took, 0.99)),
        "half": half,
    }
    return Benchmark("answers", rows, facts)


def _unanswerable(row: Mapping[str, Any]) -> Question | None:
    if row.get("answerable", True) or row.get("scope") == "video":
        return None
    return Question(
        row["qid"], row["question"], row["doc"], frozenset(), kind=row["kind"], scope=row["scope"]
    )


def _count(counted: Row, row: Mapping[str, Any], question: Question, answer: Answer) -> None:
    given = answer.status == "answered"
    if not row.get("answerable", True):
        counted.unanswerable += 1
        counted.wrongly_answered += given
        return
    if question.boxes:
        _count_places(counted, question, answer)
    if not row["answers"]:
        return
    counted.questions += 1
    if not given:
        counted.declined += 1
        return
    counted.answered += 1
    counted.right += is_right(answer.text, row["answers"])
    counted.supported += answer.verdict == "supported"
    citation = answer.claims[0].citations[0]
    counted.page += citation.page in question.pages and citation.name == Path(question.doc).name


def _count_places(counted: Row, question: Question, answer: Answer) -> None:
    """How the places cited agree with those marked, the best of them counting."""
    sizes = {hit.page_id: (hit.doc_id, hit.size) for hit in answer.hits}
    best = 0.0
    inside = False
    for citation in (c for claim in answer.claims for c in claim.citations):
        if citation.name != Path(question.doc).name or citation.page_id not in sizes:
            continue
        size = sizes[citation.page_id][1]
        marked = question.boxes_on(question.doc, citation.page)
        if not marked:
            continue
        truth = np.array([box.box for box in marked], np.float64) / np.array([*size, *size])
        cited = np.array([citation.box, citation.answer_box or citation.box], np.float64)
        best = max(best, float(iou(cited, truth).max()))
        low, high = cited[0, :2] - _SLACK, cited[0, 2:] + _SLACK
        inside |= bool(((truth[:, :2] >= low) & (truth[:, 2:] <= high)).all(axis=1).any())
    counted.boxed += 1
    counted.quarter += best >= 0.25
    counted.half += best >= 0.5
    counted.inside += inside


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
