"""``folioscope tune``: every setting measured on one collection, and what is recommended."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from eval.tune import SETTINGS, recommend
from eval.tune import tune as measure
from folioscope import app
from indexing.index import Index
from retrieval.errors import InputError
from tests.retrieval.search_samples import DIM, TopicEncoder


def test_every_setting_with_questions(collection: Path, dataset: Path) -> None:
    found = measure(collection, dataset)
    rows = {row["setting"]: row for row in found.rows}
    assert tuple(rows) == SETTINGS
    whole = rows["fp32"]
    assert whole["top_10_places_as_fp32"] == 1.0 and whole["p"] is None
    assert whole["top_10_pages_as_fp32"] == 1.0
    assert all(r["top_10_pages_as_fp32"] >= r["top_10_places_as_fp32"] for r in found.rows)
    assert 0 <= found.facts["gap_percentile_5"] <= found.facts["gap_percentile_50"] < 1
    # A byte a component, and two of a scale.
    share = (DIM + 2) / (4 * DIM)
    assert rows["int8"]["bytes_a_page"] == pytest.approx(share * whole["bytes_a_page"], rel=1e-3)
    assert rows["binary"]["bytes_a_page"] == whole["bytes_a_page"] // 32
    assert rows["int8+pool4"]["bytes_a_page"] < rows["int8+pool2"]["bytes_a_page"]
    # The same numbers by numpy and by the kernel; equal pages may change places.
    assert rows["fp16"]["nDCG@5"] == pytest.approx(whole["nDCG@5"], abs=0.1)
    assert found.facts["recommended"] in rows and found.facts["pages"] == 47


def test_without_questions_by_command(collection: Path) -> None:
    arguments = ["tune", "-i", str(collection), "--pages", "20", "--setting", "binary", "--json"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    assert [row["setting"] for row in found["rows"]] == ["fp32", "binary"]
    assert found["facts"]["of"] == "sampled words" and found["facts"]["pages"] == 20


def test_the_smallest_that_loses_nothing_is_recommended() -> None:
    def row(setting: str, size: int, ndcg: float, p: float | None) -> dict[str, Any]:
        return {"setting": setting, "bytes_a_page": size, "nDCG@5": ndcg, "p": p}

    rows = [row("fp32", 400, 0.8, None), row("int8", 100, 0.799, 0.9), row("binary", 12, 0.7, 0.3)]
    chosen, why = recommend(rows, 100)
    assert chosen == "int8" and "binary, has 0.700" in why
    # A small loss that is certain is one, too.
    assert recommend([*rows[:1], row("int8", 100, 0.795, 0.01)], 100)[0] == "fp32"
    # A handful of easy questions shows no loss anywhere, which is no evidence that there is none.
    easy = [row("fp32", 400, 1.0, None), row("int8", 100, 1.0, 1.0), row("binary", 12, 1.0, 1.0)]
    assert recommend(easy, 100)[0] == "binary"
    chosen, why = recommend(easy, 7)
    assert chosen == "int8" and "7 questions are too few" in why


def test_what_cannot_be_tuned(collection: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unknown compression 'zip'"):
        measure(collection, names=["zip"])
    from indexing.build import BuildSettings

    settings = BuildSettings(compression="binary")
    Index.create(tmp_path / "index", encoder=TopicEncoder(), settings=settings)
    with pytest.raises(InputError, match="are binary already; tune with --encode"):
        measure(tmp_path / "index")


def test_words_encoded_anew_are_the_true_vectors(collection: Path, dataset: Path) -> None:
    anew = measure(collection, dataset, names=["int8"], encode=True)
    kept = measure(collection, dataset, names=["int8"])
    assert anew.facts["vectors"] == "encoded anew" and kept.facts["vectors"] == "the index's, int8"
    for a, b in zip(anew.rows, kept.rows, strict=True):
        assert a["bytes_a_page"] == b["bytes_a_page"]
        assert a["nDCG@5"] == pytest.approx(b["nDCG@5"], abs=0.1)
