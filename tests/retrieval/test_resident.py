"""Multivectors kept in memory change the time of a search, never what it finds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from retrieval.resident import pick, read_resident
from retrieval.search import SearchMode, SearchSettings
from retrieval.store import Store
from tests.retrieval.search_samples import build, open_searcher


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("resident") / "index"
    build(folder, documents=5, pages=60)
    return folder


@pytest.mark.parametrize("mode", ["two-stage", "exhaustive"])
@pytest.mark.parametrize("only", [None, "doc_id IN (1, 3)"])
def test_the_same_is_found(root: Path, mode: SearchMode, only: str | None) -> None:
    with Store.open(root) as store:
        question = " ".join(store.fetch_boxes_and_words(np.array([7]))[0].words.texts[:4])
    disk = open_searcher(root).search(question, 8, mode=mode, filter=only)
    memory = open_searcher(root, SearchSettings(resident_mb=100.0)).search(
        question, 8, mode=mode, filter=only
    )
    assert memory.hits == disk.hits and len(disk.hits) == 8


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
