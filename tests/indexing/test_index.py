"""``Index``: generations and refresh, writers, documents, pictures, care."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

import folioscope
from indexing import build
from indexing.build import BuildProgress, BuildSettings
from indexing.index import Index
from indexing.settings import IntakeSettings
from retrieval.encoders.text import TextEncoder
from retrieval.errors import InputError, StorageError
from retrieval.types import Hit, QueryEmbedding
from tests.indexing.pdfs import BEES, OWLS, SWARM, TIDES, write_books, write_pdf
from tests.retrieval.search_samples import TopicEncoder

SETTINGS = BuildSettings(intake=IntakeSettings(ocr="off", workers=1))


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    return TextEncoder.load()


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory, encoder: TextEncoder) -> Path:
    """A folder with ``books`` and the ``index`` of them."""
    root = tmp_path_factory.mktemp("pristine")
    books = write_books(root / "books")
    Index.create(root / "index", encoder=encoder, settings=SETTINGS).add([books])
    return root


@pytest.fixture
def root(pristine: Path, tmp_path: Path) -> Path:
    """A copy of the index, over the same books."""
    shutil.copytree(pristine / "index", tmp_path / "index")
    return tmp_path / "index"


@pytest.fixture
def index(root: Path, encoder: TextEncoder) -> Index:
    return Index.open(root, encoder=encoder, settings=SETTINGS)


def test_five_lines(root: Path) -> None:
    """The README's example, on the real encoder that the index names."""
    from folioscope import Index

    index = Index.open(root)
    hit = index.search("Which bird hunts voles?").hits[0]
    assert (Path(hit.source).name, hit.page) == ("owls.pdf", 0)
    assert index.encoder.id == "text" and index.search("owls").index_generation == 2


def test_the_package_names_what_the_readme_uses() -> None:
    for name in ("Index", "BuildSettings", "IntakeSettings", "SearchSettings", "FolioscopeError"):
        assert getattr(folioscope, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = folioscope.Nothing


def test_there_is_no_index_to_open(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"no index at .*nowhere.*folioscope index build"):
        Index.open(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


def test_a_new_index_is_empty_and_whole(tmp_path: Path, encoder: TextEncoder) -> None:
    index = Index.create(tmp_path / "index", encoder=encoder)
    status = index.status()
    assert (status.documents, status.pages, status.page_vectors, status.generation) == (0, 0, 0, 1)
    assert index.search("anything").hits == () and index.documents() == []
    assert index.verify() == []
    assert Index.create(tmp_path / "index", encoder=encoder).status() == status


@pytest.mark.parametrize("what", ["a file", "a folder of other things"])
def test_an_index_is_not_begun_over_other_things(
    tmp_path: Path, encoder: TextEncoder, what: str
) -> None:
    place = tmp_path / "place"
    if what == "a file":
        place.write_text("precious")
    else:
        place.mkdir()
        (place / "thesis.txt").write_text("precious")
    with pytest.raises(StorageError, match=r"name (a|an empty or new) folder"):
        Index.create(place, encoder=encoder)


def test_an_index_cannot_be_below_a_file(tmp_path: Path, encoder: TextEncoder) -> None:
    (tmp_path / "file").write_text("precious")
    with pytest.raises(StorageError, match=r"cannot make a folder .*file/below.*another place"):
        Index.create(tmp_path / "file" / "below" / "index", encoder=encoder)
    assert (tmp_path / "file").read_text() == "precious"


def test_a_reader_keeps_its_generation_while_another_builds(
    index: Index, encoder: TextEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a commit after every document, so that generations pass under the reader."""
    monkeypatch.setattr(build, "_CHECKPOINT_PAGES", 1)
    monkeypatch.setattr(build, "_CHECKPOINT_SHARE", 0.0)
    more = write_books(tmp_path / "more", {"tides": [TIDES], "tidal": [f"Tidal. {TIDES}"]})
    old = Index.open(index.path, encoder=encoder)
    fresh = Index.open(index.path, encoder=encoder)
    before = old.search("spring tides and the moon", 5)
    seen: list[tuple[int, int]] = []

    def look(step: BuildProgress) -> None:
        during = old.search("spring tides and the moon", 5)
        assert during.hits == before.hits
        assert during.index_generation == before.index_generation == 2
        seen.append((fresh.refresh(), len(fresh.documents())))

    index.add([more], progress=look)
    assert seen == sorted(seen) and {(2, 2), (3, 3), (4, 4)} <= set(seen)
    assert old.search("spring tides and the moon", 5).hits == before.hits
    assert old.refresh() == 5
    found = old.search("spring tides and the moon", 1).hits[0]
    assert Path(found.source).parent.name == "more"
    assert index.verify() == []


def test_a_second_writer_is_told_who_is_writing(
    index: Index, encoder: TextEncoder, pristine: Path, tmp_path: Path
) -> None:
    other = Index.open(index.path, encoder=encoder, settings=SETTINGS)
    refused: list[str] = []

    def interfere(step: BuildProgress) -> None:
        for write in (
            lambda: other.add([pristine / "books"]),
            lambda: other.remove("owls.pdf"),
            other.compact,
            other.repair,
            lambda: Index.create(index.path, encoder=encoder),
        ):
            with pytest.raises(StorageError) as caught:
                write()
            refused.append(str(caught.value))

    index.add([write_pdf(tmp_path / "tides.pdf", [TIDES])], progress=interfere)
    assert len(refused) == 15
    assert all(str(index.path) in said and "writ" in said for said in refused), refused[0]
    assert other.refresh() == 3 and len(other.documents()) == 3


class _Patient(TopicEncoder):
    """Holds a question back until it is allowed on."""

    def __init__(self) -> None:
        self.asked, self.allowed = threading.Event(), threading.Event()

    def encode_queries(self, queries: Sequence[str]) -> list[QueryEmbedding]:
        if queries == ["wait for it"]:
            self.asked.set()
            assert self.allowed.wait(60)
        return super().encode_queries(queries)


@pytest.mark.parametrize("change", ["refresh", "add", "remove", "compact"])
def test_a_search_under_way_ends_in_its_own_generation(
    tmp_path: Path, change: str, pristine: Path
) -> None:
    encoder = _Patient()
    index = Index.create(tmp_path / "index", encoder=encoder, settings=SETTINGS)
    index.add([pristine / "books"])
    with ThreadPoolExecutor(1) as pool:
        pending = pool.submit(index.search, "wait for it", mode="exhaustive")
        assert encoder.asked.wait(60)
        if change == "refresh":
            index.refresh()
        elif change == "add":
            index.add([write_pdf(tmp_path / "tides.pdf", [TIDES])])
        elif change == "remove":
            index.remove("bees.pdf")
        else:
            index.compact()
        encoder.allowed.set()
        result = pending.result(60)
    assert result.index_generation == 2 and len(result.hits) == 3
    pages = {"add": 4, "remove": 1}.get(change, 3)
    assert len(index.search("wait for it", mode="exhaustive").hits) == pages
    assert index.verify() == []


def test_removing_by_name_path_or_id(index: Index, pristine: Path) -> None:
    assert index.remove("bees.pdf") == 2
    assert [row["source"] for row in index.documents()] == [str(pristine / "books" / "owls.pdf")]
    assert index.search("nectar wax combs", mode="bm25").hits == ()
    assert {hit.doc_id for hit in index.search("bees").hits} == {index.documents()[0]["doc_id"]}
    with pytest.raises(InputError, match=r"no document 'bees\.pdf'"):
        index.remove("bees.pdf")
    assert index.remove(index.documents()[0]["doc_id"]) == 1
    assert index.documents() == [] and index.search("owls").hits == ()
    assert index.add([pristine / "books"]).documents_added == 2
    assert index.remove(str(pristine / "books" / "owls.pdf")) == 1
    assert index.verify() == []


def test_status_says_what_is_there(index: Index) -> None:
    status = index.status()
    assert (status.documents, status.pages, status.generation) == (2, 3, 2)
    words = sum(len(text.split()) for text in (OWLS, BEES, SWARM))
    assert status.patches == words and 3 <= status.page_vectors <= 48
    assert (status.encoder, status.compression, status.coarse_kind) == ("text", "int8", "flat")
    assert status.coarse_memory_bytes >= status.page_vectors * 128 * 4
    files = [path for path in index.path.rglob("*") if path.is_file()]
    assert status.disk_bytes == sum(path.stat().st_size for path in files)
    assert [row["title"] for row in index.documents()] == ["Bees", "Owls"]


def test_compacting_gives_back_space_and_keeps_answers(index: Index) -> None:
    index.remove("owls.pdf")
    before = index.search("queen bee", 3)
    done = index.compact()
    assert done["bytes_after"] < done["bytes_before"] and done["generation"] == 5
    after = index.search("queen bee", 3)
    assert [hit.page_id for hit in after.hits] == [hit.page_id for hit in before.hits]
    np.testing.assert_allclose(
        [hit.scores["late"] for hit in after.hits], [hit.scores["late"] for hit in before.hits]
    )
    assert index.verify() == []


def best(index: Index, question: str) -> Hit:
    return index.search(question, 1).hits[0]


def test_a_picture_is_the_page_with_its_regions_marked(index: Index) -> None:
    hit = best(index, "Which bird hunts voles?")
    plain = index.page_image(hit, dpi=72)
    assert plain.shape == (842, 595, 3) and plain.dtype == np.uint8
    framed = np.asarray(index.draw("Which bird hunts voles?", hit, dpi=72, heat=False))
    warm = np.asarray(index.draw("Which bird hunts voles?", hit, dpi=72))
    assert framed.shape == warm.shape == plain.shape
    inside = np.zeros(plain.shape[:2], bool)
    for region in hit.regions:
        x0, y0, x1, y1 = np.multiply(region.box, (595, 842, 595, 842)).astype(int)
        inside[y0 - 20 : y1 + 20, x0 - 20 : x1 + 20] = True
    changed = (framed.astype(int) != plain).any(axis=2)
    assert changed.any() and not changed[~inside].any()
    heated = (warm.astype(int) != framed).any(axis=2)
    assert heated[inside].mean() > 2 * heated[~inside].mean()


def test_a_picture_of_a_picture(tmp_path: Path, encoder: TextEncoder) -> None:
    drawn = Pillow.new("RGB", (300, 200), "white")
    drawn.putpixel((150, 100), (255, 0, 0))
    drawn.save(tmp_path / "dot.png")
    index = Index.create(tmp_path / "index", encoder=encoder, settings=SETTINGS)
    index.add([tmp_path / "dot.png", write_pdf(tmp_path / "owls.pdf", [OWLS])])
    (doc,) = [row for row in index.documents() if row["source"].endswith("png")]
    assert doc["pages"] == 1
    hit = best(index, "owls")
    dot = Hit(1, 0, {}, -1, doc["doc_id"], doc["source"], "", 0, "1", {}, (), ())
    assert hit.source.endswith("owls.pdf")
    image = index.page_image(dot)
    assert image.shape[0] / image.shape[1] == pytest.approx(200 / 300, abs=0.01)


@pytest.mark.parametrize(("fate", "said"), [("gone", "is gone"), ("changed", "changed since")])
def test_a_source_that_is_not_what_was_indexed_is_not_pictured(
    tmp_path: Path, encoder: TextEncoder, fate: str, said: str
) -> None:
    """Frames around the wrong words would be a wrong answer."""
    source = write_pdf(tmp_path / "owls.pdf", [OWLS])
    index = Index.create(tmp_path / "index", encoder=encoder, settings=SETTINGS)
    index.add([source])
    hit = best(index, "owls")
    assert index.draw("owls", hit).size[0] > 100
    whole = source.read_bytes()
    if fate == "gone":
        source.unlink()
    else:
        source.write_bytes(whole[:-1] + b" ")
    with pytest.raises(InputError, match=said):
        index.draw("owls", hit)
    assert best(index, "owls").source == str(source)
    source.write_bytes(whole)
    assert index.draw("owls", hit).size[0] > 100


def test_a_closed_index_opens_again_when_used(index: Index) -> None:
    with index:
        assert len(index.search("owls", 3).hits) == 3
    assert len(index.search("owls", 3).hits) == 3
    index.close()
    index.close()


def test_a_lost_coarse_file_is_repaired_from_the_pages(index: Index, encoder: TextEncoder) -> None:
    expected = index.search("owls", 3, mode="coarse").hits
    index.close()
    (path,) = (index.path / "coarse").glob("2.faiss")
    path.unlink()
    damaged = Index.open(index.path, encoder=encoder)
    with pytest.raises(StorageError, match=r"2\.faiss.*repair"):
        damaged.search("owls")
    assert [problem.path for problem in damaged.verify()] == [str(path)]
    assert any("coarse index" in action for action in damaged.repair())
    assert damaged.verify() == []
    assert damaged.search("owls", 3, mode="coarse").hits == expected


def test_status_while_a_commit_takes_files_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    walk = os.walk

    def late(top: Path) -> Iterator[tuple[str, list[str], list[str]]]:
        """What is listed may be gone when it is looked at."""
        for folder, folders, names in walk(top):
            yield folder, folders, [*names, "superseded.lance"]

    with Index.create(tmp_path / "index") as index:
        before = index.status().disk_bytes
        monkeypatch.setattr(os, "walk", late)
        assert index.status().disk_bytes == before > 0
