"""What stands after ``--encoder family:``, and grids of patches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.encoders import load_encoder
from retrieval.encoders.geometry import grid_boxes, square_side, tile_boxes
from retrieval.encoders.options import parse
from retrieval.errors import EncoderError

KNOWN = {"size": "how large", "rate": "how fast"}


def test_an_argument_is_taken_apart(tmp_path: Path) -> None:
    found = parse("f", "owner/name@rev1?size=3&rate=0.5", KNOWN)
    assert (found.target, found.revision) == ("owner/name", "rev1")
    assert found.integer("size") == 3
    assert found.number("rate", 1.0) == 0.5
    odd = tmp_path / "a@b"
    odd.mkdir()
    assert parse("f", str(odd), KNOWN).target == str(odd)
    url = parse("f", "http://me@host:1/x", KNOWN)
    assert (url.target, url.revision) == ("http://me@host:1/x", "")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "name a model"),
        ("?size=1", "name a model"),
        ("m?colour=red", r"unknown option 'colour'; known: size \(how large\)"),
        ("m?size=1&size=2", "given twice"),
    ],
)
def test_bad_arguments(text: str, said: str) -> None:
    with pytest.raises(EncoderError, match=said):
        parse("f", text, KNOWN)


@pytest.mark.parametrize("value", ["", "x", "0", "-3", "1.5"])
def test_bad_numbers(value: str) -> None:
    with pytest.raises(EncoderError, match="size="):
        parse("f", f"m?size={value}", KNOWN).integer("size")


@pytest.mark.parametrize("value", ["", "x", "0", "-3", "nan", "inf"])
def test_bad_rates(value: str) -> None:
    with pytest.raises(EncoderError, match="rate="):
        parse("f", f"m?rate={value}", KNOWN).number("rate", 1.0)


def test_unknown_families_are_refused() -> None:
    with pytest.raises(EncoderError, match="this installation has: colpali, http, text"):
        load_encoder("clip:something")


@given(rows=st.integers(1, 40), columns=st.integers(1, 40), data=st.data())
def test_a_grid_covers_every_spot_once(rows: int, columns: int, data: st.DataObject) -> None:
    boxes = grid_boxes(rows, columns)
    assert boxes.shape == (rows * columns, 4)
    x = data.draw(st.floats(0.001, 0.999))
    y = data.draw(st.floats(0.001, 0.999))
    cell = int(y * rows) * columns + int(x * columns)
    left, top, right, bottom = boxes[cell]
    assert left - 1e-6 <= x <= right + 1e-6
    assert top - 1e-6 <= y <= bottom + 1e-6
    areas = np.prod(boxes[:, 2:].astype(np.float64) - boxes[:, :2], axis=1)
    assert areas.sum() == pytest.approx(1, abs=1e-4)


@given(rows=st.integers(1, 6), columns=st.integers(1, 6), side=st.integers(1, 8))
def test_tiles_together_are_the_grid(rows: int, columns: int, side: int) -> None:
    tiles = [
        tile_boxes(row, column, rows, columns, side * side)
        for row in range(rows)
        for column in range(columns)
    ]
    grid = grid_boxes(rows * side, columns * side)
    key = [grid[:, 0], grid[:, 1]]
    together = np.concatenate(tiles)
    order = np.lexsort((together[:, 0].round(5), together[:, 1].round(5)))
    np.testing.assert_allclose(
        together[order], grid[np.lexsort((key[0].round(5), key[1].round(5)))], atol=1e-6
    )


def test_what_is_no_square_is_refused() -> None:
    assert square_side(1024) == 32
    for patches in (-1, 0, 2, 1030):
        with pytest.raises(ValueError, match="no square grid"):
            square_side(patches)
    with pytest.raises(ValueError, match="no tile"):
        tile_boxes(2, 0, 2, 2, 4)
