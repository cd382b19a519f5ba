"""A scan of several receipts becomes a page for each; any other picture stays as it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from indexing.build import BuildSettings
from indexing.cli_search import print_result
from indexing.index import Index
from indexing.intake import IntakeWorkers
from indexing.separate import separate
from indexing.settings import IntakeSettings
from retrieval.types import SourcePart
from tests.indexing import samples

SHOPS = ("Harbour Cafe 12.50", "Pilot Books 48.20", "Winter Tools 7.95")
GREY = (70, 74, 80)


def paper(shop: str, size: tuple[int, int] = (420, 700)) -> Image.Image:
    image = Image.new("RGB", size, (250, 250, 246))
    draw = ImageDraw.Draw(image)
    for row, text in enumerate([shop, "Thank you for your visit", "Change returned"]):
        draw.text((30, 50 + 120 * row), text, fill=(20, 20, 20), font=ImageFont.load_default(26))
    return image


def scan(background: tuple[int, int, int] = GREY, shops: tuple[str, ...] = SHOPS) -> Image.Image:
    """Papers side by side, each laid down a little crooked, on a lid with some noise."""
    rng = np.random.default_rng(2)
    noise = rng.normal(0, 4, (1000, 1700, 1)) + np.array(background)
    image = Image.fromarray(np.clip(noise, 0, 255).astype(np.uint8))
    for i, shop in enumerate(shops):
        turned = paper(shop).convert("RGBA").rotate(2 * i - 2, expand=True)
        image.paste(turned, (80 + 540 * i, 110 + 20 * i), turned)
    return image


def test_papers_on_a_dark_lid_are_told_apart() -> None:
    boxes = separate(np.asarray(scan()))
    assert len(boxes) == 3
    for i, (x0, y0, x1, y1) in enumerate(boxes):
        assert x0 == pytest.approx((80 + 540 * i) / 1700, abs=0.02)
        assert (x1 - x0) * 1700 == pytest.approx(430, abs=30)
        assert y0 == pytest.approx((110 + 20 * i) / 1000, abs=0.03)
        assert y1 - y0 == pytest.approx(0.7, abs=0.05)


def written_between(image: Image.Image) -> Image.Image:
    ImageDraw.Draw(image).text(
        (300, 930), "Receipts of the week", fill="white", font=ImageFont.load_default(30)
    )
    return image


def odd_shape(image: Image.Image) -> Image.Image:
    ImageDraw.Draw(image).polygon([(200, 60), (1500, 60), (800, 900)], fill="white")
    return image


@pytest.mark.parametrize(
    "image",
    [
        paper(SHOPS[0], (1700, 1000)),
        scan(background=(245, 245, 245)),
        scan(shops=SHOPS[:1]),
        scan(shops=()),
        written_between(scan()),
        odd_shape(scan()),
        scan().resize((30, 20)),
    ],
    ids=["one page", "white lid", "one paper", "none", "print between", "odd shape", "tiny"],
)
def test_what_is_not_surely_several_stays_whole(image: Image.Image) -> None:
    assert separate(np.asarray(image)) == []


def test_blank_cards_are_no_documents() -> None:
    image = Image.new("RGB", (1700, 1000), GREY)
    image.paste((250, 250, 250), (100, 100, 700, 900))
    image.paste((250, 250, 250), (900, 100, 1500, 900))
    assert separate(np.asarray(image)) == []


@pytest.mark.slow
def test_a_hit_says_where_on_the_scan_its_paper_lies(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "scan.png"
    path.write_bytes(samples.saved(scan(), "PNG"))
    where = tmp_path / "index"
    settings = BuildSettings(intake=IntakeSettings(workers=1, ocr="tesseract"))
    with Index.create(where, settings=settings) as index:
        index.add([path])
        found = index.search("Pilot Books")
        (hit,) = [hit for hit in found.hits if hit.rank == 1]
        picture = index.page_image(hit)
    assert hit.label == "1 (2 of 3)" and hit.part is not None and not hit.part.whole
    x0, y0, x1, y1 = hit.part.box
    assert x0 == pytest.approx(620 / 1700, abs=0.02) and x1 == pytest.approx(1050 / 1700, abs=0.03)
    assert y0 == pytest.approx(0.13, abs=0.03) and y1 == pytest.approx(0.84, abs=0.05)
    assert picture.shape[1] == pytest.approx((x1 - x0) * 1700, abs=2)
    print_result(found, {})
    assert "on the scan: x 36-6" in capsys.readouterr().out
    with IntakeWorkers(settings.intake) as workers:
        # What the index says is pictured, not what would be found in the file.
        part = workers.render_page(path, 0, dpi=100, part=SourcePart(0, (0.5, 0.0, 1.0, 0.5)))
        assert part.shape == (500, 850, 3)
        plans = workers.plan_pages(path, range(3))
    assert [plan.part for plan in plans][1] == hit.part


@pytest.mark.slow
def test_each_receipt_is_a_page_with_its_own_words_and_picture(tmp_path: Path) -> None:
    path = tmp_path / "scan.png"
    path.write_bytes(samples.saved(scan(), "PNG"))
    with IntakeWorkers(IntakeSettings(workers=1, ocr="tesseract")) as workers:
        assert workers.describe(path).pages == 3
        pages = list(workers.read_pages(path))
        picture = workers.render_page(path, 1, dpi=100)
    assert [page.label for page in pages] == ["1 (1 of 3)", "1 (2 of 3)", "1 (3 of 3)"]
    for page, shop in zip(pages, SHOPS, strict=True):
        assert set(shop.split()) <= set(page.words.texts)
        assert not {other.split()[0] for other in SHOPS if other != shop} & set(page.words.texts)
        assert "one-of-several" in page.flags
        assert page.width < 500 and page.words.boxes.max() <= 1
    assert picture.shape[1] == pytest.approx(pages[1].width) and picture.shape[0] > 650


def test_frames_that_show_one_paper_keep_their_numbers(tmp_path: Path) -> None:
    path = tmp_path / "fax.tif"
    frames = [paper(SHOPS[0]), scan(), paper(SHOPS[2])]
    frames[0].save(path, "TIFF", save_all=True, append_images=frames[1:])
    with IntakeWorkers(IntakeSettings(workers=1, ocr="off")) as workers:
        pages = list(workers.read_pages(path))
    assert [page.label for page in pages] == ["1", "2 (1 of 3)", "2 (2 of 3)", "2 (3 of 3)", "3"]
    assert [("one-of-several" in page.flags) for page in pages] == [False, True, True, True, False]
