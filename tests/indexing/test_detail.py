"""Pages with more detail than one picture of them may hold are read from finer parts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pymupdf
import pytest
from PIL import Image, ImageDraw, ImageFont

from indexing.media_types import PDF
from indexing.picture_reading import PageRaster
from indexing.reading import read_page
from indexing.renderers import OpenDocument, open_document
from indexing.settings import IntakeSettings
from tests.indexing import samples


def curves(text: str, size: float, page: tuple[float, float], at: tuple[float, float]) -> bytes:
    """A PDF page that shows ``text`` as curves: there is no text layer."""
    document = pymupdf.open()
    sheet = document.new_page(width=page[0], height=page[1])
    sheet.insert_textbox((*at, at[0] + 300, at[1] + 200), text, fontsize=size)
    drawn = pymupdf.open("svg", sheet.get_svg_image(text_as_path=True).encode())
    return bytes(drawn.convert_to_pdf())


def pdf(renderer: str) -> Callable[[Path], OpenDocument]:
    def make(folder: Path) -> OpenDocument:
        path = folder / "a.pdf"
        document = pymupdf.open("pdf", samples.pdf([samples.PARAGRAPH]))
        document[0].set_rotation(90)
        document.save(path)
        return open_document(path, PDF, IntakeSettings(renderer=renderer))  # type: ignore[arg-type]

    return make


def turned_picture(folder: Path) -> OpenDocument:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = folder / "a.png"
    path.write_bytes(samples.saved(samples.picture(), "PNG", exif=exif))
    return open_document(path, "image/png", IntakeSettings())


@pytest.mark.parametrize(
    "make", [pdf("mupdf"), pdf("pdfium"), turned_picture], ids=["mupdf", "pdfium", "picture"]
)
def test_a_part_is_what_the_whole_shows_there(
    tmp_path: Path, make: Callable[[Path], OpenDocument]
) -> None:
    with make(tmp_path) as document:
        whole = document.render(0, 144, 10**8)
        height, width = whole.shape[:2]
        assert document.pixels(0, 144) == pytest.approx((width, height), abs=1)
        raster = PageRaster(document, 0, 144)
        for box in [(0, 0, width, height), (width // 3, height // 4, width - 5, height // 2)]:
            x0, y0, x1, y1 = box
            part = raster.crop(box)
            assert part.shape == (y1 - y0, x1 - x0, 3)
            difference = np.abs(part.astype(int) - whole[y0:y1, x0:x1]).mean()
            # A library may place a part's pixels a fraction of one apart from the whole's.
            assert difference < 0.25 * np.abs(255 - whole[y0:y1, x0:x1].astype(int)).mean() + 1
        assert raster.shrunk(width // 2, height // 2).shape == (height // 2, width // 2, 3)


@pytest.mark.slow
def test_small_print_is_drawn_finer_than_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(curves(samples.PARAGRAPH, 3.2, (300, 200), (20, 20)))
    settings = IntakeSettings(ocr="tesseract", ocr_dpi=150)
    with open_document(path, PDF, settings) as document:
        found = read_page(document, path, PDF, 0, settings, want_image=False).content
    read = set(found.words.texts) & set(samples.PARAGRAPH.split())
    assert len(read) > 20 and found.flags == ()


@pytest.mark.slow
def test_a_poster_larger_than_one_picture_may_be_is_read_in_its_full_detail(tmp_path: Path) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(curves(samples.PARAGRAPH, 8, (2384, 3370), (1900, 3000)))
    # One picture of it would be drawn at 22 dpi.
    settings = IntakeSettings(ocr="rapidocr", max_pixels=1_000_000)
    with open_document(path, PDF, settings) as document:
        found = read_page(document, path, PDF, 0, settings, want_image=False).content
    read = set(found.words.texts) & set(samples.PARAGRAPH.split())
    assert len(read) > 20 and "illegible" not in found.flags
    assert (found.words.boxes[:, 0] > 0.79).all() and (found.words.boxes[:, 1] > 0.88).all()


@pytest.mark.slow
def test_print_too_faint_to_be_read_is_told_of(tmp_path: Path) -> None:
    """A fax of which only specks are left: there is print, and nothing of it can be read."""
    rng = np.random.default_rng(5)
    page = Image.new("L", (900, 700), 255)
    draw = ImageDraw.Draw(page)
    for row in range(9):
        draw.text(
            (30, 30 + 70 * row),
            "Harbour dues payable in December 73041",
            fill=0,
            font=ImageFont.load_default(36),
        )
    specks = np.where(rng.random((700, 900)) < 0.2, np.asarray(page), 255).astype(np.uint8)
    settings = IntakeSettings(ocr="tesseract")
    found = {}
    for name, image in (("specks", specks), ("blank", np.full_like(specks, 255))):
        path = tmp_path / f"{name}.png"
        Image.fromarray(image).save(path)
        with open_document(path, "image/png", settings) as document:
            found[name] = read_page(document, path, "image/png", 0, settings, want_image=False)
    assert "illegible" in found["specks"].content.flags
    assert found["blank"].content.flags == ()
