"""``folioscope eval`` as its user meets it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from eval.cli import app
from retrieval.errors import InputError
from tests.eval.samples import QUESTIONS, write_jsonl


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def worked(*arguments: str | Path) -> str:
    done = invoke(*arguments)
    assert done.exit_code == 0, done.exception
    return done.stdout


def document(*arguments: str | Path) -> Any:
    return json.loads(worked(*arguments, "--json"))


def test_run_then_compare(collection: Path, dataset: Path, tmp_path: Path) -> None:
    exact, two = tmp_path / "exact.jsonl", tmp_path / "two.jsonl"
    ran = document("run", dataset, "-i", collection, "-o", exact, "--mode", "exhaustive")
    assert ran["groups"][-1]["questions"] == 5 and ran["header"]["mode"] == "exhaustive"
    assert ran["header"]["dataset"]["name"] == "questions.jsonl"
    assert {"total", "rerank"} <= set(ran["efficiency"]["latency_ms"])
    document("run", dataset, "-i", collection, "-o", two)
    compared = document("compare", exact, two)
    assert compared["questions"] == 5
    # 48 pages and 100 candidates: nothing can be lost.
    assert compared["top10_of_a_found_by_b"] == 1.0
    assert all(row["a"] == row["b"] and row["p"] == 1.0 for row in compared["measures"])


def test_tables_for_people(collection: Path, dataset: Path, tmp_path: Path) -> None:
    out = worked("run", dataset, "-i", collection, "-o", tmp_path / "run.jsonl")
    assert "text (corpus)" in out and "rerank" in out and "nDCG@5" in out
    again = worked("run", dataset, "-i", collection, "-o", tmp_path / "run.jsonl")
    assert again == out
    run = tmp_path / "run.jsonl"
    assert "5 questions" in worked("compare", run, run)
    stopped = tmp_path / "stopped.jsonl"
    stopped.write_text("".join(run.read_text("utf-8").splitlines(keepends=True)[:4]), "utf-8")
    assert "2 more questions are not in stopped.jsonl" in worked("compare", run, stopped)


def test_questions_are_chosen(collection: Path, dataset: Path, tmp_path: Path) -> None:
    def asked(*options: str | Path) -> set[str]:
        path = tmp_path / "run.jsonl"
        path.unlink(missing_ok=True)
        worked("run", dataset, "-i", collection, "-o", path, *options)
        return {json.loads(line)["qid"] for line in path.read_text().splitlines()[1:]}

    assert asked("--kind", "table") == {"q2", "q3"}
    assert asked("--kind", "table", "--kind", "text") == {"q1", "q2", "q3"}
    halves = [asked("--half", half) for half in ("dev", "test")]
    assert halves[0] | halves[1] == {q["qid"] for q in QUESTIONS} and not halves[0] & halves[1]
    listed = tmp_path / "list.txt"
    listed.write_text("report-1.pdf\nreport-2.pdf\n")
    assert asked("--documents", listed) == {"q2", "q3"}


def test_scope_for_all(collection: Path, dataset: Path, tmp_path: Path) -> None:
    run = tmp_path / "run.jsonl"
    groups = document("run", dataset, "-i", collection, "-o", run, "--scope", "doc")["groups"]
    assert all(row["group"].endswith("(doc)") for row in groups[:-1])
    for line in run.read_text().splitlines()[1:]:
        assert len({doc for doc, _ in json.loads(line)["ranked"]}) == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--scope", "page"), "--scope 'page': Input should be 'corpus' or 'doc'"),
        (("--half", "third"), "--half 'third': Input should be 'dev' or 'test'"),
        (("--depth", "0"), "--depth '0': .*greater than or equal to 1"),
        (("--language", "latin"), "no question is left"),
        (("--kind", "poem"), "no question is left"),
        (("--mode", "psychic"), "--mode 'psychic': Input should be 'two-stage', 'coarse'"),
    ],
)
def test_bad_options(
    collection: Path, dataset: Path, tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    done = invoke("run", dataset, "-i", collection, "-o", tmp_path / "run.jsonl", *options)
    assert isinstance(done.exception, InputError)
    with pytest.raises(InputError, match=said):
        raise done.exception


def test_runs_of_other_questions_are_not_compared(
    collection: Path, dataset: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run.jsonl"
    worked("run", dataset, "-i", collection, "-o", run)
    others = [{**row, "qid": f"other-{row['qid']}"} for row in QUESTIONS]
    other = tmp_path / "other-run.jsonl"
    worked("run", write_jsonl(tmp_path / "other.jsonl", others), "-i", collection, "-o", other)
    done = invoke("compare", run, other)
    assert isinstance(done.exception, InputError) and "in common" in str(done.exception)
