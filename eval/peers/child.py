"""What runs in an engine's own process: ``python -m eval.peers.child TASK``, a task in JSON.

A task builds, or opens and measures, or checks what the engine can do. Findings go to a file,
one JSON line each as soon as they are known, so that a process that is stopped for its time or
memory leaves what it had found.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from eval.peers.engines import load
from eval.peers.protocol import Engine, Setting, Unsupported
from eval.peers.workload import Question, Workload

K = 10
_FEWEST = 5

Say = Callable[[Mapping[str, Any]], None]


def main(text: str) -> None:
    """Do the task and exit with 0; any error is said as a finding too, and exits with 1."""
    task = json.loads(text)
    with Path(task["findings"]).open("a", encoding="utf-8") as file:

        def say(finding: Mapping[str, Any]) -> None:
            file.write(json.dumps(finding) + "\n")
            file.flush()

        try:
            engine = load(task["engine"])
            _TASKS[task["task"]](engine, task, say)
        except Unsupported as error:
            say({"unsupported": str(error)})
        except Exception as error:  # the boundary of the process: the parent must be told
            say({"error": f"{type(error).__name__}: {error}"[:500]})
            raise


def _build(engine: Engine, task: Mapping[str, Any], say: Say) -> None:
    pages = Workload.open(Path(task["workload"])).pages()
    if "pages" in task:
        pages = pages.part(*task["pages"])
    say({"version": _version(engine.package), "python": platform.python_version()})
    began, worked = time.perf_counter(), sum(os.times()[:4])
    engine.build(Path(task["folder"]), pages)
    say({"build_s": time.perf_counter() - began, "build_cpu_s": sum(os.times()[:4]) - worked})


def _add(engine: Engine, task: Mapping[str, Any], say: Say) -> None:
    pages = Workload.open(Path(task["workload"])).pages().part(*task["pages"])
    say({"adding": len(pages)})
    began = time.perf_counter()
    engine.add(Path(task["folder"]), pages)
    say({"add_s": time.perf_counter() - began})


def _delete(engine: Engine, task: Mapping[str, Any], say: Say) -> None:
    engine.delete(Path(task["folder"]), task["ids"])
    say({"deleted": len(task["ids"])})


def _search(engine: Engine, task: Mapping[str, Any], say: Say) -> None:
    """What each question finds with the engine's most thorough setting; nothing is timed."""
    workload = Workload.open(Path(task["workload"]))
    engine.open(Path(task["folder"]))
    questions = workload.questions()[: task["questions"]]
    setting = engine.settings(task["pages_held"], bool(workload.about["text"]))[-1]
    for question in questions:
        if "documents" in task:
            found = engine.search_documents(question, K, task["documents"])
        else:
            found = engine.search(question, K, setting.knobs)
        say({"question": question.number, "found": list(map(int, found))})


def _places(engine: Engine, task: Mapping[str, Any], say: Say) -> None:
    engine.open(Path(task["folder"]))
    question = Workload.open(Path(task["workload"])).questions()[0]
    page = next((i for i in question.exact if i < task["pages_held"]), 0)
    say({"places": [list(map(float, box)) for box in engine.places(question, page)]})


def _measure(engine: Engine, task: Mapping[str, Any], say: Say) -> None:
    workload = Workload.open(Path(task["workload"]))
    questions = workload.questions()
    began = time.perf_counter()
    engine.open(Path(task["folder"]))
    say({"open_s": time.perf_counter() - began})
    pages, text = int(workload.about["pages"]), bool(workload.about["text"])
    for setting in engine.settings(pages, text):
        say(_point(engine, setting, questions, float(task["setting_s"])))
    say({"memory_mb": _resident_mb()})


def _point(
    engine: Engine, setting: Setting, questions: Sequence[Question], limit_s: float
) -> dict[str, Any]:
    """Every question a second time, so that an engine has in memory what it keeps there; fewer
    questions if they take too long.

    ``cpu_ms`` is processor time of all threads: what other programs do at the same time does
    not lengthen it as it does the latency.
    """
    warm = time.perf_counter()
    for question in questions:
        engine.search(question, K, setting.knobs)
        if time.perf_counter() - warm > limit_s / 2:
            break
    took: list[float] = []
    cpu: list[float] = []
    recall: list[float] = []
    hits: list[bool] = []
    began = time.perf_counter()
    for question in questions:
        if len(took) >= _FEWEST and time.perf_counter() - began > limit_s:
            break
        start, worked = time.perf_counter(), time.process_time()
        found = list(engine.search(question, K, setting.knobs))
        took.append((time.perf_counter() - start) * 1e3)
        cpu.append((time.process_time() - worked) * 1e3)
        recall.append(len(set(found) & set(question.exact)) / len(question.exact))
        hits.append(not question.target.isdisjoint(found))
    return {
        "series": setting.series,
        "knobs": dict(setting.knobs),
        "questions": len(took),
        "p50_ms": float(np.quantile(took, 0.5)),
        "p95_ms": float(np.quantile(took, 0.95)),
        "cpu_ms": float(np.median(cpu)),
        "recall_10": float(np.mean(recall)),
        "hit_10": float(np.mean(hits)),
    }


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


_TASKS: dict[str, Callable[[Engine, Mapping[str, Any], Say], None]] = {
    "build": _build,
    "add": _add,
    "delete": _delete,
    "search": _search,
    "places": _places,
    "measure": _measure,
}

if __name__ == "__main__":
    main(sys.argv[1])
