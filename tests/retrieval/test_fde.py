"""Fixed-dimensional encodings: what their products are, and that nothing else decides them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.fde import FixedEncoding
from retrieval.maxsim import maxsim
from retrieval.types import FloatArray


def unit(seed: int, n: int, dim: int = 12) -> FloatArray:
    vectors = np.random.default_rng(seed).standard_normal((n, dim), np.float32)
    scaled: FloatArray = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return scaled


sizes = st.integers(1, 30)


@given(st.integers(0, 99), sizes, st.integers(1, 6))
def test_without_planes_it_is_the_product_of_sum_and_mean(seed: int, n: int, q: int) -> None:
    page, question = unit(seed, n), unit(seed + 100, q)
    weights = np.linspace(0.1, 1, q, dtype=np.float32)
    encoding = FixedEncoding(12, planes=0, kept=12, repeats=3)
    product = encoding.of_question(question, weights) @ encoding.of_page(page)
    assert product == pytest.approx(float((weights @ question) @ page.mean(axis=0)), abs=1e-4)


@given(st.integers(0, 99), sizes, st.integers(1, 6))
@settings(max_examples=40)
def test_unprojected_it_never_exceeds_late_interaction(seed: int, n: int, q: int) -> None:
    """Each token meets a mean of patches, or a patch: never more than its best patch."""
    page, question = unit(seed, n), unit(seed + 100, q)
    weights = np.linspace(0.1, 1, q, dtype=np.float32)
    encoding = FixedEncoding(12, planes=3, kept=12, repeats=2)
    product = encoding.of_question(question, weights) @ encoding.of_page(page)
    assert product <= float(maxsim(question, weights, page, np.array([0, n]))[0]) + 1e-4


@given(st.integers(0, 99), st.permutations(range(8)))
def test_neither_order_nor_splitting_a_weight_matters(seed: int, order: list[int]) -> None:
    page, question = unit(seed, 8), unit(seed + 100, 3)
    encoding = FixedEncoding(12)
    np.testing.assert_allclose(encoding.of_page(page), encoding.of_page(page[order]), atol=1e-5)
    once = encoding.of_question(question, np.ones(3, np.float32))
    twice = encoding.of_question(np.tile(question, (2, 1)), np.full(6, 0.5, np.float32))
    np.testing.assert_allclose(once, twice, atol=1e-5)


def test_a_page_with_the_answer_is_told_from_one_without() -> None:
    encoding, one = FixedEncoding(12, planes=4, kept=8, repeats=20), np.ones(2, np.float32)
    right = 0
    for seed in range(40):
        question = unit(seed, 2)
        without = unit(seed + 1000, 30)
        with_it = np.concatenate((without[:28], question))
        encoded = encoding.of_question(question, one)
        right += encoded @ encoding.of_page(with_it) > encoded @ encoding.of_page(without)
    assert right >= 36


def test_sizes_and_empty_pages() -> None:
    encoding = FixedEncoding(12, planes=2, kept=5, repeats=3)
    assert encoding.components == 60 == len(encoding.of_page(unit(1, 4)))
    assert not encoding.of_page(unit(1, 0)).any()
    assert not encoding.of_question(unit(1, 0), np.zeros(0, np.float32)).any()
