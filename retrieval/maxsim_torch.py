"""Late interaction on a torch device: candidates stream in as they are stored.

Codes cross to the device as int8, float16 or bits, through two pinned buffers that take turns;
there a tile of pages at a time becomes the device's own float type and is multiplied with all
questions at once. No float32 copy of the candidates exists anywhere. Pages that were scored
stay on the device up to a budget, those asked for last longest.

Pages are cut into blocks of equal length whose missing rows repeat the last one: a repeated
patch does not change a maximum, as padding by zeros would. Everything here runs on torch's CPU
tensors too, which is how it is tested against numpy.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.maxsim import FRACTION, PACKED, SCALED
from retrieval.store_schema import RaggedPatches
from retrieval.types import FloatArray, QueryEmbedding

# Rows multiplied at a time: 65,536 x 128 halves are 16 MB, and their products with the tokens of
# 32 questions another 80.
TILE_ROWS = 65_536
# What passages are cut into where a page is one block.
_BLOCK = 32
CACHE_BYTES = 2 << 30


def cuda_is_there() -> bool:
    """Whether torch can use a GPU."""
    import torch

    return bool(torch.cuda.is_available())


class TorchScorer:
    """Scores stored pages on ``device``; safe to share between threads, which take turns."""

    def __init__(
        self, device: str, *, cache_bytes: int = CACHE_BYTES, tile_rows: int = TILE_ROWS
    ) -> None:
        """``cache_bytes`` is the device memory that pages may stay in, 0 for none."""
        import torch

        self._torch = torch
        self.device = torch.device(device)
        self._is_cuda = bool(self.device.type == "cuda")
        # Tensor cores multiply halves and add up in float32; a CPU has no use for halves.
        self._dtype = torch.float16 if self._is_cuda else torch.float32
        self._tile_rows = tile_rows
        self._budget = cache_bytes
        self._held: OrderedDict[int, Any] = OrderedDict()
        self._bytes = 0
        self._staging: list[Any] = []
        self._copied: list[Any] = []
        self._turn = 0
        self._lock = threading.Lock()

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
    ) -> FloatArray:
        """``[questions, k] float32`` scores of k pages, all questions in one pass over them.

        ``page_ids [k]`` name the pages for the cache, which is not used without them. ``window``
        and ``stride`` are ``best_passage``'s. Pages without patches score ``-inf``, unless the
        question has no tokens.
        """
        if window % stride:
            raise ValueError(f"window {window} must be a multiple of stride {stride}")
        torch = self._torch
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
            question = torch.from_numpy(tokens / norms).to(self.device, self._dtype)
            shares = torch.from_numpy(share * norms).to(self.device)
            found = []
            for part in self._tiles(filled, lengths):
                rows = self._rows(patches, part, page_ids)
                found.append(self._tile(rows, lengths[part], question, shares, dim, window, stride))
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
        products = self._numbers(rows, dim) @ question.T
        if rows.dtype == torch.int8 and rows.shape[1] > dim:
            products = products.float() * self._fractions(rows, dim)
        best = products[index].amax(dim=1).float()
        if window:
            best = _windows(best, page_of, window // stride, torch)
            return self._most(best @ shares, page_of, len(lengths))
        return self._most(best, page_of, len(lengths)) @ shares

    def _most(self, values: Any, page_of: Any, pages: int) -> Any:
        """The largest of each page's blocks, ``[pages, columns]``."""
        torch = self._torch
        most = torch.full((pages, values.shape[1]), -torch.inf, device=self.device)
        index = page_of[:, None].expand_as(values)
        return most.scatter_reduce_(0, index, values, "amax")

    def _numbers(self, rows: Any, dim: int) -> Any:
        """Codes ``[n, w]`` as the numbers ``[n, dim]`` they stand for, in the device's type."""
        torch = self._torch
        if rows.dtype != torch.uint8:
            return rows[:, :dim].to(self._dtype)
        place = torch.arange(8, device=self.device, dtype=torch.uint8)
        bits = (rows[:, :, None] >> place) & 1
        return (bits.flatten(1)[:, :dim].to(self._dtype) * 2) - 1

    def _fractions(self, rows: Any, dim: int) -> Any:
        """What the patches of ``SCALED`` rows are multiplied by, ``[n, 1] float32``."""
        low, high = (rows[:, dim + i : dim + i + 1].view(self._torch.uint8) for i in (0, 1))
        return (low.float() + high.float() * 256) / FRACTION

    def _rows(
        self, patches: RaggedPatches, pages: NDArray[np.intp], page_ids: NDArray[np.int64] | None
    ) -> Any:
        """The pages' codes on the device, one page after the other."""
        torch = self._torch
        codes = patches.codes
        if codes.dtype in (PACKED, SCALED):
            codes = codes.view(np.uint8 if codes.dtype == PACKED else np.int8)
        keys = [] if page_ids is None else [int(page_ids[page]) for page in pages]
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

    def _keep(self, keys: Sequence[int], fresh: dict[int, Any]) -> None:
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
