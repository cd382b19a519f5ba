"""Tiles cover a picture and overlap; what several of them saw is kept once, where it is."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from retrieval.tiling import TileSettings, budgeted, cut_by, once_each, plan_tiles, to_page

SETTINGS = st.builds(
    lambda side, share: TileSettings(side, int(side * share), 1000),
    st.integers(16, 200),
    st.floats(0, 0.5),
)
SIZES = st.tuples(st.integers(1, 900), st.integers(1, 900))


@examples(max_examples=40)
@given(SIZES, SETTINGS, st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_tiles_cover_the_picture_and_overlap(
    size: tuple[int, int], settings: TileSettings, seed: int, density: float
) -> None:
    width, height = size
    ink = np.random.default_rng(seed).random((max(1, height // 3), max(1, width // 3))) < density
    tiles = plan_tiles(width, height, settings, ink)
    seen = np.zeros((height, width), bool)
    for x0, y0, x1, y1 in tiles:
        assert 0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height
        assert x1 - x0 <= settings.side and y1 - y0 <= settings.side
        seen[y0:y1, x0:x1] = True
    assert seen.all()
    by_row: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for x0, y0, x1, y1 in tiles:
        by_row.setdefault((y0, y1), []).append((x0, x1))
    for spans in [sorted(by_row), *map(sorted, by_row.values())]:
        for (_, end), (begin, _) in pairwise(spans):
            assert end - begin >= settings.overlap


def test_a_cut_moves_to_white_space() -> None:
    ink = np.ones((1, 1000), bool)
    ink[0, 470:480] = False
    settings = TileSettings(500, 100, 10)
    tiles = plan_tiles(1000, 10, settings, ink)
    assert tiles[0] == (0, 0, 479, 10)
    assert plan_tiles(1000, 10, settings)[0] == (0, 0, 500, 10)


@given(SIZES, SETTINGS.map(lambda s: TileSettings(s.side, s.overlap, 4)))
def test_the_cost_is_bounded_by_shrinking(size: tuple[int, int], settings: TileSettings) -> None:
    scale, tiles = budgeted(*size, settings)
    assert 1 <= len(tiles) <= settings.most and 0 < scale <= 1
    if len(plan_tiles(*size, settings)) <= settings.most:
        assert scale == 1


@given(SIZES, SETTINGS, st.data())
def test_a_box_in_a_tile_maps_back_to_where_it_is(
    size: tuple[int, int], settings: TileSettings, data: st.DataObject
) -> None:
    width, height = size
    x0, y0, x1, y1 = data.draw(st.sampled_from(plan_tiles(width, height, settings)))
    box = np.array([x0, y0, (x0 + x1) / 2, y1])
    inside = (box - [x0, y0, x0, y0]) / [x1 - x0, y1 - y0, x1 - x0, y1 - y0]
    found = to_page(inside[None], (x0, y0, x1, y1), width, height)
    assert found[0] * [width, height, width, height] == pytest.approx(box, abs=0.01)


@examples(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(200, 700), st.integers(200, 700))
def test_every_word_is_kept_once(seed: int, width: int, height: int) -> None:
    """Words smaller than the overlap, seen whole by some tiles and in part by others."""
    rng = np.random.default_rng(seed)
    settings = TileSettings(128, 48, 1000)
    xs, ys = np.meshgrid(np.arange(4, width - 44, 46), np.arange(4, height - 16, 18))
    chosen = rng.random(xs.size) < 0.7
    corner = np.stack((xs.ravel(), ys.ravel()), axis=1)[chosen] + rng.random((chosen.sum(), 2)) * 4
    words = np.concatenate(
        (corner, corner + np.array([30, 10]) + rng.random((len(corner), 2)) * 8), 1
    )
    boxes, names, owners, cut = [], [], [], []
    for number, tile in enumerate(plan_tiles(width, height, settings)):
        x0, y0, x1, y1 = tile
        seen = np.clip(words, [x0, y0, x0, y0], [x1, y1, x1, y1])
        there = (seen[:, 2] - seen[:, 0] > 4) & (seen[:, 3] - seen[:, 1] > 4)
        # An engine's box is off by a pixel, each time by another.
        shaken = seen[there] + rng.uniform(-0.7, 0.7, (there.sum(), 4))
        boxes.append(np.clip(shaken, [x0, y0, x0, y0], [x1, y1, x1, y1]))
        names += np.flatnonzero(there).tolist()
        owners += [number] * int(there.sum())
        cut.append(cut_by(tile, boxes[-1], width, height, 1.5))
    kept = once_each(np.concatenate(boxes), owners, np.concatenate(cut), np.ones(len(owners)))
    assert sorted(names[i] for i in kept) == list(range(len(words)))
    assert not np.concatenate(cut)[kept].any()


def test_halves_that_no_tile_saw_whole_are_kept() -> None:
    boxes = np.array([[0, 0, 60, 10], [55, 0, 120, 10]], float)
    kept = once_each(boxes, [0, 1], np.array([True, True]), np.ones(2))
    assert kept.tolist() == [0, 1]


@pytest.mark.parametrize("wrong", [(100, 60, 5), (1, 0, 5), (100, -1, 5), (100, 10, 0)])
def test_settings_that_cannot_work_are_refused(wrong: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="overlap is at most half"):
        TileSettings(*wrong)
