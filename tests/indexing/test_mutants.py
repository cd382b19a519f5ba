"""Five hundred damaged files: each is read or refused within its limits, with a verdict."""

from __future__ import annotations

from pathlib import Path

import pytest

from eval.bench_broken import broken_settings, disagreement, examine, measure_broken
from eval.good_files import write_good_files
from eval.mutants import KINDS, mutants
from indexing.intake import IntakeWorkers
from retrieval.errors import InputError


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_good_files(tmp_path_factory.mktemp("good"))


def test_the_files_that_are_damaged_are_good(good: list[Path]) -> None:
    with IntakeWorkers(broken_settings()) as workers:
        verdicts = {path.name: examine(workers, path).verdict for path in good}
    assert set(verdicts.values()) == {"fine"}, verdicts


@pytest.mark.slow
def test_five_hundred_mutants_cost_only_themselves(good: list[Path], tmp_path: Path) -> None:
    surprises = []
    verdicts = set()
    with IntakeWorkers(broken_settings()) as workers:
        for mutant in mutants(good, 510, seed=20):
            path = tmp_path / mutant.name
            path.write_bytes(mutant.content)
            outcome = examine(workers, path, most_pages=3)
            verdicts.add(outcome.verdict)
            path.unlink()
            if outcome.surprise:
                surprises.append(f"{mutant.name}: {outcome.surprise}")
    assert not surprises, "\n".join(surprises)
    assert {"fine", "degraded", "refused"} <= verdicts


def test_mutants_come_out_the_same_and_differ_from_the_original(good: list[Path]) -> None:
    first = list(mutants(good, 60, seed=1))
    assert [m.content for m in mutants(good, 60, seed=1)] == [m.content for m in first]
    assert {m.kind for m in mutants(good, len(good) * len(KINDS))} == set(KINDS)
    whole = {path.read_bytes() for path in good}
    assert sum(m.content in whole for m in first) < len(first) / 10


def test_the_command_says_what_became_of_each_category(tmp_path: Path) -> None:
    (tmp_path / "empty.pdf").write_bytes(b"")
    (tmp_path / "manifest.csv").write_text(
        'file,category,expected\nempty.pdf,nothing,"ingest what is readable, no crash"\n'
    )
    found = measure_broken(tmp_path, None, 0)
    (row,) = found.rows
    assert (row["category"], row["refused"], row["surprises"]) == ("nothing", 1, 1)
    assert found.facts["surprising"] == [
        "empty.pdf: refused, but expected: ingest what is readable, no crash"
    ]
    with pytest.raises(InputError, match="nothing to examine"):
        measure_broken(None, None, 0)


def test_a_refusal_that_was_expected_is_no_surprise(tmp_path: Path) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(b"no document at all")
    with IntakeWorkers(broken_settings()) as workers:
        outcome = examine(workers, path)
    assert outcome.verdict == "refused" and not outcome.surprise
    assert disagreement(outcome, "clean error, no crash") == ""
    assert disagreement(outcome, "needs-password") == ""
