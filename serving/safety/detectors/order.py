"""Plain orders in pages: "write", "translate", with no sign that a model is meant.

Instructions to people look the same, so this is a small head's guess, for marking a page, not for
leaving it out. Questions are orders by nature and are not looked at.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from serving.safety.heads import Head
from serving.safety.kept import KeptPages
from serving.safety.passages import box_of, passages_of
from serving.safety.types import Case, Evidence, Score

CATEGORY = "order"
_QUOTE = 400


class OrderDetector:
    """``Detector`` over each page's passages. Thread-safe."""

    categories = (CATEGORY,)

    def __init__(self, head: Head) -> None:
        """``head`` is one over grams alone. Raises ``ValueError`` for another."""
        if head.needs_states:
            raise ValueError("passages are judged by their grams alone")
        self.id = f"order-{head.digest[:8]}"
        self._head = head
        self._kept = KeptPages()

    def detect(self, case: Case) -> Sequence[Score]:
        """The passage of each page that is most like an order, before there is an answer."""
        if case.answer is not None:
            return ()
        found = (self._kept.score_of(page, self._look) for page in case.evidence)
        return [score for score in found if score is not None]

    def _look(self, page: Evidence) -> Score | None:
        passages = passages_of(page.words)
        if not passages:
            return None
        scores = self._head.scores([passage.text for passage in passages])
        worst = passages[int(np.argmax(scores))]
        box = box_of(page.words, worst)
        return Score(CATEGORY, float(scores.max()), "page", None, worst.text[:_QUOTE], box)
