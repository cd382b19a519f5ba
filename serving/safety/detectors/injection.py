"""Prompt injection: text in a question or a document that is meant for the model.

Visible, hidden and recognised text are all words of the page here. What was found on a page is
kept by the hash of its words, so that a page asked about often is looked at once.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Sequence

from retrieval.types import PageWords
from serving.safety.passages import box_of, passages_of, passages_of_text
from serving.safety.rules import signs_of
from serving.safety.types import Case, Evidence, Score, Where

CATEGORY = "injection"
HIDDEN = "hidden-text"
_KEPT_PAGES = 20_000
_QUOTE = 400


class InjectionDetector:
    """``Detector`` over the question, each page's passages, and the answer. Thread-safe."""

    id = "injection-1"
    categories = (CATEGORY,)

    def __init__(self) -> None:
        self._kept: OrderedDict[bytes, Score | None] = OrderedDict()
        self._lock = threading.Lock()

    def detect(self, case: Case) -> Sequence[Score]:
        """The worst place of the question (or the answer), and of each page."""
        own = case.question if case.answer is None else case.answer
        scores = []
        signs = max(
            (signs_of(text) for text in (own, *passages_of_text(own))), key=lambda s: s.strength
        )
        if signs.strength > 0:
            place: Where = "question" if case.answer is None else "answer"
            scores.append(Score(CATEGORY, signs.strength, place, detail=", ".join(signs.names)))
        if case.answer is None:
            scores += [s for page in case.evidence if (s := self._of_page(page)) is not None]
        return scores

    def _of_page(self, page: Evidence) -> Score | None:
        key = _key(page)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                found = self._kept[key]
                return None if found is None else _on(found, page.page_id)
        found = _worst(page.words, HIDDEN in page.flags)
        with self._lock:
            self._kept[key] = found
            while len(self._kept) > _KEPT_PAGES:
                self._kept.popitem(last=False)
        return None if found is None else _on(found, page.page_id)


def _worst(words: PageWords, hidden: bool) -> Score | None:
    """The worst passage of a page; ``hidden`` if the page has words that nobody sees."""
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


def _on(score: Score, page_id: int) -> Score:
    return Score(score.category, score.value, "page", page_id, score.quote, score.box, score.detail)


def _key(page: Evidence) -> bytes:
    digest = hashlib.sha256("\0".join(page.words.texts).encode("utf-8", "surrogatepass"))
    digest.update(b"\1" if HIDDEN in page.flags else b"\0")
    return digest.digest()
