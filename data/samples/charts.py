"""Bar and line charts as vectors, with their values written on them where asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from samples.canvas import INK, MUTED, RULE, WHITE, Canvas, Colour


@dataclass(frozen=True, slots=True)
class Frame:
    """Where the plotting area lies and what its value axis spans."""

    x: float
    y: float
    width: float
    height: float
    top: float
    steps: int = 4
    unit: str = ""
    size: float = 8

    def level(self, value: float) -> float:
        return self.y + self.height * (1 - value / self.top)


def _axis(canvas: Canvas, frame: Frame, labels: Sequence[str], centres: Sequence[float]) -> None:
    for step in range(frame.steps + 1):
        value = frame.top * step / frame.steps
        level = frame.level(value)
        canvas.rule(
            frame.x,
            level,
            frame.x + frame.width,
            level,
            colour=MUTED if step == 0 else RULE,
            thick=0.8 if step == 0 else 0.4,
        )
        canvas.text(
            frame.x - 5,
            level + frame.size * 0.35,
            f"{value:g}",
            size=frame.size,
            colour=MUTED,
            align="right",
        )
    if frame.unit:
        canvas.text(frame.x, frame.y - frame.size, frame.unit, size=frame.size, colour=MUTED)
    for label, centre in zip(labels, centres, strict=True):
        canvas.text(
            centre,
            frame.y + frame.height + frame.size * 1.6,
            label,
            size=frame.size,
            colour=INK,
            align="centre",
        )


def legend(
    canvas: Canvas,
    x: float,
    y: float,
    names: Sequence[str],
    colours: Sequence[Colour],
    size: float = 8,
) -> None:
    """Names behind a square of their colour, in one line."""
    for name, colour in zip(names, colours, strict=True):
        canvas.box(x, y - size * 0.8, size * 0.9, size * 0.9, fill=colour)
        x += size * 1.4
        x += canvas.text(x, y, name, size=size) + size * 1.8


def bars(
    canvas: Canvas,
    frame: Frame,
    labels: Sequence[str],
    series: Sequence[Sequence[float]],
    colours: Sequence[Colour],
    *,
    stacked: bool = False,
    values: bool = True,
) -> None:
    """Grouped or stacked bars, one group a label."""
    step = frame.width / len(labels)
    centres = [frame.x + step * (i + 0.5) for i in range(len(labels))]
    _axis(canvas, frame, labels, centres)
    inner = step * 0.62
    for i, centre in enumerate(centres):
        base = 0.0
        for j, (heights, colour) in enumerate(zip(series, colours, strict=True)):
            value = heights[i]
            if stacked:
                left, width = centre - inner / 2, inner
                canvas.box(
                    left,
                    frame.level(base + value),
                    width,
                    frame.level(base) - frame.level(base + value),
                    fill=colour,
                )
                if values:
                    middle = (frame.level(base) + frame.level(base + value)) / 2
                    canvas.text(
                        centre,
                        middle + frame.size * 0.35,
                        f"{value:g}",
                        size=frame.size,
                        colour=WHITE,
                        align="centre",
                        style=1,
                    )
                base += value
            else:
                width = inner / len(series)
                left = centre - inner / 2 + width * j
                canvas.box(
                    left,
                    frame.level(value),
                    width * 0.94,
                    frame.level(0) - frame.level(value),
                    fill=colour,
                )
                if values:
                    canvas.text(
                        left + width * 0.47,
                        frame.level(value) - 3,
                        f"{value:g}",
                        size=frame.size,
                        align="centre",
                    )
        if stacked and values:
            canvas.text(
                centre, frame.level(base) - 4, f"{base:g}", size=frame.size, style=1, align="centre"
            )


def lines(
    canvas: Canvas,
    frame: Frame,
    labels: Sequence[str],
    series: Sequence[Sequence[float]],
    colours: Sequence[Colour],
    *,
    marked: Sequence[int] = (),
    every: int = 1,
) -> None:
    """Lines with dots; ``marked`` numbers the points that carry their value."""
    step = frame.width / len(labels)
    centres = [frame.x + step * (i + 0.5) for i in range(len(labels))]
    shown = [label if i % every == 0 else "" for i, label in enumerate(labels)]
    _axis(canvas, frame, shown, centres)
    for heights, colour in zip(series, colours, strict=True):
        points = [(c, frame.level(v)) for c, v in zip(centres, heights, strict=True)]
        canvas.page.draw_polyline(points, color=colour, width=1.6)
        for i, (x, y) in enumerate(points):
            canvas.page.draw_circle((x, y), 2.1, color=colour, fill=colour)
            if i in marked:
                canvas.text(
                    x,
                    y - 6,
                    f"{heights[i]:g}",
                    size=frame.size,
                    style=1,
                    colour=colour,
                    align="centre",
                )
