"""Nudity and gore on the pictures of pages that a model would be shown.

A page is looked at once, when it is first found or by ``folioscope safety pictures``, and what was
seen is kept by the document's hash: later questions pay for a look-up.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import FolioscopeError
from serving.safety.picture_models import Look
from serving.safety.seen import SeenPictures
from serving.safety.types import Case, Evidence, Score

NUDITY, GORE = "nudity", "gore"


class Looks(Protocol):
    """Whatever tells what is on a picture; ``id`` names it with its weights."""

    id: str

    def look(self, picture: NDArray[np.uint8]) -> Look: ...


class PictureDetector:
    """``Detector`` over each page's picture. Thread-safe."""

    categories = (NUDITY, GORE)

    def __init__(self, models: Looks, seen: SeenPictures) -> None:
        self.id = f"pictures-{models.id}"
        self._models = models
        self._seen = seen

    def detect(self, case: Case) -> Sequence[Score]:
        """Both scores of each page whose picture would be shown, before there is an answer."""
        if case.answer is not None:
            return ()
        return [score for page in case.evidence for score in self._of(page)]

    def is_known(self, page: Evidence) -> bool:
        """Whether this picture was looked at before."""
        return self._known(page) is not None

    def _of(self, page: Evidence) -> Sequence[Score]:
        if page.picture is None:
            return ()
        found = self._known(page)
        if found is None:
            try:
                picture = page.picture()
            except FolioscopeError:
                # Nobody looked, so nobody shows it either, should it be back a moment later.
                unseen = "the picture cannot be made"
                return [
                    Score(name, 1.0, "page", page.page_id, detail=unseen) for name in (NUDITY, GORE)
                ]
            found = self._models.look(picture)
            numbers = [found.nudity, *found.nudity_box, found.gore, *found.gore_box]
            if page.sha256:
                self._seen.put(_name(page), self.id, numbers)
        return [
            Score(NUDITY, found.nudity, "page", page.page_id, box=found.nudity_box),
            Score(GORE, found.gore, "page", page.page_id, box=found.gore_box),
        ]

    def _known(self, page: Evidence) -> Look | None:
        kept = self._seen.get(_name(page), self.id) if page.sha256 else None
        if kept is None or len(kept) != 10:
            return None
        nudity, a, b, c, d, gore, e, f, g, h = kept
        return Look(nudity, (a, b, c, d), gore, (e, f, g, h))


def _name(page: Evidence) -> str:
    """Document, page, and the page's words: other settings may cut a document into other pages."""
    words = hashlib.sha256("\0".join(page.words.texts).encode("utf-8", "surrogatepass"))
    return f"{page.sha256}/{page.page}/{words.hexdigest()[:16]}"
