"""Builds: what is new is added, what changed replaces, what cannot be read is said and retried."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from indexing.build import BuildProgress, BuildReport, BuildSettings
from indexing.index import Index
from indexing.metadata import MetadataTable
from indexing.pipeline import PoolSettings
from indexing.settings import IntakeSettings
from retrieval.coarse_kinds import KINDS
from retrieval.encoders.text import TextEncoder
from retrieval.errors import EncoderError, StorageError
from retrieval.types import PageContent, PageEmbedding
from tests.indexing import samples
from tests.indexing.pdfs import BEES, OWLS, PASSWORD, SWARM, TIDES, write_books, write_pdf
from tests.retrieval.search_samples import TopicEncoder

QUICK = IntakeSettings(ocr="off", workers=1)


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    return TextEncoder.load()


@pytest.fixture
def books(tmp_path: Path) -> Path:
    return write_books(tmp_path / "books")


@pytest.fixture
def index(tmp_path: Path, encoder: TextEncoder) -> Index:
    return Index.create(tmp_path / "index", encoder=encoder, settings=BuildSettings(intake=QUICK))


def sources(index: Index) -> dict[str, int]:
    """File name -> number of pages."""
    return {Path(str(row["source"])).name: row["pages"] for row in index.documents()}


def best(index: Index, question: str) -> tuple[str, int]:
    hit = index.search(question, 1).hits[0]
    return Path(hit.source).name, hit.page


def skipped(report: BuildReport) -> dict[str, str]:
    return {Path(item.source).name: item.reason for item in report.skipped}


def test_the_sample_documents_are_found_by_what_they_say(
    index: Index, sample_documents: Path
) -> None:
    names = ["invoice-ff-2025-0318.pdf", "allotment-application.pdf"]
    report = index.add([sample_documents / name for name in names])
    assert (report.documents_added, report.unchanged, report.skipped) == (2, 0, ())
    assert report.pages_added == sum(sources(index).values()) == 2
    assert report.pages_per_second == pytest.approx(report.pages_added / report.seconds)
    assert best(index, "Where can I apply for an allotment?")[0] == names[1]
    assert best(index, "Which invoice number must be paid?")[0] == names[0]
    assert index.verify() == []


def test_a_second_run_changes_nothing(index: Index, books: Path) -> None:
    first = index.add([books])
    assert (first.documents_added, first.pages_added, first.unchanged) == (2, 3, 0)
    before = written(index)
    again = index.add([books])
    assert (again.documents_added, again.pages_added, again.unchanged) == (0, 0, 2)
    assert again.generation == first.generation
    assert written(index) == before


def written(index: Index) -> dict[str, int]:
    """When each file of the index was written; the lock says who writes now."""
    files = [path for path in index.path.rglob("*") if path.is_file() and path.name != "LOCK"]
    return {str(path): path.stat().st_mtime_ns for path in files}


def test_what_changed_replaces_what_it_was(index: Index, books: Path) -> None:
    index.add([books])
    write_pdf(books / "bees.pdf", [TIDES])
    report = index.add([books])
    assert (report.documents_added, report.unchanged) == (1, 1)
    assert sources(index) == {"owls.pdf": 1, "bees.pdf": 1}
    assert index.search("nectar wax combs", mode="bm25").hits == ()
    assert best(index, "when are spring tides") == ("bees.pdf", 0)
    assert index.verify() == []


@pytest.mark.parametrize("share", [0.5, 0.8])
def test_of_a_file_that_is_cut_off_the_pages_it_lost_are_told(
    index: Index, books: Path, share: float
) -> None:
    whole = samples.pdf([BEES] * 6)
    (books / "bees.pdf").write_bytes(whole[: int(share * len(whole))])
    (told,) = index.add([books]).flagged
    assert told.source.endswith("bees.pdf") and "page-damaged" in told.flags
    # What is put back whole lacks nothing.
    (books / "bees.pdf").write_bytes(whole.replace(b"startxref", b"startxerf"))
    report = index.add([books])
    assert report.documents_added == 1 and report.flagged == ()
    assert "repaired" in index.status().flags


def test_a_broken_copy_does_not_replace_what_was_whole(index: Index, books: Path) -> None:
    bees = books / "bees.pdf"
    whole = samples.pdf([" ".join([BEES] * 4)] * 6)
    bees.write_bytes(whole)
    index.add([books])
    before = index.documents()
    bees.write_bytes(whole[: len(whole) // 2])
    reason = skipped(index.add([books]))["bees.pdf"]
    assert "less of it can be read than before" in reason and "of 336 words" in reason
    assert index.documents() == before and index.verify() == []
    # A shorter edition is none the worse, however it was written.
    bees.write_bytes(samples.pdf([BEES]).replace(b"startxref", b"startxerf"))
    report = index.add([books])
    assert (report.documents_added, skipped(report)) == (1, {})
    assert {row["pages"] for row in index.documents()} != {row["pages"] for row in before}


def test_two_files_that_changed_places(index: Index, books: Path) -> None:
    """Their contents are both known, yet each has to be found under its new name."""
    index.add([books])
    (books / "owls.pdf").rename(books / "third.pdf")
    (books / "bees.pdf").rename(books / "owls.pdf")
    (books / "third.pdf").rename(books / "bees.pdf")
    index.add([books])
    assert sources(index) == {"owls.pdf": 2, "bees.pdf": 1}
    assert best(index, "Which bird hunts voles at night?") == ("bees.pdf", 0)
    assert index.add([books]).unchanged == 2


def test_a_file_that_became_a_copy_of_another(index: Index, books: Path) -> None:
    index.add([books])
    shutil.copy(books / "owls.pdf", books / "bees.pdf")
    index.add([books])
    assert index.search("nectar wax combs", mode="bm25").hits == ()
    assert index.add([books]).unchanged == 2


def test_the_same_content_twice_is_indexed_once(index: Index, books: Path) -> None:
    shutil.copy(books / "owls.pdf", books / "zz-copy.pdf")
    report = index.add([books, books / "owls.pdf"])
    assert (report.documents_added, report.unchanged) == (2, 1)
    assert sources(index) == {"owls.pdf": 1, "bees.pdf": 2}


def test_a_new_file_joins_and_a_deleted_one_stays_until_removed(index: Index, books: Path) -> None:
    index.add([books])
    (books / "owls.pdf").unlink()
    write_pdf(books / "tides.pdf", [TIDES])
    report = index.add([books])
    assert (report.documents_added, report.unchanged) == (1, 1)
    assert set(sources(index)) == {"owls.pdf", "bees.pdf", "tides.pdf"}


def write_bad_files(folder: Path) -> dict[str, str]:
    """Files that cannot be used, and what must be said of each."""
    whole = write_pdf(folder / "whole.pdf", [TIDES]).read_bytes()
    (folder / "whole.pdf").unlink()
    write_pdf(folder / "locked.pdf", [TIDES], password=PASSWORD)
    (folder / "empty.pdf").write_bytes(b"")
    (folder / "page.pdf").write_bytes(b"<!DOCTYPE html><html>404</html>")
    (folder / "zeros.pdf").write_bytes(bytes(2000))
    (folder / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(20))
    (folder / "head.pdf").write_bytes(whole[:200])
    return {
        "locked.pdf": "password",
        "empty.pdf": "empty",
        "page.pdf": "web page",
        "zeros.pdf": "zero bytes",
        "cut.png": "",
        "head.pdf": "",
    }


def test_bad_files_are_said_one_by_one_and_only_they_are_retried(index: Index, books: Path) -> None:
    expected = write_bad_files(books)
    report = index.add([books])
    assert report.documents_added == 2 and sources(index).keys() == {"owls.pdf", "bees.pdf"}
    said = skipped(report)
    assert said.keys() == expected.keys()
    for name, word in expected.items():
        assert word in said[name].lower() and len(said[name]) > 20, said[name]
    status = index.status()
    assert {Path(item.source).name: item.reason for item in status.skipped} == said
    again = index.add([books])
    assert again.unchanged == 2 and skipped(again) == said

    for name in expected:
        write_pdf(books / name, [f"{TIDES} This one is {name}."])
    mended = index.add([books])
    assert (mended.documents_added, mended.unchanged) == (6, 2)
    assert mended.skipped == () and index.status().skipped == ()


def test_a_link_that_is_not_followed_stays_told(index: Index, books: Path) -> None:
    """Also while something else is added; and that writes nothing."""
    (books.parent / "elsewhere").mkdir()
    (books / "other").symlink_to(books.parent / "elsewhere")
    assert skipped(index.add([books])).keys() == {"other"}
    before = index.status()
    index.add([books / "owls.pdf"])
    assert index.status().generation == before.generation
    assert index.status().skipped == before.skipped != ()
    (books / "other").unlink()
    index.add([books])
    assert index.status().skipped == ()


def test_a_file_that_breaks_keeps_its_pages_and_is_forgiven_when_restored(
    index: Index, books: Path
) -> None:
    index.add([books])
    whole = (books / "owls.pdf").read_bytes()
    (books / "owls.pdf").write_bytes(b"")
    assert skipped(index.add([books])).keys() == {"owls.pdf"}
    assert sources(index) == {"owls.pdf": 1, "bees.pdf": 2}
    (books / "owls.pdf").write_bytes(whole)
    assert index.add([books]).unchanged == 2
    assert index.status().skipped == ()


def test_a_password_opens_locked_files(tmp_path: Path, encoder: TextEncoder) -> None:
    locked = write_pdf(tmp_path / "locked.pdf", [OWLS], password=PASSWORD)
    intake = QUICK.model_copy(update={"password": PASSWORD})
    settings = BuildSettings(intake=intake)
    index = Index.create(tmp_path / "index", encoder=encoder, settings=settings)
    assert index.add([locked]).documents_added == 1
    assert best(index, "owls") == ("locked.pdf", 0)


def test_metadata_come_from_tables_and_from_pairs(
    index: Index, books: Path, tmp_path: Path
) -> None:
    table = tmp_path / "about.csv"
    table.write_text("source,year,kind\nowls.pdf,1999,bird\nbooks/bees.pdf,2004,insect\n")
    index.add([books], metadata={"shelf": "A", "kind": "?"}, metadata_of=MetadataTable.read(table))
    found = {Path(str(row["source"])).name: row["metadata"] for row in index.documents()}
    assert found == {
        "owls.pdf": {"shelf": "A", "year": 1999, "kind": "bird"},
        "bees.pdf": {"shelf": "A", "year": 2004, "kind": "insect"},
    }
    hits = index.search("animals", filter="year > 2000 AND shelf = 'A'").hits
    assert {Path(hit.source).name for hit in hits} == {"bees.pdf"} and len(hits) == 2
    assert dict(hits[0].metadata)["kind"] == "insect"


def test_progress_counts_up_through_the_stages(index: Index, books: Path) -> None:
    (books / "bad.pdf").write_bytes(b"")
    steps: list[BuildProgress] = []
    index.add([books], progress=steps.append)
    stages = [step.stage for step in steps]
    assert stages == ["inspect"] * 3 + ["read"] * 3 + ["commit"]
    assert [step.documents_done for step in steps[:3]] == [1, 2, 3]
    assert [(s.pages_done, s.pages_total) for s in steps[3:]] == [(1, 3), (2, 3), (3, 3), (3, 3)]
    assert [Path(step.source).name for step in steps[3:6]] == ["bees.pdf", "bees.pdf", "owls.pdf"]
    assert steps[-1].documents_done == steps[-1].documents_total == 2
    assert all(a.seconds <= b.seconds for a, b in itertools.pairwise(steps))
    index.add([books], progress=steps.append)
    assert (steps[-1].pages_held, steps[-1].pages_total) == (3, 0)


class _Fragile(TopicEncoder):
    """Cannot encode what is about tides."""

    broken = True

    def encode_pages(self, pages: Sequence[PageContent]) -> list[PageEmbedding]:
        if self.broken and any("tides" in page.words.texts for page in pages):
            raise EncoderError("the accelerator ran out of memory")
        return super().encode_pages(pages)


def test_an_encoder_that_fails_ends_the_build_and_loses_no_document_silently(
    books: Path, tmp_path: Path
) -> None:
    encoder = _Fragile()
    settings = BuildSettings(intake=QUICK)
    index = Index.create(tmp_path / "index", encoder=encoder, settings=settings)
    index.add([books])
    # It fails in the middle of the first, when that is being written already.
    for name in ("sea", "tidal", "undertow"):
        write_pdf(books / f"{name}.pdf", [*[f"{name} {SWARM}"] * 20, TIDES])
    with pytest.raises(EncoderError, match="out of memory"):
        index.add([books])
    assert sources(index) == {"owls.pdf": 1, "bees.pdf": 2} and index.status().skipped == ()
    encoder.broken = False
    assert index.add([books]).documents_added == 3


def test_an_interrupted_build_leaves_the_index_as_it_was(index: Index, books: Path) -> None:
    index.add([books / "owls.pdf"])
    generation = index.status().generation

    def interrupt(step: BuildProgress) -> None:
        if step.pages_done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        index.add([books], progress=interrupt)
    assert index.refresh() == generation and sources(index) == {"owls.pdf": 1}
    assert index.verify() == []
    assert index.add([books]).documents_added == 1


class _Sees(TopicEncoder):
    """Reads pictures; remembers their sizes."""

    reads = frozenset({"image"})  # type: ignore[assignment]

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def encode_pages(self, pages: Sequence[PageContent]) -> list[PageEmbedding]:
        for page in pages:
            assert page.image is not None
            self.shapes.append(page.image.shape)
        return super().encode_pages(pages)


def test_an_encoder_of_pictures_gets_the_picture_of_every_page(tmp_path: Path) -> None:
    square = write_pdf(tmp_path / "square.pdf", [OWLS, BEES], size=(360.0, 360.0))
    intake = QUICK.model_copy(update={"ocr_dpi": 100})
    encoder = _Sees()
    index = Index.create(tmp_path / "index", encoder=encoder, settings=BuildSettings(intake=intake))
    index.add([square])
    assert encoder.shapes == [(500, 500, 3)] * 2


def test_one_worker_reads_documents_longer_than_the_queues(tmp_path: Path) -> None:
    for name in "abc":
        write_pdf(tmp_path / "docs" / f"{name}.pdf", [f"{name} {n} {SWARM}" for n in range(50)])
    settings = BuildSettings(intake=QUICK)
    index = Index.create(tmp_path / "index", encoder=TopicEncoder(), settings=settings)
    assert index.add([tmp_path / "docs"]).pages_added == 150


def test_page_vectors_and_coarse_type_stay_as_the_index_was_built(
    tmp_path: Path, books: Path, encoder: TextEncoder
) -> None:
    settings = BuildSettings(intake=QUICK, pooling=PoolSettings("strips", 10), coarse="sq8")
    Index.create(tmp_path / "index", encoder=encoder, settings=settings).add([books])
    index = Index.open(tmp_path / "index", encoder=encoder, settings=BuildSettings(intake=QUICK))
    write_pdf(books / "tides.pdf", [TIDES])
    index.add([books])
    status = index.status()
    assert (status.page_vectors, status.coarse_kind) == (40, "sq8")
    index.remove("tides.pdf")
    index.compact()
    status = index.status()
    assert (status.page_vectors, status.coarse_kind) == (30, "sq8")
    index.close()
    next((tmp_path / "index" / "coarse").glob("5.*")).unlink()
    index.repair()
    assert index.status().coarse_kind == "sq8"
    other = BuildSettings(intake=QUICK, coarse="hnsw")
    Index.create(tmp_path / "index", encoder=encoder, settings=other).add([books / "owls.pdf"])
    index.refresh()
    assert index.status().coarse_kind == "hnsw"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pages", [[""], [OWLS], [OWLS, BEES, SWARM]])
def test_every_coarse_type_holds_the_smallest_collections(
    tmp_path: Path, encoder: TextEncoder, kind: str, pages: list[str]
) -> None:
    """Types for millions of vectors must not fail whoever tries them on three pages."""
    settings = BuildSettings(intake=QUICK, coarse=kind)
    index = Index.create(tmp_path / "index", encoder=encoder, settings=settings)
    index.add([write_pdf(tmp_path / "book.pdf", pages)])
    hits = index.search("Which bird hunts voles?", mode="coarse").hits
    assert [hit.page for hit in hits][:1] == ([0] if pages[0] else [])
    assert len(hits) == sum(map(bool, pages))


def test_an_index_of_another_encoder_takes_no_pages(index: Index, books: Path) -> None:
    with pytest.raises(StorageError, match="built with encoder_id text, not topics"):
        Index.create(index.path, encoder=TopicEncoder())
