"""The best window of a page against a plain reference, and against whole-page MaxSim."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.maxsim import maxsim
from retrieval.passages import best_passage


def reference(
    query: Any, weights: Any, codes: Any, starts: Any, scales: Any, window: int, stride: int
) -> list[float]:
    """Every window of every page, one by one, in float64."""
    scores = []
    for i in range(len(starts) - 1):
        page = codes[starts[i] : starts[i + 1]].astype(float) * float(scales[i])
        best = -np.inf
        for begin in range(0, len(page), stride):
            similarity = query.astype(float) @ page[begin : begin + window].T
            best = max(best, float(weights @ similarity.max(axis=1)))
        scores.append(best)
    return scores


@st.composite
def problems(draw: st.DrawFn, longest: int = 150) -> Any:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    dim, tokens = draw(st.sampled_from([1, 3, 16])), draw(st.integers(1, 8))
    lengths = draw(st.lists(st.integers(0, longest), min_size=1, max_size=8))
    lead = draw(st.integers(0, 3))
    rows = lead + sum(lengths)
    if draw(st.booleans()):
        codes: Any = rng.integers(-127, 128, (rows, dim)).astype(np.int8)
    else:
        codes = (rng.normal(size=(rows, dim)) * 50).astype(np.float16)
    query = rng.normal(size=(tokens, dim)).astype(np.float32)
    weights = rng.uniform(0, 2, tokens).astype(np.float32)
    starts = lead + np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
    return query, weights, codes, starts, rng.uniform(0.001, 0.1, len(lengths)).astype(np.float32)


def tolerance(problem: Any) -> float:
    """What rounding may cost; for int8 the query's too, see ``retrieval.maxsim``."""
    query, weights, codes, _, scales = problem
    rows = np.linalg.norm(codes.astype(float), axis=1).max(initial=0.0)
    error = 1e-5 * np.linalg.norm(query, axis=1)
    if codes.dtype == np.int8:
        error = error + np.abs(query).max(axis=1) / 64 * np.sqrt(query.shape[1])
    return float((error @ weights) * rows * scales.max() + 1e-6)


@given(problems(), st.sampled_from([(8, 8), (16, 4), (12, 3), (64, 32), (128, 32)]))
def test_scores_are_those_of_the_best_window(problem: Any, shape: tuple[int, int]) -> None:
    window, stride = shape
    found = best_passage(*problem, window=window, stride=stride)
    assert found.dtype == np.float32
    expected = reference(*problem, window, stride)
    np.testing.assert_allclose(found, expected, atol=tolerance(problem), rtol=0)


@given(problems(longest=32))
def test_a_page_within_one_window_scores_as_a_whole(problem: Any) -> None:
    """128 patches hold all of these pages, so passages and MaxSim must agree."""
    whole = maxsim(*problem)
    np.testing.assert_allclose(best_passage(*problem), whole, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(best_passage(*problem, window=0), whole)


@given(problems())
def test_no_window_beats_the_whole_page(problem: Any) -> None:
    query, weights, codes, starts, scales = problem
    slack = tolerance(problem)
    passages = best_passage(query, weights, codes, starts, scales, window=16, stride=8)
    assert (passages <= maxsim(*problem) + slack).all()


@given(problems(longest=40), st.permutations(range(8)))
def test_a_page_scores_the_same_beside_any_others(problem: Any, mixed: list[int]) -> None:
    query, weights, codes, starts, scales = problem
    together = best_passage(*problem, window=16, stride=8)
    picked = [i for i in mixed if i < len(scales)]
    parts = [codes[starts[i] : starts[i + 1]] for i in picked]
    again = best_passage(
        query,
        weights,
        np.concatenate(parts),
        np.concatenate(([0], np.cumsum([len(part) for part in parts]))).astype(np.int64),
        scales[picked],
        window=16,
        stride=8,
    )
    np.testing.assert_allclose(again, together[picked], atol=tolerance(problem), rtol=0)


def test_words_of_a_question_together_beat_the_same_words_apart() -> None:
    """What passages are for: MaxSim cannot tell these two pages apart."""
    filler = np.tile(np.array([[0, 0, 1]], np.float32), (400, 1))
    together, apart = filler.copy(), filler.copy()
    together[200], together[201] = (1, 0, 0), (0, 1, 0)
    apart[0], apart[399] = (1, 0, 0), (0, 1, 0)
    query, weights = np.eye(3, dtype=np.float32)[:2], np.ones(2, np.float32)
    arguments = (np.concatenate((apart, together)), np.array([0, 400, 800]), np.ones(2, np.float32))
    assert maxsim(query, weights, *arguments).tolist() == [2.0, 2.0]
    assert best_passage(query, weights, *arguments).tolist() == [1.0, 2.0]


def test_pages_longer_than_a_block_of_work() -> None:
    rng = np.random.default_rng(3)
    lengths = [9000, 0, 20, 8192, 1, 0]
    codes = rng.integers(-127, 128, (sum(lengths), 8)).astype(np.int8)
    starts = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
    query, weights = rng.normal(size=(5, 8)).astype(np.float32), np.ones(5, np.float32)
    scales = np.full(6, 1 / 127, np.float32)
    found = best_passage(query, weights, codes, starts, scales)
    expected = reference(query, weights, codes, starts, scales, 128, 32)
    np.testing.assert_allclose(found, expected, rtol=0.01)
    assert np.isneginf(found[[1, 5]]).all()


def test_a_question_without_tokens_leaves_pages_even() -> None:
    codes, starts = np.ones((3, 4), np.int8), np.array([0, 3, 3])
    nothing = np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
    scores = best_passage(*nothing, codes, starts, np.ones(2, np.float32))
    assert scores.tolist() == [0.0, -np.inf]


def test_no_pages_at_all() -> None:
    query, weights = np.ones((2, 4), np.float32), np.ones(2, np.float32)
    none = np.zeros((0, 4), np.int8), np.zeros(1, np.int64), np.zeros(0, np.float32)
    assert best_passage(query, weights, *none).shape == (0,)


def test_windows_that_do_not_tile_are_refused() -> None:
    query, weights = np.ones((1, 4), np.float32), np.ones(1, np.float32)
    one = np.ones((1, 4), np.int8), np.array([0, 1]), np.ones(1, np.float32)
    with pytest.raises(ValueError, match="multiple of stride 32"):
        best_passage(query, weights, *one, window=100, stride=32)
