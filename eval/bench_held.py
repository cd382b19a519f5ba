"""Whether the index holds what is asked for: ``folioscope bench held QUESTIONS --index INDEX``.

An answer that no page's text has was lost at intake, and no search finds it: this is counted
apart from whether the right page is found. Only questions whose answers are words of a page can
be asked so: totals of receipts, amounts of invoices.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from eval.bench_ocr import answered_by
from eval.benchmark import Benchmark
from eval.datasets import Question, read_questions
from indexing.index import Index
from retrieval.errors import InputError


def measure_held(questions: Path, index: Path, kinds: Sequence[str]) -> Benchmark:
    """One row a kind of question: how many of the answering pages hold an answer among their
    words, how many first hits do, and how many answering pages that do not say so by a flag.

    Raises ``InputError`` if the index has no page that answers one of these questions.
    """
    with Index.open(index) as opened:
        documents = {
            PurePosixPath(str(row["source"])).name: int(row["doc_id"]) for row in opened.documents()
        }
        asked: dict[str, list[tuple[bool, bool, bool]]] = {}
        missing = 0
        for question in read_questions(questions):
            if question.kind not in kinds or not question.answers or question.suspect:
                continue
            doc_id = documents.get(PurePosixPath(question.doc).name)
            if doc_id is None:
                missing += 1
                continue
            held, flagged = _held(opened, doc_id, question)
            hits = opened.search(question.text, 1).hits
            first = bool(hits) and answered_by(
                question.answers, " ".join(opened.page(hits[0].page_id).words.texts)
            )
            asked.setdefault(question.kind, []).append((held, flagged, first))
    if not asked:
        raise InputError(
            f"no question of kind {', '.join(kinds)} is about a document of {index}; "
            "name other kinds with --kind, or index these documents"
        )
    rows = [
        {
            "kind": kind,
            "asked": len(found),
            "held": sum(held for held, _, _ in found),
            "lost_and_flagged": sum(flagged and not held for held, flagged, _ in found),
            "first_hit_holds_it": sum(first for _, _, first in found),
        }
        for kind, found in sorted(asked.items())
    ]
    return Benchmark("held", rows, {"documents_missing": missing})


def _held(index: Index, doc_id: int, question: Question) -> tuple[bool, bool]:
    """Whether one of the answering pages has the answer among its words, and whether one is
    flagged as not wholly read."""
    held = flagged = False
    for number in sorted(question.pages):
        page_id = index.page_id(doc_id, number)
        if page_id is None:
            continue
        page = index.page(page_id)
        held |= answered_by(question.answers, " ".join(page.words.texts))
        flagged |= bool({"illegible", "partly-illegible", "detail-cut"} & set(page.flags))
    return held, flagged
