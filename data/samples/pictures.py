"""The two documents without text: a photographed receipt and a screenshot.

They are drawn as pages, turned into pixels, and the receipt is then treated as a cheap scanner
would. ``locate_*`` say where in the finished picture a text came to lie.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pymupdf
from PIL import Image, ImageFilter

from samples.canvas import MUTED, RULE, WHITE, Canvas, Colour, rgb

Box = tuple[float, float, float, float]

RECEIPT_SCALE = 3.0
RECEIPT_TURN = 1.7  # degrees, anticlockwise
SCREEN_SCALE = 1.5


def _receipt_page() -> pymupdf.Document:
    doc = pymupdf.open()
    c = Canvas(doc, 236, 452)
    mid, ink = 118, (0.16, 0.16, 0.2)

    def centre(y: float, text: str, size: float = 9, style: int = 0) -> None:
        c.text(mid, y, text, size=size, family="mono", style=style, colour=ink, align="centre")

    def row(y: float, name: str, price: str, style: int = 0, size: float = 9) -> None:
        c.text(18, y, name, size=size, family="mono", style=style, colour=ink)
        c.text(218, y, price, size=size, family="mono", style=style, colour=ink, align="right")

    centre(36, "PILCROW COFFEE", 15, 1)
    centre(52, "ROASTERS & BAKERY")
    centre(66, "27 Saddler Street, Durham")
    centre(79, "VAT GB 771 2048 55")
    c.rule(18, 90, 218, 90, colour=ink, dashes="[3 3] 0")
    row(106, "14/02/2025  08:52", "Till 2")
    row(119, "Receipt 004417", "Staff: Bryn")
    c.rule(18, 128, 218, 128, colour=ink, dashes="[3 3] 0")
    y = 146.0
    for name, price in [
        ("2 Flat white", "7.20"),
        ("1 Oat milk", "0.45"),
        ("1 Cardamom bun", "3.10"),
        ("2 Sourdough toast", "8.40"),
        ("1 Blood orange juice", "3.95"),
        ("1 Beans Huila 250 g", "11.50"),
    ]:
        row(y, name, price)
        y += 15
    c.rule(18, y - 4, 218, y - 4, colour=ink, dashes="[3 3] 0")
    row(y + 12, "Subtotal", "34.60")
    row(y + 27, "Loyalty card -10%", "-3.46")
    row(y + 48, "TOTAL GBP", "31.14", 1, 13)
    row(y + 67, "Card VISA **** 6093", "31.14")
    row(y + 80, "of which VAT 20%", "2.27")
    c.rule(18, y + 92, 218, y + 92, colour=ink, dashes="[3 3] 0")
    centre(y + 110, "Free wifi: pilcrow-guest")
    centre(y + 123, "password: slowmorning")
    centre(y + 144, "Thank you! Open 7.30-16.00")
    for i, wide in enumerate(
        [2, 1, 3, 1, 1, 2, 3, 1, 2, 1, 1, 3, 2, 1, 2, 2, 1, 3, 1, 1, 2, 1] * 2
    ):
        c.box(34 + i * 3.85, y + 160, wide * 0.9, 26, fill=ink)
    c.finish()
    return doc


def draw_receipt(path: Path) -> None:
    doc = _receipt_page()
    pixmap = doc[0].get_pixmap(
        matrix=pymupdf.Matrix(RECEIPT_SCALE, RECEIPT_SCALE), colorspace=pymupdf.csGRAY
    )
    paper = Image.frombytes("L", (pixmap.width, pixmap.height), pixmap.samples)
    paper = paper.filter(ImageFilter.GaussianBlur(0.7))
    turned = paper.rotate(
        RECEIPT_TURN, resample=Image.Resampling.BICUBIC, expand=True, fillcolor=118
    )
    grey = np.asarray(turned, dtype=np.float64)
    height, width = grey.shape
    rng = np.random.default_rng(20250214)
    # Faded thermal print on uneven light, with the grain of a small sensor.
    across, down = np.linspace(0, 1, width)[None, :], np.linspace(0, 1, height)[:, None]
    light = 0.97 - 0.10 * across - 0.06 * (down - 0.4) ** 2
    faded = (38 + grey * 0.83) * light
    fold = 7.0 * np.exp(-(((down - 0.56) * height / 5.0) ** 2))
    noisy = faded - fold + rng.normal(0, 5.0, grey.shape)
    result = Image.fromarray(np.clip(np.rint(noisy), 0, 255).astype(np.uint8), "L")
    result.save(path, quality=74, dpi=(200, 200))
    doc.close()


def locate_receipt(text: str) -> Box:
    """Pixels of the box around the last place of ``text`` in the turned picture."""
    doc = _receipt_page()
    found = doc[0].search_for(text)[-1] * RECEIPT_SCALE
    width, height = doc[0].rect.width * RECEIPT_SCALE, doc[0].rect.height * RECEIPT_SCALE
    doc.close()
    cos, sin = (f(math.radians(RECEIPT_TURN)) for f in (math.cos, math.sin))
    new_width = width * cos + height * sin
    new_height = width * sin + height * cos
    corners = [
        (found.x0, found.y0),
        (found.x1, found.y0),
        (found.x0, found.y1),
        (found.x1, found.y1),
    ]
    xs = [cos * (x - width / 2) + sin * (y - height / 2) + new_width / 2 for x, y in corners]
    ys = [-sin * (x - width / 2) + cos * (y - height / 2) + new_height / 2 for x, y in corners]
    return min(xs), min(ys), max(xs), max(ys)


ACCENT = rgb("4b5bd6")


def _switch(c: Canvas, x: float, y: float, on: bool) -> None:
    c.box(x, y, 38, 21, fill=ACCENT if on else rgb("c9ccd6"), radius=0.5)
    c.page.draw_circle((x + (27.5 if on else 10.5), y + 10.5), 8, color=WHITE, fill=WHITE)


def _screen_page() -> pymupdf.Document:
    doc = pymupdf.open()
    c = Canvas(doc, 860, 560)
    c.box(0, 0, 860, 560, fill=rgb("f6f7fb"))
    c.box(0, 0, 860, 40, fill=rgb("e4e6ee"))
    for i, colour in enumerate(["ee6a5f", "f5bd4f", "61c454"]):
        c.page.draw_circle((22 + 20 * i, 20), 6, color=rgb(colour), fill=rgb(colour))
    c.text(
        430, 25, "Lantern Backup: Settings", size=13, style=1, colour=rgb("3c4050"), align="centre"
    )
    c.box(0, 40, 200, 520, fill=rgb("eceef5"))
    for i, name in enumerate(
        ["General", "Schedule", "Storage", "Encryption", "Network", "Notifications", "Advanced"]
    ):
        chosen = name == "Schedule"
        if chosen:
            c.box(12, 66 + 40 * i, 176, 33, fill=ACCENT, radius=0.05)
        c.text(
            28,
            87 + 40 * i,
            name,
            size=13.5,
            colour=WHITE if chosen else rgb("3c4050"),
            style=int(chosen),
        )
    c.text(28, 535, "Version 5.2.1", size=11, colour=MUTED)
    c.text(232, 88, "Schedule", size=24, style=1)
    c.text(
        232,
        110,
        "When Lantern copies your files, and how long it keeps them.",
        size=12.5,
        colour=MUTED,
    )

    def row(y: float, name: str, hint: str) -> None:
        if y > 134:
            c.rule(252, y - 2, 808, y - 2)
        c.text(252, y + 22, name, size=13.5, style=1)
        c.text(252, y + 39, hint, size=11.5, colour=MUTED)

    def choice(y: float, value: str) -> None:
        c.box(638, y + 9, 170, 30, fill=WHITE, line=RULE, radius=0.04)
        c.text(650, y + 29, value, size=13)
        c.page.draw_polyline([(786, y + 21), (791, y + 27), (796, y + 21)], color=MUTED, width=1.5)

    c.box(232, 128, 596, 346, fill=WHITE, line=RULE, radius=0.015)
    row(134, "Back up automatically", "Copies only what has changed")
    _switch(c, 770, 149, True)
    row(190, "How often", "More often needs more space")
    choice(190, "Every 6 hours")
    row(246, "Quiet hours", "No copies while you work or play")
    choice(246, "09:00 to 17:30")
    row(302, "Keep old versions for", "Older ones are deleted, newest first kept")
    choice(302, "180 days")
    row(358, "Pause on battery", "Below 40 per cent")
    _switch(c, 770, 373, True)
    row(414, "Back up over mobile data", "May cost money")
    _switch(c, 770, 429, False)
    c.text(
        232, 510, "Last backup: today 06:14, 2.8 GB in 3 minutes", size=12.5, colour=rgb("2c7a47")
    )
    _button(c, 606, "Cancel", WHITE, rgb("3c4050"))
    _button(c, 722, "Save", ACCENT, WHITE)
    c.finish()
    return doc


def _button(c: Canvas, x: float, name: str, fill: Colour, ink: Colour) -> None:
    c.box(x, 492, 106, 34, fill=fill, line=RULE, radius=0.06)
    c.text(x + 53, 514, name, size=13.5, style=1, colour=ink, align="centre")


def draw_screenshot(path: Path) -> None:
    doc = _screen_page()
    pixmap = doc[0].get_pixmap(matrix=pymupdf.Matrix(SCREEN_SCALE, SCREEN_SCALE))
    image = Image.frombytes("RGB", (pixmap.width, pixmap.height), pixmap.samples)
    image.save(path, optimize=True)
    doc.close()


def locate_screenshot(text: str) -> Box:
    doc = _screen_page()
    found = doc[0].search_for(text)[-1] * SCREEN_SCALE
    doc.close()
    return found.x0, found.y0, found.x1, found.y1
