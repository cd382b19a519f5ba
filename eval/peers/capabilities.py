"""What an engine can do besides finding pages, tried out rather than read up.

Each check runs in processes of its own: what was built by one is searched by another, changes
are made by a third, and some of those are killed on the way.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eval.benchmark import Benchmark
from eval.peers.processes import Limits, Outcome, Stage
from eval.peers.workload import PART_DOCUMENT, Workload

# Pages that are there before a change, and after it.
_BEFORE, _AFTER = 200, 400
_QUESTIONS = 8
_ABILITIES = ("persist", "add", "delete", "filter", "places", "crash")
KILLS = (0.05, 0.2, 0.4, 0.6, 0.8, 0.95)
_LIMITS = Limits(seconds=120, memory_mb=8000)
# Answers that agree so far are of the same collection; approximate engines may differ a little
# from one training to the next.
_SAME = 0.9

Answers = dict[int, list[int]]


def check_capabilities(
    stage: Stage,
    folder: Path,
    engines: Sequence[str],
    workload: Workload,
    tell: Callable[[str], None] = lambda what: None,
    kills: Sequence[float] = KILLS,
) -> Benchmark:
    """One row an engine: "yes", or what happened instead.

    ``kills`` are moments at which a change is ended, as shares of the time it takes.
    """
    rows = []
    pages = len(workload.pages())
    checker_pages = (min(_BEFORE, pages // 2), min(_AFTER, pages))
    for engine in engines:
        tell(f"{engine}: what it can do")
        checker = _Checker(stage, folder / "checked", engine, workload, checker_pages, kills)
        rows.append(checker.row())
        shutil.rmtree(folder / "checked", ignore_errors=True)
    return Benchmark("peers-capabilities", rows, {"kills": len(kills), "pages": checker_pages[1]})


class _Checker:
    """One engine over the first pages of a workload."""

    def __init__(
        self,
        stage: Stage,
        folder: Path,
        engine: str,
        workload: Workload,
        pages: tuple[int, int],
        kills: Sequence[float],
    ) -> None:
        self._kills = kills
        self._stage, self._engine, self._workload = stage, engine, workload
        self._before, self._after = pages
        self._base, self._work, self._full = (folder / n for n in ("base", "work", "full"))
        for path in (self._base, self._work):
            path.mkdir(parents=True, exist_ok=True)

    def row(self) -> dict[str, Any]:
        """All checks."""
        row: dict[str, Any] = {"engine": self._engine}
        built = self._do(self._base, "build", pages=(0, self._before))
        if built.ended:
            return row | dict.fromkeys(_ABILITIES, built.ended)
        before, failed = self._answers(self._base)
        row["persist"] = failed or "yes"
        adds = self._added()
        row["add"] = adds
        row["delete"] = self._deleted(before)
        row["filter"] = self._filtered()
        row["places"] = self._placed()
        row["crash"] = self._killed(before, adds == "yes")
        return row

    def _do(self, folder: Path, task: str, **details: Any) -> Outcome:
        return self._stage.run(
            self._engine, task, _LIMITS, workload=self._workload.folder, folder=folder, **details
        )

    def _answers(self, folder: Path, **details: Any) -> tuple[Answers, str]:
        """What the first questions find, and why nothing, if so."""
        done = self._do(folder, "search", questions=_QUESTIONS, pages_held=self._before, **details)
        refused = done.value("unsupported")
        answers = {f["question"]: f["found"] for f in done.findings if "found" in f}
        return answers, f"no: {refused}" if refused else done.ended

    def _copy(self) -> None:
        shutil.rmtree(self._work, ignore_errors=True)
        shutil.copytree(self._base, self._work)

    def _added(self) -> str:
        self._copy()
        done = self._do(self._work, "add", pages=(self._before, self._after))
        if done.value("unsupported"):
            return f"no: {done.value('unsupported')}"
        if done.ended:
            return done.ended
        after, failed = self._answers(self._work)
        if failed:
            return failed
        new = any(i >= self._before for found in after.values() for i in found)
        return "yes" if new else "no: what was added is not found"

    def _deleted(self, before: Answers) -> str:
        self._copy()
        documents = np.arange(self._before) // PART_DOCUMENT
        first = next((found[0] for found in before.values() if found), 0)
        ids = [i for i in range(self._before) if documents[i] == documents[first]]
        done = self._do(self._work, "delete", ids=ids)
        if done.value("unsupported"):
            return f"no: {done.value('unsupported')}"
        if done.ended:
            return done.ended
        after, failed = self._answers(self._work)
        left = sum(i in ids for found in after.values() for i in found)
        if left:
            return f"no: {left} removed pages were found"
        return failed or ("yes" if any(after.values()) else "no: nothing is found any more")

    def _filtered(self) -> str:
        documents = (np.arange(self._before) // PART_DOCUMENT).tolist()
        wanted = sorted(set(documents))[: max(1, len(set(documents)) // 3)]
        answers, failed = self._answers(self._base, documents=wanted)
        if failed:
            return failed
        outside = sum(documents[i] not in wanted for found in answers.values() for i in found)
        if outside:
            return f"no: {outside} pages of other documents"
        enough = min(10, sum(document in wanted for document in documents))
        short = sum(len(found) < enough for found in answers.values())
        return f"partly: {short} of {len(answers)} answers were cut short" if short else "yes"

    def _placed(self) -> str:
        done = self._do(self._base, "places", pages_held=self._before)
        if done.value("unsupported"):
            return f"no: {done.value('unsupported')}"
        return done.ended or ("yes" if done.value("places") else "no: none were given")

    def _killed(self, before: Answers, adds: bool) -> str:
        """A change that is killed at six moments: is the collection the old or the new one?"""
        task, pages = ("add", (self._before, self._after)) if adds else ("build", (0, self._after))
        self._copy()
        whole = self._do(self._work, task, pages=pages)
        seconds = whole.value(f"{task}_s")
        after, failed = self._answers(self._work)
        if whole.ended or failed or not seconds:
            return f"not checked: {whole.ended or failed}"
        broken, parts, reason = 0, 0, ""
        for share in self._kills:
            self._copy()
            self._stage.run(
                self._engine,
                task,
                _LIMITS,
                kill_after_s=share * seconds,
                workload=self._workload.folder,
                folder=self._work,
                pages=pages,
            )
            found, failed = self._answers(self._work)
            if failed:
                broken, reason = broken + 1, failed
            elif max(_agreement(found, before), _agreement(found, after)) < _SAME:
                parts += 1
        what = "additions" if adds else "rebuilds in place"
        if broken:
            return f"no: {broken} of {len(self._kills)} killed {what} left it unusable ({reason})"
        if parts:
            return f"partly: {parts} of {len(self._kills)} killed {what} left a part"
        return f"yes: {len(self._kills)} killed {what}"


def _agreement(one: Answers, other: Answers) -> float:
    """Mean share of the pages found that two sets of answers have in common."""
    shares = []
    for question in one.keys() | other.keys():
        a, b = set(one.get(question, ())), set(other.get(question, ()))
        shares.append(len(a & b) / max(1, len(a | b)))
    return sum(shares) / max(1, len(shares))
