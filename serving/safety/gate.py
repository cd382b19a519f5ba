"""The gate: a fast check before a page reaches a model, a heavier one before an answer leaves.

Every detector has a time limit. One that fails, or does not answer in time, closes the gate, and
the verdict says which. What is borderline goes to the review queue; what a person decided of it
holds from then on for the same case.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from retrieval.errors import FolioscopeError, InputError
from serving.safety.limits import Runner, Timed
from serving.safety.policy import Policy
from serving.safety.queue import ReviewCase, ReviewQueue
from serving.safety.types import (
    Band,
    Case,
    Evidence,
    Failure,
    Finding,
    Score,
    Stage,
    Verdict,
    worst,
)

_QUEUE = "review queue"


@dataclass(frozen=True, slots=True)
class _Pages:
    """What becomes of the pages, by id, and the worst of what is held against the question."""

    out: frozenset[int]
    words_only: frozenset[int]
    marked: frozenset[int]
    band: Band


class SafetyGate:
    """The two checks under one policy. Safe to share between threads."""

    def __init__(
        self,
        policy: Policy,
        fast: Sequence[Timed],
        heavy: Sequence[Timed],
        *,
        queue: ReviewQueue | None = None,
        origin: str = "",
        skipped: Sequence[str] = (),
        runner: Runner | None = None,
    ) -> None:
        """Without a ``queue`` what is borderline is held back and waits for nobody.

        ``origin`` tells askers apart: a decision holds within one origin. Raises ``InputError``
        if a detector gives a category for which the policy has no thresholds: nothing would
        ever be held back by it.
        """
        giving: dict[str, set[str]] = defaultdict(set)
        for timed in (*fast, *heavy):
            for category in timed.detector.categories:
                giving[category].add(timed.detector.id)
            without = set(timed.detector.categories) - set(policy.categories)
            if without:
                raise InputError(
                    f"the safety policy '{policy.name}' has no thresholds for "
                    f"{', '.join(sorted(without))}, which the check '{timed.detector.id}' gives; "
                    "add them under 'categories'"
                )
        self.policy = policy
        self.queue = queue
        self._checks: dict[Stage, tuple[Timed, ...]] = {"fast": tuple(fast), "heavy": tuple(heavy)}
        self._unmeasured = policy.unmeasured(giving)
        self._origin = origin
        self._skipped = tuple(skipped)
        self._runner = runner or Runner()

    def of(self, origin: str) -> SafetyGate:
        """The same gate for another origin: a collection, a tenant."""
        return SafetyGate(
            self.policy,
            self._checks["fast"],
            self._checks["heavy"],
            queue=self.queue,
            origin=origin,
            skipped=self._skipped,
            runner=self._runner,
        )

    def before(self, question: str, evidence: Sequence[Evidence]) -> Verdict:
        """May this be answered, and from which of these pages?"""
        return self._check("fast", Case(question, tuple(evidence)))

    def after(self, question: str, evidence: Sequence[Evidence], answer: str) -> Verdict:
        """May this answer be given?"""
        return self._check("heavy", Case(question, tuple(evidence), answer))

    def _check(self, stage: Stage, case: Case) -> Verdict:
        began = time.perf_counter()
        outcomes = self._runner.run(self._checks[stage], case)
        failures = tuple(o.failure for o in outcomes if o.failure is not None)
        findings = tuple(
            Finding(outcome.detector, score, band)
            for outcome in outcomes
            for score in outcome.scores
            if (band := self.policy.categories[score.category].band(score.value)) != "allow"
        )
        review_id = None
        try:
            findings, review_id = self._decided(stage, case, findings, bool(failures))
        except FolioscopeError as error:
            # Without the queue nobody would ever see the case: closed, rather than forgotten.
            failures = (*failures, Failure(_QUEUE, str(error)))
        pages = self._pages(stage, findings)
        band = worst([pages.band, *(["block"] * bool(failures))])  # type: ignore[list-item]
        everything = frozenset(page.page_id for page in case.evidence)
        timing = {o.detector: o.milliseconds for o in outcomes}
        timing["total"] = round((time.perf_counter() - began) * 1000, 2)
        return Verdict(
            stage,
            band,
            findings,
            failures,
            kept=everything - pages.out if pages.out else None,
            words_only=pages.words_only,
            marked=pages.marked,
            policy=self.policy.id,
            uncalibrated=self._unmeasured,
            skipped=self._skipped,
            timing_ms=timing,
            review_id=review_id if band == "review" else None,
        )

    def _about(self, stage: Stage, score: Score) -> Literal["page", "whole"]:
        """Whether a finding costs its page or the whole. After an answer was made from a page
        there is nothing left to leave out."""
        action = self.policy.categories[score.category].pages
        own = score.where == "page" and score.page_id is not None
        return "page" if own and stage == "fast" and action != "hold" else "whole"

    def _pages(self, stage: Stage, findings: Sequence[Finding]) -> _Pages:
        out, words_only, marked = set[int](), set[int](), set[int]()
        bands: list[Band] = []
        for finding in findings:
            score = finding.score
            if self._about(stage, score) == "whole" or score.page_id is None:
                bands.append(finding.band)
                continue
            action = self.policy.categories[score.category].pages
            if action == "words-only":
                words_only.add(score.page_id)
            elif action == "leave-out" or finding.band == "block":
                out.add(score.page_id)
            else:
                marked.add(score.page_id)
        return _Pages(frozenset(out), frozenset(words_only), frozenset(marked - out), worst(bands))

    def _decided(
        self, stage: Stage, case: Case, findings: Sequence[Finding], closed: bool
    ) -> tuple[tuple[Finding, ...], str | None]:
        """The findings after what people decided of them, and the id of the case that waits.

        A page's finding is a case of its own; what is held against the question or the answer is
        one case together. Nothing is queued if the gate is closed anyway.
        """
        if self.queue is None:
            return tuple(findings), None
        whole = [f for f in findings if self._about(stage, f.score) == "whole"]
        held = worst([f.band for f in whole])
        kept: list[Finding] = []
        for finding in findings:
            if self._about(stage, finding.score) == "whole" or finding.band == "block":
                continue
            put = self._case(stage, case, [finding])
            state = self.queue.state_of(put.fingerprint)
            if state is None and not closed and held != "block":
                state = self.queue.submit(put).state
            if state != "approved":
                kept.append(replace(finding, band="block") if state == "rejected" else finding)
        blocked_pages = [
            f for f in findings if self._about(stage, f.score) == "page" and f.band == "block"
        ]
        review_id = None
        if held == "review":
            put = self._case(stage, case, whole)
            state = self.queue.state_of(put.fingerprint)
            if not closed and state in (None, "waiting"):
                item = self.queue.submit(put)
                review_id, state = item.id, item.state
            if state == "approved":
                whole = []
            elif state == "rejected":
                whole = [replace(finding, band="block") for finding in whole]
        return (*whole, *kept, *blocked_pages), review_id

    def _case(self, stage: Stage, case: Case, findings: Sequence[Finding]) -> ReviewCase:
        worse = max(findings, key=lambda finding: finding.score.value)
        score = worse.score
        page = next((p for p in case.evidence if p.page_id == score.page_id), None)
        said = {"question": case.question, "answer": case.answer or "", "page": score.quote}
        if self._about(stage, score) == "page":
            # Of a page the same words are the same case, whatever was asked.
            same = ["page", page.sha256 if page else "", page.page if page else -1, score.quote]
            same.append(score.category)
        else:
            same = [stage, case.question, case.answer or ""]
            same += sorted({finding.score.category for finding in findings})
            # Approved for what one page says is not approved for what another says.
            pages = {p.page_id: f"{p.sha256}/{p.page}" for p in case.evidence}
            found = [f.score for f in findings if f.score.page_id is not None]
            same += sorted({f"{pages.get(s.page_id or 0, '')}: {s.quote}" for s in found})
        seed = json.dumps([self._origin, *same], ensure_ascii=False)
        return ReviewCase(
            fingerprint=hashlib.sha256(seed.encode("utf-8", "surrogatepass")).hexdigest(),
            stage=stage,
            place=score.where,
            category=score.category,
            question=case.question,
            quote=score.quote or said[score.where],
            reasons=Verdict(stage, "review", tuple(findings)).reasons,
            scores={
                f"{f.detector}:{f.score.category}:{f.score.where}": round(f.score.value, 4)
                for f in findings
            },
            policy=self.policy.id,
            answer=case.answer,
            source=page.source if page else None,
            page=page.page if page else None,
            box=score.box,
            origin=self._origin,
        )
