"""MaxSim against a page-by-page reference, for every code type and ragged shape."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval import maxsim as kernels
from retrieval.maxsim import has_kernel, maxsim, similarities


def naive(query: Any, weights: Any, codes: Any, starts: Any, scales: Any) -> Any:
    scores = []
    for i, scale in enumerate(scales):
        page = codes[starts[i] : starts[i + 1]].astype(np.float64) * float(scale)
        if not len(page):
            scores.append(-np.inf)
            continue
        scores.append(float(weights @ (query.astype(np.float64) @ page.T).max(axis=1)))
    return np.array(scores)


@st.composite
def problems(draw: st.DrawFn) -> Any:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    dim = draw(st.sampled_from([1, 2, 3, 7, 16, 31, 64, 128, 130]))
    tokens = draw(st.integers(1, 20))
    lengths = draw(st.lists(st.integers(0, 40), min_size=1, max_size=12))
    kind = draw(st.sampled_from(["int8", "uint8", "float16", "float32"]))
    lead = draw(st.integers(0, 3))  # starts need not begin at row 0
    rows = lead + sum(lengths)
    query = rng.normal(size=(tokens, dim)).astype(np.float32)
    weights = rng.uniform(0, 2, tokens).astype(np.float32)
    if kind == "int8":
        codes = rng.integers(-128, 128, (rows, dim)).astype(np.int8)
    elif kind == "uint8":
        codes = rng.integers(0, 256, (rows, dim)).astype(np.uint8)
    else:
        codes = rng.normal(size=(rows, dim)).astype(kind)
    starts = lead + np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
    scales = rng.uniform(0.001, 0.1, len(lengths)).astype(np.float32)
    return query, weights, codes, starts, scales


def tolerance(problem: Any) -> float:
    """Rounding is relative to the lengths of what is multiplied, not to a sum that cancels."""
    query, weights, codes, _, scales = problem
    size = np.linalg.norm(query, axis=1) @ weights * np.linalg.norm(codes.astype(float), axis=1)
    return float(2e-4 * size.max(initial=0.0) * scales.max() + 1e-6)


@given(problems())
def test_ragged_pages_score_as_one_by_one(problem: Any) -> None:
    expected = naive(*problem)
    np.testing.assert_allclose(maxsim(*problem), expected, atol=tolerance(problem), rtol=0)


@given(problems())
def test_kernel_and_numpy_agree(problem: Any) -> None:
    with pytest.MonkeyPatch.context() as patch:
        compiled = maxsim(*problem)
        patch.setattr(kernels, "_maxsim", None)
        assert not has_kernel()
        plain = maxsim(*problem)
    finite = np.isfinite(plain)
    np.testing.assert_array_equal(np.isfinite(compiled), finite)
    np.testing.assert_allclose(compiled[finite], plain[finite], atol=tolerance(problem), rtol=0)


@given(problems(), st.randoms(use_true_random=False))
def test_order_of_patches_and_tokens_does_not_matter(problem: Any, random: Any) -> None:
    query, weights, codes, starts, scales = problem
    shuffled = codes.copy()
    for a, b in itertools.pairwise(starts):
        order = list(range(a, b))
        random.shuffle(order)
        shuffled[a:b] = codes[order]
    tokens = list(range(len(query)))
    random.shuffle(tokens)
    expected = maxsim(query, weights, codes, starts, scales)
    got = maxsim(query[tokens], weights[tokens], shuffled, starts, scales)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)


def test_a_short_page_of_negative_similarities_is_not_padded_with_zeros() -> None:
    query = np.array([[1.0, 0.0]], np.float32)
    codes = np.array([[-127, 0], [-64, 0], [-10, 3], [-9, 1]], np.int8)
    scores = maxsim(query, np.ones(1, np.float32), codes, np.array([0, 1, 4]), [1 / 127, 1 / 127])
    np.testing.assert_allclose(scores, [-1.0, -9 / 127], rtol=1e-4)


def test_empty_pages_score_minus_infinity_wherever_they_are() -> None:
    query = np.eye(3, dtype=np.float32)
    codes = np.full((2, 3), 5, np.int8)
    scores = maxsim(query, np.ones(3, np.float32), codes, np.array([0, 0, 1, 1, 2, 2]), np.ones(5))
    np.testing.assert_allclose(scores, [-np.inf, 15, -np.inf, 15, -np.inf], rtol=1e-4)


def test_pages_larger_than_a_block() -> None:
    rng = np.random.default_rng(1)
    lengths = [kernels.BLOCK_ROWS * 2 + 5, 3, kernels.BLOCK_ROWS - 3, 10, 1]
    starts = np.concatenate(([0], np.cumsum(lengths)))
    codes = rng.integers(-127, 128, (sum(lengths), 8)).astype(np.int8)
    query = rng.normal(size=(5, 8)).astype(np.float32)
    weights = rng.uniform(0, 1, 5).astype(np.float32)
    scales = np.full(5, 0.01, np.float32)
    for stored in (codes, codes.astype(np.float16)):
        expected = naive(query, weights, stored, starts, scales)
        np.testing.assert_allclose(maxsim(query, weights, stored, starts, scales), expected, 1e-3)


def test_a_token_of_zeros_and_a_weight_of_zero_add_nothing() -> None:
    query = np.array([[1, 0], [0, 0], [0, 1]], np.float32)
    codes = np.array([[100, 50]], np.int8)
    scores = maxsim(query, np.array([1, 1, 0], np.float32), codes, np.array([0, 1]), 0.01)
    np.testing.assert_allclose(scores, [1.0], rtol=1e-4)


def test_no_tokens_score_zero() -> None:
    none = np.zeros((0, 4), np.float32)
    codes = np.ones((2, 4), np.int8)
    got = maxsim(none, np.zeros(0, np.float32), codes, np.array([0, 2, 2]), np.ones(2))
    assert got.tolist() == [0.0, -np.inf]


@pytest.mark.parametrize(
    ("query", "weights", "starts", "words"),
    [
        (np.ones((2, 5)), np.ones(2), [0, 3], "of one d"),
        (np.ones((2, 4)), np.ones(3), [0, 3], "one a query row"),
        (np.ones((2, 4)), np.ones(2), [0, 4], "within the 3 rows"),
        (np.ones((2, 4)), np.ones(2), [2, 1, 3], "decrease"),
        (np.ones((2, 4)), np.ones(2), [-1, 3], "within the 3 rows"),
        (np.ones((2, 4)), np.ones(2), [], "within the 3 rows"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(
    query: Any, weights: Any, starts: Any, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        maxsim(query, weights, np.ones((3, 4), np.int8), np.array(starts, np.int64))


def test_similarities_of_one_page() -> None:
    query = np.array([[1, 0], [0, 2]], np.float32)
    codes = np.array([[10, 20], [-10, 0], [0, 1]], np.int8)
    got = similarities(query, codes, 0.1)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, [[1, -1, 0], [4, 0, 0.2]], rtol=1e-6)
