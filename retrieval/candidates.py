"""Stage one: about a hundred pages worth reading from disk.

Three sources propose pages: the coarse vectors, BM25 over page text, and the pages of the
documents that the question seems to name. All proposals are ranked as the final ranking
would rank them, with the coarse score in the place of exact late interaction, and cut.
A filter narrows every source before its cut.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval.coarse import CoarseIndex
from retrieval.context import plain_years
from retrieval.ranking import (
    DOCUMENT_POINTS,
    PAGE_POINTS,
    Lanes,
    RankingWeights,
    length_lane,
    lexical_lane,
    order,
    question_words,
)
from retrieval.store import Store
from retrieval.types import FloatArray, QueryEmbedding

Offsets = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class CandidateSettings:
    """How many pages each source proposes, and how many go on to be reranked."""

    candidates: int = 100
    coarse_pool: int = 1000
    bm25_pool: int = 1000
    documents: int = 200
    best_documents: int = 3
    pages_of_best_documents: int = 200
    coarse_weight: float = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class LexicalEvidence:
    """BM25's view of a question: scores by row offset, scores by document id.

    Both lists may be cut; ``page_floor`` is what a page outside the list counts as.
    """

    offsets: Offsets
    page_scores: FloatArray
    page_floor: float
    doc_ids: NDArray[np.int64]
    doc_scores: FloatArray
    words: int

    @staticmethod
    def find(
        store: Store,
        question: str,
        allowed_docs: NDArray[np.int64] | None,
        settings: CandidateSettings,
    ) -> LexicalEvidence:
        """Ask both full-text indexes."""
        text = plain_years(question)
        offsets, scores = store.bm25_pages(text, settings.bm25_pool, allowed_docs)
        cut = 0 < settings.bm25_pool <= len(scores)
        floor = float(scores[-1]) if cut else 0.0
        doc_ids, doc_scores = store.bm25_documents(text, settings.documents, allowed_docs)
        sorting = np.argsort(offsets)
        by_doc = np.argsort(doc_ids)
        return LexicalEvidence(
            offsets[sorting],
            scores[sorting],
            floor,
            doc_ids[by_doc],
            doc_scores[by_doc],
            question_words(text),
        )

    def lanes(self, store: Store, offsets: Offsets, late: FloatArray) -> Lanes:
        """All lanes for the pages at ``offsets``, with ``late`` given."""
        pages = lookup(self.offsets, self.page_scores, offsets, self.page_floor)
        documents = lookup(self.doc_ids, self.doc_scores, store.pages.doc_ids[offsets], 0.0)
        mean = float(store.pages.n_patches.mean()) if len(store.pages) else 1.0
        return Lanes(
            late=np.where(np.isfinite(late), late, 0.0).astype(np.float32),
            bm25=lexical_lane(
                pages, float(self.page_scores.max(initial=0.0)), self.words, PAGE_POINTS
            ),
            document=lexical_lane(
                documents, float(self.doc_scores.max(initial=0.0)), self.words, DOCUMENT_POINTS
            ),
            length=length_lane(store.pages.n_patches[offsets], mean),
        )

    def best_documents(self, n: int) -> NDArray[np.int64]:
        """Ids of the n documents that match best."""
        return self.doc_ids[np.argsort(-self.doc_scores, kind="stable")[:n]]


def lookup(
    keys: NDArray[np.int64], values: FloatArray, wanted: NDArray[np.int64], default: float
) -> FloatArray:
    """``values`` at the ``wanted`` keys; ``keys`` ascend."""
    if not len(keys):
        return np.full(len(wanted), default, np.float32)
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    found: FloatArray = np.where(keys[at] == wanted, values[at], np.float32(default))
    return found


def find_candidates(
    store: Store,
    coarse: CoarseIndex,
    query: QueryEmbedding,
    lexical: LexicalEvidence,
    allowed: Offsets | None,
    weights: RankingWeights,
    settings: CandidateSettings,
) -> tuple[Offsets, FloatArray]:
    """Row offsets of the candidates, best first, and their stage-one scores."""
    directory = store.pages
    allowed_ids = None if allowed is None else directory.page_ids[allowed]
    page_ids, scores = coarse.candidates(
        query.vectors, query.weights, settings.coarse_pool, allowed_ids
    )
    offsets = directory.offsets_of(page_ids)
    proposed = [lexical.offsets]
    named = lexical.best_documents(settings.best_documents)
    if len(named) and settings.pages_of_best_documents and len(directory) > len(page_ids):
        theirs = directory.page_ids[directory.offsets_of_documents(named)]
        best_ids, _ = coarse.candidates(
            query.vectors, query.weights, settings.pages_of_best_documents, theirs
        )
        proposed.append(directory.offsets_of(best_ids))
    # Whoever proposed a page, its own vectors speak for it: a stand-in for the pages that only
    # BM25 or the document proposed would decide which of them are read.
    others = np.setdiff1d(np.concatenate(proposed), offsets)
    others = others[others >= 0]
    other_ids, other_scores = coarse.candidates(
        query.vectors, query.weights, len(others), directory.page_ids[others]
    )
    offsets = np.concatenate((offsets, directory.offsets_of(other_ids)))
    scores = np.concatenate((scores, other_scores))
    live = offsets >= 0
    offsets, first = np.unique(offsets[live], return_index=True)
    scores = scores[live][first]
    # Pages without vectors.
    floor = float(scores.min()) if len(scores) else 0.0
    pool = np.union1d(offsets, others)
    late = lookup(offsets, scores, pool, floor) * np.float32(settings.coarse_weight)
    fused = lexical.lanes(store, pool, late).fused(weights)
    best = order(fused, directory.page_ids[pool], settings.candidates)
    return pool[best], fused[best]
