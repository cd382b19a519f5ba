"""Every file of the private collection of broken ones: read or refused, never more."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import pytest

from eval.bench_broken import broken_settings, disagreement, examine
from indexing.intake import IntakeWorkers


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
    with IntakeWorkers(broken_settings()) as workers:
        for path, row in broken_files:
            outcome = examine(workers, path)
            wrong = outcome.surprise or disagreement(outcome, row["expected"])
            if wrong:
                surprises.append(f"{path.name}: {wrong}")
    assert not surprises, "\n".join(surprises)
