"""The worst questions of a run with pictures: what was expected, and what was found instead."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pillow

from eval.datasets import Question
from eval.measures import per_question
from eval.runs import Answered, Run
from indexing.index import Index
from retrieval.errors import FolioscopeError, InputError
from retrieval.store import Store

_WIDTH = 620
_DPI = 90
_ORDER = "nDCG@10"

# x, y, width, height in percent of the picture.
Frame = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Picture:
    """A page: its name, the image as a data URL (empty if there is none, and ``why``), and the
    frames drawn over it."""

    title: str
    note: str
    image: str
    ratio: float
    frames: tuple[Frame, ...]
    why: str = ""


@dataclass(frozen=True, slots=True)
class Missed:
    """A question that went badly: ``rank`` is where its best page stood, 0 for nowhere."""

    question: Question
    score: float
    rank: int
    depth: int
    expected: Picture
    found: Picture | None


def worst_questions(run: Run, count: int, index: Path | None = None) -> list[Missed]:
    """The ``count`` questions with the least nDCG@10, the worst first; ties by how far down the
    first page that answers stands.

    ``index`` is where the pages are to be had, if not where the run says. Pages that cannot be
    pictured, because the index or the source is gone, are named without a picture.
    """
    scores = per_question(run.questions.values(), run, [_ORDER])[_ORDER]
    ranks = {qid: first_rank(run.questions[qid], run.answered[qid]) for qid in scores}

    def badness(qid: str) -> tuple[float, float, str]:
        return scores[qid], -(ranks[qid] or float("inf")), qid

    chosen = [qid for qid in sorted(scores, key=badness)[:count] if scores[qid] < 1]
    if not chosen:
        return []
    with _Album(index or Path(run.header["index"]["path"])) as album:
        return [_missed(run, qid, scores[qid], ranks[qid], album) for qid in chosen]


def first_rank(question: Question, answered: Answered) -> int:
    """The 1-based rank of the first page that answers; 0 if none was found."""
    right = question.relevant
    kept = [
        page
        for page in answered.ranked
        if page in right or not (page[0] == question.doc and page[1] in question.ignored)
    ]
    return next((rank for rank, page in enumerate(kept, 1) if page in right), 0)


def _missed(run: Run, qid: str, score: float, rank: int, album: _Album) -> Missed:
    question, answered = run.questions[qid], run.answered[qid]
    right = question.relevant
    found = next((s for s in answered.shown if (s["doc"], s["page"]) not in right), None)
    # Where several pages answer, the one with a marked place explains most.
    marked = [page for page in right if question.boxes_on(*page)]
    best = max(marked or right, key=lambda page: right[page])
    return Missed(
        question,
        score,
        rank,
        int(run.header["depth"]),
        album.expected(question, *best),
        None if found is None else album.found(found),
    )


class _Album:
    """Pictures of an index's pages; without the index, their names."""

    def __init__(self, path: Path) -> None:
        self._why = ""
        self._index: Index | None = None
        try:
            self._index = Index.open(path)
            self._store = Store.open(path)
        except FolioscopeError as error:
            self._index, self._why = None, str(error)

    def __enter__(self) -> _Album:
        return self

    def __exit__(self, *_: object) -> None:
        if self._index is not None:
            self._store.close()
            self._index.close()

    def expected(self, question: Question, doc: str, page: int) -> Picture:
        """The page that answers, with the marked places framed."""
        title, why = _title(doc, page), self._why
        if self._index is not None:
            try:
                page_id = self._page_id(self._index, doc, page)
                record = self._index.page(page_id)
                boxes = [
                    _frame(
                        box.box[0] / record.width,
                        box.box[1] / record.height,
                        box.box[2] / record.width,
                        box.box[3] / record.height,
                    )
                    for box in question.boxes_on(doc, page)
                ]
                return self._picture(title, "expected", page_id, boxes)
            except FolioscopeError as error:
                why = str(error)
        return Picture(title, "expected", "", 1.3, (), why)

    def found(self, shown: Mapping[str, Any]) -> Picture:
        """The page that was found instead, with its regions framed."""
        title = _title(shown["doc"], shown["page"])
        frames = [_frame(*box) for box in shown["boxes"]]
        if self._index is None:
            return Picture(title, "found", "", 1.3, (), self._why)
        return self._picture(title, "found", int(shown["page_id"]), frames)

    def _picture(self, title: str, note: str, page_id: int, frames: Sequence[Frame]) -> Picture:
        assert self._index is not None
        try:
            image = self._index.picture(page_id, dpi=_DPI)
        except FolioscopeError as error:
            return Picture(title, note, "", 1.3, (), str(error))
        image.thumbnail((_WIDTH, _WIDTH * 3), Pillow.Resampling.LANCZOS)
        held = io.BytesIO()
        image.save(held, "WEBP", quality=62, method=4)
        data = base64.b64encode(held.getvalue()).decode()
        ratio = image.height / image.width
        return Picture(title, note, f"data:image/webp;base64,{data}", ratio, tuple(frames))

    def _page_id(self, index: Index, doc: str, page: int) -> int:
        offsets = self._store.pages.offsets_of_documents(np.array([index.find(doc)]))
        at = np.flatnonzero(self._store.pages.numbers[offsets] == page)
        if not len(at):
            raise InputError(f"{doc} has no page {page + 1} in the index {index.path}")
        return int(self._store.pages.page_ids[offsets[at[0]]])


def _frame(x0: float, y0: float, x1: float, y1: float) -> Frame:
    x0, y0, x1, y1 = (min(max(x, 0.0), 1.0) * 100 for x in (x0, y0, x1, y1))
    return round(x0, 2), round(y0, 2), round(x1 - x0, 2), round(y1 - y0, 2)


def _title(doc: str, page: int) -> str:
    return f"{doc.rpartition('/')[2]}, page {page + 1}"
