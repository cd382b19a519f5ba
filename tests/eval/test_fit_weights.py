"""Fitted weights follow what the labels say, and stay where these say nothing."""

from __future__ import annotations

import numpy as np
import pytest

from eval.fit_weights import Example, fit


def examples(informative: int, count: int = 60, lanes: int = 4) -> list[Example]:
    """Thirty pages a question; lane ``informative`` is larger on the page that answers."""
    rng = np.random.default_rng(informative)
    made = []
    for _ in range(count):
        values = rng.normal(0, 0.05, (30, lanes)).astype(np.float32)
        right = np.arange(30) == rng.integers(30)
        values[right, informative] += 0.12
        made.append(Example(values, right))
    return made


@pytest.mark.parametrize("informative", [1, 2, 3])
def test_the_lane_that_knows_counts_most(informative: int) -> None:
    start = np.full(3, 0.5)
    found, (before, after) = fit(examples(informative), start)
    assert int(np.argmax(found)) == informative - 1
    assert found[informative - 1] > 1.0 and (found >= 0).all()
    assert after < before


def test_few_questions_move_weights_little() -> None:
    start = np.full(3, 0.5)
    few, _ = fit(examples(1, count=2), start)
    many, _ = fit(examples(1, count=80), start)
    assert abs(few - start).max() < abs(many - start).max()


def test_a_lane_that_tells_nothing_is_not_driven_up() -> None:
    found, (before, after) = fit(examples(0), np.full(3, 0.2))
    assert found.max() < 0.4 and after <= before + 1e-6
