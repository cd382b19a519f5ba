"""Measures of answers on cases whose value can be counted by hand."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.answer_measures import answer_measures, exact_match, numeric_match, of_answer, token_f1
from eval.datasets import Question
from eval.runs import Answered, Run


@pytest.mark.parametrize(
    ("said", "expected", "exact", "numeric", "f1"),
    [
        ("The otters.", "otters", True, False, 1.0),
        ("two otters swam", "two otters", False, False, 0.8),
        ("$1,577 million", "1577.00", False, True, 0.0),
        ("(12.5)", "-12.5", True, True, 1.0),
        ("13", "12", False, False, 0.0),
        ("", "otters", False, False, 0.0),
        ("otters", "badgers", False, False, 0.0),
    ],
)
def test_one_answer(said: str, expected: str, exact: bool, numeric: bool, f1: float) -> None:
    assert (exact_match(said, expected), numeric_match(said, expected)) == (exact, numeric)
    assert token_f1(said, expected) == pytest.approx(f1)


@given(st.text(max_size=60), st.text(max_size=60))
def test_f1_is_symmetric_and_one_for_the_same(one: str, other: str) -> None:
    assert token_f1(one, other) == pytest.approx(token_f1(other, one))
    assert 0 <= token_f1(one, other) <= 1
    if exact_match(one, other) and token_f1(one, one):
        assert token_f1(one, other) == pytest.approx(1)


def test_the_best_alternative_counts() -> None:
    assert of_answer("forty", ["40 wagons", "forty"])["exact"] == 1.0
    assert of_answer("forty", []) == {"exact": 0.0, "numeric": 0.0, "token_f1": 0.0}


def given_answer(text: str, status: str = "answered", **more: Any) -> dict[str, Any]:
    return {"status": status, "text": text, "verdict": "supported", "cites": [], **more}


def test_a_run_of_answers() -> None:
    def question(qid: str, *answers: str, answerable: bool = True) -> Question:
        pages = frozenset({1}) if answerable else frozenset[int]()
        return Question(qid, "?", "x/a.pdf", pages, answers=answers, answerable=answerable)

    said = {
        "right": given_answer("otters", cites=[["a.pdf", 1]]),
        "wrong": given_answer("badgers", verdict="unsupported", cites=[["a.pdf", 2]]),
        "withheld": given_answer("otters", "evidence"),
        "page only": given_answer("see page 1"),
        "invented": given_answer("herons"),
        "declined": given_answer("", "not-in-documents"),
    }
    questions = [
        *(question(qid, "otters") for qid in ("right", "wrong", "withheld")),
        question("page only"),
        *(question(qid, answerable=False) for qid in ("invented", "declined")),
    ]
    run = Run({}, {q: Answered(q, (), (), {}, {}, answer=row) for q, row in said.items()})
    got = answer_measures(questions, run)
    assert (got["questions"], got["unanswerable"]) == (3, 2)
    assert (got["exact"], got["of_given"]["exact"]) == pytest.approx((1 / 3, 1 / 2))
    assert (got["answered"], got["declined"]) == pytest.approx((2 / 3, 1 / 2))
    assert (got["citations_valid"], got["cites_answering_page"]) == (0.5, 0.5)


def test_a_run_without_answers() -> None:
    question = Question("q", "?", "a.pdf", frozenset({1}), answers=("x",))
    run = Run({}, {"q": Answered("q", (), (), {}, {})})
    assert answer_measures([question], run) == {"questions": 0}
