"""What becomes of broken files: every one read or refused, within limits, with a verdict."""

from __future__ import annotations

import csv
import resource
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from eval.benchmark import Benchmark
from eval.good_files import write_good_files
from eval.mutants import mutants
from indexing.flags import VERDICTS, Verdict, verdict_of
from indexing.intake import IntakeWorkers
from indexing.settings import IntakeSettings
from retrieval.errors import FolioscopeError, InputError

_PAGES = 5
_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a file. ``said`` is the refusal; ``surprise`` what should not happen."""

    verdict: Verdict
    said: str
    flags: tuple[str, ...]
    seconds: float
    surprise: str = ""


@dataclass(slots=True)
class _Row:
    files: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    surprises: int = 0


def broken_settings() -> IntakeSettings:
    """One worker, no OCR (engines see pixels, not files), short limits."""
    return IntakeSettings(workers=1, ocr="off", seconds_per_page=_SECONDS, seconds_per_file=120.0)


def examine(workers: IntakeWorkers, path: Path, most_pages: int = _PAGES) -> Outcome:
    """Read the first pages of ``path`` as a build would."""
    path = path.absolute()
    began = time.monotonic()
    flags: tuple[str, ...] = ()
    said = surprise = ""
    try:
        found = workers.describe(path)
        flags = found.flags
        for page in workers.read_pages(path, pages=range(min(found.pages, most_pages))):
            flags = (*flags, *page.flags)
        verdict = verdict_of(flags)
    except InputError as refusal:
        verdict, said = "refused", str(refusal)
        if not said.startswith(f"{path}: ") or ";" not in said:
            surprise = f"a refusal without file or remedy: {said}"
    except FolioscopeError as error:
        verdict, said = "refused", str(error)
        surprise = f"not a refusal: {error}"
    seconds = time.monotonic() - began
    return Outcome(verdict, said, tuple(dict.fromkeys(flags)), seconds, surprise)


def disagreement(outcome: Outcome, expected: str) -> str:
    """How ``outcome`` differs from what a manifest says is ``expected``, or ""."""
    unreadable = "cannot read" in outcome.said  # it opens, but nothing can be read of it
    wrong = {
        "ingest": outcome.verdict == "refused" and not unreadable,
        "needs-": outcome.verdict != "refused",
        "clean ": expected == "clean error, no crash" and outcome.verdict != "refused",
    }.get(expected[:6], False)
    return f"{outcome.verdict}, but expected: {expected}" if wrong else ""


def measure_broken(
    folder: Path | None,
    origins: Path | None,
    count: int,
    seed: int = 0,
    tell: Callable[[int], None] = lambda done: None,
) -> Benchmark:
    """Examine a folder of broken files (with or without ``manifest.csv``) and ``count`` mutants
    of the files in ``origins``, or of small ones drawn for it. Raises ``InputError`` if there
    are none."""
    rows: dict[str, _Row] = {}
    surprises: list[str] = []
    with (
        tempfile.TemporaryDirectory() as place,
        IntakeWorkers(broken_settings()) as workers,
    ):
        if count and origins is None:
            origins = Path(place) / "good"
            write_good_files(origins)
        files = chain(
            _collection(folder),
            _mutated(origins, count, seed, Path(place)) if origins and count else (),
        )
        for done, (group, path, expected) in enumerate(files, 1):
            outcome = examine(workers, path)
            wrong = outcome.surprise or disagreement(outcome, expected)
            row = rows.setdefault(group, _Row())
            row.files += 1
            row.verdicts[outcome.verdict] += 1
            row.slowest = max(row.slowest, outcome.seconds)
            if wrong:
                row.surprises += 1
                surprises.append(f"{path.name}: {wrong}")
            tell(done)
    if not rows:
        raise InputError("there is nothing to examine; name a folder of files, or --mutants N")
    facts: dict[str, Any] = {
        "files": sum(row.files for row in rows.values()),
        "surprises": len(surprises),
        "largest_process_mb": round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024),
        "limit_seconds_a_page": _SECONDS,
        "pages_read_of_each": _PAGES,
        "seed": seed,
        "surprising": surprises,
    }
    return Benchmark("broken", [_shown(name, row) for name, row in rows.items()], facts)


def _shown(name: str, row: _Row) -> dict[str, Any]:
    counts: dict[str, Any] = {verdict: row.verdicts[verdict] for verdict in VERDICTS}
    return {
        "category": name,
        "files": row.files,
        **counts,
        "surprises": row.surprises,
        "slowest_s": round(row.slowest, 1),
    }


def _collection(folder: Path | None) -> Iterator[tuple[str, Path, str]]:
    if folder is None:
        return
    manifest = folder / "manifest.csv"
    if manifest.is_file():
        with manifest.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                yield row["category"], folder / row["file"], row["expected"]
        return
    for path in _files(folder):
        yield path.suffix.lstrip(".") or "no ending", path, ""


def _mutated(origins: Path, count: int, seed: int, place: Path) -> Iterator[tuple[str, Path, str]]:
    good = [path for path in _files(origins) if path.stat().st_size]
    if not good:
        raise InputError(f"{origins}: holds no file to damage; name another folder")
    for mutant in mutants(good, count, seed):
        path = place / mutant.name
        path.write_bytes(mutant.content)
        yield f"mutants: {mutant.kind}", path, ""
        path.unlink()


def _files(folder: Path) -> Iterable[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file())
