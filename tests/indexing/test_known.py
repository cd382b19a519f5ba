"""What an index learns about files that it need not read again."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest

from indexing.build import BuildSettings
from indexing.index import Index
from indexing.settings import IntakeSettings
from retrieval.encoders.text import TextEncoder
from tests.indexing import samples
from tests.indexing.pdfs import BEES, write_books, write_pdf

QUICK = IntakeSettings(ocr="off", workers=1)
SIX_PAGES = samples.pdf([" ".join([BEES] * 4)] * 6)


@pytest.fixture
def books(tmp_path: Path) -> Path:
    return write_books(tmp_path / "books")


@pytest.fixture
def index(tmp_path: Path) -> Index:
    settings = BuildSettings(intake=QUICK)
    return Index.create(tmp_path / "index", encoder=TextEncoder.load(), settings=settings)


def test_files_that_moved_keep_their_pages_and_are_pictured_from_the_new_place(
    index: Index, books: Path
) -> None:
    index.add([books], metadata={"year": 2020})
    before = {row["doc_id"] for row in index.documents()}
    moved = books.rename(books.with_name("library"))
    report = index.add([moved])
    assert (report.documents_added, report.unchanged) == (0, len(before))
    documents = index.documents()
    assert {row["doc_id"] for row in documents} == before
    assert all(Path(str(row["source"])).parent == moved for row in documents)
    assert all(row["metadata"] == {"year": 2020} for row in documents)
    hit = index.search("bees", 1).hits[0]
    assert index.page_image(hit, dpi=50).size
    assert index.verify() == []


def test_a_new_name_is_part_of_what_a_document_says_about_itself(
    index: Index, tmp_path: Path
) -> None:
    write_pdf(tmp_path / "a.pdf", [BEES])
    write_pdf(tmp_path / "b.pdf", ["Of tides and moons."])
    index.add([tmp_path / "a.pdf", tmp_path / "b.pdf"])
    (tmp_path / "b.pdf").rename(tmp_path / "xylophone handbook.pdf")
    index.add([tmp_path / "xylophone handbook.pdf"])
    hit = index.search("xylophone handbook", 1, explain=True).hits[0]
    assert Path(hit.source).name == "xylophone handbook.pdf" and hit.scores["document"] > 0


def test_a_file_that_changed_keeps_what_was_said_of_it(index: Index, books: Path) -> None:
    index.add([books], metadata={"year": 2020, "team": "x"})
    some = sorted(books.glob("*.pdf"))
    some[0].write_bytes(some[1].read_bytes() + b"\n% another edition\n")
    report = index.add([books], metadata={"team": "y"})
    assert report.documents_added == 1
    assert all(row["metadata"] == {"year": 2020, "team": "y"} for row in index.documents())
    assert index.search("bees", filter="year = 2020").hits


def test_new_metadata_are_learnt_and_old_ones_stay(index: Index, books: Path) -> None:
    index.add([books], metadata={"year": 2020, "team": "x"})
    generation = index.status().generation
    report = index.add([books], metadata={"year": 2021, "shelf": "b"})
    assert report.documents_added == 0 and report.generation == generation + 1
    expected = {"year": 2021, "team": "x", "shelf": "b"}
    assert all(row["metadata"] == expected for row in index.documents())
    assert index.search("bees", 1, filter="shelf = 'b' AND year = 2021").hits
    assert index.add([books], metadata={"shelf": "b"}).generation == generation + 1
    assert index.verify() == []


def test_a_copy_is_the_same_document_unless_copies_count(index: Index, books: Path) -> None:
    first = index.add([books]).documents_added
    twin = shutil.copytree(books, books.with_name("twin"))
    assert index.add([twin]).documents_added == 0
    report = index.add([twin], copies=True, metadata={"owner": "b"})
    assert report.documents_added == first
    assert index.add([books, twin], copies=True).documents_added == 0
    owners = [row["metadata"].get("owner") for row in index.documents()]
    assert owners.count("b") == first and owners.count(None) == first
    assert len(index.search("bees", 10, filter="owner = 'b'").hits) > 0


def test_a_bad_file_that_is_gone_is_forgotten_and_one_that_stays_costs_no_commit(
    index: Index, books: Path, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.pdf"
    bad.write_bytes(b"%PDF-1.7 nothing")
    index.add([books, bad])
    generation = index.status().generation
    assert index.add([books, bad]).generation == generation
    bad.unlink()
    index.add([books])
    assert index.status().skipped == ()


@pytest.mark.parametrize("renderer", ["mupdf", "pdfium"])
def test_a_name_that_is_not_utf8_is_read(tmp_path: Path, renderer: str) -> None:
    write_pdf(tmp_path / "plain.pdf", [BEES])
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.pdf"))
    (tmp_path / "plain.pdf").rename(odd)
    settings = BuildSettings(intake=QUICK.model_copy(update={"renderer": renderer}))
    index = Index.create(tmp_path / "index", encoder=TextEncoder.load(), settings=settings)
    report = index.add([odd])
    assert report.skipped == () and report.pages_added == 1


def test_what_is_read_again_is_replaced_in_one_commit(index: Index, books: Path) -> None:
    index.add([books], metadata={"year": 2020})
    generation, old = index.status().generation, index.find("bees.pdf")
    report = index.reread("bees.pdf", metadata={"shelf": "b"})
    assert (report.documents_added, report.generation) == (1, generation + 1)
    told = {Path(str(row["source"])).stem: row["metadata"] for row in index.documents()}
    assert told == {"bees": {"shelf": "b"}, "owls": {"year": 2020}}
    assert index.find("bees.pdf") != old
    assert index.search("What do bees store?", 1).hits[0].doc_id == index.find("bees.pdf")
    assert index.verify() == []


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (b"%PDF-1.7 nothing", ""),
        (samples.lying_pdf(9, claimed=500), "less of it can be read than before.*pages-missing"),
        (samples.pdf([BEES] * 5), "less of it can be read than before .5 of 6 pages"),
        (SIX_PAGES[: len(SIX_PAGES) * 8 // 10], "before .[0-9]+ of 336 words; repaired"),
        (SIX_PAGES[: len(SIX_PAGES) // 2], "before .[0-9]+ of 336 words; repaired"),
        (None, "does not exist"),
    ],
)
def test_what_cannot_be_read_again_stays_as_it_is(
    index: Index, books: Path, damage: bytes | None, why: str
) -> None:
    bees = books / "bees.pdf"
    bees.write_bytes(SIX_PAGES)
    index.add([books])
    before = index.documents(), index.status()
    if damage is None:
        bees.unlink()
    else:
        bees.write_bytes(damage)
    (skipped,) = index.reread("bees.pdf").skipped
    assert re.search(f"bees.pdf: .*{why}", skipped.reason)
    assert (index.documents(), index.status()) == before
    assert index.search("What do bees store?", 1).hits[0].doc_id == index.find("bees.pdf")
    assert index.verify() == []


def test_what_was_damaged_before_is_read_again_and_loses_no_more(index: Index, books: Path) -> None:
    bees = books / "bees.pdf"
    bees.write_bytes(SIX_PAGES[: len(SIX_PAGES) * 8 // 10])
    index.add([bees])
    old = index.find("bees.pdf")
    assert index.reread("bees.pdf").skipped == () and index.find("bees.pdf") != old
    bees.write_bytes(SIX_PAGES[: len(SIX_PAGES) // 2])
    (skipped,) = index.reread("bees.pdf").skipped
    assert "less of it can be read than before" in skipped.reason
