"""The gate: bands, pages, failures, and what a person decided."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from retrieval.errors import InputError
from serving.safety.gate import SafetyGate
from serving.safety.limits import Timed
from serving.safety.policy import Calibration, CategoryPolicy, Policy, Rate
from serving.safety.queue import ReviewQueue
from serving.safety.types import Case, Detector, Score, Verdict
from tests.serving.safety.cases import Says, page

POLICY = Policy(
    name="test",
    categories={
        "harm": CategoryPolicy(review=0.5, block=0.8),
        "injection": CategoryPolicy(review=0.5, block=0.8, pages="mark"),
        "picture": CategoryPolicy(review=0.5, block=0.8, pages="words-only"),
    },
)
PAGES = (page(1, "Rent is due on Monday."), page(2, "Rent rose in May."))


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[ReviewQueue]:
    opened = ReviewQueue(tmp_path / "review.sqlite")
    yield opened
    opened.close()


def gate(*detectors: Detector, queue: ReviewQueue | None = None, seconds: float = 30) -> SafetyGate:
    timed = [Timed(detector, seconds) for detector in detectors]
    return SafetyGate(POLICY, timed, timed, queue=queue)


@pytest.mark.parametrize(
    ("value", "band"),
    [(0.0, "allow"), (0.49, "allow"), (0.5, "review"), (0.8, "block"), (float("nan"), "block")],
)
def test_a_score_falls_in_its_band(value: float, band: str) -> None:
    verdict = gate(Says([Score("harm", value)])).before("When is rent due?", PAGES)
    assert verdict.band == band
    assert verdict.policy.startswith("test/1-")


def test_a_threshold_counts_as_measured_for_the_check_that_it_was_measured_with() -> None:
    half = Rate(hits=1, n=2, low=0, high=1)
    measured = Calibration(
        date="2026-11-25",
        data={},
        detectors=("says-1",),
        target_recall=0.9,
        max_review=0.1,
        reached=True,
        recall=half,
        false_positives=half,
        blocked=half,
        wrongly_blocked=half,
        review_load=half,
        ece=0.1,
    )
    policy = Policy(categories={"harm": CategoryPolicy(review=0.5, calibration=measured)})
    for check, uncalibrated in (("says-1", ()), ("says-2", ("harm",))):
        timed = [Timed(Says(id=check, categories=("harm",)), 30)]
        verdict = SafetyGate(policy, timed, ()).before("When is rent due?", PAGES)
        assert verdict.uncalibrated == uncalibrated
        assert verdict.details["calibrated"] == (not uncalibrated)


def test_the_worst_of_several_detectors_counts() -> None:
    calm = Says([Score("harm", 0.1)])
    alarmed = Says([Score("harm", 0.6), Score("harm", 0.9)], "says-2")
    assert gate(calm, alarmed).after("When?", PAGES, "On Monday.").band == "block"


class Raises:
    id = "raises-1"
    categories = ("harm",)

    def detect(self, case: Case) -> Sequence[Score]:
        raise ValueError(case.question)


class Hangs:
    id = "hangs-1"
    categories = ("harm",)

    def __init__(self) -> None:
        self.release = threading.Event()
        self.started = 0

    def detect(self, case: Case) -> Sequence[Score]:
        self.started += 1
        self.release.wait()
        return ()


def test_a_detector_that_fails_closes_the_gate_and_is_named(queue: ReviewQueue) -> None:
    verdict = gate(Raises(), Says([Score("harm", 0.6)]), queue=queue).before("secret words", PAGES)
    assert verdict.band == "block"
    assert verdict.reasons[0] == "the check 'raises-1' failed: it raised ValueError"
    assert not any("secret words" in reason for reason in verdict.reasons)
    assert queue.items() == []  # nobody is asked to decide what is closed anyway


def test_a_detector_that_hangs_closes_the_gate_and_cannot_pile_up() -> None:
    hangs = Hangs()
    closed = gate(hangs, seconds=0.001)
    try:
        verdicts = [closed.before("When is rent due?", PAGES) for _ in range(12)]
        assert {verdict.band for verdict in verdicts} == {"block"}
        assert "took more than" in verdicts[0].failures[0].reason
        assert "still hang" in verdicts[-1].failures[0].reason
        assert hangs.started <= 8
    finally:
        hangs.release.set()


def test_a_category_without_thresholds_is_refused_at_the_start() -> None:
    with pytest.raises(InputError, match="has no thresholds for weapons"):
        gate(Says(categories=("weapons",)))


def test_a_category_that_a_detector_does_not_name_closes_the_gate() -> None:
    odd = Says([Score("picture", 0.1)], categories=("harm",))
    assert gate(odd).before("When?", PAGES).band == "block"


@pytest.mark.parametrize(
    ("category", "value", "kept", "words_only", "marked"),
    [
        ("harm", 0.6, {1}, set(), set()),
        ("injection", 0.6, None, set(), {2}),
        ("injection", 0.9, {1}, set(), set()),
        ("picture", 0.9, None, {2}, set()),
    ],
)
def test_a_page_costs_only_itself(
    category: str, value: float, kept: set[int] | None, words_only: set[int], marked: set[int]
) -> None:
    found = Score(category, value, "page", 2, "Rent rose")
    verdict = gate(Says([found])).before("When is rent due?", PAGES)
    assert verdict.band == "allow"
    assert (None if verdict.kept is None else set(verdict.kept)) == kept
    assert verdict.words_only == words_only and verdict.marked == marked


def test_an_answer_from_a_page_that_is_found_out_late_is_held() -> None:
    found = Score("injection", 0.9, "page", 2, "Rent rose")
    assert gate(Says([found])).after("When?", PAGES, "In May.").band == "block"


def test_what_is_borderline_waits_once_and_follows_the_decision(queue: ReviewQueue) -> None:
    asked = gate(Says([Score("harm", 0.6)]), queue=queue)
    first = asked.before("When is rent due?", PAGES)
    again = asked.before("When is rent due?", PAGES)
    other = asked.before("Who pays?", PAGES)
    assert first.band == "review" and first.review_id == again.review_id != other.review_id
    assert len(queue.items()) == 2
    assert first.review_id is not None and other.review_id is not None
    queue.decide(first.review_id, "approved", who="ann")
    queue.decide(other.review_id, "rejected", who="ann")
    assert asked.before("When is rent due?", PAGES).band == "allow"
    blocked = asked.before("Who pays?", PAGES)
    assert blocked.band == "block" and blocked.review_id is None


def test_a_decision_holds_within_its_origin(queue: ReviewQueue) -> None:
    asked = gate(Says([Score("harm", 0.6)]), queue=queue)
    held = asked.of("tenant-a").before("When is rent due?", PAGES)
    assert held.review_id is not None
    queue.decide(held.review_id, "approved", who="ann")
    assert asked.of("tenant-a").before("When is rent due?", PAGES).band == "allow"
    assert asked.of("tenant-b").before("When is rent due?", PAGES).band == "review"


def test_a_page_that_was_approved_is_shown_whatever_is_asked(queue: ReviewQueue) -> None:
    asked = gate(Says([Score("harm", 0.6, "page", 2, "Rent rose")]), queue=queue)
    assert asked.before("When is rent due?", PAGES).kept == {1}
    (item,) = queue.items()
    assert item.case.place == "page" and item.case.page == 2 and item.case.quote == "Rent rose"
    queue.decide(item.id, "approved", who="ann")
    assert asked.before("Who pays?", PAGES).kept is None


def test_a_question_approved_with_one_page_is_not_approved_with_another(
    queue: ReviewQueue,
) -> None:
    held = Policy(name="hold", categories={"harm": CategoryPolicy(review=0.5, pages="hold")})

    def asked(page_id: int, quote: str) -> Verdict:
        says = Says([Score("harm", 0.6, "page", page_id, quote)], categories=("harm",))
        checks = [Timed(says, 30)]
        return SafetyGate(held, checks, checks, queue=queue).before("When is rent due?", PAGES)

    first = asked(1, "Rent is due")
    assert first.review_id is not None
    queue.decide(first.review_id, "approved", who="ann")
    assert asked(1, "Rent is due").band == "allow"
    assert asked(2, "Rent rose").band == asked(1, "on Monday").band == "review"


def test_what_must_be_blocked_is_not_put_before_a_person(queue: ReviewQueue) -> None:
    asked = gate(Says([Score("harm", 0.9), Score("injection", 0.6)]), queue=queue)
    assert asked.before("When is rent due?", PAGES).band == "block"
    assert queue.items() == []


def test_a_queue_that_cannot_be_written_closes_the_gate(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    broken = ReviewQueue(tmp_path / "file" / "review.sqlite")
    verdict = gate(Says([Score("harm", 0.6)]), queue=broken).before("When is rent due?", PAGES)
    assert verdict.band == "block" and verdict.failures[0].detector == "review queue"
