"""Made-up pages and detectors for tests of the gate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from retrieval.types import PageWords
from serving.safety.types import Case, Evidence, Score


def words_of(*lines: str) -> PageWords:
    """A page of some lines, its words evenly spread."""
    texts, boxes, numbers = [], [], []
    for number, line in enumerate(lines):
        for at, word in enumerate(line.split()):
            texts.append(word)
            x, y = min(at * 0.05, 0.9), min(number * 0.05, 0.9)
            boxes.append((x, y, x + 0.04, y + 0.03))
            numbers.append(number)
    return PageWords(
        tuple(texts),
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(numbers, np.int32),
    )


def page(
    page_id: int, *lines: str, sha256: str = "ab" * 32, flags: tuple[str, ...] = ()
) -> Evidence:
    """A found page that says some lines."""
    return Evidence(page_id, "/docs/a.pdf", page_id, words_of(*lines), "layer", flags, sha256)


@dataclass
class Says:
    """A detector that gives the same scores of everything."""

    scores: Sequence[Score] = ()
    id: str = "says-1"
    categories: tuple[str, ...] = ("harm", "injection", "picture")
    asked: int = 0

    def detect(self, case: Case) -> Sequence[Score]:
        self.asked += 1
        return self.scores
