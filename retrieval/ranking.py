"""From several lanes of evidence to one order.

Each lane is brought to a scale of its own that does not depend on which other pages happen
to be candidates, and the lanes are added with fixed weights. So a page has one score for a
question, whether it was found among 100 candidates or among all pages, and ``explain`` can
show what each lane gave. Reciprocal-rank fusion, the usual choice, was at or below its best
lane on natural-language questions, because it forgets by how much a lane prefers a page.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import InputError
from retrieval.types import FloatArray

_WORD = re.compile(r"[^\W_]+(?:[.,]\d+)*")
# What no full-text index would search for; it only counts how long a question is.
_STOP = frozenset(
    _WORD.findall(
        """
a an and are as at be been but by can could did do does for from had has have how i if in
into is it its many may me more most much my no not of on or our shall should so some such
than that the their them then there these they this to was we were what when where which
while who whom whose why will with would you your
"""
    )
)
# A typical BM25 contribution of one matching word: idf times the term-frequency ceiling of
# 2.2. Documents are fewer than pages, so their idf is lower.
PAGE_POINTS, DOCUMENT_POINTS = 6.0, 4.0
_FEWEST_PATCHES = 10
# What the first encoder's lane is called, and how the names of the others begin.
LATE, LANE = "late", "late:"
# Reciprocal-rank fusion: Cormack, Clarke and Buettcher 2009.
_RANK_OFFSET = 60
Fusion = Literal["sum", "ranks"]
FUSIONS: tuple[str, ...] = get_args(Fusion)


@dataclass(frozen=True, slots=True)
class RankingWeights:
    """How much each lane counts, next to late interaction at 1.

    Fitted by listwise regression on the development half of the evaluation questions and
    rounded (docs/BENCHMARKS.md has the other half). ``length`` is taken off for every
    e-fold of patches above the index's mean: the more patches, the better the best of them
    by chance alone. ``others`` are further encoders' by name, on calibrated scores
    (``retrieval.lanes``). ``fusion`` ``ranks`` adds reciprocal ranks with these weights instead
    of scores; length then has no say.
    """

    bm25: float = 0.18
    document: float = 0.50
    length: float = 0.058
    late: float = 1.0
    others: Mapping[str, float] = field(default_factory=dict)
    fusion: Fusion = "sum"

    def of(self, lane: str) -> float:
        """The weight of a lane by its name in ``shares``; a further encoder counts 1 if unsaid."""
        if lane.startswith(LANE):
            return self.others.get(lane.removeprefix(LANE), 1.0)
        weight: float = getattr(self, lane)
        return weight

    @staticmethod
    def read(said: Mapping[str, Any]) -> RankingWeights:
        """From what ``weights_as_dict`` gave. Raises ``InputError`` for anything else."""
        try:
            others = {str(k): float(v) for k, v in dict(said.get("others", {})).items()}
            plain = {k: float(said[k]) for k in ("late", "bm25", "document", "length") if k in said}
            fusion = said.get("fusion", "sum")
            unknown = said.keys() - {"late", "bm25", "document", "length", "others", "fusion"}
            if unknown or fusion not in FUSIONS:
                raise ValueError(f"{sorted(unknown) or fusion} is not known")
            if not all(np.isfinite(v) for v in (*plain.values(), *others.values())):
                raise ValueError("a weight is not a number")
        except (TypeError, ValueError, AttributeError) as error:
            raise InputError(f"these are not ranking weights: {error}") from error
        return RankingWeights(**plain, others=others, fusion=fusion)


@dataclass(frozen=True, slots=True, eq=False)
class Lanes:
    """What each lane says about n pages; every array is ``[n] float32``."""

    late: FloatArray
    bm25: FloatArray
    document: FloatArray
    length: FloatArray
    others: Mapping[str, FloatArray] = field(default_factory=dict)

    def shares(self, weights: RankingWeights) -> dict[str, FloatArray]:
        """Each lane's share of the score; the score is their sum."""
        weighed = self._weighed(weights)
        if weights.fusion == "sum":
            return weighed
        del weighed["length"]
        return {
            name: np.float32(weights.of(name)) / (_RANK_OFFSET + _ranks(values))
            for name, values in weighed.items()
        }

    def fused(self, weights: RankingWeights) -> FloatArray:
        """``[n] float32`` scores. A page without patches counts late interaction as 0."""
        total: FloatArray = np.sum(list(self.shares(weights).values()), axis=0, dtype=np.float32)
        return total

    def summed(self, weights: RankingWeights) -> FloatArray:
        """``[n] float32`` scores that do not depend on which other pages are compared."""
        shares = list(self._weighed(weights).values())
        total: FloatArray = np.sum(shares, axis=0, dtype=np.float32)
        return total

    def _weighed(self, weights: RankingWeights) -> dict[str, FloatArray]:
        return {
            LATE: self.late * np.float32(weights.late),
            **{name: values * np.float32(weights.of(name)) for name, values in self.others.items()},
            "bm25": self.bm25 * np.float32(weights.bm25),
            "document": self.document * np.float32(weights.document),
            "length": self.length * np.float32(-weights.length),
        }


def _ranks(values: FloatArray) -> FloatArray:
    """1 for the largest value; equal values share the mean of their ranks."""
    _, inverse, counts = np.unique(-values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: FloatArray = (last - (counts - 1) / 2)[inverse].astype(np.float32)
    return ranks


def question_words(question: str) -> int:
    """How many distinct words of a question carry meaning (at least 1)."""
    return max(1, len({word for word in _WORD.findall(question.lower())} - _STOP))


def lexical_lane(scores: FloatArray, best: float, words: int, points: float) -> FloatArray:
    """BM25 scores ``[n]`` on a scale where 1 is as good as lexical matches get.

    The geometric mean of two yardsticks: the best score (says how much better than others a
    page is) and what ``words`` matching words of ``points`` each would give (says whether
    even the best is any good: a question that names no document must not favour one).
    """
    yardstick = np.sqrt(max(best, 1e-9) * words * points)
    lane: FloatArray = (scores / yardstick).astype(np.float32)
    return lane


def length_lane(n_patches: NDArray[np.int32], mean: float) -> FloatArray:
    """``ln(patches / mean)`` for each page ``[n]``."""
    patches = np.maximum(n_patches, _FEWEST_PATCHES)
    lane: FloatArray = np.log(patches / max(mean, _FEWEST_PATCHES)).astype(np.float32)
    return lane


def order(scores: FloatArray, page_ids: NDArray[np.int64], k: int) -> NDArray[np.intp]:
    """Positions of the k best scores, best first; equal scores in the order of page ids."""
    return np.lexsort((page_ids, -scores))[:k]


def weights_as_dict(weights: RankingWeights) -> dict[str, Any]:
    """For ``explain``, status and the manifest; ``RankingWeights.read`` reads it."""
    return asdict(weights)
