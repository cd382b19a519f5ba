"""A scientific paper in two columns: figures, a table, equations, footnotes of reference."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pymupdf

from samples.canvas import MUTED, Canvas, rgb, save, width_of, wrap
from samples.canvas import font as font_of
from samples.charts import Frame, bars, legend, lines
from samples.paper_text import ABSTRACT, BODY, REFERENCES

W, H = 595, 842
LEFT, GAP, COLUMN = 54, 23, 232
TOP, BOTTOM = 60, 786
SIZE, LEADING = 10.2, 1.38
BLUE, RUST = rgb("2b5c8a"), rgb("b5532c")


class TwoColumns:
    """Pours blocks into columns, left then right, and opens pages as they fill."""

    def __init__(self) -> None:
        self.doc = pymupdf.open()
        self.outline: list[list[object]] = []
        self.canvas: Canvas
        self.column, self.y, self.top = 0, 0.0, 0.0
        self.open_page(TOP)

    def open_page(self, top: float) -> None:
        if self.doc.page_count:
            self.canvas.finish()
        self.canvas = Canvas(self.doc, W, H)
        number = self.doc.page_count
        self.column, self.y, self.top = 0, top, top
        self.canvas.text(W / 2, 818, str(410 + number), size=9, family="serif", align="centre")
        if number > 1:
            self.canvas.text(
                LEFT,
                42,
                "R. Achterberg, N. Villalobos and S. Pike",
                size=8.5,
                family="serif",
                style=2,
                colour=MUTED,
            )
            self.canvas.text(
                W - LEFT,
                42,
                "Counting swifts by sound",
                size=8.5,
                family="serif",
                style=2,
                colour=MUTED,
                align="right",
            )

    @property
    def x(self) -> float:
        return LEFT + self.column * (COLUMN + GAP)

    def next_column(self) -> None:
        if self.column == 1:
            self.open_page(TOP)
        else:
            self.column, self.y = 1, self.top

    def heading(self, text: str) -> None:
        if self.y + 60 > BOTTOM:
            self.next_column()
        self.outline.append([1, text, self.doc.page_count])
        self.y += 8 if self.y > self.top else 0
        self.canvas.text(self.x, self.y + 12, text, size=11.5, family="serif", style=1)
        self.y += 20

    def paragraph(self, text: str, *, size: float = SIZE, indent: float = 12) -> None:
        rest = wrap(text, COLUMN, size=size, family="serif", indent=indent)
        while rest:
            room = int((BOTTOM - self.y) / (size * LEADING) + 0.001)
            # Neither a first line alone at the foot nor a last line alone at the head.
            if room < len(rest) and room - (len(rest) - room == 1) < 2:
                self.next_column()
                continue
            if room < len(rest) and len(rest) - room == 1:
                room -= 1
            now, rest = rest[:room], rest[room:]
            self.canvas.lines(
                self.x,
                self.y,
                COLUMN,
                now,
                size=size,
                leading=LEADING,
                family="serif",
                justify=True,
                indent=indent,
                last=not rest,
            )
            self.y += len(now) * size * LEADING
            indent = 0

    def equation(self, text: str, number: int) -> None:
        if self.y + 26 > BOTTOM:
            self.next_column()
        self.canvas.text(
            self.x + COLUMN / 2 - 8,
            self.y + 17,
            text,
            size=10.5,
            family="serif",
            style=2,
            align="centre",
        )
        self.canvas.text(
            self.x + COLUMN, self.y + 17, f"({number})", size=10, family="serif", align="right"
        )
        self.y += 28

    def float_block(
        self, height: float, draw: Callable[[Canvas, float, float], None], caption: str
    ) -> None:
        """A figure or table with its caption below, never broken."""
        below = wrap(caption, COLUMN, size=8.8, family="serif")
        whole = height + 10 + len(below) * 8.8 * 1.3 + 10
        if self.y + whole > BOTTOM:
            self.next_column()
        draw(self.canvas, self.x, self.y + 8)
        self.y += height + 10
        self.canvas.lines(self.x, self.y, COLUMN, below, size=8.8, leading=1.3, family="serif")
        self.y += len(below) * 8.8 * 1.3 + 10


def _sites(c: Canvas, x: float, y: float) -> None:
    c.table(
        x,
        y,
        [76, 40, 58, 58],
        [
            ["Site", "Nests", "Recorders", "Evenings"],
            ["Abbey barn", "31", "3", "22"],
            ["Mill chimney", "12", "2", "19"],
            ["School roof", "47", "4", "24"],
            ["Water tower", "8", "1", "17"],
            ["Old brewery", "64", "4", "21"],
            ["All", "162", "14", "103"],
        ],
        size=8.8,
        row_height=15,
        strong=[6],
        family="serif",
    )


def _dusk(c: Canvas, x: float, y: float) -> None:
    legend(c, x + 26, y + 8, ["recorder", "observer"], [BLUE, RUST], size=7.5)
    frame = Frame(x + 22, y + 20, COLUMN - 24, 118, top=60, steps=4, size=7)
    lines(
        c,
        frame,
        ["-60", "-50", "-40", "-30", "-20", "-10", "0", "+10", "+20"],
        [[4, 7, 13, 22, 37, 52, 48, 21, 3], [5, 8, 12, 24, 39, 50, 41, 9, 0]],
        [BLUE, RUST],
    )
    c.text(
        frame.x + frame.width * 5.5 / 9,
        frame.level(52) - 6,
        "52",
        size=7,
        style=1,
        colour=BLUE,
        align="centre",
    )
    c.text(x + COLUMN / 2, y + 164, "minutes from sunset", size=7.5, align="centre")


def _errors(c: Canvas, x: float, y: float) -> None:
    bars(
        c,
        Frame(
            x + 22, y + 14, COLUMN - 24, 104, top=40, steps=4, size=7, unit="mean absolute error, %"
        ),
        ["calm", "breeze", "wind", "rain", "traffic"],
        [[9, 11, 23, 36, 14]],
        [BLUE],
    )


def _models(c: Canvas, x: float, y: float) -> None:
    c.table(
        x,
        y,
        [100, 44, 44, 44],
        [
            ["Method", "Bias", "MAE", "r"],
            ["Loudness only", "+38%", "41%", "0.61"],
            ["Call rate", "-12%", "19%", "0.84"],
            ["Call rate, overlap", "-3%", "11%", "0.93"],
            ["Second observer", "+1%", "8%", "0.96"],
        ],
        size=8.8,
        row_height=15,
        family="serif",
    )


def _nights(c: Canvas, x: float, y: float) -> None:
    legend(c, x + 120, y + 8, ["small", "large colonies"], [BLUE, RUST], size=7.5)
    lines(
        c,
        Frame(x + 22, y + 20, COLUMN - 24, 104, top=20, steps=4, size=7, unit="%"),
        ["1", "2", "3", "4", "5", "6", "7", "8", "9"],
        [[17, 12.5, 10.1, 8.8, 7.9, 7.3, 6.9, 6.6, 6.4], [11, 8.1, 6.7, 6, 5.5, 5.2, 5, 4.9, 4.8]],
        [BLUE, RUST],
    )
    c.text(x + COLUMN / 2, y + 150, "evenings without rain", size=7.5, align="centre")


def _costs(c: Canvas, x: float, y: float) -> None:
    c.table(
        x,
        y,
        [106, 63, 63],
        [
            ["For one colony, euros", "Recorder", "Observer"],
            ["Equipment, over 5 years", "8", "4"],
            ["Placing and collecting", "31", "0"],
            ["Evenings (5)", "0", "210"],
            ["Listening and evaluation", "26", "12"],
            ["Together", "65", "226"],
        ],
        size=8.8,
        row_height=15,
        strong=[5],
        family="serif",
    )


BLOCKS: dict[str, tuple[float, Callable[[Canvas, float, float], None], str]] = {
    "sites": (107, _sites, "**Table 1.** The five colonies, with nests found by endoscope."),
    "dusk": (
        170,
        _dusk,
        "**Figure 1.** Screaming birds around sunset at the old brewery, mean of "
        "21 evenings. The recorder still hears birds when the observer no longer sees them.",
    ),
    "errors": (
        140,
        _errors,
        "**Figure 2.** Error of the count by weather and noise. Rain on the "
        "case of the recorder is the worst of them.",
    ),
    "nights": (
        156,
        _nights,
        "**Figure 3.** Error of the mean against the number of evenings, for "
        "colonies below and above 30 nests.",
    ),
    "costs": (
        92,
        _costs,
        "**Table 3.** What a survey of one colony costs, at 42 euros for an "
        "evening of a paid surveyor.",
    ),
    "models": (
        77,
        _models,
        "**Table 2.** Methods against the endoscope. MAE: mean absolute error; "
        "r: correlation over evenings.",
    ),
}


def _title(flow: TwoColumns) -> None:
    c = flow.canvas
    c.text(
        LEFT,
        44,
        "Journal of Urban Field Ecology 12 (2024) 411–413",
        size=8.5,
        family="serif",
        colour=MUTED,
    )
    c.text(W / 2, 96, "Counting swifts by sound:", size=21, family="serif", style=1, align="centre")
    c.text(
        W / 2,
        121,
        "cheap recorders agree with observers at dusk",
        size=17,
        family="serif",
        align="centre",
    )
    c.text(
        W / 2,
        150,
        "Roosmarijn Achterberg¹, Nicanor Villalobos² and Sunniva Pike¹",
        size=11,
        family="serif",
        align="centre",
    )
    c.text(
        W / 2,
        166,
        "¹ Field Station Oudewater   ² Institute for Applied Acoustics, Talca",
        size=9,
        family="serif",
        style=2,
        colour=MUTED,
        align="centre",
    )
    c.rule(LEFT + 34, 182, W - LEFT - 34, 182)
    head = font_of("serif", 1)
    c.text(LEFT + 34, 200, "Abstract", size=9.6, family="serif", style=1)
    y = c.paragraph(
        LEFT + 34,
        191,
        W - 2 * LEFT - 68,
        ABSTRACT,
        size=9.6,
        family="serif",
        leading=1.34,
        justify=True,
        indent=width_of("Abstract   ", head, 9.6),
    )
    c.rule(LEFT + 34, y + 8, W - LEFT - 34, y + 8)
    flow.y = flow.top = y + 24


def draw(path: Path) -> None:
    flow = TwoColumns()
    _title(flow)
    equations = 0
    for kind, text in BODY:
        if kind == "heading":
            flow.heading(text)
        elif kind == "equation":
            equations += 1
            flow.equation(text, equations)
        elif kind == "block":
            flow.float_block(*BLOCKS[text])
        else:
            flow.paragraph(text, indent=0 if kind == "first" else 12)
    flow.heading("References")
    for number, reference in enumerate(REFERENCES, 1):
        flow.paragraph(f"[{number}] {reference}", size=8.8, indent=0)
        flow.y += 2.5
    flow.canvas.finish()
    flow.doc.set_toc(flow.outline)
    flow.doc.set_page_labels([{"startpage": 0, "prefix": "", "style": "D", "firstpagenum": 411}])
    save(
        flow.doc,
        path,
        title="Counting swifts by sound: cheap recorders agree with observers at dusk",
        author="R. Achterberg, N. Villalobos, S. Pike",
    )
