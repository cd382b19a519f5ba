"""``folioscope eval fit-weights QUESTIONS -i INDEX``: how much each lane should count.

Listwise regression on labelled questions: weights for which a page that answers stands out among
the hundred that were read for its question, as the softmax over them says. Late interaction of the
first encoder stays at 1 and sets the scale. A pull towards the weights that the index has keeps
few questions from moving them far; no weight falls below zero.

Only the development half is looked at, so that the other half can say what was gained.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from eval.datasets import Question
from indexing.index import Index
from retrieval.errors import InputError
from retrieval.ranking import LANE, LATE, RankingWeights
from retrieval.types import FloatArray

DEPTH = 100
_FEWEST = 10
# How strongly weights are held: as much as so many questions.
_PULL = 5.0
# A lane at this weight is asked all the same, so that its scores are seen.
_LEAST = 1e-3


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """One question's pages: ``lanes [n, m]`` unweighted scores, ``right [n]`` those that answer."""

    lanes: FloatArray
    right: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Fit:
    """The weights, from how many questions, and the mean loss before and after."""

    weights: RankingWeights
    questions: int
    loss_before: float
    loss_after: float


def fit_weights(index: Index, questions: Sequence[Question], start: RankingWeights) -> Fit:
    """Weights fitted on the development half of ``questions``, from ``start``.

    Raises ``InputError`` if too few of them find a page that answers.
    """
    development = [q for q in questions if q.half == "dev" and not q.suspect and q.pages]
    names = _names(index)
    asked = _never_zero(start, names)
    searched = index.with_weights(asked)
    examples = [
        example
        for question in development
        if (example := _example(searched, question, names, asked)) is not None
    ]
    if len(examples) < _FEWEST:
        raise InputError(
            f"only {len(examples)} of {len(development)} questions of the development half have a "
            f"page that answers among the {DEPTH} best; weights need {_FEWEST}: label more"
        )
    before = np.array([start.of(name) for name in names])
    found, losses = fit(examples, before)
    chosen = dict(zip(names, np.round(found, 4).tolist(), strict=True))
    others = {k.removeprefix(LANE): v for k, v in chosen.items() if k.startswith(LANE)}
    plain = {k: v for k, v in chosen.items() if not k.startswith(LANE)}
    weights = replace(start, late=1.0, others=others, fusion="sum", **plain)
    return Fit(weights, len(examples), *losses)


def fit(
    examples: Sequence[Example], start: NDArray[np.float64]
) -> tuple[NDArray[np.float64], tuple[float, float]]:
    """Weights of the lanes behind the first, and the mean losses before and after.

    ``lanes[:, 0]`` counts 1; beside the weights a temperature is fitted, that of the softmax.
    """

    def loss(values: NDArray[np.float64]) -> float:
        total = 0.0
        for one in examples:
            scores = np.exp(values[0]) * (one.lanes[:, 0] + one.lanes[:, 1:] @ values[1:])
            scores -= scores.max()
            odds = np.exp(scores)
            total -= float(np.log(max(odds[one.right].sum() / odds.sum(), 1e-12)))
        return total / len(examples)

    scale = np.maximum(start, 0.05)

    def held(values: NDArray[np.float64]) -> float:
        moved = float((((values[1:] - start) / scale) ** 2).sum())
        return loss(values) + _PULL / len(examples) * 0.1 * moved

    first = np.concatenate(([3.0], start))
    bounds = [(-2.0, 6.0), *((0.0, None) for _ in start)]
    # The losses are compared at the temperature that suits each best.
    cold = minimize(lambda t: loss(np.concatenate((t, start))), [3.0], bounds=bounds[:1])
    best = minimize(held, first, method="L-BFGS-B", bounds=bounds)
    return best.x[1:], (float(cold.fun), loss(best.x))


def _names(index: Index) -> list[str]:
    return ["bm25", "document", "length", *(LANE + name for name in sorted(index.others))]


def _never_zero(weights: RankingWeights, names: Sequence[str]) -> RankingWeights:
    asked = {name: max(weights.of(name), _LEAST) for name in (LATE, *names)}
    others = {k.removeprefix(LANE): v for k, v in asked.items() if k.startswith(LANE)}
    plain = {k: v for k, v in asked.items() if not k.startswith(LANE)}
    return replace(weights, others=others, fusion="sum", **plain)


def _example(
    index: Index, question: Question, names: Sequence[str], asked: RankingWeights
) -> Example | None:
    document = index.find(question.doc)
    scope = document if question.scope == "doc" else None
    hits = index.search(question.text, DEPTH, doc=scope).hits
    hits = tuple(hit for hit in hits if hit.doc_id != document or hit.page not in question.ignored)
    answering = {(index.find(doc), page) for doc, page in question.relevant}
    right = np.array([(hit.doc_id, hit.page) in answering for hit in hits], bool)
    if not right.any() or right.all():
        return None
    lanes = np.array(
        [[hit.scores[name] / asked.of(name) for name in (LATE, *names)] for hit in hits]
    )
    return Example(lanes.astype(np.float32), right)
