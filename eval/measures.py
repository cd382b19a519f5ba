"""Measures over runs, computed by ir-measures (trec_eval's formulas), with their uncertainty."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import ir_measures
import numpy as np
from scipy import stats

from eval.datasets import Question
from eval.runs import Answered, Run

MEASURES = (
    "nDCG@5",
    "nDCG@10",
    "Success@1",
    "Success@5",
    "R@5",
    "R@10",
    "R@100",
    "RR@10",
)
_RESAMPLES = 2000


def per_question(
    questions: Iterable[Question], run: Run, measures: Sequence[str] = MEASURES
) -> dict[str, dict[str, float]]:
    """Each measure of each question that the run answered: ``{measure: {qid: value}}``.

    A question whose pages were not found counts 0. Pages it ignores are taken out first. One
    that no page answers has no value. Grades weigh in nDCG; for the others they are alike.
    """
    asked = [q for q in questions if q.qid in run.answered and q.relevant]
    qrels = {q.qid: {_key(*page): grade for page, grade in q.relevant.items()} for q in asked}
    ranking = {q.qid: _ranking(q, run.answered[q.qid]) for q in asked}
    wanted = [ir_measures.parse_measure(name) for name in measures]
    values = {name: dict.fromkeys(qrels, 0.0) for name in measures}
    for metric in ir_measures.iter_calc(wanted, qrels, ranking):
        values[str(metric.measure)][metric.query_id] = float(metric.value)
    return values


def _ranking(question: Question, answered: Answered) -> dict[str, float]:
    kept = [
        (doc, page)
        for doc, page in answered.ranked
        if not (doc == question.doc and page in question.ignored)
    ]
    # Equal scores would be ordered by name: the rank decides.
    return {_key(doc, page): float(len(kept) - rank) for rank, (doc, page) in enumerate(kept)}


def _key(doc: str, page: int) -> str:
    return f"{doc}#{page}"


def interval(values: Sequence[float], seed: int = 0) -> tuple[float, float]:
    """A 95 % bootstrap interval (percentile, 2,000 resamples) of the mean of ``values``."""
    if len(values) < 2 or len(set(values)) == 1:
        mean = float(np.mean(values)) if len(values) else 0.0
        return mean, mean
    found = stats.bootstrap(
        (np.asarray(values),),
        np.mean,
        n_resamples=_RESAMPLES,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(found.low), float(found.high)


def paired_p_value(a: Sequence[float], b: Sequence[float], seed: int = 0) -> float:
    """Two-sided p of a paired randomisation test (sign flips of the differences)."""
    differences = np.asarray(a, np.float64) - np.asarray(b, np.float64)
    if not differences.any():
        return 1.0
    return float(
        stats.permutation_test(
            (differences,),
            np.mean,
            permutation_type="samples",
            n_resamples=_RESAMPLES,
            rng=np.random.default_rng(seed),
        ).pvalue
    )


def kept_of_best(exact: Run, candidates: Run, best: int = 10) -> float:
    """Share of the ``best`` pages of the exact runs that are anywhere in the other run."""
    shares = []
    for qid, answer in exact.answered.items():
        top = set(answer.ranked[:best])
        if top and qid in candidates.answered:
            shares.append(len(top & set(candidates.answered[qid].ranked)) / len(top))
    return float(np.mean(shares)) if shares else 0.0


def latency(run: Run) -> dict[str, dict[str, float]]:
    """Milliseconds by stage: p50, p95 and p99 over the questions."""
    stages: dict[str, list[float]] = {}
    for answer in run.answered.values():
        for stage, value in answer.timing_ms.items():
            stages.setdefault(stage, []).append(value)
    return {
        stage: {f"p{p}": round(float(np.percentile(values, p)), 2) for p in (50, 95, 99)}
        for stage, values in stages.items()
    }


def summarise(questions: Sequence[Question], run: Run) -> list[dict[str, Any]]:
    """One row for each kind and scope of question, then one for all: means and their intervals.

    ``interval`` is that of the first measure, ``intervals`` has every measure's.
    """
    values = per_question(questions, run)
    groups: dict[str, list[str]] = {}
    for question in questions:
        if question.qid in run.answered and question.relevant:
            groups.setdefault(f"{question.kind} ({question.scope})", []).append(question.qid)
    everything = [qid for qids in groups.values() for qid in qids]
    rows = []
    for name, qids in [*sorted(groups.items()), ("all", everything)]:
        each = {measure: [values[measure][qid] for qid in qids] for measure in MEASURES}
        means = {name: float(np.mean(found)) if found else 0.0 for name, found in each.items()}
        intervals = {name: interval(found) for name, found in each.items()}
        rows.append(
            {
                "group": name,
                "questions": len(qids),
                **means,
                "interval": intervals[MEASURES[0]],
                "intervals": intervals,
            }
        )
    return rows
