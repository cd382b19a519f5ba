"""The vocabulary of the made-up collection: how words are drawn, spelled, and what they mean."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from eval.synthetic.statistics import CONTENT, FUNCTION, Statistics, root
from retrieval.types import FloatArray

Ints = NDArray[np.int64]
WORDS_A_CLUSTER = 1000
# Words that a full-text index leaves out; the other function words are spelled like any word.
_LEFT_OUT = [
    "a",
    "an",
    "and",
    "are",
    "as",
    "at",
    "be",
    "but",
    "by",
    "for",
    "if",
    "in",
    "into",
    "is",
    "it",
    "no",
    "not",
    "of",
    "on",
    "or",
    "such",
    "that",
    "the",
    "their",
    "then",
    "there",
    "these",
    "they",
    "this",
    "to",
    "was",
    "will",
    "with",
]
_CONSONANTS, _VOWELS = "bcdfghjklmnprtvz", "aeiou"


@dataclass(frozen=True, slots=True, eq=False)
class Vocabulary:
    """Words by number: function words first, then each cluster's, the frequent ones first.

    ``vectors`` is ``[words, d] float32``: what a word means whatever stands around it.
    ``function_cdf`` and ``cluster_cdf`` are cumulative probabilities of the words of a kind or
    cluster; ``clusters_cdf`` of the clusters.
    """

    vectors: FloatArray
    texts: tuple[str, ...]
    functions: int
    function_cdf: NDArray[np.float64]
    clusters_cdf: NDArray[np.float64]
    cluster_cdf: NDArray[np.float64]

    @staticmethod
    def make(statistics: Statistics, seed: int) -> Vocabulary:
        """The same words for the same statistics and seed."""
        random = np.random.default_rng([seed, 1])
        functions = int(statistics.text["function_words"])
        centres = statistics.cluster_centres
        dim = statistics.dim
        of_function = random.standard_normal((functions, dim), np.float32)
        of_content = random.standard_normal((len(centres) * WORDS_A_CLUSTER, dim), np.float32)
        vectors = np.concatenate(
            (
                statistics.kind_means[FUNCTION]
                + of_function @ root(statistics.function_covariance),
                statistics.kind_means[CONTENT]
                + np.repeat(centres, WORDS_A_CLUSTER, axis=0)
                + of_content @ root(statistics.meaning_covariance),
            )
        )
        spelled = (_spell(i) for i in range(len(vectors) - len(_LEFT_OUT)))
        return Vocabulary(
            vectors=vectors,
            texts=(*_LEFT_OUT, *spelled),
            functions=functions,
            function_cdf=_power_law(functions, statistics.text["same_function_word"]),
            clusters_cdf=np.cumsum(statistics.cluster_shares / statistics.cluster_shares.sum()),
            cluster_cdf=_power_law(WORDS_A_CLUSTER, statistics.text["same_word_anywhere"]),
        )

    def kinds(self, words: Ints) -> Ints:
        """``FUNCTION`` or ``CONTENT`` for each of ``words [n]``."""
        return np.where(words < self.functions, FUNCTION, CONTENT)

    def numbers(self, clusters: Ints, ranks: Ints) -> Ints:
        """The words with these ranks in these clusters."""
        return self.functions + clusters * WORDS_A_CLUSTER + ranks


def pick(cdf: NDArray[np.float64], uniform: NDArray[np.float64]) -> Ints:
    """Draws from cumulative probabilities, by ``uniform`` numbers in [0, 1)."""
    return np.minimum(np.searchsorted(cdf, uniform, side="right"), len(cdf) - 1).astype(np.int64)


def _power_law(n: int, same: float) -> NDArray[np.float64]:
    """Cumulative probabilities ``~ rank ** -s``, with s such that two draws agree as often as
    ``same`` says (the measured probability)."""
    ranks = np.arange(1, n + 1, dtype=np.float64)

    def shares(exponent: float) -> NDArray[np.float64]:
        raw = ranks**-exponent
        return np.asarray(raw / raw.sum())

    wanted = float(np.clip(same, 1.05 / n, 0.8))
    found = brentq(lambda s: float((shares(s) ** 2).sum()) - wanted, 0.0, 4.0)
    return np.cumsum(shares(float(found)))


def _spell(number: int) -> str:
    """A pronounceable word of its own for every number."""
    syllables = len(_CONSONANTS) * len(_VOWELS)
    text = ""
    for _ in range(4):
        number, here = divmod(number, syllables)
        text += _CONSONANTS[here // len(_VOWELS)] + _VOWELS[here % len(_VOWELS)]
    return text + "x"
