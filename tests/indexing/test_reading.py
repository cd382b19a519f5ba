"""How the words of a page are got: text layer, OCR, or a second library's picture."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pymupdf
import pytest
from PIL import Image, ImageDraw, ImageFont

from indexing.intake import IntakeWorkers
from indexing.ocr import Engine, read_words
from indexing.reading import garbage_share, is_blank
from indexing.renderers import poppler
from indexing.settings import IntakeSettings
from retrieval.types import PageContent, PageWords
from tests.indexing import samples

LINES = ("Harbour dues for winter", "Vessel Albatross 412 tons", "Received from the master")


@pytest.fixture(scope="module")
def workers() -> Iterator[IntakeWorkers]:
    """One worker with the fast OCR engine, kept over the tests of this module."""
    with IntakeWorkers(IntakeSettings(workers=1, ocr="tesseract")) as shared:
        yield shared


def only_page(workers: IntakeWorkers, path: Path) -> PageContent:
    (page,) = workers.read_pages(path)
    return page


def scan() -> Image.Image:
    """A page of three lines as a scanner gives it."""
    image = Image.new("L", (900, 500), 255)
    draw = ImageDraw.Draw(image)
    for i, line in enumerate(LINES):
        draw.text((60, 60 + 110 * i), line, fill=0, font=ImageFont.load_default(44))
    return image.convert("RGB")


def near(found: PageWords) -> float:
    """The share of the words on ``scan`` that were found, each at the height of its line."""
    hits = 0
    for row, line in enumerate(LINES):
        height = (60 + 110 * row + 25) / 500
        for word in line.split():
            hits += any(
                text == word and abs((box[1] + box[3]) / 2 - height) < 0.04
                for text, box in zip(found.texts, found.boxes, strict=True)
            )
    return hits / sum(len(line.split()) for line in LINES)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["tesseract", "rapidocr"])
def test_ocr_reads_a_scan(engine: Engine) -> None:
    page = read_words(np.asarray(scan()), engine)
    assert page.engine == engine and 0.7 < page.confidence <= 1
    assert near(page.words) >= 0.8
    assert ((page.words.boxes >= 0) & (page.words.boxes <= 1)).all()
    assert (np.diff(page.words.lines) >= 0).all() and len(set(page.words.lines.tolist())) == 3


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["tesseract", "rapidocr"])
def test_ocr_finds_nothing_on_white_paper(engine: Engine) -> None:
    page = read_words(np.full((300, 300, 3), 255, np.uint8), engine)
    assert len(page.words) == 0 and page.confidence == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["scan.png", "scan.pdf"])
def test_a_scan_is_read_by_ocr(workers: IntakeWorkers, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name.endswith("pdf"):
        document = pymupdf.open()
        page = document.new_page(width=450, height=250)
        page.insert_image(page.rect, stream=samples.saved(scan(), "PNG"))
        # The stamp that a scanner's software leaves is not the page's text.
        page.insert_text((10, 245), "Scanned by ScanPro", fontsize=6)
        document.save(path)
    else:
        path.write_bytes(samples.saved(scan(), "PNG"))
    found = only_page(workers, path)
    assert found.text_source == "ocr:tesseract"
    assert near(found.words) >= 0.8


@pytest.mark.slow
def test_letters_drawn_as_curves_are_read_by_ocr(workers: IntakeWorkers, tmp_path: Path) -> None:
    document = pymupdf.open("pdf", samples.pdf([samples.PARAGRAPH]))
    outlines = pymupdf.open("svg", document[0].get_svg_image(text_as_path=True).encode())
    path = tmp_path / "curves.pdf"
    path.write_bytes(outlines.convert_to_pdf())
    found = only_page(workers, path)
    assert found.text_source == "ocr:tesseract"
    assert len(set(found.words.texts) & set(samples.PARAGRAPH.split())) > 15


def test_a_page_with_a_text_layer_or_without_ink_is_not_read_by_ocr(
    workers: IntakeWorkers, tmp_path: Path
) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(samples.pdf([samples.PARAGRAPH, "", "A title"]))
    pages = list(workers.read_pages(path))
    assert [page.text_source for page in pages] == ["layer", "none", "layer"]
    white = tmp_path / "white.png"
    white.write_bytes(samples.saved(Image.new("RGB", (300, 300), "white"), "PNG"))
    found = only_page(workers, white)
    assert (found.text_source, found.flags, len(found.words)) == ("none", (), 0)


def test_a_page_that_mupdf_cannot_paint_is_painted_by_another(tmp_path: Path) -> None:
    path = tmp_path / "nested.pdf"
    path.write_bytes(samples.too_nested_pdf("Landmark"))
    with IntakeWorkers(IntakeSettings(workers=1, ocr="off")) as workers:
        (page,) = workers.read_pages(path, want_image=True)
    other = "poppler" if poppler.available() else "pdfium"
    assert "render-failed" in page.flags and f"rendered-by-{other}" in page.flags
    assert page.image is not None
    x0, y0, _, _ = samples.ink(page.image)
    assert (x0, y0) == pytest.approx((21 / 300, 86 / 200), abs=0.03)


def test_without_poppler_pdfium_is_asked_and_the_lack_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "nested.pdf"
    path.write_bytes(samples.too_nested_pdf("Landmark"))
    # The worker is a process of its own: it looks for pdftoppm where PATH says.
    monkeypatch.setenv("PATH", str(tmp_path))
    with IntakeWorkers(IntakeSettings(workers=1, ocr="off")) as workers:
        (page,) = workers.read_pages(path, want_image=True)
    assert "rendered-by-pdfium" in page.flags


def test_blank_is_what_spans_hardly_any_tone() -> None:
    paper = np.full((200, 300, 3), 250, np.uint8)
    assert is_blank(paper) and is_blank(np.zeros((0, 0, 3), np.uint8))
    paper[::2] -= 5
    assert is_blank(paper)
    paper[100, 150] = 0
    assert not is_blank(paper)


def test_garbage_is_what_no_reader_could_read() -> None:
    def share(*texts: str) -> float:
        boxes = np.zeros((len(texts), 4), np.float32)
        return garbage_share(PageWords(texts, boxes, np.zeros(len(texts), np.int32)))

    assert share("plain", "naïve", "Ελλάς", "漢字") == 0
    assert share("\ue000\ue001", "\ufffd\x07") == 1
    assert share("ab", "\ue000\ue001") == 0.5
    assert share() == 0


@pytest.mark.slow
def test_a_narrow_receipts_prices_stay_with_their_goods() -> None:
    goods = ["Soya bean milk", "Brown bread large", "Total inclusive tax", "Change returned"]
    image = Image.new("L", (420, 1200), 255)
    draw = ImageDraw.Draw(image)
    for i, name in enumerate(2 * goods):
        draw.text((16, 60 + 60 * i), name, fill=0, font=ImageFont.load_default(22))
        draw.text((290, 60 + 60 * i), f"RM {i + 1}.50", fill=0, font=ImageFont.load_default(22))
    # On a page this narrow, widths taken for heights would make two columns of it.
    lines = read_words(np.asarray(image.convert("RGB")), "tesseract").words.text().split("\n")
    assert lines == [f"{name} RM {i + 1}.50" for i, name in enumerate(2 * goods)]
