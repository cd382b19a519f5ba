"""Indexes of every kind of compression: built, searched, shown, checked, compacted, mended."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from indexing.build import BuildSettings
from indexing.cli import app
from indexing.index import Index
from indexing.settings import IntakeSettings
from retrieval.errors import InputError, StorageError
from retrieval.manifest import read_manifest, write_manifest
from tests.indexing.pdfs import write_books
from tests.retrieval.search_samples import TopicEncoder

SETTINGS = BuildSettings(intake=IntakeSettings(ocr="off", workers=1))


def create(root: Path, compression: str | None) -> Index:
    settings = replace(SETTINGS, compression=compression)
    return Index.create(root, encoder=TopicEncoder(), settings=settings)


@pytest.fixture(scope="module")
def books(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_books(tmp_path_factory.mktemp("books"))


@pytest.mark.parametrize("name", ["fp32", "fp16", "binary", "int8", "int8+pool3", "binary+pool2"])
def test_an_index_is_of_one_compression_all_its_life(
    tmp_path: Path, books: Path, name: str
) -> None:
    index = create(tmp_path / "index", name)
    first, *others = sorted(books.iterdir())
    index.add([first])
    # Whoever opens it later need not know how it was begun.
    with Index.open(tmp_path / "index", encoder=TopicEncoder(), settings=SETTINGS) as again:
        again.add(others)
        assert again.status().compression == name
        hit = again.search("which bird hunts voles").hits[0]
        assert "voles" in hit.regions[0].text
        heat = again.heat("voles", hit.page_id, (40, 30))
        # These pages are so short that a pooled vector is a tenth of one: nothing stands out.
        assert heat is not None and (heat.max() == 1.0 or "pool" in name)
        record, evidence = again.word_evidence("voles", hit.page_id)
        (at,) = (i for i, text in enumerate(record.words.texts) if "voles" in text)
        assert evidence.shape == (1, len(record.words)) and evidence[0, at] == evidence.max()
        exhaustive = again.search("which bird hunts voles", mode="exhaustive").hits
        assert exhaustive[0].page_id == hit.page_id
        again.remove(first.name)
        again.compact()
        assert again.verify() == []
        same = again.search("which bird hunts voles", mode="exhaustive").hits
        assert {found.page_id for found in same} < {found.page_id for found in exhaustive}


def test_an_index_with_one_scale_a_page_goes_on_as_it_was_begun(
    tmp_path: Path, books: Path
) -> None:
    create(tmp_path / "old", None).close()
    manifest = read_manifest(tmp_path / "old")
    write_manifest(tmp_path / "old", replace(manifest, compression="int8"))
    index = create(tmp_path / "old", "int8")  # what it was called, and is
    index.add([books])
    assert index.status().compression == "int8-page"
    new = create(tmp_path / "new", "int8")
    new.add([books])
    assert new.status().compression == "int8"
    found, wanted = (one.search("which bird hunts voles").hits for one in (index, new))
    np.testing.assert_allclose([h.score for h in found], [h.score for h in wanted], rtol=0.02)
    index.compact()
    assert index.verify() == []
    with pytest.raises(StorageError, match="compression int8-page, not fp16"):
        create(tmp_path / "old", "fp16")


def test_repair_keeps_pages_of_every_kind(tmp_path: Path, books: Path) -> None:
    index = create(tmp_path / "index", "binary+pool2")
    index.add([books])
    before = [hit.score for hit in index.search("bees").hits]
    index.close()
    (data,) = (tmp_path / "index" / "lance" / "texts.lance" / "data").iterdir()
    data.write_bytes(data.read_bytes()[:-1] + b"?")
    index.repair()
    assert index.verify() == []
    index.add([books])
    np.testing.assert_allclose([hit.score for hit in index.search("bees").hits], before, rtol=1e-5)


def test_pooling_leaves_fewer_vectors_but_every_place(tmp_path: Path, books: Path) -> None:
    index = create(tmp_path / "index", "int8+pool4")
    index.add([books])
    status = index.status()
    pages = [
        index.page(page_id) for row in index.documents() for page_id in _pages(index, row["doc_id"])
    ]
    words = sum(len(page.words) for page in pages)
    assert sum(len(page.patch_boxes) for page in pages) == words
    assert words / 4 <= status.patches < words / 3


def _pages(index: Index, doc_id: int) -> list[int]:
    found = (index.page_id(doc_id, number) for number in range(index.document(doc_id).pages))
    return [page_id for page_id in found if page_id is not None]


def test_another_compression_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    create(tmp_path / "index", None)
    before = read_manifest(tmp_path / "index")
    with pytest.raises(StorageError, match=r"compression int8, not fp16; use the encoder and set"):
        create(tmp_path / "index", "fp16")
    assert read_manifest(tmp_path / "index") == before
    with pytest.raises(InputError, match="unknown compression 'gzip'"):
        create(tmp_path / "new", "gzip")
    assert not (tmp_path / "new").exists()


def test_a_compression_of_a_later_version_is_named(tmp_path: Path, books: Path) -> None:
    create(tmp_path / "index", None)
    manifest = read_manifest(tmp_path / "index")
    write_manifest(tmp_path / "index", replace(manifest, compression="int4+magic"))
    index = Index.open(tmp_path / "index", encoder=TopicEncoder())
    with pytest.raises(StorageError, match=r"'int4\+magic'.*use the version that wrote it"):
        index.search("bees")
    with pytest.raises(StorageError, match=r"'int4\+magic'"):
        index.add([books])


def test_by_command(tmp_path: Path, books: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("indexing.index.load_encoder", lambda _: TopicEncoder())
    command = ["build", str(books), "-i", str(tmp_path / "index"), "--ocr", "off", "--json"]
    done = CliRunner().invoke(app, [*command, "--compression", "binary+pool2"])
    assert done.exit_code == 0, done.output
    assert read_manifest(tmp_path / "index").compression == "binary+pool2"
    done = CliRunner().invoke(app, command)  # the index's own, unless another is asked for
    assert done.exit_code == 0, done.output
    done = CliRunner().invoke(app, [*command, "--compression", "int8"])
    assert isinstance(done.exception, StorageError)
