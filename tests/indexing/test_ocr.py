"""OCR of pictures larger than an engine takes, and of print too small for any."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from indexing import ocr
from indexing.intake import IntakeWorkers
from indexing.ocr import has_run, print_blocks, read_words
from indexing.ocr_engines import Engine, Reading
from indexing.settings import IntakeSettings
from retrieval.tiling import TileSettings
from tests.indexing import samples

ROWS = ("Winter dues 412.50", "Pilot fee 88.20", "Total payable 500.70")


def receipt(size: int) -> Image.Image:
    image = Image.new("L", (size * 14, size * 8), 255)
    draw = ImageDraw.Draw(image)
    for i, row in enumerate(ROWS):
        draw.text((size, size + 2 * size * i), row, fill=0, font=ImageFont.load_default(size))
    return image.convert("RGB")


def canvas(part: Image.Image, at: tuple[int, int], size: tuple[int, int]) -> Image.Image:
    image = Image.new("RGB", size, "white")
    image.paste(part, at)
    return image


@pytest.mark.slow
def test_a_small_receipt_on_a_huge_canvas_is_read_at_its_own_size() -> None:
    image = canvas(receipt(20), (4000, 2500), (6000, 4000))
    found = read_words(np.asarray(image), "rapidocr")
    assert set(" ".join(ROWS).split()) == set(found.words.texts)
    assert len(found.words) == len(" ".join(ROWS).split())
    assert 1 <= found.tiles <= 4 and not found.left_out and found.unread == 0
    # Boxes are of the whole page: all words lie where the receipt does.
    assert (found.words.boxes[:, 0] > 4000 / 6000).all()
    assert (found.words.boxes[:, 3] < 2660 / 4000).all()


@pytest.mark.slow
def test_print_that_was_shrunk_away_is_flagged(tmp_path: Path) -> None:
    image = canvas(receipt(20), (100, 100), (600, 400))
    (tmp_path / "fine.png").write_bytes(samples.saved(image, "PNG"))
    tiny = image.resize((600 // 5, 400 // 5), Image.Resampling.LANCZOS)
    (tmp_path / "tiny.png").write_bytes(samples.saved(tiny, "PNG"))
    with IntakeWorkers(IntakeSettings(workers=1, ocr="rapidocr")) as workers:
        (fine,) = workers.read_pages(tmp_path / "fine.png")
        (lost,) = workers.read_pages(tmp_path / "tiny.png")
    assert fine.flags == () and {"412.50", "500.70"} <= set(fine.words.texts)
    # Engines make up plausible amounts where they cannot read: the flag is what tells.
    assert "412.50" not in lost.words.texts
    assert "illegible" in lost.flags


def engine_of(words: dict[str, tuple[int, int, int, int]], calls: list[tuple[int, int]]) -> object:
    """An engine's stand-in at its own boundary: it knows its input's size only, so what it sees
    is told by the pixel values: word number i has the colour 5 i."""

    def read(image: NDArray[np.uint8], engine: Engine) -> Reading:
        calls.append((image.shape[1], image.shape[0]))
        texts, boxes = [], []
        for number, word in enumerate(words, 1):
            rows, columns = np.nonzero(image[:, :, 0] == 5 * number)
            if len(rows) > 100:  # fewer are what shrinking made of another word's edge
                texts.append(word)
                boxes.append((columns.min(), rows.min(), columns.max() + 1, rows.max() + 1))
        array = np.array(boxes, np.float32).reshape(-1, 4)
        heights = (array[:, 3] - array[:, 1]) * np.float32(0.5)
        empty = np.zeros((0, 4), np.float32)
        sure = np.ones(len(texts), np.float32)
        return Reading(tuple(texts), array, sure, heights, empty, 1.0 if texts else 0.0)

    return read


def painted(
    words: dict[str, tuple[int, int, int, int]], size: tuple[int, int]
) -> NDArray[np.uint8]:
    """Words as patches of their number's colour; small ones with strokes, which fade when the
    picture is shrunk, as print does."""
    image = np.full((size[1], size[0], 3), 255, np.uint8)
    for number, (x0, y0, x1, y1) in enumerate(words.values(), 1):
        image[y0:y1, x0:x1] = 5 * number
        if y1 - y0 < 50:
            image[y0 + 1 : y1 - 1 : 2, x0 + 1 : x1 - 1 : 2] = 255
    return image


def test_only_parts_with_small_print_are_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    words = {
        "heading": (200, 100, 3800, 400),
        "footnote": (3500, 3700, 3580, 3720),
        "seam": (3000, 3700, 3100, 3720),
    }
    calls: list[tuple[int, int]] = []
    monkeypatch.setattr(ocr, "read_once", engine_of(words, calls))
    found = read_words(painted(words, (4000, 4000)), "rapidocr")
    assert sorted(found.words.texts) == sorted(words)
    assert calls[0] == (2000, 2000) and all(max(size) <= 1024 for size in calls[1:])
    assert found.tiles == len(calls) - 1 <= 4
    for text, box in zip(found.words.texts, found.words.boxes, strict=True):
        assert box * 4000 == pytest.approx(words[text], abs=8)


def test_parts_beyond_the_limit_are_counted_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    corners = [(60 + 740 * (i % 8), 60 + 780 * (i // 8)) for i in range(40)]
    words = {f"w{i}": (x, y, x + 64, y + 16) for i, (x, y) in enumerate(corners)}
    beats: list[int] = []
    monkeypatch.setattr(ocr, "read_once", engine_of(words, []))
    picture = painted(words, (6100, 4000))
    whole = read_words(picture, "rapidocr", on_part=lambda: beats.append(1))
    assert whole.left_out == 0 and whole.tiles > 8 and len(beats) == whole.tiles + 1
    assert sorted(whole.words.texts) == sorted(words)
    cut = read_words(picture, "rapidocr", TileSettings(most=3))
    assert cut.tiles == 3 and cut.left_out == whole.tiles - 3


@pytest.mark.parametrize(("sure", "kept"), [(0.95, "19.80"), (0.75, "19.90")])
def test_large_words_are_not_taken_from_parts_that_cut_or_misread_them(
    monkeypatch: pytest.MonkeyPatch, sure: float, kept: str
) -> None:
    """Two large amounts and a speck of small print, for which the part around it is read. That
    cuts the first amount before its last digits, and reads the second otherwise than the whole."""
    image = np.full((2000, 4000, 3), 255, np.uint8)
    image[200:300, 850:1200, 0] = 0
    image[500:600, 300:650, 1] = 0
    rng = np.random.default_rng(7)
    image[800:830, 300:460] = np.where(rng.random((30, 160, 1)) < 0.5, 100, 255)

    def read(part: NDArray[np.uint8], engine: Engine) -> Reading:
        whole = part.shape[1] == 2000
        texts, boxes = [], []
        for colour, text in ((0, "48.20"), (1, "19.80" if whole else "19.90")):
            rows, columns = np.nonzero(part[:, :, colour] < 50)
            if not len(rows):
                continue
            left, right = columns.min(), columns.max() + 1
            cut = right == part.shape[1]
            texts.append("48." if cut else text)
            boxes.append((left, rows.min(), right - 30 if cut else right, rows.max() + 1))
        array = np.array(boxes, np.float32).reshape(-1, 4)
        heights = (array[:, 3] - array[:, 1]) * np.float32(0.5)
        certain = np.full(len(texts), sure if whole else 0.97, np.float32)
        empty = np.zeros((0, 4), np.float32)
        return Reading(tuple(texts), array, certain, heights, empty, 1.0 if texts else 0.0)

    monkeypatch.setattr(ocr, "read_once", read)
    found = read_words(image, "rapidocr")
    assert found.tiles >= 1
    assert found.words.texts == ("48.20", kept)


def test_print_has_edges_both_ways() -> None:
    rng = np.random.default_rng(7)
    image = np.full((160, 160, 3), 255, np.uint8)
    image[40:120, ::32] = 0
    assert not print_blocks(image).any()
    image[64:80, 32:112] = np.where(rng.random((16, 80, 1)) < 0.5, 0, 255)
    blocks = print_blocks(image)
    assert blocks[4, 2:7].all() and has_run(blocks)
    assert not has_run(blocks[:, :3]) and print_blocks(image[:8]).size == 0
