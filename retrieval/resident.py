"""What an open index keeps of its pages in memory: those read last, or all of a small one.

Reading a hundred pages from disk costs more than scoring them, and the pages that questions lead
to are a small part of a collection. Memory holds the small index, disk the large one: what is
kept has a limit in bytes, and what was not asked for longest goes first.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import numpy as np
from cachetools import LRUCache
from numpy.typing import NDArray

from retrieval.maxsim import Codes
from retrieval.store import LaneStore, RaggedPatches, Store
from retrieval.store_rows import PageRecord

_BATCH_PAGES = 256
# What a word takes beside its letters and its box: a string, and its place in a tuple.
_WORD_BYTES = 64

Offsets = NDArray[np.int64]
_Value = TypeVar("_Value")


class _Kept(Generic[_Value]):
    """Values by row offset, in so many bytes. Safe to share between threads.

    An open index stays at its generation, so an offset means the same page for as long.
    """

    def __init__(self, limit_bytes: float, size_of: Callable[[_Value], int]) -> None:
        self._lock = threading.Lock()
        self._size_of, self._limit = size_of, limit_bytes
        self._values: LRUCache[int, _Value] = LRUCache(limit_bytes, size_of)

    def get(self, offsets: Offsets, read: Callable[[Offsets], Sequence[_Value]]) -> list[_Value]:
        """The values at ``offsets``; ``read`` gives those that are missing, in its order."""
        wanted = offsets.tolist()
        with self._lock:
            found = {at: self._values[at] for at in wanted if at in self._values}
        missing = [at for at in dict.fromkeys(wanted) if at not in found]
        if missing:
            fresh = dict(zip(missing, read(np.array(missing, np.int64)), strict=True))
            found |= fresh
            with self._lock:
                for at, value in fresh.items():
                    if self._size_of(value) <= self._limit:
                        self._values[at] = value
        return [found[at] for at in wanted]


_Page = tuple[Codes, np.float32]


class PatchReader:
    """Multivectors of one encoder: from memory where they are kept, else from disk.

    ``cache_mb`` megabytes of those read last are kept; all of them, if they take at most
    ``resident_mb``. Safe to share between threads.
    """

    def __init__(self, store: Store | LaneStore, cache_mb: float, resident_mb: float) -> None:
        self._store = store
        self._resident_mb = resident_mb
        self._lock = threading.Lock()
        self._tried = False
        self._all: RaggedPatches | None = None
        self._cache = _Kept[_Page](cache_mb * 1e6, _codes_bytes) if cache_mb else None

    def fetch(self, offsets: Offsets) -> RaggedPatches:
        """The multivectors of the pages at ``offsets`` ``[k]``, in the order asked."""
        kept = self.kept()
        if kept is not None:
            return pick(kept, offsets)
        if self._cache is None or not len(offsets):
            return self._store.fetch_patches(offsets)
        pages = self._cache.get(offsets, self._read)
        codes, starts = _joined([codes for codes, _ in pages])
        return RaggedPatches(codes, starts, np.array([scale for _, scale in pages], np.float32))

    def _read(self, offsets: Offsets) -> list[_Page]:
        found = self._store.fetch_patches(offsets)
        parts = np.split(found.codes, found.starts[1:-1])
        # Copies: a page that stays must not hold on to the hundred that it was read with.
        return [(part.copy(), scale) for part, scale in zip(parts, found.scales, strict=True)]

    def kept(self) -> RaggedPatches | None:
        """All of them by row offset, if all are kept; read at the first call."""
        if not self._resident_mb:
            return None
        with self._lock:
            if not self._tried:
                self._all = read_resident(self._store, self._resident_mb * 1e6)
                self._tried = True
        return self._all


class RecordReader:
    """Words and places of pages: from memory where they are kept, else from disk.

    Safe to share between threads.
    """

    def __init__(self, store: Store, cache_mb: float) -> None:
        self._store = store
        self._cache = _Kept[PageRecord](cache_mb * 1e6, _record_bytes) if cache_mb else None

    def fetch(self, offsets: Offsets) -> list[PageRecord]:
        """What is shown of the pages at ``offsets`` ``[k]``, in the order asked."""
        if self._cache is None or not len(offsets):
            return self._store.fetch_boxes_and_words(offsets)
        return self._cache.get(offsets, self._read)

    def _read(self, offsets: Offsets) -> list[PageRecord]:
        records = self._store.fetch_boxes_and_words(offsets)
        for record in records:
            # Whoever gets one shares it with every later hit of the page.
            for array in (record.words.boxes, record.words.lines, record.patch_boxes):
                array.setflags(write=False)
        return records


def _codes_bytes(page: _Page) -> int:
    return page[0].nbytes + 256


def _record_bytes(record: PageRecord) -> int:
    words = record.words
    arrays = words.boxes.nbytes + words.lines.nbytes + record.patch_boxes.nbytes
    letters = sum(map(len, words.texts)) + len(record.outline)
    members = 0 if record.member_of is None else record.member_of.nbytes
    return arrays + members + letters + _WORD_BYTES * len(words) + 1024


def read_resident(store: Store | LaneStore, limit_bytes: float) -> RaggedPatches | None:
    """Every page's multivectors by row offset, or None if they take more than ``limit_bytes``.

    Every row is checked as it is read, as always.
    """
    starts = np.concatenate(([0], np.cumsum(store.n_patches, dtype=np.int64)))
    scales = np.ones(len(store.pages), np.float32)
    codes: Codes | None = None
    for offsets, patches in store.scan_patches(_BATCH_PAGES):
        if codes is None:
            width = patches.codes.shape[1]
            if int(starts[-1]) * width * patches.codes.itemsize > limit_bytes:
                return None
            # Filled in place: two copies of a gigabyte would count twice for a moment.
            codes = np.empty((int(starts[-1]), width), patches.codes.dtype)
        codes[starts[offsets[0]] : starts[offsets[-1] + 1]] = patches.codes
        scales[offsets] = patches.scales
    return None if codes is None else RaggedPatches(codes, starts, scales)


def pick(patches: RaggedPatches, wanted: NDArray[np.int64] | NDArray[np.intp]) -> RaggedPatches:
    """The multivectors of some of the pages, in the order wanted."""
    bounds = zip(patches.starts[wanted], patches.starts[wanted + 1], strict=True)
    codes, starts = _joined([patches.codes[first:last] for first, last in bounds])
    return RaggedPatches(
        codes if len(wanted) else patches.codes[:0], starts, patches.scales[wanted]
    )


def _joined(parts: Sequence[Codes]) -> tuple[Codes, NDArray[np.int64]]:
    """Pages one after another, and where each begins, ``[k + 1]``."""
    starts = np.concatenate(([0], np.cumsum([len(part) for part in parts]))).astype(np.int64)
    if not parts:
        return np.zeros((0, 0), np.uint8), starts
    # As bytes: numpy compares the types of all parts, which for named ones takes it longer
    # than to copy them.
    return np.concatenate([part.view(np.uint8) for part in parts]).view(parts[0].dtype), starts
