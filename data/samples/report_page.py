"""The page of the annual report: its measures, its colours, its running head."""

from __future__ import annotations

import pymupdf

from samples.canvas import MUTED, Canvas, rgb

W, H = 595, 842
LEFT, WIDE = 62, 471
TEAL, CORAL, SAND = rgb("1c5d63"), rgb("d9694a"), rgb("c79a4b")


class Report:
    """Adds pages with a running head and remembers them for the outline."""

    def __init__(self) -> None:
        self.doc = pymupdf.open()
        self.outline: list[list[object]] = []

    def page(self, title: str, level: int = 1, section: str = "") -> Canvas:
        canvas = Canvas(self.doc, W, H)
        number = self.doc.page_count
        self.outline.append([level, title, number])
        if number > 2:
            canvas.text(LEFT, 44, "Tarnfield Cycles plc", size=8, style=1, colour=TEAL)
            canvas.text(
                LEFT + WIDE,
                44,
                section or "Annual Report 2024",
                size=8,
                colour=MUTED,
                align="right",
            )
            canvas.rule(LEFT, 51, LEFT + WIDE, 51)
            canvas.text(LEFT + WIDE, 805, str(number - 2), size=8.5, colour=MUTED, align="right")
            canvas.text(LEFT, 108, title, size=25, family="serif", colour=TEAL)
        return canvas


def heading(canvas: Canvas, y: float, text: str) -> float:
    canvas.text(LEFT, y + 14, text, size=12.5, style=1, colour=TEAL)
    return y + 24
