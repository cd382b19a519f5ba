"""Measures of places: how well the regions of a hit agree with what people marked.

**Box F1** compares areas, as ViDoRe v3 does between people and between a model and people
(arXiv 2601.08620, "bounding box annotations"): all boxes of one side are united to one zone, the
F1 of two zones is twice their intersection over the sum of their areas, and a prediction is held
against every annotator alone, the best counting. People reached .60 with each other there, the
best model .09. The benchmark publishes no code for it: this is our reading, and published figures
may differ from it in detail.

**IoU hit rates** are stricter about one box: whether one of the first k regions overlaps one
marked box by at least so much of their union.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eval.datasets import GoldBox, Question
from eval.runs import Run

_FIRST = (1, 5)
_IOU = (0.1, 0.3, 0.5)
Boxes = NDArray[np.float64]


def place_measures(questions: Iterable[Question], run: Run) -> dict[str, float]:
    """Means over the questions whose marked page was among the first ten hits.

    ``region@k``: the centre of a marked box lies in one of the first k regions. ``area@k``: the
    share of the page that these cover, without which the first says nothing. ``F1@k`` and
    ``IoU.1@k``: as the module says. ``questions`` is how many there were.
    """
    rows = []
    for question in questions:
        found = run.answered.get(question.qid)
        if found is not None and found.regions:
            marked = question.boxes_on(found.regions["doc"], found.regions["page"])
            if marked:
                rows.append(of_page(found.regions, marked))
    if not rows:
        return {"questions": 0.0}
    means = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
    return {"questions": float(len(rows)), **means}


def of_page(regions: Any, marked: Sequence[GoldBox]) -> dict[str, float]:
    """All measures of one page: ``regions`` as a run keeps them, ``marked`` on that page."""
    found = np.asarray(regions["boxes"], np.float64).reshape(-1, 4)
    size = np.asarray([*regions["size"], *regions["size"]], np.float64)
    truth = np.array([box.box for box in marked], np.float64) / size
    by_person = [
        truth[[i for i, box in enumerate(marked) if box.annotator == person]]
        for person in sorted({box.annotator for box in marked})
    ]
    centres = (truth[:, :2] + truth[:, 2:]) / 2
    overlap = iou(found, truth)
    row: dict[str, float] = {}
    for k in _FIRST:
        first = found[:k]
        row[f"region@{k}"] = float(any(_contains(box, centres) for box in first))
        row[f"area@{k}"] = union_area(first)
        row[f"F1@{k}"] = max(box_f1(first, theirs) for theirs in by_person)
        best = float(overlap[:k].max(initial=0.0))
        for least in _IOU:
            row[f"IoU{least:g}@{k}".replace("0.", ".")] = float(best >= least)
    return row


def box_f1(found: Boxes, truth: Boxes) -> float:
    """F1 of two zones, each the union of its boxes ``[n, 4]``: 1 where they are the same."""
    both, one, other = _areas(found, truth)
    return 2 * both / (one + other) if one + other > 0 else 0.0


def union_area(boxes: Boxes) -> float:
    """The area that boxes ``[n, 4]`` in page fractions cover, overlaps once, within the page."""
    return _areas(boxes, boxes[:0])[1]


def _areas(one: Boxes, other: Boxes) -> tuple[float, float, float]:
    """Areas of the intersection of two zones and of each, exact: the edges of all boxes cut the
    page into cells that a zone covers wholly or not at all."""
    one, other = np.clip(one, 0, 1), np.clip(other, 0, 1)
    every = np.concatenate((one, other))
    if not len(every):
        return 0.0, 0.0, 0.0
    xs, ys = np.unique(every[:, [0, 2]]), np.unique(every[:, [1, 3]])
    cells = np.diff(xs)[:, None] * np.diff(ys)
    a, b = (_covered(boxes, xs, ys) for boxes in (one, other))
    return float(cells[a & b].sum()), float(cells[a].sum()), float(cells[b].sum())


def _covered(boxes: Boxes, xs: Boxes, ys: Boxes) -> NDArray[np.bool_]:
    left, right, top, bottom = xs[:-1, None], xs[1:, None], ys[:-1], ys[1:]
    covered = np.zeros((len(xs) - 1, len(ys) - 1), bool)
    for x0, y0, x1, y1 in boxes:
        covered |= (left >= x0) & (right <= x1) & (top >= y0) & (bottom <= y1)
    return covered


def iou(found: Boxes, truth: Boxes) -> Boxes:
    """Intersection over union of every pair, ``[n, m]``."""
    low = np.maximum(found[:, None, :2], truth[None, :, :2])
    high = np.minimum(found[:, None, 2:], truth[None, :, 2:])
    both = np.prod(np.clip(high - low, 0, None), axis=2)
    one, other = (np.prod(np.clip(b[:, 2:] - b[:, :2], 0, None), axis=1) for b in (found, truth))
    whole = one[:, None] + other[None, :] - both
    shares: Boxes = np.divide(both, whole, out=np.zeros_like(both), where=whole > 0)
    return shares


def _contains(box: Boxes, points: Boxes) -> bool:
    return bool(np.all((points >= box[:2]) & (points <= box[2:]), axis=1).any())
