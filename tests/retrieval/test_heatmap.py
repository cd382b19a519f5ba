"""Heat is where the similarities are; the drawn page stays readable."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.heatmap import draw_hit, heatmap
from retrieval.types import Region

BOXES = np.array([[0.1, 0.1, 0.3, 0.13], [0.6, 0.5, 0.8, 0.53], [0.1, 0.9, 0.3, 0.93]], np.float32)


def test_the_hottest_spot_is_the_best_patch() -> None:
    sims = np.array([[0.1, 0.9, 0.1], [0.2, 0.8, 0.3]], np.float32)
    heat = heatmap(sims, np.ones(2, np.float32), BOXES, (400, 300))
    assert heat.shape == (400, 300) and heat.dtype == np.float32
    y, x = np.unravel_index(heat.argmax(), heat.shape)
    assert 0.5 <= y / 400 <= 0.53 and 0.6 <= x / 300 <= 0.8
    assert heat.max() > 0.95
    assert heat[40, 60] < 0.05 and heat[:20].max() < 0.05


def test_a_token_of_no_weight_gives_no_heat() -> None:
    sims = np.array([[0.9, 0.1, 0.1], [0.1, 0.1, 0.9]], np.float32)
    heat = heatmap(sims, np.array([0, 1], np.float32), BOXES, (200, 200))
    assert heat[183, 40] > 0.8 and heat[23, 40] < 0.05


@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(0, 30),
    q=st.integers(0, 5),
    size=st.tuples(st.integers(1, 90), st.integers(1, 90)),
)
def test_heat_is_a_share_of_one_whatever_comes(seed: int, n: int, q: int, size: Any) -> None:
    rng = np.random.default_rng(seed)
    boxes = rng.uniform(-0.1, 1.1, (n, 4)).astype(np.float32)
    sims = rng.uniform(-1, 1, (q, n)).astype(np.float32)
    heat = heatmap(sims, rng.random(q).astype(np.float32), boxes, size)
    assert heat.shape == size and np.isfinite(heat).all()
    assert heat.min(initial=0) >= 0 and heat.max(initial=0) <= 1


def test_no_differences_no_heat() -> None:
    assert not heatmap(np.full((2, 3), 0.4), np.ones(2), BOXES, (50, 50)).any()
    with pytest.raises(ValueError, match="positive"):
        heatmap(np.ones((2, 3)), np.ones(2), BOXES, (0, 50))


def test_ink_stays_dark_and_cold_paper_stays_white() -> None:
    page = np.full((200, 160, 3), 255, np.uint8)
    page[100:104, 20:140] = 0
    heat = np.zeros((200, 160), np.float32)
    heat[80:120] = 1.0
    picture = np.asarray(draw_hit(page, (), heat))
    assert picture.shape == page.shape
    assert picture[100:104, 20:140].max() == 0
    assert (picture[:80] == 255).all()
    assert picture[90, 10, 0] > picture[90, 10, 2] + 80  # hot paper is warm in colour
    assert (np.asarray(draw_hit(page, ())) == page).all()


def test_regions_are_outlined_and_not_filled() -> None:
    page = np.full((300, 200, 3), 255, np.uint8)
    regions = [Region((0.3, 0.2, 0.7, 0.4), 0.9), Region((0.0, 0.9, 1.0, 1.0), 0.3)]
    picture = np.asarray(draw_hit(page, regions)).astype(int)
    coloured = (picture != 255).any(axis=2)
    assert not coloured[70:110, 70:130].any()
    assert coloured[85, 55:65].any() and coloured[85, 135:145].any()
    assert coloured[260:300].any()


def test_a_region_of_no_size_and_a_page_of_few_pixels_are_drawn() -> None:
    page = np.full((5, 4, 3), 200, np.uint8)
    assert draw_hit(page, [Region((0.5, 0.5, 0.5, 0.5), 1.0)]).size == (4, 5)


def test_heat_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="image's size"):
        draw_hit(np.zeros((10, 10, 3), np.uint8), (), np.zeros((5, 5), np.float32))
