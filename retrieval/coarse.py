"""The coarse stage: pooled page vectors in FAISS, scored by MaxSim over the pooled vectors.

Every page has one or a few vectors here. Small collections are scored without any
approximation beyond the pooling itself; large ones go through an inverted file or a graph.
Filters narrow the pages *before* the best are taken: filtering a finished top-100 would
return too few, or none, of the pages a narrow filter allows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval import coarse_kinds
from retrieval.coarse_gpu import NearestOnGpu
from retrieval.coarse_kinds import CoarseKind
from retrieval.errors import StorageError
from retrieval.pooling import PoolMethod, pool_page
from retrieval.types import FloatArray

__all__ = ["Batch", "CoarseIndex", "CoarseKind", "PoolMethod", "pool_page"]

PageIds = NDArray[np.int64]
Batch = tuple[PageIds, FloatArray]
Batches = Iterable[Batch] | Callable[[], Iterable[Batch]]
Prior = Callable[[PageIds], FloatArray]

# Nearest vectors looked at a query token, and pages scored with all their vectors, for each
# page asked for: the approximate types find pages by some tokens, and are scored on all. Four
# and ten times as much found .01 more of the exhaustive top ten at six times the time.
_NEAREST_A_PAGE = 2
_SCORED_A_PAGE = 5
_FEWEST_ASKED = 500
# Tokens of a question that are looked up, those of most weight; all of them score what is found.
_MOST_TOKENS = 16
# A filter that leaves at most so many vectors is scored without any search.
_SCORE_ALL_UP_TO = 200_000


class CoarseIndex:
    """A FAISS index whose ids are page ids, one or more vectors a page.

    The vectors of a page must be added together. Removed pages keep their vectors, which no
    search returns, until the index is built anew. Searching is safe from several threads;
    adding and removing are not.
    """

    def __init__(self, index: Any, kind: str, owner: Any = None) -> None:
        """``index`` is a ``faiss.IndexIDMap``; use ``build`` or ``read`` to get one.

        ``owner`` is the object whose end would free ``index``, where that is another one.
        """
        faiss = coarse_kinds.library()

        self._index = index
        self._inner: Any = faiss.downcast_index(index.index)
        self._kind = kind
        self._owner = owner
        self._gpu: NearestOnGpu | None = None
        self._refresh()

    @staticmethod
    def build(
        batches: Batches, dim: int, kind: str = "auto", *, n_vectors: int | None = None
    ) -> CoarseIndex:
        """Index ``(page_ids [m] int64, vectors [m, dim] float32)`` batches.

        ``batches`` may be a function that starts the iteration anew, so that a large
        collection is read up to three times (counted, sampled, added) and never held; a plain
        iterable is held in memory. ``n_vectors``, where known, saves the counting. ``kind`` is
        one of ``coarse_kinds.KINDS`` or ``auto``, which decides by the number of vectors.
        """
        faiss = coarse_kinds.library()

        if not callable(batches):
            batches = list(batches)
        if n_vectors is None:
            n_vectors = sum(len(page_ids) for page_ids, _ in _start(batches))
        if kind == "auto":
            kind = coarse_kinds.choose(n_vectors)
        inner = coarse_kinds.make(kind, dim, n_vectors)
        if not inner.is_trained:
            inner.train(_sample(batches, dim, n_vectors, coarse_kinds.sample_size(kind, n_vectors)))
        coarse_kinds.after_training(inner, kind)
        index = CoarseIndex(faiss.IndexIDMap(inner), kind)
        for page_ids, vectors in _start(batches):
            index._append(page_ids, vectors)
        index._refresh()
        return index

    def use_gpu(self) -> bool:
        """Look up nearest vectors on a GPU from now on; whether there is one for this index."""
        self._gpu = NearestOnGpu.of(self._inner, self._kind)
        return self._gpu is not None

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
        prior: Prior | None = None,
    ) -> tuple[PageIds, FloatArray]:
        """The k best pages by approximate MaxSim, best first; ties by page id.

        ``query_vectors [q, dim]``, ``weights [q]``; ``allowed_page_ids`` (any order) is the
        filter, None for all. ``prior(page_ids)`` is what speaks for pages beside their vectors:
        it is added wherever pages are compared, but not to the scores that are returned.
        Returns ``page_ids [<=k] int64`` and ``scores [<=k] float32``.
        """
        pages = self._selected(allowed_page_ids)
        if k < 1 or not len(pages) or not len(query_vectors):
            return np.zeros(0, np.int64), np.zeros(0, np.float32)
        query = np.ascontiguousarray(query_vectors, np.float32)
        weights = np.asarray(weights, np.float32)
        if self._kind not in coarse_kinds.SCANNED and self._many(pages):
            # A small k searches no less deeply: its pages would be others than the first of a
            # large one.
            asked = max(k, _FEWEST_ASKED)
            heavy = np.sort(np.argsort(-weights, kind="stable")[:_MOST_TOKENS])
            near, scores = self._near(query[heavy], weights[heavy], asked, pages)
            if prior is not None:
                scores = scores + prior(self._pages[near])
            pages = np.sort(near[_best(near, scores, _SCORED_A_PAGE * asked)])
        scores, ids = self._score(query, weights, pages), self._pages[pages]
        best = _best(ids, scores if prior is None else scores + prior(ids), k)
        return ids[best], scores[best]

    @property
    def kind(self) -> str:
        """Which of the index types this is."""
        return self._kind

    @property
    def dim(self) -> int:
        """Components a vector."""
        return int(self._index.d)

    @property
    def n_vectors(self) -> int:
        """Vectors that a search can return."""
        return self._vectors_of(self._live)

    @property
    def n_pages(self) -> int:
        """Pages that a search can return."""
        return len(self._live)

    @property
    def memory_bytes(self) -> int:
        """Resident bytes: vectors, ids and page offsets."""
        n = int(self._index.ntotal)
        each = coarse_kinds.bytes_per_vector(self._inner, self._kind) + 8
        fixed = 4 * self.dim * int(coarse_kinds.lists(self._inner, self._kind))
        return n * each + fixed + 4 * self._pages.nbytes + self._starts.nbytes

    def write(self, path: Path) -> None:
        """Write one file in FAISS's own format. The caller makes it durable."""
        faiss = coarse_kinds.library()

        faiss.write_index(self._index, str(path))

    def to_bytes(self) -> bytes:
        """What ``write`` puts into the file."""
        faiss = coarse_kinds.library()

        return bytes(faiss.serialize_index(self._index).tobytes())

    @staticmethod
    def read(path: Path) -> CoarseIndex:
        """Read what ``write`` wrote. Raises ``StorageError`` for anything else."""
        faiss = coarse_kinds.library()

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
        faiss = coarse_kinds.library()

        try:
            index = faiss.deserialize_index(np.frombuffer(data, np.uint8))
        except RuntimeError as error:
            raise StorageError("these bytes are not a coarse index") from error
        return CoarseIndex._wrap(index, "the coarse index")

    @staticmethod
    def _wrap(index: Any, where: str) -> CoarseIndex:
        faiss = coarse_kinds.library()

        cast = faiss.downcast_index(index)
        kind = None
        if isinstance(cast, faiss.IndexIDMap):
            kind = coarse_kinds.kind_of(faiss.downcast_index(cast.index))
        if kind is None:
            raise StorageError(
                f"{where} is a FAISS index of another program ({type(cast).__name__}); "
                f"`folioscope index repair` rebuilds it from the stored pages"
            )
        return CoarseIndex(cast, kind, index)

    def _append(self, page_ids: PageIds, vectors: FloatArray) -> None:
        page_ids = np.ascontiguousarray(page_ids, np.int64)
        vectors = np.ascontiguousarray(vectors, np.float32)
        if vectors.shape != (len(page_ids), self.dim):
            raise ValueError(f"vectors {vectors.shape} must be [{len(page_ids)}, {self.dim}]")
        if len(page_ids) and page_ids.min() < 0:
            raise ValueError("page ids must not be negative")
        self._gpu = None  # it would not know them
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
        self._ordered = ordered = self._pages[self._by_id]
        self._live = np.flatnonzero(self._pages >= 0)
        if np.any((ordered[1:] == ordered[:-1]) & (ordered[1:] >= 0)):
            raise ValueError("the vectors of a page must be added together, once")

    def _stored_ids(self) -> PageIds:
        """FAISS's own id of every vector, as a writable view; -1 marks removed pages."""
        faiss = coarse_kinds.library()

        n = int(self._index.ntotal)
        if not n:
            return np.zeros(0, np.int64)
        view: PageIds = faiss.rev_swig_ptr(self._index.id_map.data(), n)
        return view

    def _selected(self, allowed: PageIds | None) -> NDArray[np.intp]:
        """Positions in ``_pages`` of the pages that may be returned."""
        if allowed is None:
            return self._live
        wanted = np.unique(np.asarray(allowed, np.int64))
        ordered = self._ordered
        at = np.searchsorted(ordered, wanted)
        at, wanted = at[at < len(ordered)], wanted[at < len(ordered)]
        found = self._by_id[at[(ordered[at] == wanted) & (wanted >= 0)]]
        return np.sort(found)

    def _many(self, pages: NDArray[np.intp]) -> bool:
        """Whether scoring all vectors of these pages would take longer than a search."""
        # No page is without vectors here, so most answers need no counting.
        return len(pages) > _SCORE_ALL_UP_TO or self._vectors_of(pages) > _SCORE_ALL_UP_TO

    def _vectors_of(self, pages: NDArray[np.intp]) -> int:
        return int((self._starts[pages + 1] - self._starts[pages]).sum())

    def _score(self, query: FloatArray, weights: FloatArray, pages: NDArray[np.intp]) -> FloatArray:
        """MaxSim of these pages over all their vectors, ``[len(pages)]``."""
        everything = len(pages) * 2 > len(self._pages) and self._kind in coarse_kinds.SCANNED
        if everything:
            rows, starts = None, self._starts
        else:
            rows, starts = _gather(self._starts, pages)
        scores = coarse_kinds.score_rows(self._inner, self._kind, query, weights, rows, starts)
        return scores[pages] if everything else scores

    def _near(
        self, query: FloatArray, weights: FloatArray, k: int, pages: NDArray[np.intp]
    ) -> tuple[NDArray[np.intp], FloatArray]:
        """The pages that have vectors near some token, and their scores by those vectors.

        A token that did not find a page would have scored it below the last it did find;
        that last similarity stands in, as in XTR.
        """
        allowed = None
        if len(pages) < len(self._pages):
            chosen = np.zeros(len(self._pages), bool)
            chosen[pages] = True
            allowed = np.repeat(chosen, np.diff(self._starts))
        if self._gpu is not None and allowed is None:
            similarities, numbers = self._gpu.search(query, _NEAREST_A_PAGE * k)
        else:
            similarities, numbers = coarse_kinds.search(
                self._inner, self._kind, query, _NEAREST_A_PAGE * k, allowed
            )
        token, place = np.nonzero(numbers >= 0)
        chosen_numbers = numbers[token, place]
        # Looked up in their order, neighbours meet the same memory: a third of the time.
        by_number = np.argsort(chosen_numbers)
        page = np.empty(len(by_number), np.intp)
        page[by_number] = np.searchsorted(self._starts, chosen_numbers[by_number], side="right") - 1
        found, column = np.unique(page, return_inverse=True)
        last = np.where(numbers >= 0, similarities, np.inf).min(axis=1)
        last = np.where(np.isfinite(last), last, 0).astype(np.float32)
        held = np.repeat(last[:, None], len(found), axis=1)
        np.maximum.at(held, (token, column), similarities[token, place])
        return found, np.asarray(weights @ held, np.float32)


def _start(batches: Batches) -> Iterator[Batch]:
    return iter(batches() if callable(batches) else batches)


def _sample(batches: Batches, dim: int, n_vectors: int, size: int) -> FloatArray:
    """``size`` vectors drawn evenly from all batches, the same ones every time."""
    wanted = np.sort(np.random.default_rng(0).choice(n_vectors, min(size, n_vectors), False))
    parts = [np.zeros((0, dim), np.float32)]
    seen = 0
    for _, vectors in _start(batches):
        here = wanted[np.searchsorted(wanted, seen) : np.searchsorted(wanted, seen + len(vectors))]
        parts.append(np.asarray(vectors[here - seen], np.float32))
        seen += len(vectors)
    return np.concatenate(parts)


def _gather(
    starts: NDArray[np.int64], pages: NDArray[np.intp]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of the given pages one after another, and where each page starts among them."""
    lengths = starts[pages + 1] - starts[pages]
    packed = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
    rows = np.arange(packed[-1]) + np.repeat(starts[pages] - packed[:-1], lengths)
    return rows, packed


def _best(ids: PageIds, scores: FloatArray, k: int) -> NDArray[np.intp]:
    """Where the k largest scores are, best first; equal scores in the order of their ids."""
    kept = np.arange(len(ids))
    if len(ids) > k:
        cut = np.partition(scores, len(scores) - k)[len(scores) - k]
        # everything tied with the k-th stays until the ids decide
        kept = np.flatnonzero(scores >= cut)
    return kept[np.lexsort((ids[kept], -scores[kept]))[:k]]
