"""Measures of answers: the text against what was expected, citations, and when to say nothing.

Exact match and token F1 are SQuAD's (Rajpurkar et al. 2016, section 6.1: lower case, no
punctuation, no articles; the best over the alternatives); a numeric match compares values, so
that "$1,577" and "1577.00" are the same.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from eval.datasets import Question
from eval.measures import interval
from eval.runs import Run
from serving.answering.spans import number_value

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
# In a longer text a number is one word of many; it is then for token F1 to judge.
_SHORT = 25


def normalised(text: str) -> str:
    """SQuAD's normal form.

    >>> normalised("The  Otters, two.")
    'otters two'
    """
    plain = _ARTICLES.sub(" ", text.lower().translate(_NO_PUNCTUATION))
    return " ".join(plain.split())


def exact_match(said: str, expected: str) -> bool:
    """Whether two texts are the same in normal form."""
    return normalised(said) == normalised(expected)


def numeric_match(said: str, expected: str) -> bool:
    """Whether ``said`` holds the value that a short ``expected`` is.

    >>> numeric_match("It was $1,577 million", "1577.00"), numeric_match("12", "13")
    (True, False)
    """
    if len(expected) > _SHORT:
        return False
    one, other = number_value(said), number_value(expected)
    return one is not None and other is not None and one == other


def token_f1(said: str, expected: str) -> float:
    """F1 of the bags of words.

    >>> token_f1("two otters swam", "two otters")
    0.8
    """
    one, other = normalised(said).split(), normalised(expected).split()
    both = sum((Counter(one) & Counter(other)).values())
    return 2 * both / (len(one) + len(other)) if both else 0.0


def of_answer(said: str, expected: Sequence[str]) -> dict[str, float]:
    """Each measure of a given answer, the best over the ``expected`` alternatives."""
    return {
        "exact": float(any(exact_match(said, answer) for answer in expected)),
        "numeric": float(any(numeric_match(said, answer) for answer in expected)),
        "token_f1": max((token_f1(said, answer) for answer in expected), default=0.0),
    }


def answer_measures(questions: Iterable[Question], run: Run) -> dict[str, Any]:
    """What a run's answers are worth.

    ``exact``, ``numeric`` and ``token_f1`` are means over the answerable questions that expect a
    text, an answer withheld counting 0; ``of_given`` are the same over those that were given.
    ``citations_valid``: share of given answers all of whose citations held when checked.
    ``cites_answering_page``: share that cite a page which answers. ``answered``: share of
    answerable questions that got an answer; ``declined``: share of unanswerable ones that did
    not.
    """
    values: dict[str, list[float]] = {}
    given: list[dict[str, float]] = []
    counted: Counter[str] = Counter()
    valid, cited = [], []
    for question in questions:
        found = run.answered.get(question.qid)
        if found is None or not found.answer:
            continue
        answered = found.answer["status"] == "answered"
        if not question.answerable:
            counted["unanswerable"] += 1
            counted["declined"] += not answered
            continue
        if not question.answers:
            continue
        counted["answerable"] += 1
        counted["answered"] += answered
        scores = of_answer(found.answer["text"], question.answers)
        for name, value in scores.items():
            values.setdefault(name, []).append(value if answered else 0.0)
        if answered:
            given.append(scores)
            valid.append(found.answer["verdict"] == "supported")
            cited.append(_cites(found.answer, question))
    if not counted["answerable"] and not counted["unanswerable"]:
        return {"questions": 0}
    return {
        "questions": counted["answerable"],
        **{name: _mean(found) for name, found in values.items()},
        "intervals": {name: interval(found) for name, found in values.items()},
        "of_given": {name: _mean([row[name] for row in given]) for name in given[0]}
        if given
        else {},
        "answered": _share(counted["answered"], counted["answerable"]),
        "citations_valid": _mean(valid),
        "cites_answering_page": _mean(cited),
        "unanswerable": counted["unanswerable"],
        "declined": _share(counted["declined"], counted["unanswerable"]),
    }


def _cites(answer: Mapping[str, Any], question: Question) -> bool:
    right = {(doc.rpartition("/")[2], page) for doc, page in question.relevant}
    return any((name, page) in right for name, page in answer["cites"])


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
