"""Multivectors kept in memory change the time of a search, never what it finds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.resident import PatchReader, RecordReader, pick, read_resident
from retrieval.search import SearchMode, SearchSettings
from retrieval.store import Store
from retrieval.store_multivectors import Multivectors
from tests.retrieval.search_samples import build, open_searcher


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("resident") / "index"
    build(folder, documents=5, pages=60)
    return folder


@pytest.fixture(scope="module")
def small(root: Path) -> Iterator[Store]:
    with Store.open(root) as store:
        yield store


@pytest.mark.parametrize("mode", ["two-stage", "exhaustive"])
@pytest.mark.parametrize("only", [None, "doc_id IN (1, 3)", "doc_id <> 2"])
def test_the_same_is_found(root: Path, mode: SearchMode, only: str | None) -> None:
    with Store.open(root) as store:
        question = " ".join(store.fetch_boxes_and_words(np.array([7]))[0].words.texts[:4])
    disk = open_searcher(root, SearchSettings(cache_mb=0)).search(
        question, 8, mode=mode, filter=only
    )
    assert len(disk.hits) == 8
    for kept in (SearchSettings(resident_mb=100.0), SearchSettings(cache_mb=0.02)):
        memory = open_searcher(root, kept)
        for _ in range(2):
            assert memory.search(question, 8, mode=mode, filter=only).hits == disk.hits


@given(
    st.lists(st.lists(st.integers(0, 299), max_size=12), max_size=8),
    st.sampled_from([0.0, 0.002, 0.05, 5.0]),
)
@settings(max_examples=40, deadline=None)
def test_whatever_is_kept_each_page_is_itself(
    small: Store, asked: list[list[int]], cache_mb: float
) -> None:
    patches, records = PatchReader(small, cache_mb, 0), RecordReader(small, cache_mb)
    for wanted in asked:
        offsets = np.array(wanted, np.int64)
        one, other = patches.fetch(offsets), small.fetch_patches(offsets)
        assert np.array_equal(one.codes, other.codes) and one.codes.dtype == other.codes.dtype
        assert np.array_equal(one.starts, other.starts)
        assert np.array_equal(one.scales, other.scales)
        assert [record.page_id for record in records.fetch(offsets)] == [
            int(small.pages.page_ids[at]) for at in wanted
        ]


def test_what_is_kept_is_not_read_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    searcher = open_searcher(root)
    question = "heron copper"
    first = searcher.search(question, 5)
    read: list[int] = []
    monkeypatch.setattr(Multivectors, "take", lambda self, offsets, columns: read.append(1))
    assert searcher.search(question, 5).hits == first.hits and not read


def test_what_does_not_fit_stays_on_disk(root: Path) -> None:
    with Store.open(root) as store:
        assert read_resident(store, 100) is None
        kept = read_resident(store, 1e9)
        assert kept is not None
        offsets = np.array([5, 0, 299, 17])
        one, other = pick(kept, offsets), store.fetch_patches(offsets)
        assert np.array_equal(one.codes, other.codes)
        assert np.array_equal(one.starts, other.starts)
        assert np.array_equal(one.scales, other.scales)


def test_places_can_be_left_out(root: Path) -> None:
    with Store.open(root) as store:
        question = " ".join(store.fetch_boxes_and_words(np.array([7]))[0].words.texts[:4])
    plain = open_searcher(root, SearchSettings(regions=0)).search(question, 5)
    full = open_searcher(root).search(question, 5)
    assert [hit.page_id for hit in plain.hits] == [hit.page_id for hit in full.hits]
    assert not any(hit.regions for hit in plain.hits) and any(hit.regions for hit in full.hits)
    assert all(hit.snippet for hit in plain.hits)
