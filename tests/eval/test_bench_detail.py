"""Posters are made of the parts they say; the curve of legibility is drawn of its rows."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from eval.bench_detail import compose
from eval.bench_intake import measure_intake
from eval.bench_legibility import plotted, samples
from eval.bench_poster_search import CELL, COLUMNS, compose_pages, measure_poster_search
from eval.benchmark import Benchmark
from retrieval.errors import InputError
from tests.indexing import samples as files


def book(folder: Path) -> Path:
    path = folder / "book.pdf"
    path.write_bytes(files.pdf([2 * (files.PARAGRAPH + " ")] * 3))
    return path


def test_a_poster_shows_every_part_once(tmp_path: Path) -> None:
    parts = samples([book(tmp_path)], 4)
    assert parts and all(part.x_height == 5.5 for part in parts)
    poster, words = compose(parts, 6.0)
    assert poster.shape == (4000, 6000, 3) and poster.min() < 100
    assert words == Counter(
        {word: count * len(parts) for word, count in Counter(_plain(parts[0].words)).items()}
    )
    ink = (poster.min(axis=2) < 128).any(axis=0)
    # As many columns of print as parts, up to four, with white between them.
    gaps = np.flatnonzero(np.diff(np.flatnonzero(ink)) > 150)
    assert len(gaps) == len(parts) - 1


def _plain(words: tuple[str, ...]) -> list[str]:
    return ["".join(filter(str.isalnum, word.lower())) for word in words]


def test_intake_is_measured_with_and_without_the_check(tmp_path: Path) -> None:
    found = measure_intake([str(book(tmp_path))])
    assert [row["pages"] for row in found.rows] == [3, 3]
    assert all(row["pages_a_s"] > 0 for row in found.rows)
    assert found.facts["largest_worker_mb"] > 10
    assert found.facts["pages_looked_at_apart"] == 1
    assert found.facts["words_processor_ms_a_page"] > 0


def test_the_curve_has_a_line_for_each_engine_and_enlargement() -> None:
    rows = [
        {"engine": engine, "x_height_px": height, "enlarged": enlarged, "word_recall": recall}
        for engine in ("tesseract", "rapidocr")
        for enlarged in (1, 2)
        for height, recall in ((4.0, 0.4), (8.0, 0.8))
    ]
    drawn = plotted(Benchmark("legibility", rows))
    assert drawn.startswith("<svg") and "rapidocr, enlarged twofold" in drawn


def test_pages_are_set_on_a_poster_row_by_row(tmp_path: Path) -> None:
    path = tmp_path / "book.pdf"
    path.write_bytes(files.pdf([files.PARAGRAPH if i != 1 else "" for i in range(5)]))
    poster = np.asarray(compose_pages(tmp_path, [("book.pdf", number) for number in range(5)]))
    assert poster.shape == (4000, 6000, 3)
    width, height = CELL
    printed = [
        bool((poster[row * height :, column * width :][:height, :width] < 128).any())
        for row, column in (divmod(cell, COLUMNS) for cell in range(8))
    ]
    assert printed == [True, False, True, True, True, False, False, False]


def test_questions_about_no_page_that_is_there_are_refused(tmp_path: Path) -> None:
    asked = tmp_path / "q.jsonl"
    asked.write_text('{"qid": "1", "question": "dues?", "doc": "gone.pdf", "pages": [0]}\n')
    with pytest.raises(InputError, match="is about a page of a PDF"):
        measure_poster_search(tmp_path, asked, 2, "tesseract")
