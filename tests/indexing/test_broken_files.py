"""Every file of the private collection of broken ones: read or refused, never more."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import pytest

from indexing.intake import IntakeWorkers
from indexing.settings import IntakeSettings
from retrieval.errors import InputError

_PAGES = 5


@pytest.fixture(scope="module")
def broken_files(repository: Path) -> list[tuple[Path, dict[str, str]]]:
    default = repository.parent / "shared" / "evaldata"
    folder = Path(os.environ.get("FOLIOSCOPE_EVALDATA", default)) / "broken"
    if not (folder / "manifest.csv").is_file():
        pytest.skip(f"no collection of broken files at {folder} (FOLIOSCOPE_EVALDATA names it)")
    with (folder / "manifest.csv").open(encoding="utf-8", newline="") as file:
        return [(folder / row["file"], row) for row in csv.DictReader(file)]


@pytest.mark.slow
def test_every_broken_file_is_read_or_refused(
    broken_files: list[tuple[Path, dict[str, str]]],
) -> None:
    surprises = []
    with IntakeWorkers(IntakeSettings(workers=1, ocr="off", seconds_per_page=30)) as workers:
        for path, row in broken_files:
            try:
                pages = workers.describe(path).pages
                list(workers.read_pages(path, pages=range(min(pages, _PAGES))))
                outcome = "read"
            except InputError as refusal:
                # A file that opens, but holds nothing that can be read, is refused rightly.
                outcome = "unreadable" if "cannot read" in str(refusal) else "refused"
                if not str(refusal).startswith(f"{path}: ") or ";" not in str(refusal):
                    surprises.append(f"{path.name}: no remedy in '{refusal}'")
            expected = row["expected"]
            wrong = {
                "ingest": outcome == "refused",
                "needs-": outcome == "read",
                "clean ": expected == "clean error, no crash" and outcome == "read",
            }.get(expected[:6], False)
            if wrong:
                surprises.append(f"{path.name}: {outcome}, but expected: {expected}")
    assert not surprises, "\n".join(surprises)
