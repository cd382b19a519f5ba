"""The measures, against their definitions written out here."""

from __future__ import annotations

from math import log2

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eval.datasets import Judged, Question
from eval.measures import (
    MEASURES,
    interval,
    kept_of_best,
    latency,
    paired_p_value,
    per_question,
    summarise,
)
from eval.runs import Answered, Run

DOCS = ("a.pdf", "b.pdf", "c/d e.pdf")
Page = tuple[str, int]


def answered(qid: str, ranked: list[Page], **regions: object) -> Answered:
    scores = tuple(float(-i) for i in range(len(ranked)))
    return Answered(qid, tuple(ranked), scores, {"total": 1.0}, regions)


def run_of(*answers: Answered) -> Run:
    return Run({}, {answer.qid: answer for answer in answers})


def by_definition(question: Question, ranked: list[Page]) -> dict[str, float]:
    """nDCG, success, recall and reciprocal rank as textbooks have them, grades 0 and 1."""
    ranked = [p for p in ranked if not (p[0] == question.doc and p[1] in question.ignored)]
    right = [doc == question.doc and page in question.pages for doc, page in ranked]
    wanted = len(question.pages)

    def ndcg(k: int) -> float:
        gain = sum(1 / log2(rank + 2) for rank, hit in enumerate(right[:k]) if hit)
        return gain / sum(1 / log2(rank + 2) for rank in range(min(k, wanted)))

    first = right.index(True) + 1 if True in right else 0
    return {
        "nDCG@5": ndcg(5),
        "nDCG@10": ndcg(10),
        "Success@1": float(any(right[:1])),
        "Success@5": float(any(right[:5])),
        "R@5": sum(right[:5]) / wanted,
        "R@10": sum(right[:10]) / wanted,
        "R@100": sum(right[:100]) / wanted,
        "RR@10": 1 / first if 0 < first <= 10 else 0.0,
    }


pages = st.tuples(st.sampled_from(DOCS), st.integers(0, 60))


@st.composite
def asked_and_found(draw: st.DrawFn) -> tuple[list[Question], dict[str, list[Page]]]:
    """Up to four questions with up to 130 pages found for each, none twice."""
    questions, found = [], {}
    for number in range(draw(st.integers(1, 4))):
        right = draw(st.frozensets(st.integers(0, 60), min_size=1, max_size=12))
        ignored = draw(st.frozensets(st.integers(0, 60), max_size=4)) - right
        question = Question(f"q{number}", "?", draw(st.sampled_from(DOCS)), right, ignored)
        # Random pages seldom answer, so some that do are mixed in.
        own = st.sampled_from([(question.doc, page) for page in sorted(right)])
        ranked = draw(st.lists(st.one_of(pages, own), max_size=130, unique=True))
        questions.append(question)
        found[question.qid] = ranked
    return questions, found


@given(asked_and_found())
@settings(max_examples=200)
def test_measures_are_those_of_the_textbook(
    case: tuple[list[Question], dict[str, list[Page]]],
) -> None:
    questions, found = case
    run = run_of(*(answered(qid, ranked) for qid, ranked in found.items()))
    values = per_question(questions, run)
    assert set(values) == set(MEASURES)
    for question in questions:
        expected = by_definition(question, found[question.qid])
        got = {measure: values[measure][question.qid] for measure in MEASURES}
        assert got == pytest.approx(expected, abs=1e-9)


def test_equal_scores_keep_the_order_of_the_ranking() -> None:
    """Pages are ranked, whatever their names: trec_eval would break ties by name."""
    question = Question("q", "?", "b.pdf", frozenset({1}))
    ranked = [("b.pdf", 1), ("a.pdf", 1), ("z.pdf", 1)]
    tied = Answered("q", tuple(ranked), (1.0, 1.0, 1.0), {}, {})
    for order in (ranked, ranked[::-1]):
        run = run_of(Answered("q", tuple(order), tied.scores, {}, {}))
        assert per_question([question], run)["RR@10"]["q"] == 1 / (order.index(ranked[0]) + 1)


def test_a_question_that_was_not_asked_does_not_count() -> None:
    questions = [Question(q, "?", "a.pdf", frozenset({1})) for q in ("asked", "not")]
    run = run_of(answered("asked", [("a.pdf", 1)]))
    assert per_question(questions, run, ["nDCG@5"]) == {"nDCG@5": {"asked": 1.0}}
    everything = summarise(questions, run)[-1]
    assert (everything["questions"], everything["nDCG@5"]) == (1, 1.0)


def test_nothing_found_counts_as_zero() -> None:
    questions = [Question(q, "?", "a.pdf", frozenset({1})) for q in ("hit", "nothing")]
    run = run_of(answered("hit", [("a.pdf", 1)]), answered("nothing", []))
    assert per_question(questions, run)["Success@5"] == {"hit": 1.0, "nothing": 0.0}
    assert summarise(questions, run)[-1]["Success@5"] == 0.5


def test_groups_by_kind_and_scope() -> None:
    questions = [
        Question("1", "?", "a", frozenset({1}), kind="table"),
        Question("2", "?", "a", frozenset({1}), kind="table", scope="doc"),
        Question("3", "?", "a", frozenset({1}), kind="chart"),
    ]
    rows = summarise(questions, run_of(*(answered(q, [("a", 1)]) for q in "123")))
    names = [row["group"] for row in rows]
    assert names == ["chart (corpus)", "table (corpus)", "table (doc)", "all"]


@given(st.lists(st.floats(0, 1), min_size=2, max_size=60), st.integers(0, 5))
@settings(max_examples=40)
def test_an_interval_holds_the_mean_and_comes_again(values: list[float], seed: int) -> None:
    low, high = interval(values, seed)
    assert low - 1e-9 <= np.mean(values) <= high + 1e-9
    assert min(values) - 1e-9 <= low <= high <= max(values) + 1e-9
    assert (low, high) == interval(values, seed)


def test_an_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    """95 % of 300 samples of 50: binomially between 88 and 99 % with room for the bootstrap."""
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(300):
        low, high = interval(rng.random(50).tolist())
        covered += low <= 0.5 <= high
    assert 0.88 < covered / 300 < 0.99


def test_paired_differences() -> None:
    rng = np.random.default_rng(0)
    base = rng.random(60)
    assert paired_p_value(base.tolist(), base.tolist()) == 1.0
    assert paired_p_value(base.tolist(), (base + 0.2).tolist()) < 0.001
    noise = base + rng.permutation(np.repeat([0.1, -0.1], 30))
    assert paired_p_value(base.tolist(), noise.tolist()) > 0.5


def test_p_values_of_equal_runs_are_spread_evenly() -> None:
    rng = np.random.default_rng(1)
    found = [paired_p_value(*rng.random((2, 30)).tolist(), seed=i) for i in range(100)]
    assert 0.35 < np.mean(found) < 0.65 and np.mean(np.array(found) < 0.05) < 0.15


def test_how_many_of_the_best_were_found() -> None:
    exact = run_of(
        answered("a", [("d", page) for page in range(20)]),
        answered("b", [("d", page) for page in range(4)]),
        answered("only here", [("d", 0)]),
    )
    other = run_of(answered("a", [("d", page) for page in range(5, 30)]), answered("b", [("d", 1)]))
    assert kept_of_best(exact, other) == pytest.approx((5 / 10 + 1 / 4) / 2)
    assert kept_of_best(exact, exact) == 1.0


def test_latency_by_stage() -> None:
    run = run_of(
        *(Answered(str(i), (), (), {"coarse": float(i), "total": 2.0 * i}, {}) for i in range(101))
    )
    assert latency(run) == {
        "coarse": {"p50": 50, "p95": 95, "p99": 99},
        "total": {"p50": 100, "p95": 190, "p99": 198},
    }


def test_grades_weigh_in_the_gain() -> None:
    """Linear gains, as trec_eval and the ViDoRe leaderboard take them."""
    judged = (Judged("full.png", 0, 2), Judged("part.png", 0, 1))
    question = Question("q", "?", "full.png", frozenset({0}), judged=judged)
    ranked = [("part.png", 0), ("full.png", 0)]
    got = per_question([question], run_of(answered("q", ranked)))
    ideal = 2 + 1 / log2(3)
    assert got["nDCG@5"]["q"] == pytest.approx((1 + 2 / log2(3)) / ideal)
    assert (got["R@5"]["q"], got["RR@10"]["q"]) == (1.0, 1.0)


def test_a_question_that_nothing_answers_has_no_value() -> None:
    questions = [
        Question("yes", "?", "a.pdf", frozenset({1})),
        Question("no", "?", "a.pdf", frozenset(), answerable=False),
    ]
    run = run_of(answered("yes", [("a.pdf", 1)]), answered("no", [("a.pdf", 1)]))
    assert set(per_question(questions, run)["nDCG@5"]) == {"yes"}
    assert summarise(questions, run)[-1]["questions"] == 1
