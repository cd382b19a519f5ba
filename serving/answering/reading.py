"""A possible answer, with its place."""

from __future__ import annotations

from dataclasses import dataclass

from retrieval.types import Box
from serving.answering.spans import Kind
from serving.answering.types import EvidencePage


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """A possible answer: ``text`` as the page says it, inside ``box``; ``quote`` is the row or
    sentence that it stands in, inside ``around``. ``score`` is in [0, 1]. A figure that was worked
    out has its ``arithmetic`` and the other cells that it ``rests_on``. ``told`` False: it is the
    row that speaks of what was asked, and which of its numbers is meant cannot be told."""

    page: EvidencePage
    text: str
    box: Box
    quote: str
    around: Box
    score: float
    kind: Kind
    arithmetic: str = ""
    rests_on: tuple[Reading, ...] = ()
    told: bool = True
