"""Codes stay within what their kind may lose of the vectors they stand for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.compression import KINDS, Compression, dequantise, quantise, quantise_patches
from retrieval.errors import InputError
from retrieval.maxsim import as_floats, similarities
from retrieval.token_pooling import pool_tokens


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


@given(st.integers(0, 2**32 - 1), st.integers(0, 30), st.integers(1, 64), st.floats(-6, 6))
def test_every_vector_has_a_range_of_its_own(seed: int, n: int, d: int, power: float) -> None:
    """Short vectors beside long ones keep their eight bits, and each its square."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(n, d))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors = (vectors * 10.0 ** (power - 2 * rng.random((n, 1)))).astype(np.float32)
    codes, scale = quantise_patches(vectors)
    assert codes.shape == (n, d + 2) and scale > 0
    found = as_floats(codes, d).astype(np.float64) * scale
    squares = (vectors.astype(np.float64) ** 2).sum(axis=1)
    # A fraction is rounded to a step, of which the shortest vector has at least 80.
    np.testing.assert_allclose((found * vectors).sum(axis=1), squares, rtol=0.01)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    assert (np.abs(found - vectors) <= lengths * 0.06 + 1e-30).all()


def test_a_scale_a_patch_loses_less_than_one_a_page() -> None:
    rng = np.random.default_rng(4)
    vectors = rng.normal(size=(300, 128)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    near = vectors + 0.05 * rng.normal(size=vectors.shape).astype(np.float32)
    exact = (near * vectors).sum(axis=1)

    def error(kind: str) -> float:
        page = Compression(kind).compress(vectors)
        kept = as_floats(page.codes, 128) * np.float32(page.scale)
        return float(np.std((near * kept).sum(axis=1) - exact))

    assert error("int8") < 0.6 * error("int8-page")


def test_what_int8_is_called() -> None:
    """A manifest's int8 is the older one: an index goes on as it was begun."""
    assert Compression.of_manifest("int8") == Compression("int8-page")
    assert Compression.of_manifest("int8+pool3").in_manifest == "int8+pool3"
    for name in ("fp32", "fp16", "int8", "binary", "int8+pool2", "binary+pool5"):
        setting = Compression.parse(name)
        assert Compression.of_manifest(setting.in_manifest) == setting
    assert Compression("int8-page", 2).is_called("int8+pool2")
    assert not Compression("int8-page", 2).is_called("int8")
    with pytest.raises(InputError, match="unknown compression 'int4'"):
        Compression.of_manifest("int4")


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
    codes, scale = quantise_patches(np.zeros(shape, np.float32))
    assert not as_floats(codes, 8).any() and scale == 1.0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_vectors_that_are_not_finite_are_refused(bad: float) -> None:
    vectors = np.ones((2, 2), np.float32)
    vectors[1, 0] = bad
    for one in (quantise, quantise_patches):
        with pytest.raises(ValueError, match="finite"):
            one(vectors)


@pytest.mark.parametrize("name", ["fp32", "fp16", "int8", "binary", "int8+pool2", "binary+pool5"])
def test_names_are_read_back(name: str) -> None:
    assert Compression.parse(name).name == name


@pytest.mark.parametrize("name", ["", "zip", "int8+pool1", "int8+pool6", "int8+", "int8+pool3+x"])
def test_unknown_names_are_refused_with_those_that_exist(name: str) -> None:
    with pytest.raises(InputError, match=r"unknown compression.*fp32, fp16, int8, binary.*pool5"):
        Compression.parse(name)


def test_bytes_of_a_page_of_1030_patches() -> None:
    sizes = {name: Compression.parse(name).bytes_a_page(1030, 128) for name in KINDS}
    assert sizes == {"fp32": 527_360, "fp16": 263_680, "int8": 133_900, "binary": 16_480}
    assert Compression.parse("int8+pool3").bytes_a_page(1030, 128) == 344 * 130


@given(st.integers(0, 2**32 - 1), st.integers(0, 80), st.sampled_from([1, 7, 16, 128]), st.data())
def test_similarities_to_compressed_vectors(seed: int, n: int, d: int, data: st.DataObject) -> None:
    """Each kind against its own definition, and each within its loss of the vectors."""
    setting = Compression(data.draw(st.sampled_from(KINDS)), data.draw(st.integers(1, 5)))
    vectors = np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    page = setting.compress(vectors, 32)
    assert page.codes.shape[1] == setting.width(d) and page.codes.dtype == setting.dtype
    query = np.eye(d, dtype=np.float32)
    found = similarities(query, page.codes, page.scale).T
    if page.member_of is not None:
        vectors = pool_tokens(vectors, setting.factor, 32)[0]
        assert len(page.member_of) == n
    if setting.kind == "binary":
        expected = np.where(vectors >= 0, 1.0, -1.0) * page.scale
        kept = (expected * vectors).sum(axis=1)
        if n:
            # A vector's product with its own signs is its square, on average.
            assert kept.mean() == pytest.approx((vectors**2).sum(axis=1).mean(), rel=1e-3)
    else:
        expected = vectors
    loss = {"fp32": 0, "fp16": 5e-4, "int8": 0.015, "binary": 1e-6}[setting.kind]
    np.testing.assert_allclose(found, expected, atol=loss + 1e-7)


def test_half_floats_do_not_overflow() -> None:
    large = np.array([[1e6, -3e4]], np.float32)
    page = Compression("fp16").compress(large)
    np.testing.assert_allclose(similarities(np.eye(2), page.codes, page.scale), large.T, rtol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_no_kind_takes_what_is_not_finite(kind: str) -> None:
    with pytest.raises(ValueError, match="finite"):
        Compression(kind).compress(np.array([[np.nan, 1.0]], np.float32))


def test_windows_of_passages_shrink_with_the_vectors() -> None:
    assert Compression("int8").window(128, 32) == (128, 32)
    assert Compression("int8", 3).window(128, 32) == (44, 11)
    assert Compression("int8", 5).window(0, 32) == (0, 32)
    assert Compression("int8", 2).window(64, 16) == (32, 8)
