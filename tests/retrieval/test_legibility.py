"""What a reader sees of a page's smallest print, and how to send it so that it can be read."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.legibility import (
    COMFORTABLE,
    MINIMUM,
    X_HEIGHT_SHARE,
    ReaderInput,
    legible_crops,
    seen_at,
    smallest_print,
    x_heights,
)
from retrieval.types import PageWords

NATIVE = (6000.0, 4000.0)
FIXED = ReaderInput(fixed=(448, 448))


def words_of(pixels: float, size: tuple[float, float] = NATIVE, rows: int = 20) -> PageWords:
    """A grid of words whose x-height has ``pixels`` on a page of ``size``."""
    width, height = size
    h = pixels / X_HEIGHT_SHARE["layer"]
    corners = [
        (width * (0.05 + 0.9 * c / 10), height * (0.05 + 0.9 * r / rows))
        for r in range(rows)
        for c in range(10)
    ]
    boxes = np.array([(x, y, x + 3 * h, y + h) for x, y in corners]) / [
        width,
        height,
        width,
        height,
    ]
    texts = tuple(f"w{i}" for i in range(len(boxes)))
    return PageWords(texts, boxes.astype(np.float32), np.arange(len(boxes), dtype=np.int32))


def test_a_page_shrunk_to_a_models_input_loses_its_print() -> None:
    words = words_of(14)
    assert seen_at(words, "layer", NATIVE, ReaderInput()) == pytest.approx(14, rel=1e-4)
    assert seen_at(words, "layer", NATIVE, ReaderInput(max_side=2000)) == pytest.approx(
        14 / 3, 1e-3
    )
    assert seen_at(words, "layer", NATIVE, FIXED) < MINIMUM
    assert seen_at(words, "layer", NATIVE, ReaderInput(max_pixels=6_000_000)) == pytest.approx(
        7, 1e-3
    )
    assert seen_at(PageWords.empty(), "none", NATIVE, FIXED) == 0


def test_the_smallest_print_is_what_a_tenth_of_the_words_is_no_larger_than() -> None:
    heights = np.array([1] + [8] * 19 + [20] * 20, np.float32)
    assert smallest_print(heights) == 8
    assert smallest_print(np.array([1, 1, 8, 8], np.float32)) == 1


def test_one_crop_does_where_the_reader_takes_the_page() -> None:
    words = words_of(40)
    (crop,) = legible_crops((0, 0, 1, 1), words, "layer", NATIVE, ReaderInput(max_pixels=2_000_000))
    assert crop.pixels == pytest.approx(COMFORTABLE, rel=0.01) and crop.legible
    assert crop.width * crop.height <= 2_000_000


def test_a_region_is_sent_in_tiles_where_one_picture_would_not_be_legible() -> None:
    words = words_of(9)
    crops = legible_crops(
        (0, 0, 0.5, 1), words, "layer", NATIVE, ReaderInput(max_side=1024), most=40
    )
    assert len(crops) > 4
    for crop in crops:
        assert crop.legible and max(crop.width, crop.height) <= 1024
        assert crop.pixels == 0 or crop.pixels >= COMFORTABLE * 0.98


def test_what_cannot_be_made_legible_is_said() -> None:
    for crop in legible_crops((0, 0, 1, 1), words_of(2), "layer", NATIVE, FIXED):
        assert not crop.legible
    # The budget of tiles is too small for all of the page.
    crops = legible_crops((0, 0, 1, 1), words_of(8), "layer", NATIVE, FIXED, most=4)
    assert len(crops) <= 4 and not all(crop.legible for crop in crops)


def test_a_region_without_words_is_sent_as_the_reader_takes_it() -> None:
    (crop,) = legible_crops((0, 0, 1, 1), PageWords.empty(), "none", NATIVE, FIXED)
    assert (crop.width, crop.pixels, crop.legible) == (448, 0, True)


@settings(max_examples=40, deadline=None)
@given(
    st.floats(1, 60),
    st.tuples(st.floats(0, 0.8), st.floats(0, 0.8), st.floats(0.05, 0.2), st.floats(0.05, 0.2)),
    st.sampled_from(
        [FIXED, ReaderInput(max_side=768), ReaderInput(max_pixels=500_000), ReaderInput()]
    ),
)
def test_crops_cover_the_region_within_the_readers_input(
    pixels: float, place: tuple[float, float, float, float], reader: ReaderInput
) -> None:
    x, y, w, h = place
    region = (x, y, x + w, y + h)
    words = words_of(pixels)
    crops = legible_crops(region, words, "layer", NATIVE, reader)
    assert 1 <= len(crops) <= 12
    for crop in crops:
        assert region[0] - 1e-6 <= crop.box[0] < crop.box[2] <= region[2] + 1e-6
        assert region[1] - 1e-6 <= crop.box[1] < crop.box[3] <= region[3] + 1e-6
        assert reader.scale(crop.width, crop.height) > 0.99
    centres = (words.boxes[:, :2] + words.boxes[:, 2:]) / 2
    for cx, cy in centres:
        if region[0] < cx < region[2] and region[1] < cy < region[3]:
            assert any(c.box[0] <= cx <= c.box[2] and c.box[1] <= cy <= c.box[3] for c in crops)


def test_heights_depend_on_where_the_boxes_come_from() -> None:
    words = words_of(10)
    layer, tight = x_heights(words, "layer"), x_heights(words, "ocr:tesseract")
    assert (tight > layer).all()
