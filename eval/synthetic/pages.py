"""Documents of the made-up collection, each from its number alone.

Any document can be made again without those before it, so that a build resumes where it ended
and a question's page is known without keeping the collection in memory.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from eval.synthetic.statistics import (
    BLOCK_PAGES,
    CHAPTER_PAGES,
    CONTEXT,
    PASSAGE_WORDS,
    PHRASE_WORDS,
    SECTION_PAGES,
    SENSE,
    WINDOW_WORDS,
    Statistics,
    draw,
    root,
)
from eval.synthetic.words import Ints, Vocabulary, pick
from retrieval.types import FloatArray, PageContent, PageWords

# Gaussian vectors are taken from a table by hashing what they belong to: every occurrence of a
# word in a document needs the same one again.
_TABLE = 1 << 16
# Clusters of words that a document, a page, a passage is about.
_TOPICS = {"document": 12, "page": 4, "passage": 2}
_WORDS_A_LINE = 12
_LETTER = (612.0, 792.0)


@dataclass(frozen=True, slots=True, eq=False)
class MadePage:
    """A page: its ``words [n]`` by number and their ``vectors [n, d] float32`` of unit norm."""

    number: int
    words: Ints
    vectors: FloatArray


class Collection:
    """All documents that there could be. ``patches`` is the mean number of words a page."""

    def __init__(self, statistics: Statistics, patches: float, seed: int = 0) -> None:
        self.statistics = statistics
        self.vocabulary = Vocabulary.make(statistics, seed)
        self.seed = seed
        self._length = patches / statistics.mean_patches()
        self._table = np.random.default_rng([seed, 2]).standard_normal(
            (_TABLE, statistics.dim), np.float32
        )
        self._context = root(statistics.context_covariance)
        self._rest = root(statistics.rest_covariance)
        shares = statistics.shares
        self._weights = {name: np.sqrt(np.array(shares[name], np.float32)) for name in shares}
        self._topical = _topical(statistics)
        self._favoured = _favoured(statistics)

    def document(self, number: int, pages: int) -> list[MadePage]:
        """All pages of a document that has ``pages`` (by ``page_counts``), always the same."""
        random = np.random.default_rng([self.seed, 4, number])
        lengths = draw(self.statistics.patches, random.random(pages)) * self._length
        starts = np.concatenate(([0], np.cumsum(np.rint(lengths)))).astype(np.int64)
        page = np.repeat(np.arange(pages), np.diff(starts))
        place = np.arange(starts[-1]) - starts[page]
        words = self._words(random, number, page, place)
        vectors = self._vectors(random, number, page, words)
        return [
            MadePage(i, words[starts[i] : starts[i + 1]], vectors[starts[i] : starts[i + 1]])
            for i in range(pages)
        ]

    def coloured_context(self, white: FloatArray) -> FloatArray:
        """White noise ``[n, d]`` with the covariance that contexts have."""
        coloured: FloatArray = white @ self._context
        return coloured

    def coloured_rest(self, white: FloatArray) -> FloatArray:
        """White noise ``[n, d]`` with the covariance of what neither word nor context explains."""
        coloured: FloatArray = white @ self._rest
        return coloured

    def content(self, page: MadePage) -> PageContent:
        """The page as intake would hand it on: words in lines, with boxes."""
        n = len(page.words)
        line = np.arange(n) // _WORDS_A_LINE
        left = np.arange(n) % _WORDS_A_LINE / _WORDS_A_LINE
        height = 1 / max(60, n // _WORDS_A_LINE + 1)
        boxes = np.stack(
            (left, line * height, left + 0.9 / _WORDS_A_LINE, (line + 0.8) * height), axis=1
        ).astype(np.float32)
        texts = self.vocabulary.texts
        words = PageWords(
            tuple(texts[i] for i in page.words.tolist()), boxes, line.astype(np.int32)
        )
        return PageContent(page.number, str(page.number + 1), *_LETTER, words)

    def _words(self, random: np.random.Generator, number: int, page: Ints, place: Ints) -> Ints:
        """Which word stands where: function words among words of the topics at hand."""
        vocabulary, n = self.vocabulary, len(page)
        passage = place // PASSAGE_WORDS
        cluster = pick(vocabulary.clusters_cdf, random.random(n))
        source = random.random(n)
        drawn = random.random(n)
        after = 0.0
        for level, share in self._topical.items():
            # Which of its topics, and which cluster that topic is.
            topic = (drawn * _TOPICS[level]).astype(np.int64)
            where = {
                "document": _hash(number, 5, topic),
                "page": _hash(number, 6, page, topic),
                "passage": _hash(number, 7, page, passage, topic),
            }[level]
            here = (source >= after) & (source < after + share)
            cluster[here] = pick(vocabulary.clusters_cdf, _uniform(where[here]))
            after += share
        uniform = random.random(n)
        favoured = random.random(n)
        of_page, of_document = self._favoured
        on_page = favoured < of_page
        in_document = ~on_page & (favoured < of_page + of_document)
        uniform[on_page] = _uniform(_hash(number, 8, page, cluster))[on_page]
        uniform[in_document] = _uniform(_hash(number, 9, cluster))[in_document]
        content = vocabulary.numbers(cluster, pick(vocabulary.cluster_cdf, uniform))
        function = pick(vocabulary.function_cdf, random.random(n))
        is_function = random.random(n) < self.statistics.text["function_share"]
        return np.where(is_function, function, content)

    def _vectors(
        self, random: np.random.Generator, number: int, page: Ints, words: Ints
    ) -> FloatArray:
        """Meaning, context, sense and rest of every word, added and brought to unit norm."""
        n, pages = len(page), int(page[-1]) + 1 if len(page) else 0
        kind = self.vocabulary.kinds(words)
        rows = {
            "document": self._table[_hash(number, 10, np.zeros(1, np.int64)) % _TABLE],
            "chapter": _fading(self._noise(random, pages), CHAPTER_PAGES),
            "section": _fading(self._noise(random, pages), SECTION_PAGES),
            "window": _fading(self._noise(random, n), WINDOW_WORDS),
            "phrase": _fading(self._noise(random, n), PHRASE_WORDS),
        }
        context = np.zeros((n, self.statistics.dim), np.float32)
        for name in CONTEXT:
            values = rows[name]
            if len(values) == 1:
                values = np.broadcast_to(values, context.shape)
            elif len(values) != n or name in ("chapter", "section"):
                values = values[page]
            context += self._weights[name][kind][:, None] * values
        belongs = {
            "word_document": _hash(number, 11, words),
            "word_section": _hash(number, 12, words, page // BLOCK_PAGES),
            "word_page": _hash(number, 13, words, page),
        }
        own = self._weights["rest"][kind][:, None] * self._noise(random, n)
        for name in SENSE:
            weight = self._weights[name]
            if weight.any():
                own += weight[kind][:, None] * self._table[belongs[name] % _TABLE]
        vectors = self.vocabulary.vectors[words] + context @ self._context + own @ self._rest
        return unit(vectors)

    def _noise(self, random: np.random.Generator, n: int) -> FloatArray:
        return self._table[random.integers(0, _TABLE, n)]


def page_counts(statistics: Statistics, documents: int, seed: int = 0) -> Ints:
    """How many pages each of the first ``documents`` has."""
    uniform = np.random.default_rng([seed, 3]).random(documents)
    return np.maximum(1, draw(statistics.pages, uniform)).astype(np.int64)


def unit(vectors: FloatArray) -> FloatArray:
    """Rows ``[n, d]`` at unit norm."""
    scaled: FloatArray = vectors / np.maximum(
        np.linalg.norm(vectors, axis=1, keepdims=True), np.float32(1e-6)
    )
    return scaled


def _topical(statistics: Statistics) -> dict[str, float]:
    """How often a word is of its document's, page's, passage's topics.

    Two words of one passage agree in their cluster more often than two of one page, by the
    square of this over the number of topics; this solves for it.
    """
    text = statistics.text
    shares = statistics.cluster_shares / statistics.cluster_shares.sum()
    steps = [float((shares**2).sum())]
    steps += [text[f"same_cluster_{level}"] for level in ("document", "page", "passage")]
    gains = np.maximum(0.0, np.diff(steps))
    found = np.sqrt(gains * np.array(list(_TOPICS.values())))
    found /= max(1.0, float(found.sum()))
    return dict(zip(_TOPICS, found.tolist(), strict=True))


def _favoured(statistics: Statistics) -> tuple[float, float]:
    """How often a word of a cluster is the one that its page, or its document, favours."""
    text = statistics.text
    page = max(0.0, text["same_word_page"] - text["same_word_document"]) ** 0.5
    document = max(0.0, text["same_word_document"] - text["same_word_anywhere"]) ** 0.5
    return page, min(document, 1 - page)


def _fading(noise: FloatArray, over: float) -> FloatArray:
    """Unit-variance series whose correlation falls to 1/e over so many rows."""
    if len(noise) < 2:
        return noise
    kept = float(np.exp(-1 / over))
    gain = float(np.sqrt(1 - kept**2))
    started = noise.copy()
    started[0] /= np.float32(gain)
    series: FloatArray = lfilter(
        np.array([gain], np.float32), np.array([1, -kept], np.float32), started, axis=0
    ).astype(np.float32, copy=False)
    return series


def _hash(number: int, what: int, *parts: NDArray[np.int64]) -> NDArray[np.uint64]:
    """64 well-mixed bits for every row of ``parts`` (splitmix64)."""
    value = np.full(parts[0].shape, number * 64 + what, np.uint64)
    for part in parts:
        value = _mix(value ^ (part.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)))
    return _mix(value)


def _mix(value: NDArray[np.uint64]) -> NDArray[np.uint64]:
    value = value + np.uint64(0x9E3779B97F4A7C15)
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


def _uniform(bits: NDArray[np.uint64]) -> NDArray[np.float64]:
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53
