"""Stage one: about a hundred pages worth reading from disk.

Three sources propose pages: the coarse vectors of every encoder, BM25 over page text, and the
pages of the documents that the question seems to name. Each ranks its pages as the final ranking
would, all lanes together, as far as it knows: most of the best pages of a large collection are
not among the thousand that late interaction alone puts first. The proposals are ranked with
scores by page vectors in the place of exact late interaction and cut, ranked again with scores
by the signs of all patches, and cut to what is read. A filter narrows every source before its
cut.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval.context import plain_years
from retrieval.lanes import Asked, split_lanes
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
from retrieval.types import FloatArray

Offsets = NDArray[np.int64]

# Pages that are looked at by their signs for each that is read, however many patches they have.
_SIGNED_A_CANDIDATE = 4


@dataclass(frozen=True, slots=True)
class CandidateSettings:
    """How many pages each source proposes, and how many go on to be reranked.

    ``signed_patches`` is how many patches are scored by their signs to choose those; 0 for none.
    """

    candidates: int = 100
    coarse_pool: int = 500
    bm25_pool: int = 1000
    documents: int = 200
    best_documents: int = 50
    pages_of_best_documents: int = 1000
    signed_patches: int = 125_000


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
    mean_patches: float

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
            float(store.pages.n_patches.mean()) if len(store.pages) else 1.0,
        )

    def lanes(self, store: Store, offsets: Offsets, late: Mapping[str, FloatArray]) -> Lanes:
        """All lanes for the pages at ``offsets``, with late interaction given by encoder."""
        first, others = split_lanes(late)
        pages = lookup(self.offsets, self.page_scores, offsets, self.page_floor)
        documents = lookup(self.doc_ids, self.doc_scores, store.pages.doc_ids[offsets], 0.0)
        return Lanes(
            late=np.where(np.isfinite(first), first, 0.0).astype(np.float32),
            others=others,
            bm25=lexical_lane(
                pages, float(self.page_scores.max(initial=0.0)), self.words, PAGE_POINTS
            ),
            document=lexical_lane(
                documents, float(self.doc_scores.max(initial=0.0)), self.words, DOCUMENT_POINTS
            ),
            length=length_lane(store.pages.n_patches[offsets], self.mean_patches),
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


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """Row ``offsets [n]`` of the pages to read, best first, and their stage-one ``scores [n]``.

    ``sources`` are the pages that each lane put first by itself, by the lane's name.
    """

    offsets: Offsets
    scores: FloatArray
    sources: Mapping[str, Offsets]


def find_candidates(
    store: Store,
    asked: Sequence[Asked],
    evidence: Callable[[], LexicalEvidence],
    allowed: Offsets | None,
    weights: RankingWeights,
    settings: CandidateSettings,
) -> Candidates:
    """The pages worth reading. ``asked`` holds the question in every lane, the first one first.

    ``evidence`` may wait for what BM25 found: nearest vectors are looked up before it is called.
    """
    directory = store.pages
    allowed_ids = None if allowed is None else directory.page_ids[allowed]

    def known(page_ids: NDArray[np.int64]) -> FloatArray:
        """What a page has without late interaction: what it lacks there may be made up for."""
        offsets = np.maximum(directory.offsets_of(page_ids), 0)
        late = {one.lane.name: np.zeros(len(offsets), np.float32) for one in asked}
        return evidence().lanes(store, offsets, late).summed(weights)

    by_vectors = [one.by_page_vectors(settings.coarse_pool, allowed_ids, known) for one in asked]
    lexical = evidence()
    best_lexical = np.argsort(-lexical.page_scores, kind="stable")
    sources = {"bm25": lexical.offsets[best_lexical][: settings.candidates]}
    named = directory.offsets_of_documents(lexical.best_documents(settings.best_documents))
    scored = {}
    proposed = [lexical.offsets]
    for one, (ids, scores) in zip(asked, by_vectors, strict=True):
        sources[one.lane.name] = directory.offsets_of(ids[: settings.candidates])
        scored[one.lane.name] = [(ids, scores)]
        proposed.append(directory.offsets_of(ids))
        if len(named) and settings.pages_of_best_documents and len(directory) > len(ids):
            theirs = one.by_page_vectors(
                settings.pages_of_best_documents, directory.page_ids[named], known
            )
            best = directory.offsets_of(theirs[0][: settings.candidates])
            sources["document"] = np.union1d(sources.get("document", best), best)
            scored[one.lane.name].append(theirs)
            proposed.append(directory.offsets_of(theirs[0]))
    pool = np.unique(np.concatenate(proposed))
    pool = pool[pool >= 0]
    late = {
        one.lane.name: _complete(one, scored[one.lane.name], directory.page_ids[pool])
        for one in asked
    }
    fused = lexical.lanes(store, pool, late).summed(weights)
    pool, late = _look_again(store, asked, pool, late, fused, settings)
    fused = lexical.lanes(store, pool, late).summed(weights)
    best = order(fused, directory.page_ids[pool], settings.candidates)
    return Candidates(pool[best], fused[best], sources)


def best_by_page_vectors(
    store: Store,
    asked: Sequence[Asked],
    allowed: Offsets | None,
    weights: RankingWeights,
    k: int,
) -> tuple[Offsets, FloatArray]:
    """The k best pages by the page vectors of every encoder and nothing else, with scores."""
    directory = store.pages
    ids = None if allowed is None else directory.page_ids[allowed]
    scored = {one.lane.name: [one.by_page_vectors(k, ids)] for one in asked}
    found = np.unique(np.concatenate([part[0][0] for part in scored.values()]))
    found = found[directory.offsets_of(found) >= 0]
    total = np.zeros(len(found), np.float32)
    for one in asked:
        share = _complete(one, scored[one.lane.name], found)
        total += share * np.float32(weights.of(one.lane.name))
    best = order(total, found, k)
    return directory.offsets_of(found[best]), total[best]


def _complete(
    one: Asked, scored: Sequence[tuple[NDArray[np.int64], FloatArray]], page_ids: NDArray[np.int64]
) -> FloatArray:
    """A lane's scores by page vectors of all of the pages, ``[n]``.

    Whoever proposed a page, its own vectors speak for it: a stand-in for the pages that only
    BM25, the document or another encoder proposed would decide which of them are read.
    """
    ids = np.concatenate([ids for ids, _ in scored])
    others = np.setdiff1d(page_ids, ids)
    if len(others):
        scored = [*scored, one.by_page_vectors(len(others), others)]
    ids = np.concatenate([ids for ids, _ in scored])
    scores = np.concatenate([scores for _, scores in scored])
    ids, first = np.unique(ids, return_index=True)
    scores = scores[first]
    # Pages without vectors.
    floor = float(scores.min()) if len(scores) else 0.0
    return lookup(ids, scores, page_ids, floor)


def _look_again(
    store: Store,
    asked: Sequence[Asked],
    pool: Offsets,
    late: dict[str, FloatArray],
    fused: FloatArray,
    settings: CandidateSettings,
) -> tuple[Offsets, dict[str, FloatArray]]:
    """The best of the pool, scored by the signs of all their patches instead.

    As many as have ``signed_patches`` in all, so that the work is the same whatever a page's
    length, but enough of them to have a choice.
    """
    page_ids = store.pages.page_ids
    ranked = order(fused, page_ids[pool], len(pool))
    patches = sum(one.lane.store.n_patches[pool[ranked]].astype(np.int64) for one in asked)
    enough = int(np.searchsorted(np.cumsum(patches), settings.signed_patches, side="right"))
    kept = np.sort(ranked[: max(enough, _SIGNED_A_CANDIDATE * settings.candidates)])
    looked = pool[kept]
    if not settings.signed_patches or len(kept) <= settings.candidates >= len(pool):
        return pool, late
    closer = {}
    for one in asked:
        ids, scores = one.by_signs(page_ids[looked])
        mine = late[one.lane.name][kept].copy()
        at = np.searchsorted(page_ids[looked], ids)
        mine[at] = scores
        closer[one.lane.name] = mine
    return looked, closer
