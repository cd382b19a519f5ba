"""What the safety gate looks at, and what it says.

``gate.before(question, evidence) -> Verdict`` and ``gate.after(question, evidence, answer) ->
Verdict`` are all that answering needs to know.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from retrieval.types import Box, PageWords

Band = Literal["allow", "review", "block"]
Stage = Literal["fast", "heavy"]
Where = Literal["question", "page", "answer"]
_SEVERITY: Mapping[Band, int] = {"allow": 0, "review": 1, "block": 2}


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """A page that was found. ``page`` is 0-based within ``source``.

    ``sha256`` is of the document's bytes: with the page's number it names the page's picture,
    so that what was learnt of it once holds for every index. ``picture`` renders it, or is
    None where a picture will not be shown to anyone.
    """

    page_id: int
    source: str
    page: int
    words: PageWords
    text_source: str = "layer"
    flags: tuple[str, ...] = ()
    sha256: str = ""
    picture: Callable[[], NDArray[np.uint8]] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """What one check is about; ``answer`` is None before there is one."""

    question: str
    evidence: tuple[Evidence, ...] = ()
    answer: str | None = None


@dataclass(frozen=True, slots=True)
class Score:
    """What a detector says of one place: ``value`` in [0, 1], the higher the worse.

    ``page_id`` says which page if ``where`` is ``page``; ``quote`` and ``box`` (page fractions)
    show a reviewer the place.
    """

    category: str
    value: float
    where: Where = "question"
    page_id: int | None = None
    quote: str = ""
    box: Box | None = None


class Detector(Protocol):
    """One check. ``id`` names it with its version; ``categories`` are those it can give.

    Whatever it raises, and not answering in time, closes the gate.
    """

    @property
    def id(self) -> str: ...

    @property
    def categories(self) -> tuple[str, ...]: ...

    def detect(self, case: Case) -> Sequence[Score]:
        """Scores of what was looked at. What has no score was found to be nothing."""
        ...


@dataclass(frozen=True, slots=True)
class Finding:
    """A score that reached a threshold of the policy."""

    detector: str
    score: Score
    band: Band


@dataclass(frozen=True, slots=True)
class Failure:
    """A detector that did not do its work, and why: the gate is closed by it."""

    detector: str
    reason: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the gate says. ``band`` is about the whole question or answer.

    ``kept`` are the ids of the pages that may be shown to a model, None for all of them;
    ``words_only`` those of which no picture may be shown, ``marked`` those to be shown as
    suspicious. ``policy`` names the policy's version; ``calibrated`` is False where its
    thresholds were not measured. ``review_id`` is the case in the review queue, if it is there.
    """

    stage: Stage
    band: Band
    findings: tuple[Finding, ...] = ()
    failures: tuple[Failure, ...] = ()
    kept: frozenset[int] | None = None
    words_only: frozenset[int] = frozenset()
    marked: frozenset[int] = frozenset()
    policy: str = ""
    calibrated: bool = False
    timing_ms: Mapping[str, float] = field(default_factory=dict)
    review_id: str | None = None

    @property
    def reasons(self) -> tuple[str, ...]:
        """One sentence a finding or failure; never the text that was found."""
        said = [f"the check '{f.detector}' failed: {f.reason}" for f in self.failures]
        for finding in self.findings:
            score = finding.score
            said.append(f"{score.category} in the {score.where} ({score.value:.2f})")
        return tuple(dict.fromkeys(said))

    @property
    def details(self) -> Mapping[str, Any]:
        """What an answer carries along, ready for JSON."""
        return {
            "policy": self.policy,
            "calibrated": self.calibrated,
            "withheld_pages": sorted(
                {
                    finding.score.page_id
                    for finding in self.findings
                    if finding.score.page_id is not None
                    and self.kept is not None
                    and finding.score.page_id not in self.kept
                }
            ),
            "marked_pages": sorted(self.marked),
            "review_id": self.review_id,
            "timing_ms": dict(self.timing_ms),
        }


def worst(bands: Sequence[Band]) -> Band:
    """The most severe of some bands; ``allow`` of none."""
    return max(bands, key=_SEVERITY.__getitem__, default="allow")
