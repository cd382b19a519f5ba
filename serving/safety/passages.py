"""A page cut into passages small enough that a few sentences meant for a model stand out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from retrieval.types import Box, PageWords

# A page's own text would hide a short attack among it; less than this says too little.
_MOST_WORDS = 48
_ENOUGH_WORDS = 14
_STOPS = (".", "!", "?", ":", ";")


@dataclass(frozen=True, slots=True)
class Passage:
    """Words ``first .. last`` (exclusive) of a page, as one line of text."""

    text: str
    first: int
    last: int


def passages_of(words: PageWords) -> list[Passage]:
    """Passages of a page in reading order, each word in one of them: sentences or lines, short
    ones put together, long ones cut."""
    return [
        Passage(" ".join(words.texts[first:last]), first, last) for first, last in _spans(words)
    ]


def passages_of_text(text: str) -> list[str]:
    """The same of plain text."""
    words = text.split()
    ends = [word.endswith(_STOPS) for word in words]
    return [" ".join(words[a:b]) for a, b in _cut(ends)]


def box_of(words: PageWords, passage: Passage) -> Box | None:
    """The rectangle around a passage."""
    boxes = words.boxes[passage.first : passage.last]
    if not len(boxes):
        return None
    x0, y0 = boxes[:, :2].min(axis=0).tolist()
    x1, y1 = boxes[:, 2:].max(axis=0).tolist()
    return (x0, y0, x1, y1)


def _spans(words: PageWords) -> Iterator[tuple[int, int]]:
    ends = [text.endswith(_STOPS) for text in words.texts]
    return _cut(ends)


def _cut(ends: list[bool]) -> Iterator[tuple[int, int]]:
    first = 0
    for at, stops in enumerate(ends):
        long = at + 1 - first
        if long >= _MOST_WORDS or (stops and long >= _ENOUGH_WORDS):
            yield first, at + 1
            first = at + 1
    if first < len(ends):
        yield first, len(ends)
