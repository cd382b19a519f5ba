"""The coarse stage: pooled page vectors in FAISS, scored by MaxSim over the pooled vectors.

Every page has one or a few vectors here. Small collections are scored without any
approximation beyond the pooling itself; large ones go through an inverted file or a graph.
Filters narrow the pages *before* the best are taken: filtering a finished top-100 would
return too few, or none, of the pages a narrow filter allows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import StorageError
from retrieval.maxsim import maxsim
from retrieval.pooling import PoolMethod, pool_page
from retrieval.types import FloatArray

__all__ = ["Batch", "CoarseIndex", "CoarseKind", "PoolMethod", "pool_page"]

CoarseKind = Literal["flat", "sq8"]
PageIds = NDArray[np.int64]
Batch = tuple[PageIds, FloatArray]
Batches = Iterable[Batch] | Callable[[], Iterable[Batch]]


class CoarseIndex:
    """A FAISS index whose ids are page ids, one or more vectors a page.

    The vectors of a page must be added together. Removed pages keep their vectors, which no
    search returns, until the index is built anew. Searching is safe from several threads;
    adding and removing are not.
    """

    def __init__(self, index: Any, owner: Any = None) -> None:
        """``index`` is a ``faiss.IndexIDMap``; use ``build`` or ``read`` to get one.

        ``owner`` is the object whose end would free ``index``, where that is another one.
        """
        self._index = index
        self._owner = owner
        self._refresh()

    @staticmethod
    def build(batches: Batches, dim: int, kind: str = "auto") -> CoarseIndex:
        """Index ``(page_ids [m] int64, vectors [m, dim] float32)`` batches.

        ``batches`` may be a function that starts the iteration anew, so that a large
        collection is read twice and never held; a plain iterable is held in memory.
        """
        import faiss

        if kind == "auto":
            kind = "flat"
        if kind not in get_args(CoarseKind):
            raise ValueError(f"kind must be auto or one of {get_args(CoarseKind)}, not {kind!r}")
        index = CoarseIndex(faiss.IndexIDMap(faiss.IndexFlatIP(dim)))
        for page_ids, vectors in _start(batches):
            index._append(page_ids, vectors)
        index._refresh()
        return index

    def add(self, page_ids: PageIds, vectors: FloatArray) -> None:
        """Add pages: ``page_ids [m]`` says whose each of ``vectors [m, dim]`` is."""
        self._append(page_ids, vectors)
        self._refresh()

    def remove(self, page_ids: PageIds) -> int:
        """Hide these pages from every later search; returns how many were there."""
        gone = np.isin(self._pages, np.asarray(page_ids, np.int64))
        stored = self._stored_ids()
        stored[np.repeat(gone, np.diff(self._starts))] = -1
        removed = int(gone.sum())
        self._refresh()
        return removed

    def candidates(
        self,
        query_vectors: FloatArray,
        weights: FloatArray,
        k: int,
        allowed_page_ids: PageIds | None = None,
    ) -> tuple[PageIds, FloatArray]:
        """The k best pages by approximate MaxSim, best first; ties by page id.

        ``query_vectors [q, dim]``, ``weights [q]``; ``allowed_page_ids`` (any order) is the
        filter, None for all. Returns ``page_ids [<=k] int64`` and ``scores [<=k] float32``.
        """
        pages = self._selected(allowed_page_ids)
        if k < 1 or not len(pages) or not len(query_vectors):
            return np.zeros(0, np.int64), np.zeros(0, np.float32)
        scores = self._score(np.asarray(query_vectors, np.float32), weights, pages)
        return _best(self._pages[pages], scores, k)

    @property
    def kind(self) -> str:
        """Which of the index types this is."""
        return "flat"

    @property
    def dim(self) -> int:
        """Components a vector."""
        return int(self._index.d)

    @property
    def n_vectors(self) -> int:
        """Vectors that a search can return."""
        return int(np.diff(self._starts)[self._pages >= 0].sum())

    @property
    def n_pages(self) -> int:
        """Pages that a search can return."""
        return int((self._pages >= 0).sum())

    @property
    def memory_bytes(self) -> int:
        """Resident bytes: vectors, ids and page offsets."""
        n = int(self._index.ntotal)
        return n * (self.dim * 4 + 8) + self._pages.nbytes + self._starts.nbytes

    def write(self, path: Path) -> None:
        """Write one file in FAISS's own format. The caller makes it durable."""
        import faiss

        faiss.write_index(self._index, str(path))

    def to_bytes(self) -> bytes:
        """What ``write`` puts into the file."""
        import faiss

        return bytes(faiss.serialize_index(self._index).tobytes())

    @staticmethod
    def read(path: Path) -> CoarseIndex:
        """Read what ``write`` wrote. Raises ``StorageError`` for anything else."""
        import faiss

        try:
            index = faiss.read_index(str(path))
        except RuntimeError as error:
            raise StorageError(
                f"{path} cannot be read as a coarse index; `folioscope index repair` "
                f"rebuilds it from the stored pages"
            ) from error
        return CoarseIndex._wrap(index, str(path))

    @staticmethod
    def from_bytes(data: bytes) -> CoarseIndex:
        """Read what ``to_bytes`` returned."""
        import faiss

        try:
            index = faiss.deserialize_index(np.frombuffer(data, np.uint8))
        except RuntimeError as error:
            raise StorageError("these bytes are not a coarse index") from error
        return CoarseIndex._wrap(index, "the coarse index")

    @staticmethod
    def _wrap(index: Any, where: str) -> CoarseIndex:
        import faiss

        cast = faiss.downcast_index(index)
        if not isinstance(cast, faiss.IndexIDMap):
            raise StorageError(
                f"{where} is a FAISS index of another program ({type(cast).__name__}); "
                f"`folioscope index repair` rebuilds it from the stored pages"
            )
        return CoarseIndex(cast, index)

    def _append(self, page_ids: PageIds, vectors: FloatArray) -> None:
        page_ids = np.ascontiguousarray(page_ids, np.int64)
        vectors = np.ascontiguousarray(vectors, np.float32)
        if vectors.shape != (len(page_ids), self.dim):
            raise ValueError(f"vectors {vectors.shape} must be [{len(page_ids)}, {self.dim}]")
        if len(page_ids) and page_ids.min() < 0:
            raise ValueError("page ids must not be negative")
        if len(page_ids):
            self._index.add_with_ids(vectors, page_ids)

    def _refresh(self) -> None:
        """Recompute what searches need from the ids that FAISS holds."""
        ids = self._stored_ids()
        cuts = np.flatnonzero(np.diff(ids)) + 1
        self._starts = np.concatenate(([0], cuts, [len(ids)])).astype(np.int64)
        if not len(ids):
            self._starts = np.zeros(1, np.int64)
        self._pages = ids[self._starts[:-1]]
        self._by_id = np.argsort(self._pages, kind="stable")
        ordered = self._pages[self._by_id]
        if np.any((ordered[1:] == ordered[:-1]) & (ordered[1:] >= 0)):
            raise ValueError("the vectors of a page must be added together, once")

    def _stored_ids(self) -> PageIds:
        """FAISS's own id of every vector, as a writable view; -1 marks removed pages."""
        import faiss

        n = int(self._index.ntotal)
        if not n:
            return np.zeros(0, np.int64)
        view: PageIds = faiss.rev_swig_ptr(self._index.id_map.data(), n)
        return view

    def _stored_vectors(self) -> FloatArray:
        import faiss

        flat: Any = faiss.downcast_index(self._index.index)
        n = int(flat.ntotal)
        view: FloatArray = faiss.rev_swig_ptr(flat.get_xb(), n * self.dim)
        return view.reshape(n, self.dim)

    def _selected(self, allowed: PageIds | None) -> NDArray[np.intp]:
        """Positions in ``_pages`` of the pages that may be returned."""
        if allowed is None:
            return np.flatnonzero(self._pages >= 0)
        wanted = np.unique(np.asarray(allowed, np.int64))
        ordered = self._pages[self._by_id]
        at = np.searchsorted(ordered, wanted)
        at, wanted = at[at < len(ordered)], wanted[at < len(ordered)]
        found = self._by_id[at[(ordered[at] == wanted) & (wanted >= 0)]]
        return np.sort(found)

    def _score(self, query: FloatArray, weights: FloatArray, pages: NDArray[np.intp]) -> FloatArray:
        vectors = self._stored_vectors()
        if len(pages) * 2 > len(self._pages):
            return maxsim(query, weights, vectors, self._starts)[pages]
        rows, starts = _gather(self._starts, pages)
        return maxsim(query, weights, vectors[rows], starts)


def _start(batches: Batches) -> Iterator[Batch]:
    return iter(batches() if callable(batches) else batches)


def _gather(
    starts: NDArray[np.int64], pages: NDArray[np.intp]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of the given pages one after another, and where each page starts among them."""
    lengths = starts[pages + 1] - starts[pages]
    packed = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
    rows = np.arange(packed[-1]) + np.repeat(starts[pages] - packed[:-1], lengths)
    return rows, packed


def _best(ids: PageIds, scores: FloatArray, k: int) -> tuple[PageIds, FloatArray]:
    """The k largest scores, best first; equal scores in the order of their ids."""
    if len(ids) > k:
        cut = np.partition(scores, len(scores) - k)[len(scores) - k]
        # everything tied with the k-th stays until the ids decide
        kept = np.flatnonzero(scores >= cut)
        ids, scores = ids[kept], scores[kept]
    order = np.lexsort((ids, -scores))[:k]
    return ids[order], scores[order]
