"""Results as MTEB's own reader wants them."""

from __future__ import annotations

import json
from dataclasses import replace
from math import log2
from pathlib import Path

import pytest

from eval.datasets import Question
from eval.mteb import task_name, task_result, write_mteb
from eval.runs import Answered, Run
from retrieval.errors import InputError

HEADER = {
    "dataset": {"name": "vidore_v3_hr", "fingerprint": "f00d"},
    "collection": {"encoder": "text:/some where", "encoder_fingerprint": "abc123"},
    "mode": "two-stage",
    "depth": 100,
    "date": "2026-11-24T23:00+00:00",
    "settings": {},
    "machine": {},
}


def a_run(*languages: str) -> Run:
    questions, answered = {}, {}
    for n, language in enumerate(languages):
        qid = f"q{n}"
        questions[qid] = Question(qid, "?", "a.png", frozenset({0}), language=language)
        ranked = (("b.png", 0),) * n + (("a.png", 0),)
        answered[qid] = Answered(qid, tuple(dict.fromkeys(ranked)), (), {"total": 500.0}, {})
    return Run(HEADER, answered, questions)


def test_the_file_has_the_fields_of_task_result(tmp_path: Path) -> None:
    path = write_mteb(a_run("english", "english", "french"), tmp_path)
    assert path.relative_to(tmp_path).as_posix() == (
        "folioscope__text--some-where-two-stage/abc123/Vidore3HrRetrieval.json"
    )
    found = json.loads(path.read_text())
    assert set(found) == {
        "dataset_revision",
        "task_name",
        "mteb_version",
        "scores",
        "evaluation_time",
        "kg_co2_emissions",
        "date",
    }
    english, french = found["scores"]["test"]
    assert (english["hf_subset"], english["languages"]) == ("english", ["eng-Latn"])
    assert (french["hf_subset"], french["languages"]) == ("french", ["fra-Latn"])
    # First and second: 1 and 1 / log2(3).
    assert english["ndcg_at_10"] == pytest.approx((1 + 1 / log2(3)) / 2, abs=1e-6)
    assert english["main_score"] == english["ndcg_at_10"]
    assert (english["mrr_at_10"], english["recall_at_1"]) == pytest.approx((0.75, 0.5))
    assert found["evaluation_time"] == pytest.approx(1.5)
    meta = json.loads((path.parent / "model_meta.json").read_text())
    assert meta["name"].startswith("folioscope/") and meta["revision"] == "abc123"


def test_one_subset_where_no_language_is_named_and_depth_limits_k() -> None:
    run = a_run("", "")
    (row,) = task_result(replace(run, header={**HEADER, "depth": 10}))["scores"]["test"]
    assert row["hf_subset"] == "default"
    assert "ndcg_at_10" in row and "ndcg_at_20" not in row


@pytest.mark.parametrize(
    ("name", "task", "main"),
    [
        ("docvqa_test_subsampled_beir", "VidoreDocVQARetrieval", "ndcg_at_5"),
        ("esg_reports_v2", "Vidore2ESGReportsRetrieval", "ndcg_at_5"),
        ("vidore_v3_energy", "Vidore3EnergyRetrieval", "ndcg_at_10"),
        ("mine.csv", "mine.csv", "ndcg_at_10"),
    ],
)
def test_names_and_main_scores(name: str, task: str, main: str) -> None:
    assert task_name(name) == task
    run = a_run("", "", "", "", "", "", "")
    header = {**HEADER, "dataset": {"name": name, "fingerprint": "x"}}
    (row,) = task_result(replace(run, header=header))["scores"]["test"]
    assert row["main_score"] == row[main]


def test_nothing_to_report() -> None:
    with pytest.raises(InputError, match="no question"):
        task_result(Run(HEADER, {}, {}))
