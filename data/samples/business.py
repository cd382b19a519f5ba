"""An invoice and a filled form: one page each, little prose, values behind their names."""

from __future__ import annotations

from pathlib import Path

import pymupdf

from samples.canvas import MUTED, RULE, WHITE, Canvas, rgb, save

W, H = 595, 842


def draw_invoice(path: Path) -> None:
    doc = pymupdf.open()
    c = Canvas(doc, W, H)
    oak = rgb("7a4a21")
    left, wide = 56, 483
    c.box(0, 0, W, 10, fill=oak)
    c.text(left, 66, "Ferris & Finch Joinery", size=21, family="serif", colour=oak)
    c.text(left, 84, "Unit 4, Old Tannery Yard, Hexham NE46 3PB", size=9, colour=MUTED)
    c.text(left, 97, "accounts@ferrisfinch.example · 01434 555 0147", size=9, colour=MUTED)
    c.text(left + wide, 68, "Invoice", size=26, style=1, align="right")
    for i, (name, value) in enumerate(
        [
            ("Invoice number", "FF-2025-0318"),
            ("Invoice date", "7 March 2025"),
            ("Due date", "6 April 2025"),
            ("Your order", "PO 88120"),
            ("VAT number", "GB 284 9917 03"),
        ]
    ):
        c.text(left + wide - 110, 104 + 16 * i, name, size=9, colour=MUTED, align="right")
        c.text(left + wide, 104 + 16 * i, value, size=9.5, style=1, align="right")
    c.text(left, 150, "Bill to", size=9, colour=MUTED)
    for i, line in enumerate(
        [
            "Alder Row Primary School",
            "Attn. Prudence Okafor, bursar",
            "22 Alder Row",
            "Morpeth NE61 1TN",
        ]
    ):
        c.text(left, 166 + 15 * i, line, size=10.5, style=int(i == 0))
    y = c.table(
        left,
        250,
        [213, 60, 60, 70, 80],
        [
            ["Description", "Quantity", "Unit", "Price", "Amount"],
            ["Oak library shelves, 2.1 m, oiled", "6", "piece", "£412.00", "£2,472.00"],
            ["Reading bench with drawers", "2", "piece", "£685.00", "£1,370.00"],
            ["Window seat, made to measure", "1", "piece", "£1,148.00", "£1,148.00"],
            ["Fitting on site, two joiners", "14", "hour", "£58.00", "£812.00"],
            ["Delivery, Hexham to Morpeth", "1", "trip", "£95.00", "£95.00"],
        ],
        size=9.5,
        row_height=25,
        aligns="lrlrr",
        accent=oak,
    )
    for name, value, strong in [
        ("Net", "£5,897.00", False),
        ("Discount for schools, 5%", "-£294.85", False),
        ("Net after discount", "£5,602.15", False),
        ("VAT 20%", "£1,120.43", False),
        ("Total due", "£6,722.58", True),
    ]:
        y += 21
        if strong:
            c.box(left + 253, y - 4, 230, 27, fill=oak)
            y += 14
        colour = WHITE if strong else (0.13, 0.14, 0.17)
        c.text(left + 263, y, name, size=11 if strong else 9.5, style=int(strong), colour=colour)
        c.text(
            left + wide - 6,
            y,
            value,
            size=11 if strong else 9.5,
            style=int(strong),
            colour=colour,
            align="right",
        )
    y += 50
    c.text(left, y, "How to pay", size=11, style=1, colour=oak)
    for name, value in [
        ("Bank", "Cheviot Building Society"),
        ("Sort code", "40-91-26"),
        ("Account", "7730 1184"),
        ("Reference", "FF-2025-0318"),
    ]:
        y += 17
        c.text(left, y, name, size=9.5, colour=MUTED)
        c.text(left + 80, y, value, size=9.5)
    c.paragraph(
        left,
        y + 20,
        wide,
        "Please pay within 30 days. We charge 1.5% a month on late payments. The oak comes from "
        "Kielder Forest (FSC C118842). The guarantee on our joints is twenty-five years; on oil "
        "and fittings it is two.",
        size=9,
        colour=MUTED,
    )
    c.rule(left, 786, left + wide, 786)
    c.text(
        W / 2,
        802,
        "Ferris & Finch Joinery Ltd, registered in England 09918273",
        size=8,
        colour=MUTED,
        align="centre",
    )
    c.finish()
    save(doc, path, title="Invoice FF-2025-0318", author="Ferris & Finch Joinery Ltd")


GREEN = rgb("2f6b3c")


def draw_form(path: Path) -> None:
    doc = pymupdf.open()
    c = Canvas(doc, W, H)
    left, wide = 56, 483
    c.box(left, 44, wide, 62, fill=GREEN)
    c.text(left + 16, 72, "Application for an allotment", size=20, style=1, colour=WHITE)
    c.text(left + 16, 92, "Form A-7 · Borough of Thornby, Parks and Gardens", size=10, colour=WHITE)
    fields: list[tuple[str, str, str, float, float, float]] = []

    def field(name: str, label: str, value: str, x: float, y: float, width: float) -> None:
        c.text(x, y, label, size=8.5, colour=MUTED)
        c.box(x, y + 5, width, 22, line=RULE)
        fields.append((name, label, value, x, y + 5, width))

    def part(y: float, title: str) -> None:
        c.text(left, y, title, size=12, style=1, colour=GREEN)
        c.rule(left, y + 6, left + wide, y + 6, colour=GREEN)

    part(140, "1  Applicant")
    field("family_name", "Family name", "Vasquez-Holm", left, 166, 232)
    field("given_names", "Given names", "Leonora Beatrix", left + 251, 166, 232)
    field("address", "Address", "9 Weavers Court, Thornby TH4 2QS", left, 212, 340)
    field("born", "Date of birth", "23 April 1979", left + 359, 212, 124)
    field("phone", "Telephone", "01632 960 418", left, 258, 160)
    field("mail", "E-mail", "leonora.vh@post.example", left + 179, 258, 304)
    part(322, "2  The plot")
    field("site", "Site wished for", "Canal Bank North", left, 348, 232)
    field("second", "Second choice", "Mill Meadow", left + 251, 348, 232)
    field("size", "Size, square metres", "125", left, 394, 110)
    field("since", "On the waiting list since", "12 September 2021", left + 129, 394, 180)
    field("use", "Mainly for", "vegetables, two beehives", left + 328, 394, 155)
    ticks = [
        ("water", "I need a water tap within 30 metres", True, 448),
        ("shed", "I wish to build a shed (at most 5 square metres)", True, 470),
        ("share", "I would share a plot with somebody else", False, 492),
        ("access", "I need a path that is fit for a wheelchair", False, 514),
    ]
    for _, label, _, y in ticks:
        c.text(left + 22, y + 10, label, size=10)
    part(562, "3  Rent")
    c.table(
        left,
        576,
        [243, 120, 120],
        [
            ["Size of plot", "Rent for a year", "Deposit"],
            ["up to 75 square metres", "£38.00", "£25.00"],
            ["76 to 150 square metres", "£64.50", "£40.00"],
            ["151 to 250 square metres", "£97.00", "£40.00"],
        ],
        accent=GREEN,
    )
    c.text(
        left, 668, "Residents over 66 and holders of a city card pay half.", size=9, colour=MUTED
    )
    part(704, "4  Signature")
    field("place", "Place and date", "Thornby, 3 February 2025", left, 730, 200)
    field("signed", "Signed", "L. Vasquez-Holm", left + 219, 730, 264)
    c.text(
        left,
        792,
        "For office use: received 5 Feb 2025 · file 25/0092 · clerk JM",
        size=8.5,
        family="mono",
        colour=MUTED,
    )
    c.finish()
    for name, label, value, x, y, width in fields:
        widget = pymupdf.Widget()
        widget.field_name, widget.field_label = name, label
        widget.field_type = pymupdf.PDF_WIDGET_TYPE_TEXT
        widget.rect = pymupdf.Rect(x + 3, y + 2, x + width - 3, y + 20)
        widget.text_font, widget.text_fontsize = "Helv", 10.5
        widget.text_color = (0.08, 0.15, 0.45)
        widget.field_value = value
        c.page.add_widget(widget)
    for name, label, value, y in ticks:
        widget = pymupdf.Widget()
        widget.field_name, widget.field_label = name, label
        widget.field_type = pymupdf.PDF_WIDGET_TYPE_CHECKBOX
        widget.rect = pymupdf.Rect(left, y, left + 13, y + 13)
        widget.border_color, widget.border_width = (0.4, 0.45, 0.4), 1
        widget.field_value = value
        c.page.add_widget(widget)
    save(doc, path, title="Form A-7: Application for an allotment", author="Borough of Thornby")
