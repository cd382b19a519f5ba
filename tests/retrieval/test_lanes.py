"""An index may hold several encoders' vectors: committed together, read by the same offsets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from retrieval.errors import InputError, StorageError
from retrieval.integrity import verify
from retrieval.store import LaneRow, Store, StoreWriter
from retrieval.types import DocumentInfo
from tests.retrieval.store_samples import (
    LANE,
    LANE_DIM,
    LANE_SPEC,
    SPEC,
    add,
    build,
    make_info,
    make_lane,
    make_page,
    write_vectors,
)

WORDS_ONLY = replace(SPEC, lanes={})


def lane_rows(writer: StoreWriter) -> Iterator[tuple[int, LaneRow]]:
    for page_id, number in zip(writer.pages().page_ids, writer.pages().numbers, strict=True):
        yield int(page_id), make_lane(int(number), 4, int(page_id))


def without_lane(root: Path) -> None:
    with StoreWriter.open(root, create=WORDS_ONLY) as writer:
        for name in ("one", "two"):
            pages = [replace(make_page(i, f"{name} {i}"), lanes={}) for i in range(2)]
            writer.add_document(_info(name), name, pages)
        writer.commit(write_vectors)


def _info(name: str) -> DocumentInfo:
    return make_info(name, 2)


def test_a_lane_is_read_by_the_offsets_of_the_pages(tmp_path: Path) -> None:
    build(tmp_path)
    assert verify(tmp_path) == []
    with Store.open(tmp_path) as store:
        lane = store.lanes[LANE]
        assert lane.record.counts == {"patches": 20, "page_vectors": 5}
        for offset in (4, 0):
            patches = lane.fetch_patches(np.array([offset]))
            number = int(store.pages.numbers[offset])
            seed = 3 if store.pages.doc_ids[offset] == 2 else 1
            written = make_lane(number, 4, seed)
            np.testing.assert_array_equal(patches.codes, written.codes)
            (places,) = lane.fetch_places(np.array([offset]))
            np.testing.assert_allclose(places.boxes, written.patch_boxes, atol=1 / 65535)
        page_ids, vectors = next(iter(lane.page_vectors()))
        assert page_ids.tolist() == store.pages.page_ids.tolist()
        assert vectors.shape == (5, LANE_DIM)
        assert lane.coarse_path is not None and lane.coarse_path.exists()


def test_a_lane_comes_and_goes_whole(tmp_path: Path) -> None:
    without_lane(tmp_path)
    with StoreWriter.open(tmp_path) as writer:
        old = writer.manifest.coarse_file
        writer.add_lane(LANE, LANE_SPEC, lane_rows(writer))
        with Store.open(tmp_path) as during:
            assert during.lanes == {}
        manifest = writer.commit(write_vectors, only={LANE})
        # The first encoder's coarse file holds, so it is not made anew.
        assert manifest.coarse_file == old
        add(writer, "later", ["a page"])
        writer.commit(write_vectors)
    assert verify(tmp_path) == []
    with StoreWriter.open(tmp_path, create=SPEC) as writer:
        assert writer.manifest.lanes[LANE].counts["page_vectors"] == 5
        writer.drop_lane(LANE)
        writer.commit(write_vectors)
        # The generation before still has it, for its readers.
        writer.add_lane(LANE, LANE_SPEC, lane_rows(writer))
        writer.commit(write_vectors)
        assert verify(tmp_path) == []
        with Store.open(tmp_path) as store:
            assert store.lanes[LANE].record.counts["page_vectors"] == 5
        writer.drop_lane(LANE)
        writer.commit(write_vectors)
        writer.commit(settings={})
    assert verify(tmp_path) == []
    assert not list((tmp_path / "lance").glob("lane-*"))
    with Store.open(tmp_path) as store:
        assert store.lanes == {} and len(store.pages) == 5


def test_a_lane_that_leaves_a_page_out_changes_nothing(tmp_path: Path) -> None:
    without_lane(tmp_path)
    with StoreWriter.open(tmp_path) as writer:
        some = list(lane_rows(writer))[:-1]
        with pytest.raises(StorageError, match=r"3 of the 4 pages"):
            writer.add_lane(LANE, LANE_SPEC, iter(some))
    assert verify(tmp_path) == []
    with StoreWriter.open(tmp_path, create=WORDS_ONLY) as writer:
        writer.add_lane(LANE, LANE_SPEC, lane_rows(writer))
        with pytest.raises(InputError, match="already"):
            writer.add_lane(LANE, LANE_SPEC, lane_rows(writer))
        with pytest.raises(InputError, match="cannot name a lane"):
            writer.add_lane("../up", LANE_SPEC, iter(()))


def test_pages_and_encoders_must_fit_the_lanes(tmp_path: Path) -> None:
    build(tmp_path)
    with StoreWriter.open(tmp_path, create=SPEC) as writer:
        page = make_page(0, "words")
        with pytest.raises(ValueError, match=r"lanes are \[\], the index has"):
            writer.add_document(_info("none"), "", [replace(page, lanes={})])
        wide = replace(page.lanes[LANE], codes=np.zeros((4, LANE_DIM + 1), np.int8))
        with pytest.raises(ValueError, match="codes are"):
            writer.add_document(_info("wide"), "", [replace(page, lanes={LANE: wide})])
        assert len(writer.pages()) == 5
    with pytest.raises(StorageError, match=r"add-encoder"):
        StoreWriter.open(tmp_path, create=WORDS_ONLY)
    other = replace(LANE_SPEC, encoder_fingerprint="other")
    with pytest.raises(StorageError, match=r"lane pixels: encoder_fingerprint"):
        StoreWriter.open(tmp_path, create=replace(SPEC, lanes={LANE: other}))
