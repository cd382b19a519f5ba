"""Training a head: ``folioscope safety train``. Needs scikit-learn, which running it does not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import InputError
from retrieval.types import FloatArray
from serving.safety.grams import BUCKETS, grams_of
from serving.safety.heads import Head
from serving.safety.labelled import Labelled, groups_of, parts_of

_FOLDS = 5
# Picked by cross-validation on the training part: recall at 2 % false positives.
_STRENGTH = 1.0
_GRAMS_SHARE = 2.0


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """A head and what cross-validation on its training part says of it. ``sources`` has a row a
    source: AUROC with the source's texts among the training ones, and with the source left out;
    a source with one label is told from the other label's texts of all sources."""

    head: Head
    rows: Sequence[Labelled]
    auroc: float
    sources: Sequence[Mapping[str, Any]]


def train(
    rows: Sequence[Labelled], states: FloatArray | None, more: Sequence[Labelled] = ()
) -> Trained:
    """Train on the training part of ``rows``, and on all of ``more``.

    ``states`` ``[len(rows) + len(more), 768]``, or None for a head over grams alone. Raises
    ``InputError`` if scikit-learn is absent or a label has too few texts.
    """
    everything = [*rows, *more]
    groups = groups_of([row.text for row in everything])
    parts = np.array([*parts_of(rows, groups[: len(rows)]), *["train"] * len(more)])
    chosen = np.flatnonzero(parts == "train")
    held = np.flatnonzero(parts != "train")
    # What is added must not bring back what another part is measured on.
    chosen = chosen[~np.isin(groups[chosen], groups[held])]
    harmful = np.array([row.harmful for row in everything])
    if min(harmful[chosen].sum(), (~harmful[chosen]).sum()) < 2 * _FOLDS:
        raise InputError(f"training needs at least {2 * _FOLDS} harmful and as many benign texts")
    features = _Features(everything, states)
    folds = groups[chosen] % _FOLDS
    head, margins = _fitted(features, chosen, folds, harmful)
    sources = np.array([row.source for row in everything])
    table = []
    for source in sorted(set(sources[chosen].tolist())):
        own = chosen[sources[chosen] == source]
        table.append(
            {
                "source": source,
                "harmful": int(harmful[own].sum()),
                "benign": int((~harmful[own]).sum()),
                "auroc": _of_source(own, chosen, margins, harmful),
                "auroc_left_out": _left_out(own, chosen, folds, groups, features, harmful),
            }
        )
    return Trained(
        head, [everything[at] for at in chosen], auroc(margins[chosen], harmful[chosen]), table
    )


def train_grams(rows: Sequence[Labelled], groups: NDArray[np.int64]) -> tuple[Head, float]:
    """A head over grams alone, trained on all ``rows``, and its AUROC in cross-validation.

    Rows of one group ``[n]`` are never on both sides of a fold. Raises ``InputError`` as ``train``.
    """
    harmful = np.array([row.harmful for row in rows], np.bool_)
    if min(harmful.sum(), (~harmful).sum()) < 2 * _FOLDS:
        raise InputError(f"training needs at least {2 * _FOLDS} harmful and as many benign texts")
    features, chosen = _Features(rows, None), np.arange(len(rows), dtype=np.int64)
    head, margins = _fitted(features, chosen, groups % _FOLDS, harmful)
    return head, auroc(margins, harmful)


def auroc(scores: NDArray[np.float64], harmful: NDArray[np.bool_]) -> float:
    """Area under the ROC curve: how often a harmful text scores above a benign one."""
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(harmful, scores))


@dataclass(frozen=True, slots=True, eq=False)
class _Fitted:
    rarity: NDArray[np.float64]
    grams: NDArray[np.float64]
    states: NDArray[np.float64]
    bias: float

    def margins_of(self, features: _Features, chosen: NDArray[np.int64]) -> NDArray[np.float64]:
        total = features.weighed(chosen, self.rarity) @ self.grams + self.bias
        if len(self.states) and features.states is not None:
            total = total + features.states[chosen] @ self.states
        found: NDArray[np.float64] = np.asarray(total, np.float64)
        return found


class _Features:
    """Grams and states of all texts, computed once."""

    def __init__(self, rows: Sequence[Labelled], states: FloatArray | None) -> None:
        from scipy import sparse

        if states is not None and len(states) != len(rows):
            raise ValueError(f"{len(states)} states for {len(rows)} texts")
        found = grams_of([row.text for row in rows])
        self._found = sparse.csr_matrix(
            (np.ones(len(found.texts)), (found.texts, found.buckets)), (len(rows), BUCKETS)
        )
        self.states = states

    def weighed(self, chosen: NDArray[np.int64], rarity: NDArray[np.float64]) -> Any:
        """Grams by rarity, each text of length one, as a sparse matrix."""
        weighed = self._found[chosen].multiply(rarity).tocsr()
        lengths = np.sqrt(np.asarray(weighed.multiply(weighed).sum(axis=1))).ravel()
        return weighed.multiply(1 / np.maximum(lengths, 1e-6)[:, None]).tocsr()

    def fit(self, chosen: NDArray[np.int64], harmful: NDArray[np.bool_]) -> _Fitted:
        """Logistic regression on some of the texts."""
        from scipy import sparse

        try:
            from sklearn.linear_model import LogisticRegression
        except ImportError as error:
            raise InputError(
                "training needs scikit-learn; run `pip install 'folioscope[eval]'`"
            ) from error
        having = np.asarray(self._found[chosen].sum(axis=0)).ravel()
        rarity = np.log((1 + len(chosen)) / (1 + having)) + 1
        columns = [_GRAMS_SHARE * self.weighed(chosen, rarity)]
        mean = spread = np.zeros(0)
        if self.states is not None:
            mean = self.states[chosen].mean(axis=0).astype(np.float64)
            spread = (self.states[chosen].std(axis=0) + 1e-6) * np.sqrt(self.states.shape[1])
            columns.append(sparse.csr_matrix((self.states[chosen] - mean) / spread))
        model = LogisticRegression(C=_STRENGTH, max_iter=2000, class_weight="balanced")
        model.fit(sparse.hstack(columns).tocsr(), harmful[chosen])
        weights = model.coef_[0]
        states = weights[BUCKETS:] / spread
        bias = float(model.intercept_[0] - states @ mean)
        return _Fitted(rarity, _GRAMS_SHARE * weights[:BUCKETS], states, bias)


def _fitted(
    features: _Features,
    chosen: NDArray[np.int64],
    folds: NDArray[np.int64],
    harmful: NDArray[np.bool_],
) -> tuple[Head, NDArray[np.float64]]:
    """A head trained on ``chosen``, its probabilities from the folds; and the folds' margins,
    ``[texts]``, zero for what is not chosen."""
    margins = np.zeros(len(harmful))
    for fold in range(_FOLDS):
        inside, outside = chosen[folds != fold], chosen[folds == fold]
        if len(outside):
            margins[outside] = features.fit(inside, harmful).margins_of(features, outside)
    slope, offset = _platt(margins[chosen], harmful[chosen])
    fitted = features.fit(chosen, harmful)
    head = Head(
        fitted.rarity.astype(np.float32),
        fitted.grams.astype(np.float32),
        fitted.states.astype(np.float32),
        fitted.bias,
        slope,
        offset,
    )
    return head, margins


def _platt(margins: NDArray[np.float64], harmful: NDArray[np.bool_]) -> tuple[float, float]:
    """Slope and offset of the logistic curve through cross-validated margins."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=1e6, max_iter=1000).fit(margins[:, None], harmful)
    return float(model.coef_[0, 0]), float(model.intercept_[0])


def _of_source(
    own: NDArray[np.int64],
    others: NDArray[np.int64],
    margins: NDArray[np.float64],
    harmful: NDArray[np.bool_],
) -> float:
    """AUROC of a source's texts; of one label, against the other label's texts of all sources."""
    if len(set(harmful[own].tolist())) == 1:
        own = np.concatenate([own, others[harmful[others] != harmful[own[0]]]])
    return auroc(margins[own], harmful[own])


def _left_out(
    own: NDArray[np.int64],
    chosen: NDArray[np.int64],
    folds: NDArray[np.int64],
    groups: NDArray[np.int64],
    features: _Features,
    harmful: NDArray[np.bool_],
) -> float | None:
    """The same with nothing of the source, or near it, in training. What a source of one label is
    compared with is left out a fold at a time as well."""
    near = np.isin(groups[chosen], groups[own])
    if len(set(harmful[own].tolist())) == 2:
        rest = chosen[~near]
        if len(set(harmful[rest].tolist())) < 2:
            return None
        return auroc(features.fit(rest, harmful).margins_of(features, own), harmful[own])
    found = []
    for fold in range(_FOLDS):
        rest = chosen[~near & (folds != fold)]
        other = chosen[~near & (folds == fold) & (harmful[chosen] != harmful[own[0]])]
        if len(set(harmful[rest].tolist())) < 2 or not len(other):
            continue
        both = np.concatenate([own, other])
        found.append(auroc(features.fit(rest, harmful).margins_of(features, both), harmful[both]))
    return float(np.mean(found)) if found else None
