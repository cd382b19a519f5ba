"""Thresholds from labelled cases: what is let pass, what a person sees, what is blocked."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import InputError
from retrieval.types import PageWords
from serving.safety.labelled import Labelled
from serving.safety.policy import Calibration, CategoryPolicy, Rate
from serving.safety.types import Case, Detector, Evidence

_BINS = 10
# Of fewer texts the 95 % interval of any share is wider than .3.
FEWEST = 10


@dataclass(frozen=True, slots=True)
class Wanted:
    """What thresholds are picked for. Of benign cases at most ``max_review`` may be held back in
    any way, and ``max_blocked`` without a person seeing them. The review load goes before the
    ``recall``: a gate that holds back every third honest question is switched off."""

    recall: float = 0.99
    max_review: float = 0.02
    max_blocked: float = 0.005


@dataclass(frozen=True, slots=True)
class Point:
    """What a review threshold costs and brings."""

    threshold: float
    recall: Rate
    false_positives: Rate


@dataclass(frozen=True, slots=True)
class Calibrated:
    """``chosen`` are the thresholds; ``at_limit`` is the point that the review load allows,
    ``at_recall`` the one that the wanted recall needs."""

    chosen: CategoryPolicy
    at_limit: Point
    at_recall: Point


def scores_of(detector: Detector, category: str, rows: Sequence[Labelled]) -> NDArray[np.float64]:
    """The worst score ``[n]`` that a detector gives each text where it is met."""
    return np.array(
        [
            max(
                (s.value for s in detector.detect(case_of(row)) if s.category == category),
                default=0.0,
            )
            for row in rows
        ]
    )


def case_of(row: Labelled) -> Case:
    """A labelled text as the gate would see it."""
    if row.place == "page":
        words = tuple(row.text.split())
        # Where the words stand on the page plays no part in the score.
        boxes = np.tile(np.array([0, 0, 1, 1], np.float32), (len(words), 1))
        of_page = PageWords(words, boxes, np.zeros(len(words), np.int32))
        return Case("", (Evidence(0, row.source, 0, of_page),))
    return Case("", (), row.text) if row.place == "answer" else Case(row.text)


def check_enough(harmful: NDArray[np.bool_]) -> None:
    """Raises ``InputError`` if there are too few texts of a label to set a threshold by."""
    bad = int(harmful.sum())
    good = len(harmful) - bad
    if min(bad, good) < FEWEST:
        raise InputError(
            f"there are {bad} harmful and {good} benign texts; calibration needs at least {FEWEST} "
            "of each, and hundreds for shares of a percent: label more, or take another --part"
        )


def calibrate(
    scores: NDArray[np.float64],
    harmful: NDArray[np.bool_],
    wanted: Wanted,
    *,
    data: Mapping[str, str],
    detectors: Sequence[str],
    before: CategoryPolicy,
) -> Calibrated:
    """Both thresholds of a category, with what was measured on ``scores`` ``[n]`` in [0, 1].

    Raises ``InputError`` if one of the labels is absent.
    """
    bad, good = np.sort(scores[harmful]), np.sort(scores[~harmful])
    if not len(bad) or not len(good):
        raise InputError("calibration needs harmful and benign texts; one of the two is absent")
    limit = _lowest_above(good, bad, wanted.max_review)
    needed = _highest_with(bad, good, wanted.recall)
    reached = needed >= limit
    # With room left, fewer people are asked: the highest threshold that still reaches the recall.
    review = needed if reached else limit
    block = max(review, _lowest_above(good, bad, wanted.max_blocked))
    found = Calibration(
        date=datetime.now(UTC).date().isoformat(),
        data=dict(data),
        detectors=tuple(detectors),
        target_recall=wanted.recall,
        max_review=wanted.max_review,
        reached=reached,
        recall=rate(int((bad >= review).sum()), len(bad)),
        false_positives=rate(int((good >= review).sum()), len(good)),
        blocked=rate(int((bad >= block).sum()), len(bad)),
        wrongly_blocked=rate(int((good >= block).sum()), len(good)),
        review_load=rate(int(((good >= review) & (good < block)).sum()), len(good)),
        ece=calibration_error(scores, harmful),
        reliability=reliability(scores, harmful),
    )
    # A threshold that no score can reach is none.
    kept = {"review": review, "block": block}
    chosen = before.model_copy(
        update={name: value if value <= 1 else None for name, value in kept.items()}
        | {"calibration": found}
    )
    return Calibrated(chosen, _point(limit, bad, good), _point(needed, bad, good))


def rate(hits: int, n: int) -> Rate:
    """A share with the 95 % interval of Clopper and Pearson (1934). Needs scipy."""
    from scipy.stats import beta

    low = float(beta.ppf(0.025, hits, n - hits + 1)) if hits else 0.0
    high = float(beta.ppf(0.975, hits + 1, n - hits)) if hits < n else 1.0
    return Rate(hits=hits, n=n, low=low, high=high)


def reliability(
    scores: NDArray[np.float64], harmful: NDArray[np.bool_]
) -> tuple[tuple[float, float, int], ...]:
    """Mean score, share harmful and count of each tenth of the scale that has cases."""
    bins = np.minimum((scores * _BINS).astype(int), _BINS - 1)
    return tuple(
        (float(scores[bins == b].mean()), float(harmful[bins == b].mean()), int((bins == b).sum()))
        for b in range(_BINS)
        if (bins == b).any()
    )


def calibration_error(scores: NDArray[np.float64], harmful: NDArray[np.bool_]) -> float:
    """Expected calibration error: how far scores are from shares, over the bins by count."""
    curve = reliability(scores, harmful)
    return sum(abs(mean - share) * count for mean, share, count in curve) / len(scores)


def sha256_of(texts: Sequence[Labelled]) -> str:
    """Names the cases without holding them."""
    digest = hashlib.sha256()
    for row in texts:
        digest.update(f"{row.text}\0{row.harmful}\0{row.place}\1".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _point(threshold: float, bad: NDArray[np.float64], good: NDArray[np.float64]) -> Point:
    return Point(
        threshold,
        rate(int((bad >= threshold).sum()), len(bad)),
        rate(int((good >= threshold).sum()), len(good)),
    )


def _lowest_above(good: NDArray[np.float64], bad: NDArray[np.float64], share: float) -> float:
    """The lowest threshold that at most ``share`` of the benign cases reach; infinite if more of
    them have the highest score there is."""
    allowed = math.floor(share * len(good) + 1e-9)
    if allowed >= len(good):
        return 0.0
    highest = float(good[len(good) - 1 - allowed])
    if highest >= 1:
        return math.inf
    above = np.concatenate([good[good > highest], bad[bad > highest]])
    return _between(highest, float(above.min()) if len(above) else 1.0)


def _highest_with(bad: NDArray[np.float64], good: NDArray[np.float64], share: float) -> float:
    """The highest threshold that at least ``share`` of the harmful cases reach."""
    needed = math.ceil(share * len(bad) - 1e-9)
    if needed <= 0:
        return 1.0
    lowest = float(bad[len(bad) - needed])
    everything = np.concatenate([good, bad])
    below = everything[everything < lowest]
    return _between(float(below.max()) if len(below) else 0.0, lowest)


def _between(low: float, high: float) -> float:
    """A threshold above ``low`` and not above ``high``: the middle, or ``high`` if there is none;
    rounded upwards as far as that keeps it there."""
    middle = (low + high) / 2
    short = math.ceil(middle * 1e6) / 1e6
    return short if low < short <= high else (middle if low < middle <= high else high)
