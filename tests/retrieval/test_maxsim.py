"""MaxSim against a page-by-page reference, for every code type and ragged shape."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval import maxsim as kernels
from retrieval.maxsim import (
    PACKED,
    as_floats,
    has_kernel,
    join_scaled,
    levels,
    maxsim,
    similarities,
    split_scaled,
    windowed,
)


def naive(
    query: Any, weights: Any, codes: Any, starts: Any, scales: Any, stride: int = 0, width: int = 1
) -> Any:
    """One page after the other, one window after the other, in float64."""
    rows = as_floats(codes, query.shape[1]).astype(np.float64)
    scores = []
    for i, scale in enumerate(scales):
        page = rows[starts[i] : starts[i + 1]] * float(scale)
        step = stride or max(len(page), 1)
        windows = [page[at : at + step * width] for at in range(0, len(page), step)]
        scores.append(
            max(
                (float(weights @ (query @ part.T).max(axis=1)) for part in windows), default=-np.inf
            )
        )
    return np.array(scores)


@st.composite
def problems(draw: st.DrawFn, kinds: tuple[str, ...] = ()) -> Any:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    dim = draw(st.sampled_from([1, 2, 3, 7, 16, 31, 64, 128, 130]))
    tokens = draw(st.integers(1, 40))
    lengths = draw(st.lists(st.integers(0, 40), min_size=1, max_size=12))
    kind = draw(st.sampled_from(kinds or ("int8", "uint8", "float16", "float32", "bits", "scaled")))
    lead = draw(st.integers(0, 3))  # starts need not begin at row 0
    rows = lead + sum(lengths)
    query = rng.normal(size=(tokens, dim)).astype(np.float32)
    weights = rng.uniform(0, 2, tokens).astype(np.float32)
    if kind == "int8":
        codes: Any = rng.integers(-128, 128, (rows, dim)).astype(np.int8)
    elif kind == "scaled":
        steps = rng.integers(0, 65536, rows).astype(np.uint16)
        codes = join_scaled(rng.integers(-127, 128, (rows, dim)).astype(np.int8), steps)
    elif kind == "uint8":
        codes = rng.integers(0, 256, (rows, dim)).astype(np.uint8)
    elif kind == "bits":
        signs = rng.integers(0, 2, (rows, dim)).astype(bool)
        codes = np.packbits(signs, axis=1, bitorder="little").view(PACKED)
    else:
        codes = rng.normal(size=(rows, dim)).astype(kind)
    starts = lead + np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
    scales = rng.uniform(0.001, 0.1, len(lengths)).astype(np.float32)
    return query, weights, codes, starts, scales


def rounding(problem: Any) -> float:
    """What float32 may lose: relative to what is multiplied, not to a sum that cancels."""
    query, weights, codes, _, scales = problem
    rows = np.linalg.norm(as_floats(codes, query.shape[1]), axis=1).max(initial=0.0)
    return float(1e-5 * (np.linalg.norm(query, axis=1) @ weights) * rows * scales.max() + 1e-6)


def bound(problem: Any, level: str) -> float:
    """How far a score may be below the exact one: see the module's docstring."""
    query, weights, codes, _, scales = problem
    if level in ("numpy", "portable") or codes.dtype.kind == "f":
        return 0.0
    limit = 64 if level == "avx2" and codes.dtype != PACKED else 127
    steps = np.abs(query).max(axis=1, keepdims=True) / limit
    error = np.linalg.norm(query - np.rint(query / steps) * steps, axis=1)
    rows = np.linalg.norm(as_floats(codes, query.shape[1]), axis=1).max(initial=0.0)
    return float(2 * (error @ weights) * rows * scales.max())


@pytest.mark.parametrize("level", levels())
@given(problem=problems(), shape=st.sampled_from([(0, 1), (4, 1), (4, 3), (8, 2), (5, 4)]))
def test_ragged_pages_and_windows_score_as_one_by_one(
    level: str, problem: Any, shape: tuple[int, int]
) -> None:
    expected = naive(*problem, *shape)
    found = windowed(*problem, *shape, level=level)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(np.isfinite(found), np.isfinite(expected))
    full = np.isfinite(expected)
    slack = rounding(problem)
    assert (found[full] <= expected[full] + slack).all()
    assert (found[full] >= expected[full] - slack - bound(problem, level)).all()


def test_the_best_level_comes_first_and_numpy_is_always_there() -> None:
    assert levels()[-1] == "numpy"
    assert has_kernel() == (len(levels()) > 1)
    query, weights = np.eye(2, dtype=np.float32), np.ones(2, np.float32)
    with pytest.raises(ValueError, match="is not one of"):
        maxsim(query, weights, np.ones((1, 2), np.int8), np.array([0, 1]), level="abacus")


def test_without_the_extension_numpy_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "_maxsim", None)
    assert levels() == ("numpy",) and not has_kernel()
    codes = np.array([[3, 4]], np.int8)
    got = maxsim(np.eye(2, dtype=np.float32), np.ones(2, np.float32), codes, np.array([0, 1]), 0.5)
    assert got.tolist() == [3.5]


@pytest.mark.parametrize("level", levels())
def test_the_widest_codes_do_not_overflow(level: str) -> None:
    """All ones, as large as bytes get: the 16-bit sums of one level are nearest to their end."""
    query = np.ones((3, 128), np.float32)
    for codes in (np.full((9, 128), 255, np.uint8), np.full((9, 128), -128, np.int8)):
        got = maxsim(query, np.ones(3, np.float32), codes, np.array([0, 9]), level=level)
        np.testing.assert_allclose(got, [3 * 128 * float(codes[0, 0])], rtol=1e-6)


@pytest.mark.parametrize("level", levels())
def test_half_floats_of_every_size(level: str) -> None:
    """Zeros of both signs, subnormals, the largest: each alone, so that none can hide."""
    values = np.array([0.0, -0.0, 6e-8, -6e-8, 6.1e-5, 1.0, -1.5, 65504, -65504], np.float16)
    starts = np.arange(len(values) + 1)
    one = np.ones((1, 1), np.float32)
    got = maxsim(one, np.ones(1, np.float32), values[:, None], starts, level=level)
    np.testing.assert_array_equal(got, values.astype(np.float32))


@given(problems(("float16", "float32")), st.randoms(use_true_random=False))
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
        problem = (query, weights, stored, starts, scales)
        for level in levels():
            loss = naive(*problem) - maxsim(*problem, level=level)
            assert (loss >= -rounding(problem)).all()
            assert (loss <= rounding(problem) + bound(problem, level)).all()


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


def test_every_patch_has_its_fraction_of_the_scale() -> None:
    numbers = np.array([[10, -20], [100, 0], [-1, 127]], np.int8)
    codes = join_scaled(numbers, np.array([65535, 1, 32768], np.uint16))
    again, fractions = split_scaled(codes)
    np.testing.assert_array_equal(again, numbers)
    np.testing.assert_array_equal(fractions * 65536, [65535, 1, 32768])
    query = np.eye(2, dtype=np.float32)
    expected = (numbers * fractions[:, None] * 0.5).T
    np.testing.assert_allclose(similarities(query, codes, 0.5), expected, rtol=1e-6)
    for level in levels():
        # By its codes alone the second patch would be the best for the first token.
        found = maxsim(query, np.ones(2, np.float32), codes, np.array([0, 3]), 0.5, level=level)
        np.testing.assert_allclose(found, expected.max(axis=1).sum(), rtol=1e-6)


def test_similarities_of_a_page_of_bits() -> None:
    codes = np.packbits([[1, 0, 1], [0, 0, 1]], axis=1, bitorder="little").view(PACKED)
    got = similarities(np.array([[1, 2, 4]], np.float32), codes, 0.5)
    np.testing.assert_array_equal(got, [[1.5, 0.5]])
