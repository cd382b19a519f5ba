"""The review queue keeps cases, decisions and who took them."""

from __future__ import annotations

import csv
import json
from itertools import count
from pathlib import Path

import pytest
from typer.testing import CliRunner

from folioscope import app as command
from retrieval.errors import InputError
from serving.safety.queue import ReviewCase, ReviewQueue


def case(name: str, origin: str = "") -> ReviewCase:
    return ReviewCase(
        fingerprint=f"{origin}/{name}",
        stage="fast",
        place="question",
        category="harm",
        question=name,
        quote=name,
        reasons=("harm in the question, score 0.60: review",),
        scores={"harm-1:harm:question": 0.6},
        policy="test/1-abc",
        box=(0.1, 0.2, 0.3, 0.4),
        origin=origin,
    )


def test_a_case_outlives_the_process_and_its_decision_is_on_record(tmp_path: Path) -> None:
    ticks = count(100)
    path = tmp_path / "deep" / "review.sqlite"
    queue = ReviewQueue(path, clock=lambda: float(next(ticks)))
    item = queue.submit(case("a"))
    queue.submit(case("a"))
    queue.close()
    queue = ReviewQueue(path, clock=lambda: float(next(ticks)))
    assert queue.get(item.id).case == case("a")
    decided = queue.decide(item.id, "rejected", who="ann", note="no")
    assert (decided.state, decided.reviewer, decided.note) == ("rejected", "ann", "no")
    with pytest.raises(InputError, match="already rejected by ann"):
        queue.decide(item.id, "rejected", who="bob")
    queue.decide(item.id, "approved", who="bob", note="on second thought")
    log = [(entry.at, entry.action, entry.who) for entry in queue.audit(item.id)]
    assert log == [
        (100, "queued", "gate"),
        (101, "asked-again", ""),
        (102, "rejected", "ann"),
        (104, "approved", "bob"),
    ]
    assert queue.counts() == {"waiting": 0, "approved": 1, "rejected": 0}


def test_items_are_listed_by_state_and_origin(tmp_path: Path) -> None:
    queue = ReviewQueue(tmp_path / "review.sqlite")
    first = queue.submit(case("a", "x"))
    second = queue.submit(case("b", "y"))
    queue.decide(second.id, "approved", who="ann")
    assert [item.id for item in queue.items()] == [first.id]
    assert [item.id for item in queue.items(None)] == [first.id, second.id]
    assert [item.id for item in queue.items(None, origins=["y"])] == [second.id]
    assert queue.items(None, origins=[]) == []
    with pytest.raises(InputError, match="no case 'rv-none'"):
        queue.decide("rv-none", "approved", who="ann")


def test_review_by_command(tmp_path: Path) -> None:
    path, out = tmp_path / "review.sqlite", tmp_path / "labels.csv"
    queue = ReviewQueue(path)
    good, bad = queue.submit(case("good one")), queue.submit(case("bad one"))
    run = CliRunner()
    where = ["--queue", str(path)]

    def done(*words: str) -> str:
        result = run.invoke(command, ["review", *words, *where])
        assert result.exit_code == 0, result.output
        return result.stdout

    assert "good one" not in done("list") and good.id in done("list")
    assert "good one" in done("show", good.id)
    done("approve", good.id, "--who", "ann", "--note", "fine")
    done("reject", bad.id, "--who", "ann")
    shown = json.loads(done("show", good.id, "--json"))
    assert shown["state"] == "approved" and shown["audit"][-1]["note"] == "fine"
    assert json.loads(done("list", "--json")) == []
    done("export", str(out))
    with out.open(newline="") as file:
        labels = {row["text"]: row["label"] for row in csv.DictReader(file)}
    assert labels == {"good one": "benign", "bad one": "harmful"}
