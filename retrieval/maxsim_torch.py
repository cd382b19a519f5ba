"""Late interaction on a torch device: candidates stream in as they are stored.

Codes cross to the device as int8, float16 or bits, through two pinned buffers that take turns;
there a tile of pages at a time becomes the device's own float type and is multiplied with all
questions at once. No float32 copy of the candidates exists anywhere. Pages that were scored
stay on the device up to a budget, those asked for last longest. Where a fused kernel is installed
that is faster on this GPU, it scores whole pages instead (``retrieval.maxsim_kernels``).

Where the device's memory does not do, pages kept there go, tiles become smaller, and in the end
the processor does the work: a search is slower then, and says so once in the log.

Pages are cut into blocks of equal length whose missing rows repeat the last one: a repeated
patch does not change a maximum, as padding by zeros would. Everything here runs on torch's CPU
tensors too, which is how it is tested against numpy.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.maxsim import FRACTION, PACKED, SCALED
from retrieval.maxsim_kernels import ENOUGH_ROWS, FusedKernel, installed_kernels, quickest
from retrieval.passages import best_passage
from retrieval.store_rows import RaggedPatches
from retrieval.types import FloatArray, QueryEmbedding

# Rows multiplied at a time: 65,536 x 128 halves are 16 MB, and their products with the tokens of
# 32 questions another 80.
TILE_ROWS = 65_536
# What passages are cut into where a page is one block.
_BLOCK = 32
CACHE_BYTES = 2 << 30
# Below this many rows a tile is no burden: what lacks then is memory for anything.
_FEWEST_ROWS = 2048

_log = logging.getLogger(__name__)


def cuda_is_there() -> bool:
    """Whether torch can use a GPU."""
    import torch

    return bool(torch.cuda.is_available())


class TorchScorer:
    """Scores stored pages on ``device``; safe to share between threads, which take turns, and
    between the lanes of an index, which share what is kept of pages."""

    def __init__(
        self,
        device: str,
        *,
        cache_bytes: int = CACHE_BYTES,
        tile_rows: int = TILE_ROWS,
        kernels: Sequence[FusedKernel] | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """``cache_bytes`` is the device memory that pages may stay in, 0 for none; ``kernels``
        are those that may do the work, by default the installed ones if this is a GPU, and
        ``clock`` (seconds) tells which is quickest."""
        import torch

        self._torch = torch
        self.device = torch.device(device)
        self._is_cuda = bool(self.device.type == "cuda")
        self._tile_rows = tile_rows
        self._budget = cache_bytes
        self._held: OrderedDict[tuple[str, int], Any] = OrderedDict()
        self._bytes = 0
        self._staging: list[Any] = []
        self._copied: list[Any] = []
        self._turn = 0
        self._lock = threading.Lock()
        self._told: set[str] = set()
        if kernels is None:
            kernels = installed_kernels() if self._is_cuda else ()
        self._rivals = list(kernels)
        self._chosen: dict[tuple[int, Any], FusedKernel | None] = {}
        self._clock = clock

    def of_lane(self, name: str) -> LaneScorer:
        """This scorer for one lane, whose pages are others than those of the same ids elsewhere."""
        return LaneScorer(self, name)

    @property
    def is_gpu(self) -> bool:
        """Whether this is not torch's CPU."""
        return self._is_cuda

    @property
    def cached_bytes(self) -> int:
        """Device memory that pages are kept in."""
        return self._bytes

    def score(
        self,
        query: QueryEmbedding,
        patches: RaggedPatches,
        page_ids: NDArray[np.int64],
        *,
        window: int,
        stride: int,
    ) -> FloatArray:
        """``[k] float32`` for one question; see ``score_many``."""
        scores: FloatArray = self.score_many(
            [query], patches, page_ids, window=window, stride=stride
        )[0]
        return scores

    def score_many(
        self,
        queries: Sequence[QueryEmbedding],
        patches: RaggedPatches,
        page_ids: NDArray[np.int64] | None = None,
        *,
        window: int = 0,
        stride: int = _BLOCK,
        lane: str = "",
    ) -> FloatArray:
        """``[questions, k] float32`` scores of k pages, all questions in one pass over them.

        ``page_ids [k]`` name the pages of a ``lane`` for the cache, which is not used without
        them. ``window`` and ``stride`` are ``best_passage``'s. Pages without patches score
        ``-inf``, unless the question has no tokens.
        """
        if window % stride:
            raise ValueError(f"window {window} must be a multiple of stride {stride}")
        keys = None if page_ids is None else [(lane, page_id) for page_id in page_ids.tolist()]
        while True:
            try:
                return self._on_device(queries, patches, keys, window, stride)
            except self._torch.cuda.OutOfMemoryError:
                enough = self._make_room()
            if not enough:
                return _on_processor(queries, patches, window, stride)

    def _make_room(self) -> bool:
        """Whether it is worth another try, with nothing kept and tiles of half the size."""
        with self._lock:
            self._held.clear()
            self._bytes = 0
            self._torch.cuda.empty_cache()
            if self._tile_rows <= _FEWEST_ROWS:
                self._tell(f"{self.device} is out of memory: pages are scored by the processor")
                return False
            self._tile_rows = max(_FEWEST_ROWS, self._tile_rows // 2)
            self._tell(f"{self.device} is short of memory: pages are scored in smaller batches")
            return True

    def _tell(self, what: str) -> None:
        if what not in self._told:
            self._told.add(what)
            _log.warning("%s; use --device cpu, or free its memory", what)

    def _on_device(
        self,
        queries: Sequence[QueryEmbedding],
        patches: RaggedPatches,
        keys: Sequence[tuple[str, int]] | None,
        window: int,
        stride: int,
    ) -> FloatArray:
        """See ``score_many``; raises torch's ``OutOfMemoryError``."""
        torch = self._torch
        dtype = self._dtype_for(patches.codes.dtype)
        lengths = np.diff(patches.starts)
        scores = np.full((len(queries), len(lengths)), -np.inf, np.float32)
        filled = np.flatnonzero(lengths)
        if not len(filled) or not len(queries):
            return scores
        tokens = np.concatenate([q.vectors for q in queries]).astype(np.float32)
        dim = queries[0].vectors.shape[1]
        owner = np.repeat(np.arange(len(queries)), [len(q.vectors) for q in queries])
        share = np.zeros((len(tokens), len(queries)), np.float32)
        share[np.arange(len(tokens)), owner] = np.concatenate([q.weights for q in queries])
        # Halves end at 65,504: a question's tokens are brought to length 1 for the product.
        norms = np.maximum(np.linalg.norm(tokens, axis=1, keepdims=True), 1e-12)
        with self._lock, torch.inference_mode():
            question = torch.from_numpy(tokens / norms).to(self.device, dtype)
            shares = torch.from_numpy(share * norms).to(self.device)
            whole = not window and patches.codes.dtype != np.float32
            fused = _Fused.of(queries, self.device, torch) if whole else None
            found = []
            for part in self._tiles(filled, lengths):
                rows, sizes = self._rows(patches, part, keys), lengths[part]

                def plain(rows: Any = rows, sizes: NDArray[np.int64] = sizes) -> Any:
                    return self._tile(rows, sizes, question, shares, dim, window, stride)

                scored = self._by_kernel(fused, rows, sizes, dim, plain) if fused else None
                found.append(plain() if scored is None else scored)
            # Only here does the processor wait for the device.
            scores[:, filled] = torch.cat(found).T.cpu().numpy() * patches.scales[filled]
        return scores

    def _tiles(
        self, filled: NDArray[np.intp], lengths: NDArray[np.int64]
    ) -> Iterator[NDArray[np.intp]]:
        """Runs of pages that fit into a tile; a page that does not is one of its own."""
        ends = np.cumsum(lengths[filled])
        begin = 0
        while begin < len(filled):
            done = int(ends[begin - 1]) if begin else 0
            end = int(np.searchsorted(ends, done + self._tile_rows, side="right"))
            end = max(end, begin + 1)
            yield filled[begin:end]
            begin = end

    def _tile(
        self,
        rows: Any,
        lengths: NDArray[np.int64],
        question: Any,
        shares: Any,
        dim: int,
        window: int,
        stride: int,
    ) -> Any:
        """Scores ``[pages, questions]`` of the pages whose codes are ``rows``, one by one."""
        torch = self._torch
        index, page_of = _blocks(lengths, stride)
        index, page_of = (torch.from_numpy(at).to(self.device) for at in (index, page_of))
        products = self._numbers(rows, dim, question.dtype) @ question.T
        if rows.dtype == torch.int8 and rows.shape[1] > dim:
            products = products.float() * self._fractions(rows, dim)
        best = products[index].amax(dim=1).float()
        if window:
            best = _windows(best, page_of, window // stride, torch)
            return self._most(best @ shares, page_of, len(lengths))
        return self._most(best, page_of, len(lengths)) @ shares

    def _by_kernel(
        self,
        fused: _Fused,
        rows: Any,
        lengths: NDArray[np.int64],
        dim: int,
        plain: Callable[[], Any],
    ) -> Any:
        """As ``_tile`` for whole pages, by a fused kernel; None where torch does it.

        The first tile that is large enough decides which, for each kind of codes."""
        torch = self._torch
        which = (dim, rows.dtype)
        if which not in self._chosen and (not self._rivals or len(rows) < ENOUGH_ROWS):
            return None

        def score(kernel: FusedKernel) -> Any:
            numbers = self._numbers(rows, dim, torch.float16)
            if rows.dtype == torch.int8 and rows.shape[1] > dim:
                numbers = (numbers * self._fractions(rows, dim)).half()
            return kernel(fused.tokens, fused.counts, numbers, lengths).T * fused.peaks

        if which not in self._chosen:
            wait = torch.cuda.synchronize if self._is_cuda else _no_wait
            self._chosen[which] = quickest(self._rivals, score, plain, wait, clock=self._clock)
        kernel = self._chosen[which]
        if kernel is None:
            return None
        try:
            return score(kernel)
        except torch.cuda.OutOfMemoryError:
            raise
        except Exception as error:  # another shape is compiled anew, which may fail in any way
            _log.warning("%s is not used any more: %s", kernel.name, error)
            self._chosen[which] = None
            return None

    def _most(self, values: Any, page_of: Any, pages: int) -> Any:
        """The largest of each page's blocks, ``[pages, columns]``."""
        torch = self._torch
        most = torch.full((pages, values.shape[1]), -torch.inf, device=self.device)
        index = page_of[:, None].expand_as(values)
        return most.scatter_reduce_(0, index, values, "amax")

    def _dtype_for(self, codes: np.dtype[Any]) -> Any:
        """What is multiplied: tensor cores take halves and add up in float32, but an index of
        float32 was made for more than halves hold; a CPU has no use for them."""
        is_half = self._is_cuda and codes != np.float32
        return self._torch.float16 if is_half else self._torch.float32

    def _numbers(self, rows: Any, dim: int, dtype: Any) -> Any:
        """Codes ``[n, w]`` as the numbers ``[n, dim]`` they stand for."""
        torch = self._torch
        if rows.dtype != torch.uint8:
            return rows[:, :dim].to(dtype)
        place = torch.arange(8, device=self.device, dtype=torch.uint8)
        bits = (rows[:, :, None] >> place) & 1
        return (bits.flatten(1)[:, :dim].to(dtype) * 2) - 1

    def _fractions(self, rows: Any, dim: int) -> Any:
        """What the patches of ``SCALED`` rows are multiplied by, ``[n, 1] float32``."""
        low, high = (rows[:, dim + i : dim + i + 1].view(self._torch.uint8) for i in (0, 1))
        return (low.float() + high.float() * 256) / FRACTION

    def _rows(
        self,
        patches: RaggedPatches,
        pages: NDArray[np.intp],
        names: Sequence[tuple[str, int]] | None,
    ) -> Any:
        """The pages' codes on the device, one page after the other."""
        torch = self._torch
        codes = patches.codes
        if codes.dtype in (PACKED, SCALED):
            codes = codes.view(np.uint8 if codes.dtype == PACKED else np.int8)
        keys = [] if names is None else [names[page] for page in pages.tolist()]
        if not keys or not self._budget:
            spans = [codes[patches.starts[page] : patches.starts[page + 1]] for page in pages]
            return self._sent(spans)
        absent = [i for i, key in enumerate(keys) if key not in self._held]
        if absent:
            spans = [codes[patches.starts[p] : patches.starts[p + 1]] for p in pages[absent]]
            sent = self._sent(spans)
            at = np.cumsum([0, *map(len, spans)])
            fresh = {keys[i]: sent[at[n] : at[n + 1]].clone() for n, i in enumerate(absent)}
        else:
            fresh = {}
        rows = torch.cat([fresh[key] if key in fresh else self._held[key] for key in keys])
        self._keep(keys, fresh)
        return rows

    def _keep(self, keys: Sequence[tuple[str, int]], fresh: dict[tuple[str, int], Any]) -> None:
        """Remember the pages just used, and forget the ones used longest ago."""
        for key in keys:
            if key in fresh and key not in self._held:
                self._held[key] = fresh[key]
                self._bytes += fresh[key].nbytes
            elif key in self._held:
                self._held.move_to_end(key)
        while self._bytes > self._budget:
            _, gone = self._held.popitem(last=False)
            self._bytes -= gone.nbytes

    def _sent(self, spans: Sequence[NDArray[Any]]) -> Any:
        """The spans' rows as one tensor on the device, through a pinned buffer if it is a GPU."""
        torch = self._torch
        rows = np.concatenate(spans)
        if not self._is_cuda:
            return torch.from_numpy(rows)
        flat = torch.from_numpy(rows.reshape(-1).view(np.uint8))
        if not self._staging:
            self._staging = [torch.empty(0, dtype=torch.uint8)] * 2
            self._copied = [torch.cuda.Event() for _ in self._staging]
        self._turn = (self._turn + 1) % 2
        # The other buffer's copy may be under way; this one's must have ended.
        self._copied[self._turn].synchronize()
        if len(self._staging[self._turn]) < len(flat):
            self._staging[self._turn] = torch.empty(len(flat), dtype=torch.uint8, pin_memory=True)
        pinned = self._staging[self._turn][: len(flat)]
        pinned.copy_(flat)
        sent = pinned.to(self.device, non_blocking=True)
        self._copied[self._turn].record()
        return sent.view(torch.from_numpy(rows[:1]).dtype).view(rows.shape)


class LaneScorer:
    """One lane's part of a ``TorchScorer`` that all lanes of an index share."""

    def __init__(self, shared: TorchScorer, name: str) -> None:
        self._shared = shared
        self._name = name
        self.is_gpu = shared.is_gpu

    def of_lane(self, name: str) -> LaneScorer:
        """See ``TorchScorer``."""
        return LaneScorer(self._shared, name)

    def score(
        self,
        query: QueryEmbedding,
        patches: RaggedPatches,
        page_ids: NDArray[np.int64],
        *,
        window: int,
        stride: int,
    ) -> FloatArray:
        """``[k] float32`` for one question; see ``TorchScorer.score_many``."""
        scores: FloatArray = self._shared.score_many(
            [query], patches, page_ids, window=window, stride=stride, lane=self._name
        )[0]
        return scores


@dataclass(frozen=True, slots=True, eq=False)
class _Fused:
    """Questions as fused kernels take them, which know no weights: each token is multiplied by
    its own, which does not change which patch is its best.

    ``tokens [t, d]`` halves, ``counts [questions]``, ``peaks [questions]`` what a question's
    scores are multiplied by: so that weights far below 1 do not end in halves near 0.
    """

    tokens: Any
    counts: NDArray[np.int64]
    peaks: Any

    @staticmethod
    def of(queries: Sequence[QueryEmbedding], device: Any, torch: Any) -> _Fused | None:
        """None for questions without tokens, or with weights below 0: a kernel has no answer."""
        counts = np.array([len(q.vectors) for q in queries], np.int64)
        if not counts.all() or any(float(q.weights.min()) < 0 for q in queries):
            return None
        weighted = [(q.vectors * q.weights[:, None]).astype(np.float32) for q in queries]
        peaks = [max(float(np.linalg.norm(w, axis=1).max()), 1e-12) for w in weighted]
        tokens = np.concatenate([w / peak for w, peak in zip(weighted, peaks, strict=True)])
        return _Fused(
            torch.from_numpy(tokens).to(device, torch.float16),
            counts,
            torch.tensor(peaks, dtype=torch.float32, device=device),
        )


def _no_wait() -> None:
    pass


def _on_processor(
    queries: Sequence[QueryEmbedding], patches: RaggedPatches, window: int, stride: int
) -> FloatArray:
    codes, starts, scales = patches.codes, patches.starts, patches.scales
    scores = [
        best_passage(q.vectors, q.weights, codes, starts, scales, window=window, stride=stride)
        for q in queries
    ]
    return np.stack(scores)


def _blocks(lengths: NDArray[np.int64], stride: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of every block ``[blocks, stride]``, the last one repeated, and each block's page."""
    counts = -(-lengths // stride)
    page_of = np.repeat(np.arange(len(lengths)), counts)
    starts = np.cumsum(lengths) - lengths
    number = np.arange(len(page_of)) - np.repeat(np.cumsum(counts) - counts, counts)
    first = starts[page_of] + number * stride
    last = (starts + lengths - 1)[page_of]
    rows = np.minimum(first[:, None] + np.arange(stride), last[:, None])
    return rows.astype(np.int64), page_of.astype(np.int64)


def _windows(best: Any, page_of: Any, width: int, torch: Any) -> Any:
    """The maxima ``[blocks, tokens]`` of the ``width`` blocks from each on, within its page."""
    windows = best.clone()
    for shift in range(1, min(width, len(best))):
        same = (page_of[shift:] == page_of[:-shift])[:, None]
        following = torch.where(same, best[shift:], -torch.inf)
        windows[:-shift] = torch.maximum(windows[:-shift], following)
    return windows
