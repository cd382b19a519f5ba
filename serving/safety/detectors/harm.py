"""Requests for harm: a small head over the question, and over what is answered to it.

It reads the asker's words and the answer's, not the pages: a report on a crime is no request for
one. Long texts are read in overlapping stretches, so that padding hides nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from retrieval.encoders.text import TextEncoder
from serving.safety.heads import Head
from serving.safety.text import plain
from serving.safety.types import Case, Score, Where

CATEGORY = "harm"
# Of the 200 pieces that the encoder reads, most words take one or two.
_STRETCH, _STEP = 110, 80


class HarmDetector:
    """``Detector`` over question, and question with answer. Thread-safe."""

    categories = (CATEGORY,)

    def __init__(self, head: Head, encoder: TextEncoder | None) -> None:
        self.id = f"harm-{head.digest[:8]}"
        self._head = head
        self._encoder = encoder

    def detect(self, case: Case) -> Sequence[Score]:
        """One score: the worst stretch."""
        place: Where = "question" if case.answer is None else "answer"
        texts = stretches(case.question)
        if case.answer is not None:
            texts += stretches(f"{case.question}\n{case.answer}")
        if not texts:
            return ()
        states = self._encoder.pooled_states(texts) if self._encoder is not None else None
        return [Score(CATEGORY, float(self._head.scores(texts, states).max()), place)]


def stretches(text: str) -> list[str]:
    """The text as a model reads it, cut into overlapping stretches of words."""
    words = plain(text).text.split()
    starts = range(0, max(len(words) - _STRETCH + _STEP, 1), _STEP)
    return [" ".join(words[at : at + _STRETCH]) for at in starts if words[at : at + _STRETCH]]
