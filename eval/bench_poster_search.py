"""Finding posters: ``folioscope bench posters DOCUMENTS --questions FILE``.

Pages that answer real questions are set eight to a poster of 24 megapixels, each drawn as large as
an eighth of it. The posters are indexed twice: as they are, so that intake reads them at their own
size, and shrunk to 2,000 pixels, as a pipeline does that resizes what it is given. The questions
are asked of both, and the poster on which the answering page stands is to be found.
"""

from __future__ import annotations

import hashlib
import math
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pymupdf
from PIL import Image as Pillow

from eval.benchmark import Benchmark
from eval.datasets import Page, Question, read_questions
from indexing.build import BuildSettings
from indexing.index import Index
from indexing.ocr_engines import Engine
from indexing.settings import IntakeSettings
from retrieval.errors import InputError

COLUMNS, ROWS = 4, 2
CELL = (1500, 2000)
NAIVE = 2000
_MARGIN = 40
_DEPTH = 10
Show = Callable[[str], None]


def measure_poster_search(
    documents: Path,
    questions: Path,
    posters: int,
    engine: Engine,
    show: Show = lambda text: None,
) -> Benchmark:
    """One row a way of reading: questions whose poster came first, the mean reciprocal rank and
    nDCG@5 of the first right poster, words read a poster, posters flagged as not wholly legible,
    and the build's time.

    ``documents`` is the folder that the questions' documents are in. Raises ``InputError`` if no
    question is about a page of a PDF there.
    """
    asked = _about_pdfs(documents, questions)
    places = _placed(asked, posters)
    if not places:
        raise InputError(f"no question of {questions} is about a page of a PDF in {documents}")
    count = max(places.values()) + 1
    asked = [one for one in asked if _where(one, places)]
    rows = []
    with tempfile.TemporaryDirectory(prefix="folioscope-bench-") as made:
        folder = Path(made)
        for name in ("whole", "shrunk"):
            (folder / name).mkdir()
        for number in range(count):
            show(f"poster {number + 1} of {count}")
            pages = [page for page, poster in places.items() if poster == number]
            poster = compose_pages(documents, pages)
            poster.save(folder / "whole" / f"{number}.png", compress_level=1)
            poster.thumbnail((NAIVE, NAIVE), Pillow.Resampling.LANCZOS)
            poster.save(folder / "shrunk" / f"{number}.png")
        for name, said in (("whole", "at its own size"), ("shrunk", f"shrunk to {NAIVE:,}")):
            show(f"reading {count} posters, {said}")
            rows.append({"read": said, **_row(folder, name, asked, places, engine)})
    facts = {
        "posters": count,
        "pages": len(places),
        "questions": len(asked),
        "megapixels": CELL[0] * CELL[1] * COLUMNS * ROWS / 1e6,
        "engine": engine,
    }
    return Benchmark("poster-search", rows, facts)


def _about_pdfs(documents: Path, questions: Path) -> list[Question]:
    """The questions about pages of PDFs that are there, in an order drawn by hash."""
    found = [
        one
        for one in read_questions(questions)
        if one.doc.endswith(".pdf")
        and one.pages
        and not one.suspect
        and (documents / one.doc).is_file()
    ]
    return sorted(found, key=lambda one: hashlib.sha256(one.qid.encode()).digest())


def _placed(asked: Sequence[Question], posters: int) -> dict[Page, int]:
    """On which poster each answering page goes: eight a poster, the first of each question, in
    turn, so that pages of one document are on several."""
    pages = list(dict.fromkeys((one.doc, min(one.pages)) for one in asked))
    each = COLUMNS * ROWS
    posters = min(posters, math.ceil(len(pages) / each))
    return {page: i % posters for i, page in enumerate(pages[: posters * each])}


def _where(question: Question, places: dict[Page, int]) -> set[int]:
    """The posters that hold a page which answers ``question``."""
    answering = ((question.doc, number) for number in question.pages)
    return {places[page] for page in answering if page in places}


def compose_pages(documents: Path, pages: Sequence[Page]) -> Pillow.Image:
    """A white poster with ``pages`` in its cells, row by row."""
    poster = Pillow.new("RGB", (CELL[0] * COLUMNS, CELL[1] * ROWS), "white")
    for at, (doc, number) in enumerate(pages):
        with pymupdf.open(documents / doc) as document:
            page = document[number]
            zoom = min(
                (CELL[0] - 2 * _MARGIN) / page.rect.width,
                (CELL[1] - 2 * _MARGIN) / page.rect.height,
            )
            drawn = page.get_pixmap(matrix=pymupdf.Matrix(zoom, zoom), alpha=False)
            part = Pillow.frombytes("RGB", (drawn.width, drawn.height), drawn.samples)
        row, column = divmod(at, COLUMNS)
        poster.paste(part, (column * CELL[0] + _MARGIN, row * CELL[1] + _MARGIN))
    return poster


def _row(
    folder: Path, name: str, asked: Sequence[Question], places: dict[Page, int], engine: Engine
) -> dict[str, Any]:
    settings = BuildSettings(intake=IntakeSettings(ocr=engine, workers=1))
    began = time.monotonic()
    with Index.create(folder / f"{name}.index", settings=settings) as index:
        index.add([folder / name])
        seconds = time.monotonic() - began
        ranks = [_rank(index, question, places) for question in asked]
        ids = [index.page_id(int(row["doc_id"]), 0) for row in index.documents()]
        pages = [index.page(page_id) for page_id in ids if page_id is not None]
    found = np.array([1 / rank if rank else 0.0 for rank in ranks])
    gains = [1 / math.log2(rank + 1) if rank and rank <= 5 else 0.0 for rank in ranks]
    return {
        "first_is_right": sum(rank == 1 for rank in ranks),
        "asked": len(ranks),
        "mrr": round(float(found.mean()), 3),
        "ndcg_at_5": round(float(np.mean(gains)), 3),
        "words_a_poster": round(float(np.mean([len(page.words) for page in pages]))),
        "flagged": sum(bool({"illegible", "partly-illegible"} & set(page.flags)) for page in pages),
        "build_s": round(seconds, 1),
    }


def _rank(index: Index, question: Question, places: dict[Page, int]) -> int | None:
    """The rank of the first poster that answers ``question``; None beyond ten."""
    right = _where(question, places)
    for hit in index.search(question.text, _DEPTH).hits:
        if int(Path(hit.source).stem) in right:
            return hit.rank
    return None
