"""Pages that lie sideways: their lines are found along the lines, and put back where they lie."""

from __future__ import annotations

import doctest

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from retrieval import reading_turn
from retrieval.reading_turn import as_read, quarters_to_read, turned
from retrieval.types import PageWords


def _page(quarters: int) -> PageWords:
    """Two lines of words, on a picture that has to be turned by ``quarters`` to be read."""
    x, y = np.meshgrid(np.arange(5) * 0.12 + 0.1, [0.2, 0.4])
    boxes = np.stack([x, y, x + 0.1, y + 0.03], axis=-1).reshape(-1, 4).astype(np.float32)
    texts = tuple(["the", "lamp", "is", "trimmed", "daily", "at", "dusk", "by", "two", "keepers"])
    lines = np.repeat(np.arange(2, dtype=np.int32), 5)
    return PageWords(texts, turned(boxes, -quarters), lines)


@given(st.integers(0, 3))
def test_a_page_is_turned_as_its_lines_run(quarters: int) -> None:
    page = _page(quarters)
    assert quarters_to_read(page, ("turned",)) == quarters
    np.testing.assert_allclose(as_read(page, quarters).boxes, _page(0).boxes, atol=1e-6)
    # A language may be written so.
    assert quarters_to_read(page, ()) == 0


@given(st.integers(-8, 8), st.integers(-8, 8))
def test_turns_add_up(first: int, second: int) -> None:
    boxes = _page(0).boxes
    both = turned(turned(boxes, first), second)
    np.testing.assert_allclose(both, turned(boxes, first + second), atol=1e-6)


def test_examples() -> None:
    assert doctest.testmod(reading_turn).failed == 0
