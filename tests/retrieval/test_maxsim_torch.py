"""Late interaction by torch, on its CPU tensors, against the plain reference; on a GPU if any."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.compression import KINDS, Compression
from retrieval.device import CpuScorer, choose_scorer
from retrieval.errors import InputError
from retrieval.maxsim import windowed
from retrieval.store import RaggedPatches
from retrieval.types import QueryEmbedding

models = [pytest.mark.models, pytest.mark.timeout(300)]


def torch_device(device: str) -> Any:
    torch = pytest.importorskip("torch", reason="run `make test-models`")
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("there is no GPU here")
    from retrieval.maxsim_torch import TorchScorer

    return TorchScorer


devices = pytest.mark.parametrize(
    "device",
    [pytest.param("cpu", marks=models), pytest.param("cuda", marks=[*models, pytest.mark.gpu])],
)


def problem(seed: int, kind: str, lengths: list[int], dim: int, asked: int) -> Any:
    rng = np.random.default_rng(seed)
    pages = [rng.normal(size=(n, dim)).astype(np.float32) for n in lengths]
    kept = [Compression(kind).compress(page) for page in pages]
    patches = RaggedPatches(
        np.concatenate([page.codes for page in kept]),
        np.cumsum([0, *lengths]).astype(np.int64),
        np.array([page.scale for page in kept], np.float32),
    )
    queries = []
    for tokens in rng.integers(1, 9, asked):
        vectors = rng.normal(size=(tokens, dim)).astype(np.float32)
        weights = rng.uniform(0, 2, tokens).astype(np.float32)
        queries.append(QueryEmbedding(vectors, ("x",) * tokens, weights))
    return queries, patches


def expected(queries: Any, patches: Any, stride: int, width: int) -> Any:
    rows = (patches.codes, patches.starts, patches.scales)
    return np.stack(
        [windowed(q.vectors, q.weights, *rows, stride, width, level="numpy") for q in queries]
    )


@devices
@given(
    seed=st.integers(0, 2**32 - 1),
    kind=st.sampled_from((*KINDS, "int8-page")),
    lengths=st.lists(st.integers(0, 50), min_size=1, max_size=10),
    dim=st.sampled_from([1, 8, 13, 128]),
    asked=st.integers(1, 4),
    shape=st.sampled_from([(0, 32), (8, 4), (12, 4), (64, 32)]),
    tile_rows=st.sampled_from([16, 1000]),
)
def test_ragged_pages_score_as_by_numpy(
    device: str,
    seed: int,
    kind: str,
    lengths: list[int],
    dim: int,
    asked: int,
    shape: tuple[int, int],
    tile_rows: int,
) -> None:
    scorer = torch_device(device)(device, tile_rows=tile_rows)
    queries, patches = problem(seed, kind, lengths, dim, asked)
    window, stride = shape
    found = scorer.score_many(queries, patches, window=window, stride=stride)
    wanted = expected(queries, patches, stride if window else 0, max(1, window // stride))
    np.testing.assert_array_equal(np.isfinite(found), np.isfinite(wanted))
    rough = 2e-3 if device == "cuda" else 2e-5
    size = max(float(q.weights @ np.linalg.norm(q.vectors, axis=1)) for q in queries)
    full = np.isfinite(wanted)
    np.testing.assert_allclose(found[full], wanted[full], atol=rough * size * np.sqrt(dim) * 3)


@devices
def test_pages_stay_on_the_device_up_to_a_budget(device: str) -> None:
    queries, patches = problem(1, "int8", [10, 20, 30, 0], 16, 2)
    scorer = torch_device(device)(device, cache_bytes=900)
    ids = np.array([7, 8, 9, 10])
    first = scorer.score_many(queries, patches, ids)
    # 10 + 20 + 30 rows of 18 bytes are 1,080: the page used longest ago went.
    assert scorer.cached_bytes == (20 + 30) * 18
    np.testing.assert_array_equal(scorer.score_many(queries, patches, ids), first)
    assert scorer.cached_bytes <= 900
    # What is kept is scored, whatever the host holds now: the ids say that it is the same.
    empty = RaggedPatches(np.zeros_like(patches.codes), patches.starts, patches.scales)
    kept = scorer.score_many(queries, empty, ids)
    assert (kept[:, 1:3] == first[:, 1:3]).any() and not np.array_equal(kept, first)
    np.testing.assert_array_equal(
        torch_device(device)(device, cache_bytes=0).score_many(queries, patches, ids), first
    )


@devices
def test_lanes_share_a_budget_but_not_their_pages(device: str) -> None:
    queries, patches = problem(1, "int8", [10, 20], 16, 1)
    _, other = problem(2, "int8", [10, 20], 16, 1)
    scorer = torch_device(device)(device, cache_bytes=45 * 18)
    ids, shape = np.array([7, 8]), {"window": 0, "stride": 32}
    for held in (patches, other, patches):
        lane = scorer.of_lane("late" if held is patches else "late:other")
        wanted = expected(queries, held, 0, 1)[0]
        found = lane.score(queries[0], held, ids, **shape)
        np.testing.assert_allclose(found, wanted, rtol=2e-2, atol=1e-2)
        assert scorer.cached_bytes <= 45 * 18


@pytest.mark.models
@pytest.mark.timeout(300)
@pytest.mark.parametrize("room", [3000, 0])
def test_without_memory_batches_shrink_and_then_the_processor_scores(
    room: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    scorer = torch_device("cpu")("cpu")
    import torch

    queries, patches = problem(3, "int8", [900] * 8, 8, 2)
    whole = scorer._tile

    def tile(rows: Any, *rest: Any) -> Any:
        if len(rows) > room:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return whole(rows, *rest)

    monkeypatch.setattr(scorer, "_tile", tile)
    wanted = expected(queries, patches, 0, 1)
    for _ in range(2):
        found = scorer.score_many(queries, patches, np.arange(8))
        np.testing.assert_allclose(found, wanted, rtol=2e-2, atol=2e-2)
    said = [record.message for record in caplog.records if "memory" in record.message]
    assert len(said) == (1 if room else 2), "each is said once"
    assert "smaller batches" in said[0] and "use --device cpu" in said[0]
    assert room or "by the processor" in said[1]


@devices
def test_a_question_without_tokens_and_no_pages(device: str) -> None:
    scorer = torch_device(device)(device)
    queries, patches = problem(2, "fp16", [3, 0], 8, 1)
    nothing = QueryEmbedding(np.zeros((0, 8), np.float32), (), np.zeros(0, np.float32))
    assert scorer.score_many([nothing], patches).tolist() == [[0.0, -np.inf]]
    none = RaggedPatches(np.zeros((0, 8), np.float16), np.zeros(1, np.int64), np.zeros(0))
    assert scorer.score_many(queries, none).shape == (1, 0)


def test_a_device_that_is_not_there_is_named() -> None:
    assert isinstance(choose_scorer("cpu"), CpuScorer)
    assert isinstance(choose_scorer("auto", driver=lambda: False), CpuScorer)
    with pytest.raises(InputError, match="auto, cpu, cuda, not 'tpu'"):
        choose_scorer("tpu")


@pytest.mark.skipif("__import__('retrieval.device').device.has_driver()", reason="a GPU is here")
def test_asking_for_a_gpu_without_one_says_what_to_do() -> None:
    with pytest.raises(InputError, match="use --device cpu"):
        choose_scorer("cuda")


class Clock:
    """Time passes only where somebody works."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


class Plain:
    """A fused kernel as its users write one: what comes out is right, however it is made."""

    def __init__(
        self, name: str = "fast", *, factor: float = 1.0, clock: Clock | None = None, s: float = 0
    ) -> None:
        self.name, self.factor, self.clock, self.seconds = name, factor, clock, s
        self.calls = 0

    def __call__(self, tokens: Any, counts: Any, rows: Any, lengths: Any) -> Any:
        import torch

        self.calls += 1
        assert tokens.dtype == rows.dtype == torch.float16
        if self.clock is not None:
            self.clock.now += self.seconds
        products = tokens.float() @ rows.float().T
        pages = torch.split(products, lengths.tolist(), dim=1)
        best = torch.stack([page.amax(1) for page in pages], dim=1)
        asked = torch.split(best, counts.tolist())
        return torch.stack([part.sum(0) for part in asked]) * self.factor


class Broken(Plain):
    """Works so often, then no more."""

    works = 0

    def __call__(self, tokens: Any, counts: Any, rows: Any, lengths: Any) -> Any:
        if self.calls >= self.works:
            self.calls += 1
            raise RuntimeError("no driver")
        return super().__call__(tokens, counts, rows, lengths)


@pytest.mark.models
@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", ["int8", "fp16", "binary", "fp32"])
def test_of_the_fused_kernels_the_quickest_right_one_is_used(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    wrong, broken = Plain("wrong", factor=1.1, clock=clock), Broken("broken", clock=clock)
    slow, fast = Plain("slow", clock=clock, s=5.0), Plain("fast", clock=clock, s=-0.5)
    scorer = torch_device("cpu")("cpu", kernels=[wrong, broken, slow, fast], clock=clock)
    queries, patches = problem(5, kind, [1500] * 7, 32, 2)
    for _ in range(2):
        found = scorer.score_many(queries, patches)
        wanted = expected(queries, patches, 0, 1)
        np.testing.assert_allclose(found, wanted, rtol=1e-2, atol=1e-2)
    if kind == "fp32":
        assert not wrong.calls, "halves hold less than the index was made for"
        return
    assert wrong.calls == broken.calls == 1 and slow.calls == 8, "each is tried once"
    assert fast.calls == 8 + 2
    said = " ".join(record.message for record in caplog.records)
    assert "wrong is not used: its scores are" in said and "broken is not used: no driver" in said


@pytest.mark.models
@pytest.mark.timeout(300)
def test_a_kernel_that_fails_later_costs_no_search(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    kernel = Broken("weary", clock=clock, s=-0.5)
    kernel.works = 9
    scorer = torch_device("cpu")("cpu", kernels=[kernel], clock=clock)
    queries, patches = problem(5, "int8", [1500] * 7, 32, 2)
    for _ in range(4):
        found = scorer.score_many(queries, patches)
        np.testing.assert_allclose(found, expected(queries, patches, 0, 1), rtol=1e-2, atol=1e-2)
    assert kernel.calls == 10
    assert "weary is not used any more: no driver" in caplog.text


def always(scorer: Any, kernel: Any, dim: int) -> Any:
    """``scorer``, which has chosen ``kernel``."""
    import torch

    for dtype in (torch.int8, torch.float16, torch.uint8):
        scorer._chosen[dim, dtype] = kernel
    return scorer


@devices
@given(
    seed=st.integers(0, 2**32 - 1),
    kind=st.sampled_from(["int8", "fp16", "binary", "int8-page"]),
    lengths=st.lists(st.integers(0, 50), min_size=1, max_size=10),
    asked=st.integers(1, 4),
)
def test_a_fused_kernel_gets_the_weights_and_the_right_pages(
    device: str, seed: int, kind: str, lengths: list[int], asked: int
) -> None:
    kernel = Plain()
    scorer = always(torch_device(device)(device, kernels=[]), kernel, 16)
    queries, patches = problem(seed, kind, lengths, 16, asked)
    found, wanted = scorer.score_many(queries, patches), expected(queries, patches, 0, 1)
    np.testing.assert_array_equal(np.isfinite(found), np.isfinite(wanted))
    size = max(float(q.weights @ np.linalg.norm(q.vectors, axis=1)) for q in queries)
    full = np.isfinite(wanted)
    np.testing.assert_allclose(found[full], wanted[full], atol=6e-3 * size * 12)
    assert kernel.calls == bool(full.any())


@pytest.mark.gpu
@pytest.mark.models
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", ["late-interaction-kernels", "flash-maxsim"])
def test_the_kernels_of_other_packages_agree_with_numpy(name: str) -> None:
    """On a GPU; without one by Triton's interpreter, if TRITON_INTERPRET=1 says so."""
    scorer_of = torch_device("cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda")
    from retrieval.maxsim_kernels import installed_kernels

    kernel = next((kernel for kernel in installed_kernels() if kernel.name == name), None)
    if kernel is None:
        pytest.skip(f"{name} is not installed")
    interpreted = os.environ.get("TRITON_INTERPRET") == "1"
    scorer = always(scorer_of("cpu" if interpreted else "cuda", kernels=[]), kernel, 128)
    for kind in ("int8", "fp16", "binary"):
        queries, patches = problem(7, kind, [40, 3, 0, 90], 128, 3)
        found, wanted = scorer.score_many(queries, patches), expected(queries, patches, 0, 1)
        np.testing.assert_allclose(found, wanted, rtol=1e-2, atol=1e-2)
