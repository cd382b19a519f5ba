"""Plots of what ``eval.curves`` measures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import floor
from pathlib import Path
from typing import Any

from eval.plots import Line, line_plot, standing_alone
from retrieval.errors import InputError


@dataclass(frozen=True, slots=True)
class Section:
    """A plot with what it says; ``name`` is what its file is called."""

    name: str
    title: str
    svg: str
    caption: str


def curve_sections(curves: Mapping[str, Any]) -> list[Section]:
    """A plot for each curve that was measured."""
    found = [_stage_one(curves), _quality(curves), _loss(curves)]
    return [*found, _compression(curves)] if curves["compression"] else found


def keep_curves(curves: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write ``curves.json`` and a plot each into ``folder``; returns their paths."""
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in (
            ("curves.json", json.dumps(curves, indent=1, default=str) + "\n"),
            *((f"{s.name}.svg", standing_alone(s.svg)) for s in curve_sections(curves)),
        ):
            (folder / name).write_text(text, "utf-8")
            written.append(folder / name)
    except OSError as error:
        raise InputError(f"cannot write into {folder}: {error.strerror}; name a folder") from error
    return written


def _stage_one(curves: Mapping[str, Any]) -> Section:
    rows = curves["stage_one"]
    ks = [row["k"] for row in rows]
    lines = [
        Line("exhaustive top ten", ks, [row["exhaustive_top10"] for row in rows]),
        Line("MaxSim top ten", ks, [row["maxsim_top10"] for row in rows]),
        Line("answering pages", ks, [row["answering"] for row in rows]),
        Line(
            "MaxSim top ten, vectors alone",
            ks,
            [row["vectors_maxsim_top10"] for row in rows],
            dashed=True,
            like=1,
        ),
        Line(
            "answering, vectors alone",
            ks,
            [row["vectors_answering"] for row in rows],
            dashed=True,
            like=2,
        ),
    ]
    return Section(
        "stage-one",
        "What stage one hands on",
        line_plot(
            lines,
            "candidates",
            "share among the candidates",
            x_log=True,
            x_ticks=ks,
            y_range=(0, 1.02),
            legend_columns=2,
            size=(6.4, 3.8),
        ),
        "Share of the ten best pages by exhaustive search, by MaxSim alone, and of the pages that "
        "answer; dashed: by page vectors without BM25 and document context.",
    )


def _quality(curves: Mapping[str, Any]) -> Section:
    rows = curves["candidates"]
    lines = [
        Line(
            name,
            [row["latency_ms"]["total"]["p50"] for row in rows],
            [row[name] for row in rows],
            notes=[f"{row['k']}" for row in rows] if name == "nDCG@10" else (),
        )
        for name in ("nDCG@10", "nDCG@5")
    ]
    exact = curves["exhaustive"]
    # A thousandth of nDCG must not look like a cliff.
    heights = [y for line in lines for y in line.y] + [exact["nDCG@5"], exact["nDCG@10"]]
    y_range = (max(0.0, min(heights) - 0.06), min(1.02, max(heights) + 0.06))
    fastest = min(row["latency_ms"]["total"]["p50"] for row in rows)
    slowest = max(row["latency_ms"]["total"]["p50"] for row in rows)
    lines += [
        Line(f"{name} exhaustive", [fastest, slowest], [exact[name]] * 2, dashed=True, like=like)
        for like, name in enumerate(("nDCG@10", "nDCG@5"))
    ]
    return Section(
        "quality",
        "Quality against time",
        line_plot(
            lines,
            "milliseconds, median",
            "nDCG",
            x_log=True,
            y_range=y_range,
            legend_columns=2,
            size=(6.4, 3.6),
        ),
        "Each point is a number of candidates, written above it. Exhaustive search takes "
        f"{exact['latency_ms']['total']['p50']:.0f} ms.",
    )


def _loss(curves: Mapping[str, Any]) -> Section:
    rows = curves["candidates"]
    ks = [row["k"] for row in rows]
    lines = [
        Line(
            name,
            ks,
            [row["loss"][name]["mean"] for row in rows],
            [row["loss"][name]["interval"][0] for row in rows],
            [row["loss"][name]["interval"][1] for row in rows],
        )
        for name in ("nDCG@10", "nDCG@5")
    ]
    return Section(
        "loss",
        "What two stages lose",
        line_plot(lines, "candidates", "nDCG lost against exhaustive", x_log=True, x_ticks=ks),
        "Mean of the paired differences with its 95 % bootstrap interval; below zero the "
        "candidates kept better pages than scoring everything did.",
    )


def _compression(curves: Mapping[str, Any]) -> Section:
    rows = sorted(curves["compression"], key=lambda row: row["bytes_a_page"])
    kilobytes = [row["bytes_a_page"] / 1000 for row in rows]
    least = min(min(row["same_top10"], row["nDCG@10"]) for row in rows)
    lines = [
        Line("same top ten", kilobytes, [row["same_top10"] for row in rows]),
        Line(
            "nDCG@10",
            kilobytes,
            [row["nDCG@10"] for row in rows],
            notes=[row["compression"] for row in rows],
        ),
    ]
    return Section(
        "compression",
        "Quality against bytes",
        line_plot(
            lines,
            "kilobytes of patch vectors a page",
            "",
            x_log=True,
            y_range=(max(0.0, floor(least * 10 - 1) / 10), 1.05),
            points=True,
            size=(6.4, 3.8),
        ),
        "The same candidates ranked with their patches kept in fewer bytes.",
    )
