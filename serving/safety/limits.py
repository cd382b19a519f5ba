"""Detectors side by side, each with a time limit that holds even if it never returns.

A thread cannot be stopped, so one that hangs is left behind as a daemon. A detector that hangs
for every question would pile them up: past a few it fails at once, which closes the gate as well.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from serving.safety.types import Case, Detector, Failure, Score

_MOST_LEFT_BEHIND = 8
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Timed:
    """A detector and the seconds it has."""

    detector: Detector
    seconds: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a detector said, or how it failed, and how long it took."""

    detector: str
    scores: tuple[Score, ...]
    failure: Failure | None
    milliseconds: float


class _Run:
    """One detector at work on one case."""

    def __init__(self, timed: Timed, case: Case, done: threading.Condition) -> None:
        self.timed = timed
        self._case = case
        self._done = done
        self.outcome: Outcome | None = None
        self.late = False
        self.ended = False

    def __call__(self) -> None:
        began = time.perf_counter()
        detector = self.timed.detector
        scores: tuple[Score, ...] = ()
        failure = None
        try:
            scores = tuple(detector.detect(self._case))
            odd = [s.category for s in scores if s.category not in detector.categories]
            if odd:
                failure = Failure(detector.id, f"it gave an unnamed category: {odd[0]}")
        except Exception as error:  # the boundary: whatever a detector raises closes the gate
            # Not the traceback's text: an error may quote what was checked.
            _log.warning("safety check %s failed: %s", detector.id, type(error).__name__)
            failure = Failure(detector.id, f"it raised {type(error).__name__}")
        took = round((time.perf_counter() - began) * 1000, 2)
        with self._done:
            self.outcome = Outcome(detector.id, scores, failure, took)
            self._done.notify_all()


class Runner:
    """Runs detectors within their limits; safe to share between threads."""

    def __init__(self) -> None:
        self._late: Counter[str] = Counter()
        self._lock = threading.Lock()

    def run(self, checks: Sequence[Timed], case: Case) -> list[Outcome]:
        """One outcome a check, in order; never raises for what a detector does."""
        done = threading.Condition()
        began = time.monotonic()
        runs = [_Run(timed, case, done) for timed in checks]
        started = [self._start(run) for run in runs]
        return [
            self._await(run, done, began)
            if there
            else _failed(run.timed, "earlier checks of it still hang", 0.0)
            for run, there in zip(runs, started, strict=True)
        ]

    def _start(self, run: _Run) -> bool:
        name = run.timed.detector.id
        with self._lock:
            if self._late[name] >= _MOST_LEFT_BEHIND:
                return False

        def work() -> None:
            run()
            with self._lock:
                run.ended = True
                if run.late:
                    self._late[name] -= 1

        threading.Thread(target=work, daemon=True, name=f"safety-{name}").start()
        return True

    def _await(self, run: _Run, done: threading.Condition, began: float) -> Outcome:
        limit = run.timed.seconds
        with done:
            left = began + limit - time.monotonic()
            done.wait_for(lambda: run.outcome is not None, max(left, 0.0))
            found = run.outcome
        if found is not None:
            return found
        with self._lock:
            if not run.ended:
                run.late = True
                self._late[run.timed.detector.id] += 1
        return _failed(run.timed, f"it took more than {limit:g} seconds", limit * 1000)


def _failed(timed: Timed, reason: str, milliseconds: float) -> Outcome:
    name = timed.detector.id
    return Outcome(name, (), Failure(name, reason), milliseconds)
