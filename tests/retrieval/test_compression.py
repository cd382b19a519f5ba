"""int8 codes stay within half a step of the vectors they stand for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.compression import dequantise, quantise


@given(st.integers(0, 2**32 - 1), st.integers(0, 30), st.integers(1, 64), st.floats(-6, 6))
def test_every_component_is_within_half_a_step(seed: int, n: int, d: int, power: float) -> None:
    vectors = (np.random.default_rng(seed).normal(size=(n, d)) * 10**power).astype(np.float32)
    codes, scale = quantise(vectors)
    assert codes.dtype == np.int8 and codes.shape == (n, d) and scale > 0
    assert np.abs(codes.astype(int)).max(initial=0) <= 127
    error = np.abs(dequantise(codes, scale) - vectors).max(initial=0)
    assert error <= scale * 0.5001


@given(st.integers(0, 2**32 - 1), st.integers(1, 30))
def test_similarities_of_unit_vectors_barely_move(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(n, 128)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    query = vectors[0] * 0.8 + 0.2 * vectors[-1]
    codes, scale = quantise(vectors)
    # independent rounding errors of at most half a step: far below the sum of their bounds
    np.testing.assert_allclose(dequantise(codes, scale) @ query, vectors @ query, atol=0.02)


def test_codes_of_codes_are_the_same_codes() -> None:
    codes = np.random.default_rng(0).integers(-127, 128, (20, 16)).astype(np.int8)
    codes[3, 4] = 127
    again, scale = quantise(dequantise(codes, 0.25))
    np.testing.assert_array_equal(again, codes)
    assert scale == pytest.approx(0.25)


@pytest.mark.parametrize("shape", [(0, 8), (3, 8)])
def test_nothing_and_zeros(shape: tuple[int, int]) -> None:
    codes, scale = quantise(np.zeros(shape, np.float32))
    assert codes.shape == shape and not codes.any() and scale == 1.0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_vectors_that_are_not_finite_are_refused(bad: float) -> None:
    vectors = np.ones((2, 2), np.float32)
    vectors[1, 0] = bad
    with pytest.raises(ValueError, match="finite"):
        quantise(vectors)
