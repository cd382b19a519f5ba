"""Prompt injection: text in a question or a document that is meant for the model.

Visible, hidden and recognised text are all words of the page here.
"""

from __future__ import annotations

from collections.abc import Sequence

from serving.safety.kept import HIDDEN, KeptPages
from serving.safety.passages import box_of, passages_of, passages_of_text
from serving.safety.rules import signs_of
from serving.safety.types import Case, Evidence, Score, Where

CATEGORY = "injection"
_QUOTE = 400
# Who asks may say how to answer; a page may not. Of a question or an answer weaker signs are none.
_OWN = 0.65


class InjectionDetector:
    """``Detector`` over the question, each page's passages, and the answer. Thread-safe."""

    id = "injection-2"
    categories = (CATEGORY,)

    def __init__(self) -> None:
        self._kept = KeptPages()

    def detect(self, case: Case) -> Sequence[Score]:
        """The worst place of the question (or the answer), and of each page."""
        own = case.question if case.answer is None else case.answer
        scores = []
        signs = max(
            (signs_of(text) for text in (own, *passages_of_text(own))), key=lambda s: s.strength
        )
        if signs.strength >= _OWN:
            place: Where = "question" if case.answer is None else "answer"
            scores.append(Score(CATEGORY, signs.strength, place, detail=", ".join(signs.names)))
        if case.answer is None:
            found = (self._kept.score_of(page, _worst) for page in case.evidence)
            scores += [score for score in found if score is not None]
        return scores


def _worst(page: Evidence) -> Score | None:
    """The worst passage of a page; it weighs more where the page has words that nobody sees."""
    words, hidden = page.words, HIDDEN in page.flags
    worst: Score | None = None
    for passage in passages_of(words):
        signs = signs_of(passage.text)
        value = signs.strength
        if value <= 0:
            continue
        names = signs.names
        if hidden:
            value = 1 - (1 - value) ** 2
            names = (*names, "on a page with hidden text")
        if worst is None or value > worst.value:
            quote = passage.text[:_QUOTE]
            box = box_of(words, passage)
            worst = Score(CATEGORY, value, "page", None, quote, box, ", ".join(names))
    return worst
