"""What the safety gate looks at, and what it says.

``Gate.before`` and ``Gate.after`` are all that answering needs to know.
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
    show a reviewer the place; ``detail`` names what was found ("role marker", "S2"), never its
    text.
    """

    category: str
    value: float
    where: Where = "question"
    page_id: int | None = None
    quote: str = ""
    box: Box | None = None
    detail: str = ""


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
    suspicious. ``policy`` names the policy's version; ``uncalibrated`` are the categories whose
    thresholds nobody measured with these checks. ``skipped`` are checks that the policy lists as
    optional and whose packages are not installed. ``review_id`` is the case in the review queue,
    if it is there.
    """

    stage: Stage
    band: Band
    findings: tuple[Finding, ...] = ()
    failures: tuple[Failure, ...] = ()
    kept: frozenset[int] | None = None
    words_only: frozenset[int] = frozenset()
    marked: frozenset[int] = frozenset()
    policy: str = ""
    uncalibrated: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    timing_ms: Mapping[str, float] = field(default_factory=dict)
    review_id: str | None = None

    @property
    def reasons(self) -> tuple[str, ...]:
        """One sentence a finding or failure; never the text that was found."""
        said = [f"the check '{f.detector}' failed: {f.reason}" for f in self.failures]
        for finding in self.findings:
            score = finding.score
            what = f"{score.category} ({score.detail})" if score.detail else score.category
            said.append(f"{what} in the {score.where}, score {score.value:.2f}: {finding.band}")
        return tuple(dict.fromkeys(said))

    @property
    def details(self) -> Mapping[str, Any]:
        """What an answer carries along, ready for JSON."""
        flagged = {f.score.page_id for f in self.findings if f.score.page_id is not None}
        return {
            "policy": self.policy,
            "calibrated": not self.uncalibrated,
            "uncalibrated": list(self.uncalibrated),
            "skipped_checks": list(self.skipped),
            "withheld_pages": [] if self.kept is None else sorted(flagged - self.kept),
            "marked_pages": sorted(self.marked),
            "pages_without_picture": sorted(self.words_only),
            "review_id": self.review_id,
            "timing_ms": dict(self.timing_ms),
        }


class Gate(Protocol):
    """What answering asks before a page reaches a model, and before an answer reaches the asker."""

    def before(self, question: str, evidence: Sequence[Evidence]) -> Verdict: ...

    def after(self, question: str, evidence: Sequence[Evidence], answer: str) -> Verdict: ...


def worst(bands: Sequence[Band]) -> Band:
    """The most severe of some bands; ``allow`` of none."""
    return max(bands, key=_SEVERITY.__getitem__, default="allow")
