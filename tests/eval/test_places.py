"""Measures of places, against areas counted pixel by pixel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from eval.datasets import GoldBox, Question
from eval.places import box_f1, iou, of_page, place_measures, union_area
from eval.runs import Answered, Run

_GRID = 40


@st.composite
def boxes(draw: st.DrawFn, least: int = 0) -> NDArray[np.float64]:
    """Up to six boxes whose edges lie on a grid."""
    rows = []
    for _ in range(draw(st.integers(least, 6))):
        x0, y0 = draw(st.integers(0, _GRID - 1)), draw(st.integers(0, _GRID - 1))
        x1, y1 = draw(st.integers(x0 + 1, _GRID)), draw(st.integers(y0 + 1, _GRID))
        rows.append((x0, y0, x1, y1))
    return np.array(rows, np.float64).reshape(-1, 4) / _GRID


def pixels(found: NDArray[np.float64]) -> NDArray[np.bool_]:
    mask = np.zeros((_GRID, _GRID), bool)
    for x0, y0, x1, y1 in np.rint(found * _GRID).astype(int):
        mask[y0:y1, x0:x1] = True
    return mask


@given(boxes(), boxes())
def test_areas_and_f1_are_those_of_pixels(
    one: NDArray[np.float64], other: NDArray[np.float64]
) -> None:
    a, b = pixels(one), pixels(other)
    assert union_area(one) == pytest.approx(a.mean())
    whole = a.sum() + b.sum()
    expected = 2 * (a & b).sum() / whole if whole else 0.0
    assert box_f1(one, other) == pytest.approx(expected)
    assert box_f1(other, one) == pytest.approx(expected)


@given(boxes(least=1), boxes(least=1))
def test_iou_is_that_of_pixels(one: NDArray[np.float64], other: NDArray[np.float64]) -> None:
    got = iou(one, other)
    for i, a in enumerate(one):
        for j, b in enumerate(other):
            first, second = pixels(a[None]), pixels(b[None])
            both, either = (first & second).sum(), (first | second).sum()
            assert got[i, j] == pytest.approx(both / either)


def regions_of(found: list[list[float]], page: int = 3) -> dict[str, Any]:
    return {"doc": "a.pdf", "page": page, "boxes": found, "size": [200, 100]}


def asked(qid: str, *gold: tuple[float, float, float, float]) -> Question:
    marked = tuple(GoldBox(3, box, "pdf_pt") for box in gold)
    return Question(qid, "?", "a.pdf", frozenset({3}), boxes=marked)


def run_of(found: Mapping[str, dict[str, Any]]) -> Run:
    return Run({}, {qid: Answered(qid, (), (), {}, regions) for qid, regions in found.items()})


def test_regions_that_hold_the_answer() -> None:
    # The answer's centre is at (0.5, 0.5) of the page.
    right, wrong = [0.4, 0.4, 0.6, 0.6], [0.0, 0.0, 0.1, 0.1]
    questions = [asked(q, (90, 45, 110, 55)) for q in ("first", "second", "none", "elsewhere")]
    got = place_measures(
        questions,
        run_of(
            {
                "first": regions_of([right, wrong]),
                "second": regions_of([wrong, right]),
                "none": regions_of([wrong]),
                "elsewhere": {},
            }
        ),
    )
    assert got["questions"] == 3
    assert (got["region@1"], got["region@5"]) == pytest.approx((1 / 3, 2 / 3))
    assert got["area@1"] == pytest.approx((0.04 + 0.01 + 0.01) / 3)
    assert got["area@5"] == pytest.approx((0.05 + 0.05 + 0.01) / 3)
    # The marked box is a quarter of the region around it.
    assert (got["IoU.1@1"], got["IoU.3@1"]) == pytest.approx((1 / 3, 0))
    assert got["F1@1"] == pytest.approx(2 * 0.01 / (0.04 + 0.01) / 3)


def test_the_annotator_who_agrees_best_counts() -> None:
    tight, loose = (20.0, 10.0, 60.0, 30.0), (0.0, 0.0, 200.0, 100.0)
    marked = [
        GoldBox(3, tight, "image_px", annotator=0),
        GoldBox(3, loose, "image_px", annotator=1),
    ]
    assert of_page(regions_of([[0.1, 0.1, 0.3, 0.3]]), marked)["F1@1"] == pytest.approx(1)
    assert of_page(regions_of([[0.0, 0.0, 1.0, 1.0]]), marked)["F1@1"] == pytest.approx(1)
    # One person's boxes are one zone together.
    halves = [GoldBox(3, (0, 0, 100, 100), "image_px"), GoldBox(3, (100, 0, 200, 100), "image_px")]
    assert of_page(regions_of([[0.0, 0.0, 1.0, 1.0]]), halves)["F1@1"] == pytest.approx(1)


def test_only_boxes_of_the_page_count() -> None:
    marked = (GoldBox(4, (0, 0, 20, 10), "pdf_pt"), GoldBox(3, (180, 90, 200, 100), "pdf_pt"))
    question = Question("q", "?", "a.pdf", frozenset({3}), boxes=marked)
    got = place_measures([question], run_of({"q": regions_of([[0, 0, 0.5, 0.5]] * 2)}))
    assert (got["region@5"], got["F1@5"], got["area@5"]) == (0, 0, pytest.approx(0.25))


def test_no_regions_at_all() -> None:
    assert place_measures([asked("q", (0, 0, 1, 1))], run_of({"q": {}})) == {"questions": 0.0}
