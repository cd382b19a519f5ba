"""What a writer commits is what a reader sees, and only that."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import retrieval.store_writer
from retrieval.errors import InputError, StorageError
from retrieval.integrity import verify
from retrieval.store import PageRow, Store, StoreWriter, VectorBatches
from retrieval.store_rows import PageDirectory
from retrieval.types import TimeRange
from tests.retrieval.store_samples import (
    SPEC,
    add,
    build,
    contents,
    make_info,
    make_page,
    write_vectors,
)


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    root = tmp_path_factory.mktemp("sample")
    build(root)
    with Store.open(root) as store:
        yield store


def test_directory_documents_and_counts(sample: Store) -> None:
    assert sample.pages.page_ids.tolist() == [0, 1, 3, 4, 5]
    assert sample.pages.doc_ids.tolist() == [0, 0, 2, 2, 2]
    assert sample.pages.numbers.tolist() == [0, 1, 0, 1, 2]
    assert sample.pages.n_patches.tolist() == [3] * 5
    assert [d.source for d in sample.documents.values()] == ["/files/alpha.pdf", "/files/beta.pdf"]
    assert sample.documents[2].metadata == {"year": 2022, "ok": True}
    assert sample.manifest.counts == {
        "documents": 2,
        "pages": 5,
        "patches": 15,
        "page_vectors": 10,
        "skipped": 1,
    }
    assert sample.manifest.skipped == (("/files/bad.pdf", "sha-bad", "it is encrypted"),)
    assert sample.pages.offsets_of(np.array([5, 2, 0, 99])).tolist() == [4, -1, 0, -1]
    assert sample.pages.offsets_of_documents(np.array([2])).tolist() == [2, 3, 4]


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(asked=st.lists(st.integers(0, 4), max_size=8))
def test_fetch_answers_in_the_order_asked(sample: Store, asked: list[int]) -> None:
    offsets = np.array(asked, np.int64)
    seeds = [(1, 0), (1, 1), (3, 0), (3, 1), (3, 2)]
    patches = sample.fetch_patches(offsets)
    assert patches.starts.tolist() == [3 * i for i in range(len(asked) + 1)]
    assert patches.scale == (127.0 if asked else 1.0)
    records = sample.fetch_boxes_and_words(offsets)
    for i, offset in enumerate(asked):
        seed, number = seeds[offset]
        page = make_page(number, "", seed=seed)
        np.testing.assert_array_equal(patches.codes[3 * i : 3 * i + 3], page.codes)
        assert (records[i].page_id, records[i].number) == (sample.pages.page_ids[offset], number)


def test_a_page_comes_back_as_it_went_in(tmp_path: Path) -> None:
    page = make_page(0, "naïve \ud800 text", patches=4)
    filmed = make_page(1, "later")
    times = TimeRange(12.04, 31.5, 12.4)
    filmed = replace(filmed, content=replace(filmed.content, times=times))
    with StoreWriter.open(tmp_path, create=SPEC) as writer:
        writer.add_document(make_info("x", 2), "", [page, filmed])
        writer.commit()
    with Store.open(tmp_path) as store:
        (record, later) = store.fetch_boxes_and_words(np.array([0, 1]))
    assert (record.times, later.times) == (None, times)
    assert record.words.texts == ("naïve", "\ud800", "text")
    np.testing.assert_allclose(record.words.boxes, page.content.words.boxes, atol=1e-5)
    np.testing.assert_allclose(record.patch_boxes, page.patch_boxes, atol=1e-5)
    assert (record.label, record.width, record.height) == ("1", 612.0, 792.0)
    assert (record.outline, record.flags) == (page.content.outline, page.content.flags)


def test_pages_without_patches_or_vectors(tmp_path: Path) -> None:
    full, bare = make_page(0, "words"), make_page(1, "", patches=0)
    bare = replace(bare, page_vectors=bare.page_vectors[:0])
    with StoreWriter.open(tmp_path, create=SPEC) as writer:
        writer.add_document(make_info("x", 2), "", [full, bare])
        writer.add_document(make_info("empty", 0), "nothing", [])
        writer.commit()
    with Store.open(tmp_path) as store:
        assert store.fetch_patches(np.array([1, 0, 1])).starts.tolist() == [0, 0, 3, 3]
        ((page_ids, vectors),) = store.page_vectors()
        assert page_ids.tolist() == [0, 0]
        np.testing.assert_allclose(vectors, full.page_vectors, atol=2e-3)
        assert len(store.fetch_boxes_and_words(np.array([1]))[0].words) == 0


def test_float16_codes(tmp_path: Path) -> None:
    page = make_page(0, "words")
    half = replace(page, codes=page.codes.astype(np.float16) / 127, scale=1.0)
    with StoreWriter.open(tmp_path, create=replace(SPEC, compression="float16")) as writer:
        writer.add_document(make_info("x", 1), "", [half])
        with pytest.raises(ValueError, match="float16"):
            writer.add_document(make_info("y", 1), "", [page])
        writer.commit()
    with Store.open(tmp_path) as store:
        np.testing.assert_array_equal(store.fetch_patches(np.array([0])).codes, half.codes)
        assert list(store.documents) == [0]


def test_scan_reads_every_page_once(sample: Store) -> None:
    batches = list(sample.scan_patches(batch_pages=2))
    assert [offsets.tolist() for offsets, _ in batches] == [[0, 1], [2, 3], [4]]
    whole = sample.fetch_patches(np.arange(5))
    np.testing.assert_array_equal(np.concatenate([p.codes for _, p in batches]), whole.codes)


def test_offsets_outside_are_refused(sample: Store) -> None:
    with pytest.raises(IndexError):
        sample.fetch_patches(np.array([5]))
    with pytest.raises(IndexError):
        sample.fetch_patches(np.array([-1]))


def test_nothing_is_visible_before_commit(tmp_path: Path) -> None:
    build(tmp_path)
    with Store.open(tmp_path) as before:
        with StoreWriter.open(tmp_path) as writer:
            add(writer, "more", ["fish"])
            writer.remove_document(0)
            list(writer.page_vectors())
            with Store.open(tmp_path) as during:
                assert list(contents(during)) == list(contents(before))
        with Store.open(tmp_path) as after:
            assert after.manifest == before.manifest
            assert list(contents(after)) == list(contents(before))


def test_a_document_that_fails_half_way_leaves_no_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retrieval.store_writer, "FLUSH_PAGES", 2)

    def broken() -> Iterator[PageRow]:
        for i in range(5):
            yield make_page(i, "never seen")
        raise InputError("page 5 cannot be read")

    with StoreWriter.open(tmp_path, create=SPEC) as writer:
        add(writer, "good", ["one", "two", "three"])
        with pytest.raises(InputError):
            writer.add_document(make_info("broken", 6), "", broken())
        add(writer, "last", ["four"])
        manifest = writer.commit()
    assert manifest.counts["pages"] == 4
    with Store.open(tmp_path) as store:
        assert [row[0] for row in contents(store)] == ["/files/good.pdf"] * 3 + ["/files/last.pdf"]
        assert len(store.bm25_pages("seen", 10)[0]) == 0
        assert store.pages.page_ids.tolist() == [0, 1, 2, 8]


def test_readers_keep_their_generation_through_commits_and_compaction(tmp_path: Path) -> None:
    build(tmp_path)
    with Store.open(tmp_path) as old:
        seen = list(contents(old))
        with StoreWriter.open(tmp_path) as writer:
            for i in range(4):
                add(writer, f"new{i}", ["mice", "cats"], seed=10 + i)
                writer.commit(write_vectors)
            writer.remove_document(0)
            writer.compact()
            writer.commit(write_vectors)
            add(writer, "newest", ["owls"])
            writer.commit(write_vectors)
        assert list(contents(old)) == seen
        assert old.bm25_pages("cats", 5)[0].tolist() == [0, 2]
        assert old.coarse_path is not None and old.coarse_path.exists()
    with StoreWriter.open(tmp_path):
        pass
    assert sorted(p.name for p in (tmp_path / "generations").iterdir()) == ["7.json", "8.json"]
    assert sorted(p.name for p in (tmp_path / "coarse").glob("?.faiss")) == ["7.faiss", "8.faiss"]


def test_offsets_follow_deletes_and_compaction(tmp_path: Path) -> None:
    with StoreWriter.open(tmp_path, create=SPEC) as writer:
        for i in range(6):
            add(writer, f"d{i}", [f"word{i} a", f"word{i} b"], seed=i)
            writer.commit()
        writer.remove_document(0)
        writer.remove_document(3)
        writer.commit()
        with Store.open(tmp_path) as store:
            deleted = list(contents(store))
        assert [row[0][7:9] for row in deleted] == [
            d for d in ("d1", "d2", "d4", "d5") for _ in "ab"
        ]
        writer.compact()
        writer.commit()
    with Store.open(tmp_path) as store:
        assert list(contents(store)) == deleted
        for i in (1, 2, 4, 5):
            offsets, _ = store.bm25_pages(f"word{i}", 5)
            assert store.pages.doc_ids[offsets].tolist() == [i, i]
        assert len(store.bm25_pages("word3", 5)[0]) == 0


def test_ids_are_never_reused(tmp_path: Path) -> None:
    with StoreWriter.open(tmp_path, create=SPEC) as writer:
        assert add(writer, "a", ["x"]) == 0
        writer.commit()
        writer.remove_document(0)
        writer.compact()
        writer.commit()
    with StoreWriter.open(tmp_path) as writer:
        assert add(writer, "a", ["x"]) == 1
        writer.commit()
    with Store.open(tmp_path) as store:
        assert store.pages.page_ids.tolist() == [1]


def test_what_a_resumed_build_needs_to_know(tmp_path: Path) -> None:
    build(tmp_path)
    with StoreWriter.open(tmp_path) as writer:
        assert writer.known_sources() == {"sha-alpha": 0, "sha-beta": 2}
        assert writer.skipped == {"/files/bad.pdf": ("sha-bad", "it is encrypted")}
        add(writer, "bad", ["mended"])
        assert writer.skipped == {}
        writer.commit()
        assert writer.known_sources()["sha-bad"] == 3


def test_coarse_file_is_dropped_kept_or_rebuilt(tmp_path: Path) -> None:
    build(tmp_path)
    with StoreWriter.open(tmp_path) as writer:
        assert writer.commit().generation == 2
        writer.record_skip("x", "y", "z")
        assert writer.commit().coarse_file == "coarse/2.faiss"
        writer.remove_document(0)
        assert writer.commit(keep_coarse=True).coarse_file == "coarse/2.faiss"
        add(writer, "new", ["x"])
        with pytest.raises(ValueError, match="does not cover"):
            writer.commit(keep_coarse=True)
        assert writer.commit().coarse_file is None
        assert writer.commit(write_vectors).coarse_file == "coarse/6.faiss"
    with Store.open(tmp_path) as store:
        assert store.coarse_path is not None
        again = tmp_path / "again"
        write_vectors(store.page_vectors, again)
        assert store.coarse_path.read_bytes() == again.read_bytes()


def test_a_failing_coarse_builder_changes_nothing(tmp_path: Path) -> None:
    build(tmp_path)

    def fail(vectors: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise MemoryError

    with pytest.raises(MemoryError), StoreWriter.open(tmp_path) as writer:
        add(writer, "new", ["x"])
        writer.commit(fail)
    with Store.open(tmp_path) as store:
        assert store.manifest.generation == 2
    assert sorted(p.name for p in (tmp_path / "coarse").glob("?.faiss")) == ["1.faiss", "2.faiss"]


def test_an_index_of_another_encoder_is_refused(tmp_path: Path) -> None:
    build(tmp_path)
    with pytest.raises(StorageError, match="encoder_fingerprint f00d, not beef"):
        StoreWriter.open(tmp_path, create=replace(SPEC, encoder_fingerprint="beef"))
    with StoreWriter.open(tmp_path, create=SPEC) as writer:
        assert len(writer.documents) == 2


def test_folders_that_are_no_index_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").write_bytes(b"x")
    with pytest.raises(StorageError, match=r"holiday\.jpg"):
        StoreWriter.open(tmp_path, create=SPEC)
    with pytest.raises(StorageError, match="no index"):
        StoreWriter.open(tmp_path)
    with pytest.raises(StorageError, match="no index"):
        Store.open(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["holiday.jpg"]


def test_closed_stores_say_so(tmp_path: Path) -> None:
    build(tmp_path)
    store = Store.open(tmp_path)
    store.close()
    with pytest.raises(StorageError, match="closed"):
        store.fetch_patches(np.array([0]))
    with StoreWriter.open(tmp_path) as writer:
        pass
    with pytest.raises(StorageError, match="closed"):
        writer.commit()


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("year >= 2020", [0, 2]),
        ("year > 2020 AND ok", [2]),
        ("firm = 'AMD' OR pages = 3", [0, 2]),
        ("firm IS NULL", [2]),
        ("NOT year = 2020", [2]),
        ("title LIKE '%BETA%'", [2]),
        ("source LIKE '/files/a%'", [0]),
        ("firm IN ('AMD', 'Intel') and year between 2019 and 2021", [0]),
        ("ok = true", [2]),
        ("lower(firm) = 'amd' -- a remark", [0]),
        ("year > 3000", []),
        ("firm > 3000", [0]),
        ("firm > 3000 AND typeof(firm) <> 'text'", []),
    ],
)
def test_filters(sample: Store, condition: str, expected: list[int]) -> None:
    assert sample.select_documents(condition).tolist() == expected


@pytest.mark.parametrize(
    "condition",
    [
        "",
        "colour = 'red'",
        "year >",
        "1); DROP TABLE documents; --",
        "1) UNION SELECT name FROM sqlite_master WHERE (1",
        "pages IN (SELECT 1 FROM pragma_database_list)",
        "load_extension('x')",
        "randomblob(1000000000) IS NULL",
        "year = ?",
        "(" * 300 + "1" + ")" * 300,
        f"length(replace('{'a' * 900}', 'a', replace('{'a' * 900}', 'a', '{'a' * 9}'))) > 0",
        "year = '\x00",
    ],
)
def test_bad_filters_name_the_columns(sample: Store, condition: str) -> None:
    with pytest.raises(InputError, match=r"known columns: .*firm.*title.*year"):
        sample.select_documents(condition)
    assert len(sample.select_documents("pages > 0")) == 2


def test_a_writer_that_failed_half_way_refuses_to_go_on(tmp_path: Path) -> None:
    """Whatever it would commit then could lack pages, or overwrite what was committed."""
    root = tmp_path / "index"
    build(root)
    with Store.open(root) as store:
        before = list(contents(store))
    data = root / "lance" / "pages.lance" / "data"

    @contextmanager
    def no_folder(folder: Path) -> Iterator[None]:
        aside = folder.rename(tmp_path / "aside")
        folder.write_text("a disk that fails")
        yield
        folder.unlink()
        aside.rename(folder)

    def fails(vectors: VectorBatches, path: Path) -> None:
        raise OSError("no space left on device")

    with StoreWriter.open(root) as writer:
        add(writer, "delta", ["owls hunt"])
        with no_folder(data), pytest.raises(StorageError):
            writer.page_vectors()
        for attempt in (writer.commit, writer.compact, lambda: add(writer, "epsilon", ["voles"])):
            with pytest.raises(StorageError, match=r"failed; what was committed before is safe"):
                attempt()
    with StoreWriter.open(root) as writer:
        writer.remove_document(0)
        with no_folder(data.with_name("_deletions")), pytest.raises(StorageError):
            writer.pages()
        # Its pages are still there, so that to commit now would leave them without a document.
        with pytest.raises(StorageError, match="a new writer goes on"):
            writer.commit(write_vectors)
    with StoreWriter.open(root) as writer:
        add(writer, "delta", ["owls hunt"])
        with pytest.raises(OSError, match="no space"):
            writer.commit(fails)
        with pytest.raises(StorageError, match="a new writer goes on"):
            writer.commit(write_vectors)
    assert verify(root) == []
    with Store.open(root) as store:
        assert list(contents(store)) == before


@given(
    st.lists(st.integers(0, 8), max_size=30),
    st.lists(st.integers(-1, 10), max_size=6),
    st.booleans(),
)
def test_pages_of_documents(docs: list[int], wanted: list[int], in_order: bool) -> None:
    doc_ids = np.array(sorted(docs) if in_order else docs, np.int64)
    every = np.arange(len(doc_ids))
    pages = PageDirectory(every, doc_ids, every, every, every, every)
    found = pages.offsets_of_documents(np.array(wanted, np.int64))
    assert found.tolist() == np.flatnonzero(np.isin(doc_ids, wanted)).tolist()
