"""What a question must be. Cheap: it is checked before an index is opened."""

from __future__ import annotations

from typing import Literal, get_args

from retrieval.errors import InputError

SearchMode = Literal["two-stage", "coarse", "exhaustive", "bm25"]
MODES: tuple[SearchMode, ...] = get_args(SearchMode)


def check_question(question: str, mode: str = MODES[0]) -> str:
    """``question`` without space around it. Raises ``InputError`` if nothing is left, or for a
    mode that there is not."""
    question = question.strip()
    if not question:
        raise InputError("the question is empty; ask in words")
    if mode not in MODES:
        raise InputError(f"unknown mode '{mode}'; known: {', '.join(MODES)}")
    return question
