"""Statistics of an index beside those that are shipped: how true to life a collection is."""

from __future__ import annotations

import numpy as np

from eval.benchmark import Benchmark
from eval.synthetic.statistics import CONTENT, FUNCTION, Statistics
from retrieval.types import FloatArray


def compared(found: Statistics) -> Benchmark:
    """One row a figure: here, and in the shipped statistics."""
    shipped = _figures(Statistics.read())
    here = _figures(found)
    rows = [
        {"figure": name, "here": value, "shipped": shipped.get(name)}
        for name, value in here.items()
    ]
    return Benchmark("statistics", rows, dict(found.about))


def _figures(statistics: Statistics) -> dict[str, float]:
    centres = (statistics.cluster_centres**2).sum(axis=1)
    figures = {
        "length of the mean function word": _length(statistics.kind_means[FUNCTION]),
        "length of the mean content word": _length(statistics.kind_means[CONTENT]),
        "variance between function words": float(np.trace(statistics.function_covariance)),
        "variance between clusters": float(statistics.cluster_shares @ centres),
        "variance within clusters": float(np.trace(statistics.meaning_covariance)),
        "directions in contexts": _directions(statistics.context_covariance),
        "directions in the rest": _directions(statistics.rest_covariance),
    }
    for name, (function, content) in statistics.shares.items():
        label = name.replace("_", " in ")
        figures[f"variance, {label}, function words"] = function
        figures[f"variance, {label}, content words"] = content
    for what, group in (("text", statistics.text), ("questions", statistics.question)):
        figures |= {f"{what}, {name.replace('_', ' ')}": value for name, value in group.items()}
    figures["patches a page"] = statistics.mean_patches()
    return figures


def _length(vector: FloatArray) -> float:
    return float(np.linalg.norm(vector))


def _directions(covariance: FloatArray) -> float:
    """The participation ratio: how many directions share the variance."""
    values = np.linalg.eigvalsh(covariance.astype(np.float64)).clip(0)
    return float(values.sum() ** 2 / (values**2).sum())
