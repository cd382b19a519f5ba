"""What an index of so many pages would take: ``folioscope index plan``.

Sizes are sums of what is stored; rates and the time of reranking are measured on this machine in
a few seconds; the growth of stage one is what docs/scale.md found between ten thousand and a
million pages. Good for choosing, not for promising: real pages differ by their words.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from indexing.pipeline import PoolSettings
from indexing.settings import cores
from retrieval.coarse_kinds import choose
from retrieval.compression import MOST_POOLED, Compression
from retrieval.encoders import PageEncoder, load_encoder
from retrieval.errors import EncoderError
from retrieval.passages import best_passage
from retrieval.token_pooling import TEXT_RUN, pool_tokens
from retrieval.types import FloatArray, PageContent, PageWords

SETTINGS = (
    "fp32",
    "fp16",
    "int8",
    "binary",
    *(f"{kind}+pool{n}" for kind in ("int8", "binary") for n in range(2, MOST_POOLED + 1)),
)
# Patches of a page: the mean of 4,696 real pages; ColPali's grid of 32 x 32 and its prompt.
TEXT_PATCHES, PICTURE_PATCHES, DIM = 450, 1030, 128
# A page's words, boxes and text with its index, in bytes: a share for itself, and by word.
_CONTENT, _CONTENT_A_WORD = 1000, 10
# A searcher before any page; its columns and what FAISS and Lance keep beside the vectors.
_BASE_MB, _MEMORY_A_PAGE = 180, 370
_CANDIDATES, _TOKENS = 100, 20
# docs/scale.md, warm: stage one at 10,000 pages and how it grows; encoding a question.
_STAGE_ONE_MS, _GROWTH, _QUESTION_MS = 13.0, 0.32, 6.0
# Reading 100 rows of n KB, warm: a share for the rows and one for the bytes.
_FETCH_MS, _FETCH_MS_A_KB = 2.0, 0.11


@dataclass(frozen=True, slots=True)
class Planned:
    """One setting: gigabytes on disk, megabytes in memory, hours of building (None where the
    encoder's rate is not known), milliseconds a question (p50, warm) and what of it reranks."""

    setting: str
    patch_bytes_a_page: int
    disk_gb: float
    memory_mb: float
    build_hours: float | None
    question_ms: float
    rerank_ms: float


@dataclass(frozen=True, slots=True)
class Plan:
    """The settings and what they rest on. ``encoder_pages_s`` is of all cores, None if unknown;
    ``note`` says why."""

    pages: int
    encoder: str
    patches: int
    dim: int
    coarse_kind: str
    encoder_pages_s: float | None
    note: str
    settings: tuple[Planned, ...]


def plan(
    pages: int,
    encoder_id: str = "text",
    *,
    patches: int | None = None,
    names: Sequence[str] = (),
    pool: PoolSettings | None = None,
) -> Plan:
    """Predict each setting of ``names`` (``SETTINGS`` by default) for ``pages`` pages.

    ``patches`` is how many vectors a page has, where you know better than the default. Raises
    ``InputError`` for an unknown setting, ``EncoderError`` for an encoder of no known family.
    """
    settings = [Compression.parse(name) for name in names or SETTINGS]
    pool = pool or PoolSettings()
    text = encoder_id == "text"
    rate, note, dim = None, "", DIM
    try:
        encoder = load_encoder(encoder_id)
    except EncoderError as error:
        if encoder_id.partition(":")[0] not in ("colpali", "http"):
            raise
        note = f"the time to build is not known: {error}"
        if patches is None:
            note = (
                f"{PICTURE_PATCHES:,} vectors of {DIM} a page are assumed (--patches), and {note}"
            )
    else:
        dim, text = encoder.dim, "image" not in encoder.reads
        rate, measured = _rate(encoder, patches or TEXT_PATCHES)
        patches = patches or (None if text else measured)
    patches = patches or (TEXT_PATCHES if text else PICTURE_PATCHES)
    vectors = pages * (1 if pool.method == "mean" else pool.vectors)
    kind = choose(vectors)
    found = tuple(
        _planned(setting, pages, patches, dim, vectors, kind, rate, text) for setting in settings
    )
    return Plan(pages, encoder_id, patches, dim, kind, rate, note, found)


def _planned(
    setting: Compression,
    pages: int,
    patches: int,
    dim: int,
    vectors: int,
    kind: str,
    rate: float | None,
    text: bool,
) -> Planned:
    run = TEXT_RUN if text else 0
    left = sum(-(-n // setting.factor) for n in _runs(patches, run))
    codes = left * setting.width(dim) * setting.dtype.itemsize
    coarse = vectors * _coarse_bytes(kind, dim)
    content = _CONTENT + _CONTENT_A_WORD * (patches if text else TEXT_PATCHES)
    places = 0 if text else 3 * patches
    a_page = codes + content + places + 2 * dim * vectors // max(pages, 1)
    seconds = None
    if rate is not None:
        pooling = (
            0.0 if setting.factor == 1 else _pooling_seconds(patches, dim, setting.factor, run)
        )
        seconds = pages * (1 / rate + pooling / cores())
    rerank = _rerank_ms(setting, patches, dim, run)
    stage_one = _STAGE_ONE_MS * max(pages / 10_000, 0.1) ** _GROWTH
    fetch = _FETCH_MS + _FETCH_MS_A_KB * codes / 1024
    return Planned(
        setting=setting.name,
        patch_bytes_a_page=codes,
        disk_gb=(pages * a_page + coarse) / 1e9,
        memory_mb=_BASE_MB + (coarse + pages * _MEMORY_A_PAGE) / 1e6,
        build_hours=None if seconds is None else seconds / 3600,
        question_ms=_QUESTION_MS + stage_one + fetch + rerank,
        rerank_ms=rerank,
    )


def _runs(patches: int, run: int) -> list[int]:
    return [min(run or patches, patches - at) for at in range(0, patches, run or patches)]


def _coarse_bytes(kind: str, dim: int) -> int:
    """Bytes of a vector in the coarse index, its page's id included."""
    return 8 + {"flat": 4 * dim, "sq8": dim}.get(kind, dim // 4 + 8 + dim)


def _seconds(work: Callable[[], Any], repeats: int = 3) -> float:
    """The least of several times: what the work takes when nothing else is in its way."""
    took = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        took.append(time.perf_counter() - began)
    return min(took)


def _rate(encoder: PageEncoder, patches: int) -> tuple[float, int]:
    """Pages a second of all cores, and how many patches a page has."""
    rng = np.random.default_rng(0)
    picture = "image" in encoder.reads
    common = ("the", "of", "revenue", "year", "table", "2023", "network", "results", "percent", "a")
    pages = []
    for number in range(1 if picture else 8):
        texts = tuple(rng.choice(common, patches).tolist())
        boxes = np.sort(rng.random((patches, 2, 2)), axis=1).reshape(patches, 4).astype(np.float32)
        words = PageWords(texts, boxes, np.arange(patches, dtype=np.int32) // 10)
        image = rng.integers(0, 256, (1100, 850, 3)).astype(np.uint8) if picture else None
        pages.append(PageContent(number, str(number + 1), 612, 792, words, image=image))
    found = encoder.encode_pages(pages)
    seconds = _seconds(partial(encoder.encode_pages, pages), 1 if picture else 2)
    # A model on a GPU, or one with threads of its own, does not go faster by more callers.
    threads = 1 if picture else cores()
    return threads * len(pages) / seconds, len(found[0].vectors)


def _unit(n: int, dim: int) -> FloatArray:
    vectors = np.random.default_rng(0).normal(size=(n, dim)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def _pooling_seconds(patches: int, dim: int, factor: int, run: int) -> float:
    return _seconds(partial(pool_tokens, _unit(patches, dim), factor, run))


def _rerank_ms(setting: Compression, patches: int, dim: int, run: int) -> float:
    """Scoring 100 candidates, on one thread."""
    page = setting.compress(_unit(patches, dim), run)
    codes = np.concatenate([page.codes] * _CANDIDATES)
    starts = np.arange(_CANDIDATES + 1, dtype=np.int64) * len(page.codes)
    scales = np.full(_CANDIDATES, page.scale, np.float32)
    window, stride = setting.window(4 * run, run or 1)
    query, weights = _unit(_TOKENS, dim), np.ones(_TOKENS, np.float32)
    work = partial(
        best_passage, query, weights, codes, starts, scales, window=window, stride=stride
    )
    return _seconds(work, 5) * 1e3
