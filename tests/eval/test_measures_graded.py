"""Graded measures on random runs, against formulas taken from the papers and written in numpy.

nDCG: Järvelin and Kekäläinen 2002, linear gain, discount log2(rank + 1). Nothing here is shared
with ir-measures, which the harness computes with.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eval.datasets import Judged, Question
from eval.measures import per_question
from eval.runs import Answered, Run

DOCS = ("a.pdf", "b.pdf", "c.pdf")
Page = tuple[str, int]
pages = st.tuples(st.sampled_from(DOCS), st.integers(0, 15))


@given(
    st.dictionaries(pages, st.integers(1, 3), min_size=1, max_size=25),
    st.lists(pages, max_size=48, unique=True),
)
@settings(max_examples=200, deadline=None)
def test_grades_over_several_documents(grades: dict[Page, int], ranked: list[Page]) -> None:
    judged = tuple(Judged(doc, page, grade) for (doc, page), grade in grades.items())
    doc = judged[0].doc
    question = Question("q", "?", doc, frozenset(p for d, p in grades if d == doc), judged=judged)
    run = Run({}, {"q": Answered("q", tuple(ranked), (0.0,) * len(ranked), {}, {})})
    names = ("nDCG@3", "nDCG@10", "R@5", "R@20", "Success@3", "RR@10", "P@5", "AP@20")
    values = per_question([question], run, names)
    gains = np.array([grades.get(page, 0) for page in ranked], float)
    right = gains > 0
    ideal = np.sort(np.array(list(grades.values()), float))[::-1]
    first = int(np.argmax(right)) + 1 if right.any() else 0
    precision = np.cumsum(right) / np.arange(1, len(right) + 1)
    expected = {
        "nDCG@3": dcg(gains[:3]) / dcg(ideal[:3]),
        "nDCG@10": dcg(gains[:10]) / dcg(ideal[:10]),
        "R@5": right[:5].sum() / len(grades),
        "R@20": right[:20].sum() / len(grades),
        "Success@3": float(right[:3].any()),
        "RR@10": 1 / first if 0 < first <= 10 else 0.0,
        "P@5": right[:5].sum() / 5,
        "AP@20": (precision[:20] * right[:20]).sum() / len(grades),
    }
    got = {name: values[name]["q"] for name in names}
    assert got == pytest.approx(expected, abs=1e-9)


def dcg(gains: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float:
    """Gain at rank r over log2(r + 1)."""
    return float((gains / np.log2(np.arange(2, len(gains) + 2))).sum())
