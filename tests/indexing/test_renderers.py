"""Pages as the libraries give them: words where the ink is, however the page is turned or cut."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pymupdf
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageDraw, ImageFont

from indexing.inspection import sniff
from indexing.reading import is_blank
from indexing.renderers import OpenDocument, open_document, poppler
from indexing.renderers.base import fitting_dpi, outline_paths
from indexing.settings import IntakeSettings, RendererChoice
from tests.indexing import samples

RENDERERS: tuple[RendererChoice, ...] = ("mupdf", "pdfium")
both = pytest.mark.parametrize("renderer", RENDERERS)


def opened(path: Path, renderer: RendererChoice = "mupdf") -> OpenDocument:
    return open_document(path, sniff(path), IntakeSettings(renderer=renderer))


def turned_page(path: Path, rotation: int, crop: tuple[float, ...] | None) -> Path:
    document = pymupdf.open()
    page = document.new_page(width=400, height=600)
    page.insert_text((150, 240), "Landmark", fontsize=24)
    if crop is not None:
        page.set_cropbox(pymupdf.Rect(crop))
    page.set_rotation(rotation)
    document.save(path)
    return path


@both
@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
@pytest.mark.parametrize("crop", [None, (100, 150, 380, 420)])
def test_a_words_box_is_where_its_ink_is(
    tmp_path: Path, renderer: RendererChoice, rotation: int, crop: tuple[float, ...] | None
) -> None:
    with opened(turned_page(tmp_path / "a.pdf", rotation, crop), renderer) as document:
        words, image = document.words(0), document.render(0, 144, 40_000_000)
        width, height = document.size(0)
    assert words.texts == ("Landmark",)
    sides = (400.0, 600.0) if crop is None else (280.0, 270.0)
    assert (width, height) == (sides if rotation % 180 == 0 else sides[::-1])
    assert image.shape == (height * 2, width * 2, 3)
    x0, y0, x1, y1 = samples.ink(image)
    box, slack = words.boxes[0], 0.01
    assert box[0] - slack <= x0 and box[1] - slack <= y0
    assert x1 <= box[2] + slack and y1 <= box[3] + slack
    # The box is the ink's with the room that letters have above and below, not half the page.
    assert (box[2] - box[0]) * (box[3] - box[1]) < 3 * (x1 - x0) * (y1 - y0)


@both
def test_words_outside_the_crop_box_are_not_on_the_page(
    tmp_path: Path, renderer: RendererChoice
) -> None:
    document = pymupdf.open()
    page = document.new_page(width=400, height=600)
    page.insert_text((50, 100), "inside")
    page.insert_text((50, 500), "outside")
    page.set_cropbox(pymupdf.Rect(0, 0, 400, 300))
    document.save(tmp_path / "a.pdf")
    with opened(tmp_path / "a.pdf", renderer) as opened_document:
        assert opened_document.words(0).texts == ("inside",)


@settings(max_examples=25)
@given(
    rotation=st.sampled_from([0, 90, 180, 270]),
    places=st.lists(st.tuples(st.integers(30, 420), st.integers(40, 560)), min_size=1, max_size=12),
    cut=st.tuples(*(st.integers(0, 90) for _ in range(4))),
)
def test_the_two_libraries_agree_on_words_and_boxes(
    tmp_path_factory: pytest.TempPathFactory,
    rotation: int,
    places: list[tuple[int, int]],
    cut: tuple[int, ...],
) -> None:
    path = tmp_path_factory.mktemp("agree") / "a.pdf"
    document = pymupdf.open()
    page = document.new_page(width=500, height=600)
    # On rows of their own: words that overlap are one word to one library and two to the other.
    for i, (x, _) in enumerate(places):
        page.insert_text((x, 110 + 30 * i), f"word{i}", fontsize=10)
    page.set_cropbox(pymupdf.Rect(cut[0] / 4, cut[1], 500 - cut[2] / 4, 600 - cut[3]))
    page.set_rotation(rotation)
    document.save(path)
    found = {}
    for renderer in RENDERERS:
        with opened(path, renderer) as opened_document:
            words = opened_document.words(0)
        assert words.boxes.dtype == np.float32 and words.boxes.shape == (len(words), 4)
        assert ((words.boxes >= 0) & (words.boxes <= 1)).all()
        assert (words.boxes[:, :2] < words.boxes[:, 2:]).all()
        found[renderer] = dict(zip(words.texts, words.boxes, strict=True))
    assert (
        found["mupdf"].keys() == found["pdfium"].keys() == {f"word{i}" for i in range(len(places))}
    )
    for text, box in found["mupdf"].items():
        assert np.abs(box - found["pdfium"][text]).max() < 0.02


@both
def test_running_text_is_the_same_words_in_the_same_order(
    tmp_path: Path, renderer: RendererChoice
) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(samples.pdf([samples.PARAGRAPH]))
    with opened(path, renderer) as document:
        words = document.words(0)
    assert list(words.texts) == samples.PARAGRAPH.split()
    assert words.lines[0] == 0 and set(np.diff(words.lines)) == {0, 1}


@both
def test_labels_titles_and_outline(tmp_path: Path, renderer: RendererChoice) -> None:
    document = pymupdf.open()
    for i in range(5):
        document.new_page().insert_text((72, 72), f"page {i}")
    document.set_page_labels(
        [
            {"startpage": 0, "prefix": "", "style": "r", "firstpagenum": 1},
            {"startpage": 2, "prefix": "A-", "style": "D", "firstpagenum": 1},
        ]
    )
    document.set_toc([[1, "Basics", 1], [2, "First  steps", 3], [1, "Reference", 4]])
    document.set_metadata({"title": "  The Handbook "})
    document.save(tmp_path / "a.pdf")
    with opened(tmp_path / "a.pdf", renderer) as opened_document:
        assert opened_document.title == "The Handbook"
        assert [opened_document.label(i) for i in range(5)] == ["i", "ii", "A-1", "A-2", "A-3"]
        assert [opened_document.outline(i) for i in range(5)] == [
            "Basics",
            "Basics",
            "Basics > First steps",
            "Reference",
            "Reference",
        ]


@both
def test_without_labels_pages_are_counted_from_one(
    tmp_path: Path, renderer: RendererChoice
) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(samples.pdf(["one", "two"]))
    with opened(path, renderer) as document:
        assert [document.label(i) for i in range(2)] == ["1", "2"]
        assert [document.outline(i) for i in range(2)] == ["", ""]


@both
def test_pictures_on_a_page_are_measured(tmp_path: Path, renderer: RendererChoice) -> None:
    document = pymupdf.open()
    page = document.new_page(width=400, height=400)
    pixels = samples.saved(samples.picture(size=(64, 64)), "PNG")
    page.insert_image(pymupdf.Rect(0, 0, 200, 400), stream=pixels, keep_proportion=False)
    document.new_page(width=400, height=400)
    document.save(tmp_path / "a.pdf")
    with opened(tmp_path / "a.pdf", renderer) as opened_document:
        assert opened_document.picture_share(0) == pytest.approx(0.5, abs=0.01)
        assert opened_document.picture_share(1) == 0
        assert opened_document.has_content(0) and not opened_document.has_content(1)


@both
def test_of_pictures_only_what_is_on_the_page_counts(
    tmp_path: Path, renderer: RendererChoice
) -> None:
    document = pymupdf.open()
    page = document.new_page(width=400, height=400)
    pixels = samples.saved(samples.picture(size=(64, 64)), "PNG")
    for place in ((-100, 100, 100, 300), (100, -90, 200, -10), (410, 0, 500, 90)):
        page.insert_image(pymupdf.Rect(*place), stream=pixels)
    document.save(tmp_path / "a.pdf")
    with opened(tmp_path / "a.pdf", renderer) as opened_document:
        (found,) = opened_document.pictures(0)
    assert found == pytest.approx((0, 0.25, 0.25, 0.75), abs=0.01)


@both
def test_a_page_of_many_metres_is_painted_within_the_pixels(
    tmp_path: Path, renderer: RendererChoice
) -> None:
    document = pymupdf.open()
    document.new_page(width=8000, height=12000).insert_text((100, 900), "wide", fontsize=800)
    document.save(tmp_path / "a.pdf")
    with opened(tmp_path / "a.pdf", renderer) as opened_document:
        image = opened_document.render(0, 200, 2_000_000)
    assert 1_900_000 < image.shape[0] * image.shape[1] <= 2_020_000
    assert not is_blank(image)


@given(st.floats(1, 20_000), st.floats(1, 20_000), st.integers(36, 600), st.integers(10_000, 10**8))
def test_the_dpi_that_fits_never_exceeds_the_pixels(
    width: float, height: float, dpi: int, most: int
) -> None:
    fitting = fitting_dpi(width, height, dpi, most)
    pixels = (width / 72 * fitting) * (height / 72 * fitting)
    assert fitting <= dpi and pixels <= most * (1 + 1e-9)
    assert fitting == dpi or pixels == pytest.approx(most)


def test_outline_entries_without_a_page_or_beyond_the_last_are_harmless() -> None:
    entries = [(1, "A", 0), (3, "deep", 1), (2, "lost", -1), (1, "B", 99)]
    assert outline_paths(entries, 3) == ["A", "A > deep", "A > deep"]
    assert outline_paths([], 2) == ["", ""]


# Orientation 6 is a camera held on its right side: what it stores lies on its left.
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "WEBP", "TIFF", "PNG", "AVIF"])
def test_a_picture_is_turned_as_its_exif_says(tmp_path: Path, form: str, orientation: int) -> None:
    back = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    upright = samples.picture("top left", (320, 120))
    stored = upright if orientation == 1 else upright.transpose(back[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "photo"
    path.write_bytes(samples.saved(stored, form, exif=exif))
    with opened(path) as document:
        assert document.size(0) == (320, 120)
        image = document.render(0, 200, 40_000_000)
    assert image.shape == (120, 320, 3)
    assert np.abs(np.array(samples.ink(image)) - samples.ink(np.asarray(upright))).max() < 0.02


def frames(*words: str) -> list[Image.Image]:
    return [samples.picture(word, (200, 60 + 20 * i)) for i, word in enumerate(words)]


def test_every_page_of_a_tiff_is_a_page_of_its_own_size(tmp_path: Path) -> None:
    first, *others = frames("one", "two", "three")
    path = tmp_path / "fax.tif"
    path.write_bytes(samples.saved(first, "TIFF", save_all=True, append_images=others))
    with opened(path) as document:
        assert document.pages == 3
        # Out of order, as a search does that draws the page of a hit.
        for number in (2, 0, 1):
            assert document.size(number) == (200, 60 + 20 * number)
            image = document.render(number, 200, 40_000_000)
            assert image.shape == (60 + 20 * number, 200, 3)
            expected = np.asarray((first, *others)[number])
            assert np.array_equal(image, expected)


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG"])
def test_every_frame_of_an_animation_is_a_page(tmp_path: Path, form: str) -> None:
    pictures = [samples.picture(word, (200, 60)) for word in ("one", "two", "three")]
    options = {"lossless": True} if form == "WEBP" else {}
    content = samples.saved(
        pictures[0], form, save_all=True, append_images=pictures[1:], duration=100, **options
    )
    path = tmp_path / "film"
    path.write_bytes(content)
    with opened(path) as document:
        assert document.pages == 3
        for number in (2, 0, 1):
            image = document.render(number, 200, 40_000_000)
            assert np.abs(image.astype(int) - np.asarray(pictures[number])).max() < 16


def deep(values: np.ndarray, dtype: str) -> Image.Image:
    return Image.fromarray(values.astype(dtype))


@pytest.mark.parametrize(
    "dark_on_light",
    [
        samples.picture(mode="1"),
        samples.picture(mode="P"),
        samples.picture(mode="CMYK"),
        samples.picture(mode="L"),
        deep(np.asarray(samples.picture(mode="L")).astype(int) * 4 + 20_000, "<u2"),
        deep(np.asarray(samples.picture(mode="L")).astype(int) * 4 + 20_000, ">u2"),
        deep(np.asarray(samples.picture(mode="L")).astype(int) * 999 - 5, "int32"),
        deep(np.asarray(samples.picture(mode="L")) / 1e6, "float32"),
    ],
    ids=["1", "P", "CMYK", "L", "16 bit", "16 bit, big-endian", "32 bit", "float"],
)
def test_every_kind_of_pixel_comes_as_rgb(tmp_path: Path, dark_on_light: Image.Image) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(samples.saved(dark_on_light, "TIFF"))
    with opened(path) as document:
        image = document.render(0, 200, 40_000_000)
    expected = np.asarray(samples.picture())
    assert image.dtype == np.uint8 and image.shape == expected.shape
    assert samples.ink(image) == pytest.approx(samples.ink(expected), abs=0.01)
    assert image.max() > 240 and image.min() < 60


def test_sixteen_bits_look_as_in_a_viewer(tmp_path: Path) -> None:
    tones = np.repeat(np.linspace(10_000, 50_000, 256).astype("<u2")[None], 8, axis=0)
    path = tmp_path / "a.png"
    path.write_bytes(samples.saved(Image.fromarray(tones), "PNG"))
    with opened(path) as document:
        image = document.render(0, 200, 40_000_000)
    assert np.abs(image[0, :, 0].astype(int) - tones[0] / 257).max() <= 1


def red_is_blue() -> bytes:
    """A colour profile in which the primaries have changed places."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = profile.replace(b"rXYZ", b"????").replace(b"bXYZ", b"rXYZ")
    return swapped.replace(b"????", b"bXYZ")


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_colours_are_those_of_the_profile(tmp_path: Path, form: str) -> None:
    stored = Image.new("RGB", (32, 32), (255, 0, 0))
    path = tmp_path / "a"
    path.write_bytes(samples.saved(stored, form, icc_profile=red_is_blue()))
    with opened(path) as document:
        red, green, blue = document.render(0, 200, 40_000_000)[16, 16].astype(int)
    assert blue > 240 and max(red, green) < 40


@pytest.mark.parametrize("profile", [b"no profile at all", b"", red_is_blue()[:200]])
def test_a_profile_that_is_damaged_changes_nothing(tmp_path: Path, profile: bytes) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(
        samples.saved(Image.new("RGB", (8, 8), (200, 30, 40)), "PNG", icc_profile=profile)
    )
    with opened(path) as document:
        assert document.render(0, 200, 40_000_000)[4, 4].tolist() == [200, 30, 40]


def test_a_grey_profile_on_a_colour_picture_is_left_alone(tmp_path: Path) -> None:
    profile = red_is_blue().replace(b"RGB ", b"GRAY", 1)
    path = tmp_path / "a.png"
    path.write_bytes(
        samples.saved(Image.new("RGB", (8, 8), (200, 30, 40)), "PNG", icc_profile=profile)
    )
    with opened(path) as document:
        assert document.render(0, 200, 40_000_000)[4, 4].tolist() == [200, 30, 40]


def test_a_palette_may_have_glass_in_it(tmp_path: Path) -> None:
    image = samples.picture(mode="L").convert("P")
    path = tmp_path / "a.png"
    # Index 0 is the ink: where it is transparent the paper shows, and only that.
    path.write_bytes(samples.saved(image, "PNG", transparency=0))
    with opened(path) as document:
        assert document.render(0, 200, 40_000_000).min() > 0


def test_a_phone_s_picture_is_read_upright(tmp_path: Path) -> None:
    pytest.importorskip("pi_heif", reason="pi-heif is not installed")
    path = tmp_path / "phone.heic"
    path.write_bytes(samples.HEIC)
    with opened(path) as document:
        assert (document.pages, document.size(0)) == (1, (320, 120))
        image = document.render(0, 200, 40_000_000)
    expected = np.asarray(samples.picture("top left", (320, 120)))
    assert image.shape == expected.shape
    assert np.abs(np.array(samples.ink(image)) - samples.ink(expected)).max() < 0.02


def test_a_frame_that_outgrows_the_limit_costs_only_itself(tmp_path: Path) -> None:
    first, second = (samples.picture(word, (200, 60)) for word in ("one", "two"))
    content = samples.saved(first, "GIF", save_all=True, append_images=[second], duration=100)
    # The last image descriptor says how large the second frame is: 32,767 x 20,000.
    at = content.rindex(b"\x2c")
    path = tmp_path / "film.gif"
    path.write_bytes(content[: at + 5] + b"\xff\x7f\x20\x4e" + content[at + 9 :])
    with opened(path) as document:
        assert (
            np.abs(document.render(0, 200, 40_000_000).astype(int) - np.asarray(first)).max() < 16
        )
        with pytest.raises(Image.DecompressionBombError):
            document.render(1, 200, 40_000_000)


def test_what_is_transparent_is_paper(tmp_path: Path) -> None:
    opaque = samples.picture(mode="L")
    glass = Image.new("RGBA", opaque.size, (0, 0, 0, 0))
    glass.putalpha(opaque.point(lambda tone: 255 - tone))
    path = tmp_path / "a.png"
    path.write_bytes(samples.saved(glass, "PNG"))
    with opened(path) as document:
        image = document.render(0, 200, 40_000_000)
    assert np.abs(image.astype(int) - np.asarray(samples.picture())).max() < 3


def test_a_fax_is_as_high_as_it_was_sent(tmp_path: Path) -> None:
    """Its pixels are twice as high as they are wide."""
    page = Image.new("1", (204, 98), 1)
    page.paste(0, (50, 25, 150, 75))
    path = tmp_path / "fax.tif"
    path.write_bytes(samples.saved(page, "TIFF", dpi=(204, 98), compression="group4"))
    with opened(path) as document:
        assert document.size(0) == document.pixels(0, 200) == (204, 204)
        dark = np.argwhere(document.render(0, 200, 10**6)[..., 0] < 128)
    assert np.abs(np.ptp(dark, axis=0) - (104, 100)).max() <= 2


@pytest.mark.parametrize("renderer", ["mupdf", "pdfium"])
def test_what_was_filled_in_and_noted_is_read(tmp_path: Path, renderer: RendererChoice) -> None:
    document = pymupdf.open()
    page = document.new_page(width=300, height=200)
    page.insert_text((20, 30), "Berth:", fontsize=11)
    for i, value in enumerate(("Lee quay", "hidden")):
        field = pymupdf.Widget()
        field.field_name, field.field_value = f"berth{i}", value
        field.field_type = pymupdf.PDF_WIDGET_TYPE_TEXT
        field.rect = pymupdf.Rect(80, 15 + 40 * i, 200, 35 + 40 * i)
        page.add_widget(field)
    document.xref_set_key(list(page.widgets())[-1].xref, "F", "2")
    page.add_freetext_annot((20, 120, 280, 150), "Paid in March", fontsize=11)
    path = tmp_path / "form.pdf"
    document.save(path)
    with open_document(path, "application/pdf", IntakeSettings(renderer=renderer)) as opened_form:
        words = opened_form.words(0)
    assert words.text().split() == ["Berth:", "Lee", "quay", "Paid", "in", "March"]
    assert words.lines.tolist() == [0, 0, 0, 1, 1, 1]
    assert words.boxes[1, 0] > 0.25 and words.boxes[1, 1] < 0.2


def test_white_letters_on_glass_are_seen(tmp_path: Path) -> None:
    glass = Image.new("RGBA", (400, 120), (255, 255, 255, 0))
    letters = ImageFont.load_default(40)
    ImageDraw.Draw(glass).text((20, 30), "Evergreen Harbour", "white", letters)
    path = tmp_path / "logo.png"
    path.write_bytes(samples.saved(glass, "PNG"))
    with opened(path) as document:
        image = document.render(0, 72, 10**6)
    assert image.max() == 255 and image[0, 0].max() == 0


@pytest.mark.parametrize(
    ("entries", "mupdf", "pdfium"),
    [
        (b"/NeedsRendering true", "form-not-shown", "form-not-shown"),
        (b"/Collection<</Type/Collection>>", "portfolio", "attachments"),
        (b"", "attachments", "attachments"),
    ],
)
def test_what_a_pdf_holds_and_its_pages_do_not_show_is_told(
    tmp_path: Path, entries: bytes, mupdf: str, pdfium: str
) -> None:
    """A dynamic form, whose only page asks to wait; files in a file."""
    more = b"/Names<</EmbeddedFiles<</Names[(a)6 0 R]>>>>"
    if b"Needs" in entries:
        more = b"/AcroForm<</Fields[]/XFA 7 0 R>>"
    path = tmp_path / "a.pdf"
    path.write_bytes(
        samples.raw_pdf(
            [
                b"<</Type/Catalog/Pages 2 0 R%b%b>>" % (entries, more),
                b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
                b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 100]/Contents 4 0 R>>",
                samples.raw_stream(b""),
                samples.raw_stream(b"x", b"/Type/EmbeddedFile"),
                b"<</Type/Filespec/F(a)/EF<</F 5 0 R>>>>",
                samples.raw_stream(
                    b"<xdp:xdp xmlns:xdp='http://ns.adobe.com/xdp/'><template>"
                    b"<subform layout='tb'/></template></xdp:xdp>"
                ),
            ]
        )
    )
    for renderer, flag in (("mupdf", mupdf), ("pdfium", pdfium)):
        with open_document(path, "application/pdf", IntakeSettings(renderer=renderer)) as document:
            assert document.flags == (flag,), renderer


def test_a_large_picture_is_scaled_down(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(samples.saved(samples.picture(size=(2000, 1500)), "PNG"))
    with opened(path) as document:
        image = document.render(0, 200, 1_000_000)
        assert document.size(0) == (2000, 1500)
    assert image.shape[0] * image.shape[1] <= 1_000_000
    assert image.shape[1] / image.shape[0] == pytest.approx(4 / 3, abs=0.01)


@pytest.mark.skipif(not poppler.available(), reason="poppler (pdftoppm) is not installed")
@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_poppler_paints_the_page_as_mupdf_does(tmp_path: Path, rotation: int) -> None:
    path = turned_page(tmp_path / "a.pdf", rotation, (100, 150, 380, 420))
    image = poppler.render(path, 0, 72, IntakeSettings())
    with opened(path) as document:
        expected = document.render(0, 72, 40_000_000)
    assert image is not None and image.shape == expected.shape
    assert samples.ink(image) == pytest.approx(samples.ink(expected), abs=0.02)


@pytest.mark.skipif(not poppler.available(), reason="poppler (pdftoppm) is not installed")
def test_poppler_keeps_to_the_pixels_and_gives_none_where_it_fails(tmp_path: Path) -> None:
    path = turned_page(tmp_path / "a.pdf", 0, None)
    image = poppler.render(path, 0, 600, IntakeSettings(max_pixels=1_000_000))
    assert image is not None and image.shape[0] * image.shape[1] <= 1_010_000
    assert poppler.render(path, 7, 72, IntakeSettings()) is None
    (tmp_path / "b.pdf").write_bytes(b"%PDF-1.4 nothing")
    assert poppler.render(tmp_path / "b.pdf", 0, 72, IntakeSettings()) is None
