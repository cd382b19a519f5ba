"""Nearest vectors of stage one by FAISS on a GPU (extra ``gpu``).

FAISS has no GPU code for 4-bit fast scan or graphs, and a GPU does not need them: it compares
a question with every vector, as halves, in the time that an inverted file takes on a processor.
So what it finds is exact, and never less than the same index finds on a processor.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval import coarse_kinds
from retrieval.types import FloatArray

_ROWS_AT_ONCE = 1 << 18


class NearestOnGpu:
    """Every vector of a coarse index in a flat FAISS index elsewhere, in the same order.

    Searches take turns: FAISS's GPU indexes share scratch memory, so even reading is for one
    thread at a time.
    """

    def __init__(self, flat: Any) -> None:
        """``flat`` is filled already; use ``of``."""
        self._flat = flat
        self._lock = threading.Lock()

    @staticmethod
    def of(index: Any, kind: str, make: Callable[[int], Any] | None = None) -> NearestOnGpu | None:
        """The vectors of ``index``; None where a GPU would not be asked, is not there, or is too
        small. ``make(dim)`` gives the empty flat index, on the first GPU by default."""
        if kind in coarse_kinds.SCANNED or not int(index.ntotal):
            return None
        make = make or _gpu_flat()
        if make is None:
            return None
        flat = make(int(index.d))
        stored = coarse_kinds.stored_vectors(index, kind)
        try:
            for start in range(0, int(index.ntotal), _ROWS_AT_ONCE):
                count = min(_ROWS_AT_ONCE, int(index.ntotal) - start)
                flat.add(stored.reconstruct_n(start, count))
        except RuntimeError:  # FAISS's word for a GPU whose memory is full
            return None
        return NearestOnGpu(flat)

    def search(self, query: FloatArray, k: int) -> tuple[FloatArray, NDArray[np.int64]]:
        """Each token's k nearest vectors, as ``coarse_kinds.search`` gives them."""
        # FAISS's GPU selection ends at 2,048.
        with self._lock:
            similarities, numbers = self._flat.search(query, min(k, 2048))
        return similarities, numbers


def _gpu_flat() -> Callable[[int], Any] | None:
    """How to make a flat index of halves on the first GPU; None where FAISS sees no GPU."""
    faiss = coarse_kinds.library()
    if not getattr(faiss, "get_num_gpus", lambda: 0)():
        return None

    def make(dim: int) -> Any:
        resources = faiss.StandardGpuResources()
        config = faiss.GpuIndexFlatConfig()
        config.useFloat16 = True
        flat = faiss.GpuIndexFlatIP(resources, dim, config)
        flat.referenced_objects = [resources]
        return flat

    return make
