"""``folioscope demo`` on somebody's own small folder, and what it leaves behind."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from indexing.cli_demo import SAMPLE_QUESTIONS, SAMPLES
from tests.e2e.command import folioscope, worked
from tests.indexing.pdfs import BEES, OWLS, write_books, write_pdf


@pytest.mark.slow
def test_the_demo_on_a_folder_of_ones_own(tmp_path: Path) -> None:
    books = write_books(tmp_path / "my [old] books")
    out = tmp_path / "out"
    questions = ("-q", "Which bird hunts voles?", "-q", "What do [red] bees store?")
    done = worked("demo", "--docs", books, "--out", out, *questions)
    assert re.search(r"Indexed 2 documents, 3 pages in \d+\.\d s", done.out)
    first, second = done.out.split("\nQ1. ")[1].split("\nQ2. ")
    assert first.startswith("Which bird hunts voles?") and " 1. owls.pdf, page 1" in first
    assert second.startswith("What do [red] bees store?") and " 1. bees.pdf, page 1" in second
    pictures = sorted(out.glob("q*/*.png"))
    assert [path.parent.name for path in pictures] == ["q1", "q1", "q2", "q2"]
    for path in pictures:
        assert str(path) in done.out
        with Image.open(path) as picture:
            assert picture.size == pytest.approx((909, 1286), abs=2)
            assert np.asarray(picture).std() > 3
    (index,) = out.glob("index*")
    assert f"--index {index}" in done.out
    hits = worked("search", "voles", "--index", index, "--json").document()["hits"]
    assert Path(hits[0]["source"]).name == "owls.pdf"

    again = worked("demo", "--docs", books, "--out", out)
    assert "Indexed 0 documents" in again.out and "2 were there already" in again.out
    assert "Q2. What is said about" in again.out


def test_the_demo_needs_documents(tmp_path: Path) -> None:
    done = folioscope("demo", "--docs", tmp_path / "absent", "--out", tmp_path / "out")
    assert done.code == 2 and "absent does not exist; name a folder with --docs" in done.err
    (tmp_path / "bare").mkdir()
    done = folioscope("demo", "--docs", tmp_path / "bare", "--out", tmp_path / "out")
    assert done.code == 2 and "no documents in" in done.err


@pytest.mark.slow
def test_the_demo_does_not_index_its_own_pictures(tmp_path: Path) -> None:
    """Its folder is below the one it reads when it is run where the documents are."""
    write_pdf(tmp_path / "owls.pdf", [OWLS])
    worked("demo", "--docs", ".", "-q", "owls", cwd=tmp_path)
    assert list((tmp_path / "demo-out" / "q1").glob("*.png"))
    write_pdf(tmp_path / "bees.pdf", [BEES])
    again = worked("demo", "--docs", ".", "-q", "owls", cwd=tmp_path)
    assert "Indexed 1 document, 1 page" in again.out


def test_the_samples_and_their_questions_are_there() -> None:
    """The demo without --docs asks these; the sample collection's own tests check the answers."""
    assert len(list(SAMPLES.iterdir())) >= 8
    assert len(SAMPLE_QUESTIONS) == 3
