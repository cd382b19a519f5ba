"""Plots as SVG whose colours follow the page they stand on, light or dark.

Matplotlib lays out and draws; the few colours it is given are stand-ins, which are then replaced
by CSS variables with the light value as their fallback. Text stays text, so that it takes the
page's font and can be searched.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil, floor, log10
from typing import Any

# Stand-in -> (CSS variable, light, dark). The series are told apart by lightness as well.
_INK, _MUTED, _GRID = "#010101", "#020202", "#030303"
SERIES = ("#0a0101", "#0a0202", "#0a0303", "#0a0404", "#0a0505", "#0a0606")
PALETTE: Mapping[str, tuple[str, str, str]] = {
    _INK: ("--ink", "#1c2330", "#e8ebf2"),
    _MUTED: ("--muted", "#667085", "#98a2b5"),
    _GRID: ("--line", "#e3e7ee", "#2b3342"),
    SERIES[0]: ("--series-1", "#2f5bd8", "#7ea2ff"),
    SERIES[1]: ("--series-2", "#c2571a", "#f29a5c"),
    SERIES[2]: ("--series-3", "#15807a", "#54c7bd"),
    SERIES[3]: ("--series-4", "#8a3fb5", "#c894ec"),
    SERIES[4]: ("--series-5", "#8a6d00", "#d9ba45"),
    SERIES[5]: ("--series-6", "#5b6472", "#a7b0c0"),
}
_MARKERS = ("o", "s", "D", "^", "v", "P")


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a plot. ``low`` and ``high`` bound a band around it, empty for none; ``notes``
    are written at its points. ``like`` gives it the colour of another line, by position."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    notes: Sequence[str] = ()
    dashed: bool = False
    like: int | None = None


@dataclass(frozen=True, slots=True)
class Bars:
    """One group of bars: a value a category, with the ends of its interval."""

    name: str
    values: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()


def line_plot(
    lines: Sequence[Line],
    x_label: str,
    y_label: str,
    *,
    x_log: bool = False,
    x_ticks: Sequence[float] = (),
    y_range: tuple[float, float] | None = None,
    size: tuple[float, float] = (6.4, 3.4),
    legend_columns: int = 4,
    points: bool = False,
) -> str:
    """Lines with points, or with ``points`` no lines between them, as an ``<svg>`` element."""
    with _figure(size) as (figure, axes):
        for number, line in enumerate(lines):
            like = number if line.like is None else line.like
            colour = SERIES[like % len(SERIES)]
            few = len(line.x) <= 14
            axes.plot(
                line.x,
                line.y,
                color=colour,
                linewidth=2,
                linestyle="" if points else "--" if line.dashed else "-",
                marker=_MARKERS[number % len(_MARKERS)] if few else None,
                markersize=5,
                label=line.name,
            )
            if line.low:
                axes.fill_between(line.x, line.low, line.high, color=colour, alpha=0.12, lw=0)
            for place, (x, y, note) in enumerate(zip(line.x, line.y, line.notes, strict=False)):
                # Neighbours may be close: their notes stand above and below in turn.
                up = not points or place % 2 == 0
                axes.annotate(
                    note,
                    (x, y),
                    (0, 7 if up else -15),
                    textcoords="offset points",
                    ha="center",
                    color=_MUTED,
                    fontsize=9,
                )
        if x_log:
            axes.set_xscale("log")
        if x_ticks:
            axes.set_xticks(list(x_ticks), [f"{x:g}" for x in x_ticks])
            axes.minorticks_off()
        elif x_log:
            marks = _decades(*axes.get_xlim())
            axes.set_xticks(marks, [f"{x:g}" for x in marks])
            axes.minorticks_off()
        if y_range is not None:
            axes.set_ylim(*y_range)
        _label(axes, x_label, y_label)
        if len(lines) > 1:
            _legend(axes, min(len(lines), legend_columns))
        return _svg(figure)


def bar_plot(
    categories: Sequence[str],
    groups: Sequence[Bars],
    x_label: str,
    *,
    x_range: tuple[float, float] | None = (0.0, 1.0),
    stacked: bool = False,
) -> str:
    """Horizontal bars, a row a category, one colour a group, as an ``<svg>`` element."""
    thick = 0.8 if stacked else 0.8 / max(1, len(groups))
    rows = len(categories) * (1 if stacked else max(1.0, 0.62 * len(groups)))
    with _figure((6.4, 0.9 + 0.36 * rows)) as (figure, axes):
        begin = [0.0] * len(categories)
        for number, group in enumerate(groups):
            shift = 0 if stacked else (number - (len(groups) - 1) / 2) * thick
            errors = None
            if group.low:
                errors = [
                    [v - low for v, low in zip(group.values, group.low, strict=True)],
                    [high - v for v, high in zip(group.values, group.high, strict=True)],
                ]
            axes.barh(
                [i + shift for i in range(len(categories))],
                group.values,
                height=thick * 0.86,
                left=begin if stacked else None,
                xerr=errors,
                color=SERIES[number % len(SERIES)],
                ecolor=_INK,
                error_kw={"elinewidth": 1.1, "capsize": 2.5},
                label=group.name,
            )
            if stacked:
                begin = [b + v for b, v in zip(begin, group.values, strict=True)]
        axes.set_yticks(range(len(categories)), categories)
        axes.invert_yaxis()
        axes.grid(axis="y", visible=False)
        if x_range is not None:
            axes.set_xlim(*x_range)
        _label(axes, x_label, "")
        if len(groups) > 1:
            _legend(axes, min(len(groups), 4))
        return _svg(figure)


@contextmanager
def _figure(size: tuple[float, float]) -> Iterator[tuple[Any, Any]]:
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    style: Any = {
        "svg.fonttype": "none",
        "svg.hashsalt": "folioscope",
        "font.family": "sans-serif",
        "font.size": 10,
        "axes.edgecolor": _GRID,
        "axes.labelcolor": _MUTED,
        "xtick.color": _MUTED,
        "ytick.color": _MUTED,
        "xtick.labelcolor": _INK,
        "ytick.labelcolor": _INK,
        "text.color": _INK,
        "axes.grid": True,
        "grid.color": _GRID,
        "axes.axisbelow": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.spines.left": False,
        "xtick.bottom": False,
        "ytick.left": False,
        "legend.frameon": False,
        "figure.constrained_layout.use": True,
    }
    with rc_context(style):
        figure = Figure(figsize=size)
        yield figure, figure.subplots()


def _decades(low: float, high: float) -> list[float]:
    """Round numbers within a range, 1, 2, 5 and their tenfolds; closer ones if few fit."""
    for steps in ((1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 8)):
        exponents = range(floor(log10(low)), ceil(log10(high)) + 1)
        marks = [m * 10.0**e for e in exponents for m in steps]
        kept = [x for x in marks if low <= x <= high]
        if len(kept) > 2:
            break
    return kept


def _label(axes: Any, x_label: str, y_label: str) -> None:
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)


def _legend(axes: Any, columns: int) -> None:
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=columns, handlelength=1.8)


def _svg(figure: Any) -> str:
    held = io.StringIO()
    figure.savefig(held, format="svg", transparent=True, metadata={"Date": None})
    text = held.getvalue()
    svg = text[text.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.S)
    # As wide as its place, whatever the points it was laid out in.
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r'\1 width="100%" role="img"', svg, count=1)
    svg = re.sub(r"font-family: [^;\"]*", "font-family: inherit", svg)
    # Several plots share a page: only names that something refers to stay.
    svg = re.sub(r' id="([^"]*)"', lambda m: m[0] if f"#{m[1]}" in svg else "", svg)
    for stand_in, (variable, light, _) in PALETTE.items():
        svg = svg.replace(stand_in, f"var({variable}, {light})")
    return svg


def standing_alone(svg: str) -> str:
    """The same plot as a file of its own, which follows the reader's light or dark."""
    light = "".join(f"{name}:{light};" for name, light, _ in PALETTE.values())
    dark = "".join(f"{name}:{dark};" for name, _, dark in PALETTE.values())
    style = (
        f"<style>:root{{{light}font-family:system-ui,sans-serif}}"
        f"@media (prefers-color-scheme:dark){{:root{{{dark}}}}}</style>"
    )
    size = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)
    assert size is not None
    width, height = (round(float(part) * 1.6) for part in size.groups())
    svg = svg.replace('width="100%"', f'width="{width}" height="{height}"', 1)
    end = svg.index(">") + 1
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{svg[:end]}{style}{svg[end:]}'
