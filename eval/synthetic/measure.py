"""Measure ``Statistics`` on an index of real pages.

Everything is estimated from products of pairs of words: two words of one page, of pages some
way apart, of one document; the same word twice. The expectation of such a product holds only
the parts that the two share, so that differences between kinds of pairs give each part.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from eval.synthetic.measure_questions import measure_questions
from eval.synthetic.real_words import FUNCTION_WORDS, RARE, Ints, Words, read_words
from eval.synthetic.statistics import (
    BLOCK_PAGES,
    CHAPTER_PAGES,
    CONTENT,
    FUNCTION,
    PASSAGE_WORDS,
    PHRASE_WORDS,
    SECTION_PAGES,
    WINDOW_WORDS,
    Statistics,
)
from retrieval.store import Store
from retrieval.types import FloatArray

_CLUSTERS = 256
_PAIRS = 1_000_000
_FAR_PAGES = 30


@dataclass(frozen=True, slots=True, eq=False)
class _Pairs:
    """Pairs ``a``, ``b`` of words, by their positions in ``Words``."""

    a: Ints
    b: Ints

    def where(self, chosen: NDArray[np.bool_]) -> _Pairs:
        return _Pairs(self.a[chosen], self.b[chosen])


class _Sampler:
    """Draws pairs of words that share a document, a page, or are the same word."""

    def __init__(self, words: Words, seed: int) -> None:
        self.words = words
        self._random = np.random.default_rng(seed)
        self._n = len(words.word)

    def anywhere(self) -> Ints:
        return self._random.integers(0, self._n, _PAIRS)

    def within(self, key: Ints) -> _Pairs:
        """Both words have the same ``key [n]``."""
        order = np.argsort(key, kind="stable")
        values, first, count = np.unique(key[order], return_index=True, return_counts=True)
        a = self.anywhere()
        group = np.searchsorted(values, key[a])
        b = order[first[group] + (self._random.random(len(a)) * count[group]).astype(np.int64)]
        return _Pairs(a, b)

    def after(self, words: int) -> _Pairs:
        """The second stands ``words`` behind the first, on the same page."""
        a = self.anywhere()
        b = np.minimum(a + words, self._n - 1)
        return _Pairs(a, b).where(self.words.page[a] == self.words.page[b])

    def pages_later(self, pages: int) -> _Pairs:
        """The second is anywhere on the page ``pages`` behind, in the same document."""
        page = self.words.page
        first = np.searchsorted(page, np.arange(page[-1] + 2))
        a = self.anywhere()
        there = np.minimum(page[a] + pages, page[-1])
        length = first[there + 1] - first[there]
        b = first[there] + (self._random.random(len(a)) * length).astype(np.int64)
        pairs = _Pairs(a, np.minimum(b, self._n - 1)).where(length > 0)
        same = self.words.doc[pairs.a] == self.words.doc[pairs.b]
        return pairs.where(same & (page[pairs.a] != page[pairs.b]))


def measure_statistics(root: Path, questions: Path | None = None, *, seed: int = 0) -> Statistics:
    """The statistics of the index at ``root``, and of ``questions`` to it (else none).

    Takes a minute and 1.5 KB of memory a word.
    """
    with Store.open(root) as store:
        words = read_words(store)
        means = words.means()
        asked = measure_questions(store, questions, words, means) if questions else {}
        pages = np.array([row.pages for row in store.documents.values()])
        patches = store.pages.n_patches
        about = {
            "encoder": store.manifest.encoder_id,
            "fingerprint": store.manifest.encoder_fingerprint,
            "documents": len(store.documents),
            "pages": len(store.pages),
            "words": len(words.word),
        }
    kind = np.where(words.word < FUNCTION_WORDS, FUNCTION, CONTENT)
    sampler = _Sampler(words, seed)
    kind_means = np.stack([words.vectors[kind == k].mean(axis=0) for k in (FUNCTION, CONTENT)])
    clusters = _clusters(means, words.counts, seed)
    centred = words.vectors - kind_means[kind]
    same_word = _apart(sampler.within(words.word), words, _FAR_PAGES)
    # A word's mean holds its own vector; what is left must not.
    occurrences = words.counts[words.word][:, None].astype(np.float32)
    others = means[words.word] * occurrences - words.vectors
    rest = np.asarray(words.vectors - others / np.maximum(occurrences - 1, 1), np.float32)
    del others
    shares = _shares(sampler, rest, kind)
    context = sampler.after(16)
    return Statistics(
        kind_means=kind_means.astype(np.float32),
        function_covariance=_products(centred, same_word.where(kind[same_word.a] == FUNCTION)),
        cluster_centres=(clusters.centres - kind_means[CONTENT]).astype(np.float32),
        cluster_shares=clusters.shares,
        meaning_covariance=clusters.deviation,
        context_covariance=_unit_trace(_products(rest, _other_words(context, words))),
        rest_covariance=_unit_trace(_products(rest, _Pairs(context.a, context.a))),
        shares=shares,
        text=_text(sampler, kind, clusters.of_word),
        question=asked,
        patches=np.percentile(patches, np.arange(101)).astype(np.float32),
        pages=np.percentile(pages, np.arange(101)).astype(np.float32),
        about=about,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Clusters:
    """Clusters of content words: centres ``[k, d]``, each one's share of the occurrences, the
    cluster of every word (-1 for function words), and the covariance of words within one."""

    centres: FloatArray
    shares: FloatArray
    of_word: Ints
    deviation: FloatArray


def _clusters(means: FloatArray, counts: Ints, seed: int) -> _Clusters:
    from importlib import import_module

    faiss: Any = import_module("faiss")

    frequent = np.flatnonzero((np.arange(len(counts)) >= FUNCTION_WORDS) & (counts >= 3))
    kmeans = faiss.Kmeans(means.shape[1], _CLUSTERS, niter=20, seed=seed + 1)
    kmeans.train(means[frequent], weights=np.sqrt(counts[frequent]).astype(np.float32))
    centres: FloatArray = kmeans.centroids
    of_word = np.full(len(counts), -1, np.int64)
    of_word[FUNCTION_WORDS:] = kmeans.index.search(means[FUNCTION_WORDS:], 1)[1][:, 0]
    occurrences = np.bincount(of_word[FUNCTION_WORDS:], counts[FUNCTION_WORDS:], _CLUSTERS)
    common = np.flatnonzero((of_word >= 0) & (counts >= RARE))
    apart = means[common] - centres[of_word[common]]
    weights = (counts[common] / counts[common].sum()).astype(np.float32)
    return _Clusters(
        centres,
        (occurrences / occurrences.sum()).astype(np.float32),
        of_word,
        (apart * weights[:, None]).T @ apart,
    )


def _products(vectors: FloatArray, pairs: _Pairs) -> FloatArray:
    """The mean of ``a b'`` over pairs, made symmetric ``[d, d]``."""
    total = np.zeros((vectors.shape[1], vectors.shape[1]), np.float64)
    for at in range(0, len(pairs.a), 100_000):
        part = slice(at, at + 100_000)
        total += vectors[pairs.a[part]].T @ vectors[pairs.b[part]]
    mean = total / max(1, len(pairs.a))
    return ((mean + mean.T) / 2).astype(np.float32)


def _unit_trace(covariance: FloatArray) -> FloatArray:
    return covariance / np.float32(np.trace(covariance))


def _other_words(pairs: _Pairs, words: Words) -> _Pairs:
    return pairs.where(words.word[pairs.a] != words.word[pairs.b])


def _apart(pairs: _Pairs, words: Words, pages: int) -> _Pairs:
    """Those of different documents, or this many pages apart."""
    far = np.abs(words.page[pairs.a] - words.page[pairs.b]) > pages
    return pairs.where(far | (words.doc[pairs.a] != words.doc[pairs.b]))


def _shares(sampler: _Sampler, rest: FloatArray, kind: Ints) -> dict[str, tuple[float, float]]:
    """The variance of each part of context, sense and rest, for both kinds of words."""
    words = sampler.words
    common = words.counts[words.word] >= RARE
    found = [_context(sampler, rest, common & (kind == k)) for k in (FUNCTION, CONTENT)]
    for k, parts in zip((FUNCTION, CONTENT), found, strict=True):
        chosen = common & (kind == k)
        parts |= _sense(sampler, rest, chosen, parts)
        variance = float((rest[chosen][::5] ** 2).sum(axis=1).mean())
        parts["rest"] = max(0.0, variance - sum(parts.values()))
    return {name: (found[0][name], found[1][name]) for name in found[0]}


def _mean_product(rest: FloatArray, pairs: _Pairs, chosen: NDArray[np.bool_]) -> float:
    kept = pairs.where(chosen[pairs.a] & chosen[pairs.b])
    total = sum(
        float(
            np.einsum("ij,ij->", rest[kept.a[at : at + 100_000]], rest[kept.b[at : at + 100_000]])
        )
        for at in range(0, len(kept.a), 100_000)
    )
    return total / max(1, len(kept.a))


def _context(sampler: _Sampler, rest: FloatArray, chosen: NDArray[np.bool_]) -> dict[str, float]:
    """Shares of the parts of context: least squares over distances in pages and in words."""
    words = sampler.words
    rows: list[tuple[float, ...]] = []
    values: list[float] = []

    def at(pairs: _Pairs, pages: float, distance: float | None) -> None:
        near = (0.0, 0.0)
        if distance is not None:
            near = float(np.exp(-distance / WINDOW_WORDS)), float(np.exp(-distance / PHRASE_WORDS))
        fades = float(np.exp(-pages / CHAPTER_PAGES)), float(np.exp(-pages / SECTION_PAGES))
        rows.append((1.0, *fades, *near))
        values.append(_mean_product(rest, _other_words(pairs, words), chosen))

    in_document = sampler.within(words.doc)
    at(_apart(in_document, words, 2 * _FAR_PAGES), np.inf, None)
    for pages in (1, 2, 4, 8, 16):
        at(sampler.pages_later(pages), pages, None)
    for distance in (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192):
        at(sampler.after(distance), 0, distance)
    found, _ = nnls(np.array(rows), np.array(values))
    return dict(
        zip(("document", "chapter", "section", "window", "phrase"), map(float, found), strict=True)
    )


def _sense(
    sampler: _Sampler,
    rest: FloatArray,
    chosen: NDArray[np.bool_],
    context: dict[str, float],
) -> dict[str, float]:
    """What the same word shares beyond its context, by how far apart it stands again."""
    words = sampler.words
    pairs = sampler.within(words.word * (words.doc.max() + 1) + words.doc)
    pages = np.abs(words.page[pairs.a] - words.page[pairs.b])
    places = np.abs(words.place[pairs.a] - words.place[pairs.b])

    def shared(where: NDArray[np.bool_], fading: float) -> float:
        nearby = context["document"] + fading * (context["chapter"] + context["section"])
        return _mean_product(rest, pairs.where(where), chosen) - nearby

    far = max(0.0, shared(pages > _FAR_PAGES, 0.0))
    # Of pages one or two apart, this share lies in the same block.
    together = 1 - 1.5 / BLOCK_PAGES
    close = shared((pages > 0) & (pages <= 2), float(np.exp(-1.5 / SECTION_PAGES)))
    section = max(0.0, (close - far) / together)
    here = shared((pages == 0) & (places > PASSAGE_WORDS), 1.0)
    return {
        "word_document": far,
        "word_section": section,
        "word_page": max(0.0, here - far - section),
    }


def _text(sampler: _Sampler, kind: Ints, cluster_of_word: Ints) -> dict[str, float]:
    """How likely two content words are of one cluster, and then the same, by distance."""
    words = sampler.words
    cluster = cluster_of_word[words.word]

    def alike(pairs: _Pairs) -> tuple[float, float]:
        kept = pairs.where((cluster[pairs.a] >= 0) & (cluster[pairs.b] >= 0))
        same = cluster[kept.a] == cluster[kept.b]
        word = words.word[kept.a] == words.word[kept.b]
        return float(same.mean()), float(word[same].mean())

    a = sampler.anywhere()
    anywhere = _Pairs(a, sampler.anywhere())
    in_document = _apart(sampler.within(words.doc), words, 8)
    on_page = sampler.within(words.page)
    place = np.abs(words.place[on_page.a] - words.place[on_page.b])
    elsewhere = anywhere.where(words.doc[anywhere.a] != words.doc[anywhere.b])
    everywhere, document = alike(elsewhere), alike(in_document)
    page = alike(on_page.where(place > 2 * PASSAGE_WORDS))
    passage = alike(sampler.after(16))
    function = words.counts[:FUNCTION_WORDS] / words.counts[:FUNCTION_WORDS].sum()
    return {
        "function_share": float((kind == FUNCTION).mean()),
        "function_words": float(FUNCTION_WORDS),
        "same_function_word": float((function**2).sum()),
        "same_cluster_document": document[0],
        "same_cluster_page": page[0],
        "same_cluster_passage": passage[0],
        "same_word_anywhere": everywhere[1],
        "same_word_document": document[1],
        "same_word_page": page[1],
    }
