"""All multivectors of a small index in memory, for those who have it to spare.

Reading a hundred pages from disk costs more than scoring them, and a few thousand pages are
scored from end to end in the time that two stages take. Off unless asked for: memory holds the
small index, disk the large one.
"""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

from retrieval.store import LaneStore, RaggedPatches, Store

_BATCH_PAGES = 256


class PatchReader:
    """Multivectors of one encoder: from memory where they are to be kept and fit, else from disk.

    Safe to share between threads.
    """

    def __init__(self, store: Store | LaneStore, limit_mb: float) -> None:
        self._store = store
        self._limit_mb = limit_mb
        self._lock = threading.Lock()
        self._tried = False
        self._kept: RaggedPatches | None = None

    def fetch(self, offsets: NDArray[np.int64]) -> RaggedPatches:
        """The multivectors of the pages at ``offsets``, in the order asked."""
        kept = self.kept()
        return self._store.fetch_patches(offsets) if kept is None else pick(kept, offsets)

    def kept(self) -> RaggedPatches | None:
        """All of them by row offset, if they are kept; read at the first call."""
        if not self._limit_mb:
            return None
        with self._lock:
            if not self._tried:
                self._kept = read_resident(self._store, self._limit_mb * 1e6)
                self._tried = True
        return self._kept


def read_resident(store: Store | LaneStore, limit_bytes: float) -> RaggedPatches | None:
    """Every page's multivectors by row offset, or None if they take more than ``limit_bytes``.

    Every row is checked as it is read, as always.
    """
    parts: list[RaggedPatches] = []
    held, pages = 0, len(store.pages)
    for offsets, patches in store.scan_patches(_BATCH_PAGES):
        parts.append(patches)
        held += patches.codes.nbytes
        # What is there so far stands for the rest, so that a large index is not read for nothing.
        if held * pages / (int(offsets[-1]) + 1) > limit_bytes:
            return None
    if not parts:
        return None
    lengths = np.concatenate([np.diff(part.starts) for part in parts])
    return RaggedPatches(
        np.concatenate([part.codes for part in parts]),
        np.concatenate(([0], np.cumsum(lengths))).astype(np.int64),
        np.concatenate([part.scales for part in parts]),
    )


def pick(patches: RaggedPatches, wanted: NDArray[np.int64] | NDArray[np.intp]) -> RaggedPatches:
    """The multivectors of some of the pages, in the order wanted."""
    bounds = zip(patches.starts[wanted], patches.starts[wanted + 1], strict=True)
    parts = [patches.codes[first:last] for first, last in bounds]
    starts = np.concatenate(([0], np.cumsum([len(part) for part in parts]))).astype(np.int64)
    codes = np.concatenate(parts) if parts else patches.codes[:0]
    return RaggedPatches(codes, starts, patches.scales[wanted])
