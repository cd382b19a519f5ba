"""Eight slides: landscape, large type, little text, a diagram, a timeline and charts."""

from __future__ import annotations

from pathlib import Path

import pymupdf

from samples.canvas import INK, MUTED, WHITE, Canvas, Colour, rgb, save
from samples.charts import Frame, bars, legend, lines

W, H = 960, 540
NIGHT, LIME, ROSE, MIST = rgb("171c33"), rgb("5fae57"), rgb("d4496a"), rgb("f2f3f7")


def _slide(doc: pymupdf.Document, title: str, kicker: str) -> Canvas:
    c = Canvas(doc, W, H)
    c.box(0, 0, 14, H, fill=NIGHT)
    c.text(60, 62, kicker.upper(), size=12, style=1, colour=LIME)
    c.text(60, 108, title, size=34, style=1, colour=NIGHT)
    c.text(
        60, 516, "Checkout platform · reliability review, third quarter 2024", size=11, colour=MUTED
    )
    c.text(W - 48, 516, str(doc.page_count), size=11, colour=MUTED, align="right")
    return c


def draw(path: Path) -> None:
    doc = pymupdf.open()
    for slide in (_title, _numbers, _path, _incidents, _timeline, _latency, _cost, _asks):
        slide(doc).finish()
    doc.set_toc(
        [
            [1, "Title", 1],
            [1, "The quarter in numbers", 2],
            [1, "How a payment travels", 3],
            [1, "Incidents", 4],
            [1, "The night of 17 August", 5],
            [1, "Latency", 6],
            [1, "Cost", 7],
            [1, "What we ask for", 8],
        ]
    )
    save(
        doc,
        path,
        title="Checkout platform: reliability review Q3 2024",
        author="Payments reliability group, Larkmarket",
    )


def _title(doc: pymupdf.Document) -> Canvas:
    c = Canvas(doc, W, H)
    c.box(0, 0, W, H, fill=NIGHT)
    for i, height in enumerate([40, 62, 55, 90, 74, 118, 20, 132, 140, 151]):
        c.box(560 + i * 36, 470 - height * 1.6, 24, height * 1.6, fill=ROSE if i == 6 else LIME)
    c.text(70, 200, "One bad night,", size=54, style=1, colour=WHITE)
    c.text(70, 262, "twelve quiet weeks", size=54, style=1, colour=WHITE)
    c.text(70, 330, "Checkout platform reliability review", size=21, colour=WHITE)
    c.text(70, 360, "Third quarter 2024", size=21, colour=LIME)
    c.text(
        70,
        478,
        "Larkmarket · Payments reliability group · 8 October 2024",
        size=14,
        colour=rgb("a9b0c9"),
    )
    return c


def _numbers(doc: pymupdf.Document) -> Canvas:
    c = _slide(doc, "We met three of our four targets", "The quarter in numbers")
    cells = [
        ("99.97%", "availability", "target 99.99%", ROSE),
        ("412 ms", "median checkout", "target 500 ms", LIME),
        ("0.08%", "double charges", "target 0.10%", LIME),
        ("18 min", "median time to restore", "target 30 min", LIME),
    ]
    for i, (figure, name, target, colour) in enumerate(cells):
        x = 60 + i * 215
        c.box(x, 160, 200, 210, fill=MIST, radius=0.04)
        c.box(x, 160, 200, 7, fill=colour)
        c.text(x + 100, 250, figure, size=38, style=1, colour=colour, align="centre")
        c.text(x + 100, 288, name, size=14, align="centre")
        c.text(x + 100, 334, target, size=13, colour=MUTED, align="centre")
    c.text(
        60, 430, "61 million payments, 41 minutes of outage, 38 of them in a single night.", size=20
    )
    return c


def _node(
    c: Canvas, x: float, y: float, name: str, what: str, fill: Colour = MIST, ink: Colour = INK
) -> None:
    c.box(x, y, 150, 74, fill=fill, line=NIGHT, thick=1.4, radius=0.08)
    c.text(x + 75, y + 34, name, size=17, style=1, align="centre", colour=ink)
    c.text(x + 75, y + 56, what, size=12, align="centre", colour=ink)


def _path(doc: pymupdf.Document) -> Canvas:
    c = _slide(doc, "How a payment travels", "Architecture")
    _node(c, 60, 170, "Basket", "web and apps")
    _node(c, 290, 170, "Gateway", "12 nodes, 3 zones")
    _node(c, 520, 170, "Ledger", "Postgres, 2 replicas", NIGHT, WHITE)
    _node(c, 750, 170, "Banks", "4 acquirers")
    _node(c, 290, 340, "Risk score", "answers in 80 ms")
    _node(c, 520, 340, "Outbox", "Kafka, 7 days", rgb("f9e4e9"))
    _node(c, 750, 340, "Receipts", "mail and push")
    for x in (210, 440, 670):
        c.arrow(x + 4, 207, x + 76, 207, colour=NIGHT)
    c.arrow(365, 248, 365, 336, colour=NIGHT)
    c.arrow(595, 248, 595, 336, colour=ROSE, thick=2.2)
    c.arrow(674, 377, 746, 377, colour=NIGHT)
    c.text(606, 298, "the link that failed in August", size=13, colour=ROSE, style=1)
    c.text(
        60,
        462,
        "The ledger never waits for receipts: it writes to the outbox and goes on.",
        size=17,
    )
    return c


def _incidents(doc: pymupdf.Document) -> Canvas:
    c = _slide(doc, "Three incidents, one that mattered", "Incidents")
    c.table(
        60,
        160,
        [120, 130, 390, 200],
        [
            ["Date", "Minutes", "Cause", "Payments delayed"],
            ["9 July", "2", "Expired certificate at one acquirer", "1,900"],
            ["17 August", "38", "Outbox disk full, ledger blocked on write", "214,000"],
            ["26 September", "1", "Wrong weight in a gateway release", "640"],
            ["Together", "41", "", "216,540"],
        ],
        size=17,
        row_height=46,
        aligns="lclr",
        strong=[4],
        accent=NIGHT,
    )
    c.text(
        60,
        440,
        "No payment was lost. 73 customers were charged twice and refunded within a day.",
        size=19,
    )
    return c


def _timeline(doc: pymupdf.Document) -> Canvas:
    c = _slide(doc, "The night of 17 August", "What happened")
    c.rule(90, 300, 880, 300, colour=NIGHT, thick=3)
    events = [
        (90, "01:52", "Cleaner job", "skips the outbox", True),
        (248, "02:07", "Disk at 100%", "ledger blocks", False),
        (406, "02:11", "Pager rings", "Oyelaran answers", True),
        (564, "02:29", "Volume grown", "by 400 GB by hand", False),
        (722, "02:45", "Payments flow", "queue drains", True),
        (880, "03:30", "All clear", "banks confirm", False),
    ]
    for x, time, what, more, above in events:
        colour = ROSE if time in ("02:07", "02:11", "02:29") else LIME
        c.page.draw_circle((x, 300), 9, color=WHITE, fill=colour, width=2)
        y = 210 if above else 350
        c.text(x, y, time, size=20, style=1, colour=colour, align="centre")
        c.text(x, y + 24, what, size=15, style=1, align="centre")
        c.text(x, y + 44, more, size=14, colour=MUTED, align="centre")
    c.text(
        60,
        462,
        "The alert for disk space stood at 95% of a disk that fills in four minutes.",
        size=19,
    )
    return c


def _latency(doc: pymupdf.Document) -> Canvas:
    c = _slide(doc, "The slow tail is getting shorter", "Latency")
    weeks = [f"W{n}" for n in range(27, 40)]
    tail = [1.92, 1.88, 1.9, 1.81, 1.74, 1.7, 2.31, 1.62, 1.5, 1.41, 1.33, 1.3, 1.24]
    middle = [0.46, 0.46, 0.45, 0.44, 0.44, 0.43, 0.47, 0.42, 0.41, 0.41, 0.4, 0.39, 0.39]
    lines(
        c,
        Frame(96, 170, 810, 250, top=2.5, steps=5, unit="seconds", size=13),
        weeks,
        [tail, middle],
        [ROSE, NIGHT],
        marked=[0, 6, 12],
    )
    legend(c, 560, 156, ["99th percentile", "median"], [ROSE, NIGHT], size=14)
    c.text(
        60,
        484,
        "The peak of week 33 is the outage. Caching risk scores took 0.4 s off the tail.",
        size=16,
    )
    return c


def _cost(doc: pymupdf.Document) -> Canvas:
    c = _slide(doc, "A payment now costs a third less", "Cost")
    bars(
        c,
        Frame(96, 170, 520, 262, top=2, steps=4, unit="pence for one payment", size=13),
        ["Q3 23", "Q4 23", "Q1 24", "Q2 24", "Q3 24"],
        [[1.8, 1.7, 1.5, 1.3, 1.2]],
        [NIGHT],
    )
    for i, (figure, what) in enumerate(
        [
            ("-0.4p", "smaller gateway nodes"),
            ("-0.3p", "outbox on cheaper disks"),
            ("+0.1p", "a second bank link"),
        ]
    ):
        y = 214 + 76 * i
        c.text(660, y, figure, size=30, style=1, colour=ROSE if figure[0] == "+" else LIME)
        c.text(660, y + 24, what, size=15)
    c.text(60, 484, "Total for the quarter: £732,000 for 61 million payments.", size=17)
    return c


def _asks(doc: pymupdf.Document) -> Canvas:
    c = _slide(doc, "What we ask for", "Decisions")
    asks = [
        (
            "1",
            "Let payments through when the outbox is down",
            "The ledger keeps them and fills the outbox later. Eight weeks, two engineers.",
        ),
        (
            "2",
            "Alert on time until full, not on per cent full",
            "Done for the outbox; 214 other disks to go. Three weeks.",
        ),
        (
            "3",
            "Rehearse a lost zone every month",
            "First rehearsal on Tuesday 12 November at 10 in the morning.",
        ),
    ]
    for i, (number, ask, detail) in enumerate(asks):
        y = 170 + 102 * i
        c.page.draw_circle((88, y + 24), 26, color=LIME, fill=LIME)
        c.text(88, y + 33, number, size=25, style=1, colour=WHITE, align="centre")
        c.text(134, y + 20, ask, size=22, style=1, colour=NIGHT)
        c.text(134, y + 48, detail, size=16, colour=MUTED)
    return c
