"""Questions about recordings through a real index: is the clip found, and the time in it?"""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eval.benchmark import Benchmark
from indexing.build import BuildSettings
from indexing.index import Index
from indexing.settings import IntakeSettings, OcrChoice
from retrieval.errors import InputError
from retrieval.types import Hit

_DEPTH = 5


@dataclass(frozen=True, slots=True)
class TimeQuestion:
    """A question, the clip it is about, and the times at which that shows the answer; no times:
    the clip itself is asked for."""

    qid: str
    text: str
    clip: str
    times: tuple[tuple[float, float], ...]

    def answered_by(self, hit: Hit) -> bool:
        """Whether ``hit`` is of the clip, and shown while the answer is."""
        if Path(hit.source).name != self.clip:
            return False
        if not self.times:
            return True
        return hit.times is not None and any(
            hit.times.start < end and start < hit.times.end for start, end in self.times
        )


def read_time_questions(path: Path) -> list[TimeQuestion]:
    """The rows of kind ``video`` in a JSONL file. Raises ``InputError``."""
    try:
        rows = [json.loads(line) for line in path.read_text("utf-8").split("\n") if line.strip()]
        found = [
            TimeQuestion(
                str(row["qid"]),
                str(row["question"]),
                Path(str(row["doc"])).name,
                tuple((float(a), float(b)) for a, b in row.get("times") or ()),
            )
            for row in rows
            if row.get("scope") == "video"
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path}: no questions about recordings can be read ({error!r}); each line needs qid, "
            "question, doc, scope 'video' and times [[from, to]] in seconds"
        ) from error
    if not found:
        raise InputError(f"{path}: holds no question of scope 'video'")
    return found


def measure_video_questions(folder: Path, questions: Path, ocr: OcrChoice = "auto") -> Benchmark:
    """Index the clips in ``folder``, ask all of them, and look at the times of the hits."""
    asked = read_time_questions(questions)
    with tempfile.TemporaryDirectory() as place:
        settings = BuildSettings(intake=IntakeSettings(ocr=ocr))
        began = time.monotonic()
        index = Index.create(Path(place) / "index", settings=settings)
        report = index.add([folder])
        seconds = time.monotonic() - began
        rows = [_row(question, index.search(question.text, _DEPTH).hits) for question in asked]
        index.close()
    timed = [row for row, question in zip(rows, asked, strict=True) if question.times]
    facts = {
        "questions": len(rows),
        "first_is_right": sum(row["rank"] == 1 for row in rows),
        f"right_in_first_{_DEPTH}": sum(row["rank"] is not None for row in rows),
        "with_times": len(timed),
        "time_of_first_is_right": sum(row["rank"] == 1 for row in timed),
        "clips": report.documents_added,
        "pages": report.pages_added,
        "build_s": round(seconds, 1),
        "ocr": ocr,
        "notes": list(report.notes),
    }
    return Benchmark("video-questions", rows, facts)


def _row(question: TimeQuestion, hits: tuple[Hit, ...]) -> dict[str, Any]:
    rank = next((hit.rank for hit in hits if question.answered_by(hit)), None)
    return {
        "question": question.qid,
        "times": "; ".join(f"{a:g}-{b:g}" for a, b in question.times) or "the clip",
        "first": f"{Path(hits[0].source).name} {hits[0].label}" if hits else "nothing",
        "rank": rank,
    }
