"""Answers and their citations: ``python -m eval.bench_answers QUESTIONS -i INDEX``.

QUESTIONS is JSONL with ``answers``, ``answerable`` and, for some, ``boxes`` (data/README.md). The
embedded reader answers each. By kind of question: how many were answered, how many of these are
right (the same number, or the expected text within the answer), how many cite a page that
answers, on how many the cited box holds the true one's centre, and how many were let pass as
unanswerable that are, and are not.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eval.datasets import Question, read_questions
from indexing.index import Index
from serving.answering.pipeline import Answerer
from serving.answering.spans import number_value
from serving.answering.types import Answer

_SHORT = 25
_LONGEST = 240


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
    box: int = 0


def is_right(said: str, expected: list[str]) -> bool:
    """The same number where a short one is expected; else the expected text within what was said,
    which may not be much longer."""
    for answer in expected:
        if len(answer) <= _SHORT:
            a, b = number_value(said), number_value(answer)
            if a is not None and b is not None and abs(a) == abs(b):
                return True
        wanted, got = _plain(answer), _plain(said)
        if len(wanted) > 2 and wanted in got and len(got) <= len(wanted) + _LONGEST:
            return True
    return False


def _plain(text: str) -> str:
    return re.sub(r"[^a-z0-9%.]+", " ", text.lower()).strip()


def main() -> None:
    """Ask everything, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("questions", type=Path)
    parser.add_argument("-i", "--index", type=Path, required=True)
    parser.add_argument("--half", choices=("dev", "test"))
    options = parser.parse_args()
    gold = {q.qid: q for q in read_questions(options.questions)}
    index = Index.open(options.index)
    answerer = Answerer(index)
    rows: dict[str, Row] = defaultdict(Row)
    took: list[float] = []
    for row in map(json.loads, options.questions.read_text("utf-8").splitlines()):
        question = gold.get(row["qid"]) or _unanswerable(row)
        if question is None or (options.half and question.half != options.half):
            continue
        if row.get("answerable", True) and not row["answers"]:
            continue  # it asks for a page, not for an answer
        doc = index.find(question.doc) if question.scope == "doc" else None
        began = time.perf_counter()
        answer = answerer.ask(question.text, doc=doc)
        took.append((time.perf_counter() - began) * 1000)
        for name in (question.kind, "all"):
            _count(rows[name], row, question, answer)
    print(
        f"{len(took)} questions; ms an answer: p50 {np.median(took):.0f}, "
        f"p99 {np.quantile(took, 0.99):.0f}"
    )
    print(
        "| questions | n | answered | right of these | citation checks | cites an answering page "
        "| true box cited | unanswerable | of these answered |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for name, r in sorted(rows.items(), key=lambda item: (item[0] == "all", item[0])):
        print(
            f"| {name} | {r.questions} | {r.answered} | {_share(r.right, r.answered)} "
            f"| {_share(r.supported, r.answered)} | {_share(r.page, r.answered)} "
            f"| {_share(r.box, r.boxed)} | {r.unanswerable} | {r.wrongly_answered} |"
        )


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
    counted.questions += 1
    if not given:
        counted.declined += 1
        return
    counted.answered += 1
    counted.right += is_right(answer.text, row["answers"])
    counted.supported += answer.verdict == "supported"
    citation = answer.claims[0].citations[0]
    counted.page += citation.page in question.pages and citation.name == Path(question.doc).name
    truth = [box for box in question.boxes if box.page == citation.page]
    if truth and citation.name == Path(question.doc).name:
        hit = next(h for h in answer.hits if h.page_id == citation.page_id)
        counted.boxed += 1
        x0, y0, x1, y1 = citation.box
        counted.box += any(
            x0 - 0.01 <= (b.box[0] + b.box[2]) / 2 / hit.size[0] <= x1 + 0.01
            and y0 - 0.01 <= (b.box[1] + b.box[3]) / 2 / hit.size[1] <= y1 + 0.01
            for b in truth
        )


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.2f}" if whole else "-"


if __name__ == "__main__":
    main()
