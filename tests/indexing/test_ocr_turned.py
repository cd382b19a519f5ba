"""Scans that lie sideways, upside down or askew are read as they should lie."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont

from indexing.intake import IntakeWorkers
from indexing.ocr import InMemory, Turned, read_words, turned_back
from indexing.settings import IntakeSettings
from tests.indexing import samples

GOODS = ("Soya bean milk", "Brown bread large", "Salted butter", "Total with tax")


def receipt() -> Image.Image:
    image = Image.new("L", (900, 700), 255)
    draw = ImageDraw.Draw(image)
    for i, name in enumerate(GOODS):
        draw.text((60, 80 + 90 * i), name, fill=0, font=ImageFont.load_default(34))
        draw.text((640, 80 + 90 * i), f"RM {i + 1}.50", fill=0, font=ImageFont.load_default(34))
    return image.convert("RGB")


@pytest.mark.slow
@pytest.mark.parametrize("angle", [90, 180, 270])
def test_a_turned_scan_is_read_upright_with_boxes_where_the_words_are(
    tmp_path: Path, angle: int
) -> None:
    path = tmp_path / "a.png"
    turned = receipt().rotate(angle, expand=True)
    path.write_bytes(samples.saved(turned, "PNG"))
    with IntakeWorkers(IntakeSettings(workers=1, ocr="rapidocr")) as workers:
        (page,) = workers.read_pages(path)
    assert page.flags == ("turned",)
    assert page.words.text().split("\n")[-1] == "Total with tax RM 4.50"
    marked = np.asarray(turned.convert("L")).copy()
    for x0, y0, x1, y1 in page.words.boxes * np.array(turned.size * 2):
        marked[max(0, int(y0) - 4) : int(y1) + 5, max(0, int(x0) - 4) : int(x1) + 5] = 255
    assert (marked < 128).sum() < 0.02 * (np.asarray(turned.convert("L")) < 128).sum()


@pytest.mark.slow
@pytest.mark.parametrize("angle", [-6, 6])
def test_lines_of_a_scan_that_lies_askew_are_not_mixed(angle: int) -> None:
    image = receipt().rotate(angle, fillcolor="white", resample=Image.Resampling.BICUBIC)
    lines = read_words(np.asarray(image), "rapidocr").words.text().split("\n")
    assert lines == [f"{name} RM {i + 1}.50" for i, name in enumerate(GOODS)]


@given(st.integers(0, 3), st.integers(0, 2**32 - 1))
def test_turning_there_and_back(quarters: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 255, (30, 50, 3), dtype=np.uint8)
    raster = Turned(InMemory(image), quarters)
    whole = np.rot90(image, quarters)
    assert (raster.height, raster.width) == whole.shape[:2]
    assert (raster.shrunk(raster.width, raster.height) == whole).all()
    x0, y0 = (int(v) for v in rng.integers(0, 20, 2))
    x1, y1 = x0 + 7, y0 + 5
    assert (raster.crop((x0, y0, x1, y1)) == whole[y0:y1, x0:x1]).all()
    size = np.array([raster.width, raster.height] * 2, np.float32)
    back = turned_back(np.array([[x0, y0, x1, y1]], np.float32) / size, quarters)
    bx0, by0, bx1, by1 = np.round(back[0] * [50, 30, 50, 30]).astype(int)
    assert (np.rot90(image[by0:by1, bx0:bx1], quarters) == whole[y0:y1, x0:x1]).all()
