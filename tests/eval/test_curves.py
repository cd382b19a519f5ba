"""What two stages lose: counted on a small collection where every number can be checked."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from eval.cli import app
from eval.codecs import codecs
from eval.config import read_config
from eval.curve_plots import curve_sections
from eval.curves import sample
from eval.datasets import Question
from eval.harness import curves_config
from eval.report import write_report
from indexing.index import Index
from retrieval.errors import InputError
from tests.eval.test_report import ran, read
from tests.retrieval.search_samples import DIM, TopicEncoder


def test_the_curves_are_those_of_searches(collection: Path, dataset: Path) -> None:
    config = read_config(None, {"dataset": str(dataset), "index": collection})
    found = curves_config(config, None, (5, 48, 20))
    assert found["questions"] == 5 and found["machine"]["cores"]
    rows = found["stage_one"]
    assert [row["k"] for row in rows] == [5, 20, 48]
    for name in rows[0]:
        values = [row[name] for row in rows]
        # More candidates never find less.
        assert all(a <= b for a, b in pairwise(values))
    # 48 candidates of 48 pages leave nothing out.
    assert rows[-1]["exhaustive_top10"] == rows[-1]["maxsim_top10"] == 1.0
    assert rows[-1]["answering"] == 1.0
    last = found["candidates"][-1]
    assert last["loss"]["nDCG@10"]["mean"] == pytest.approx(0)
    assert last["nDCG@10"] == pytest.approx(found["exhaustive"]["nDCG@10"])
    assert set(last["latency_ms"]["total"]) == {"p50", "p95", "p99"}
    by_name = {row["codec"]: row for row in found["compression"]}
    # The index holds int8 already: to keep it again changes nothing.
    assert by_name["int8"]["same_top10"] == by_name["float16"]["same_top10"] == 1.0
    with Index.open(collection, encoder=TopicEncoder()) as index:
        status = index.status()
    assert found["collection"]["pages"] == status.pages


def test_the_command_keeps_figures_and_plots(
    collection: Path, dataset: Path, tmp_path: Path
) -> None:
    out = tmp_path / "curves"
    arguments = ["curves", "-d", dataset, "-i", collection, "-o", out, "--k", "10", "--k", "20"]
    done = CliRunner().invoke(app, [*map(str, arguments), "--questions", "3"])
    assert done.exit_code == 0, done.exception
    assert "Patches in fewer bytes" in done.stdout
    kept = json.loads((out / "curves.json").read_text())
    assert kept["questions"] == 3 and kept["format"] == "folioscope-curves/1"
    names = [section.name for section in curve_sections(kept)]
    assert {path.name for path in out.iterdir()} == {
        "curves.json",
        *(f"{name}.svg" for name in names),
    }
    run = ran(collection, dataset, tmp_path / "run.jsonl")
    write_report([run], tmp_path / "report.html", curves=kept)
    assert read(tmp_path / "report.html").tags.count("svg") == 4 + len(names)


def test_nothing_to_ask(collection: Path, dataset: Path) -> None:
    config = read_config(None, {"dataset": str(dataset), "index": collection})
    with pytest.raises(InputError, match="some k"):
        curves_config(config, None, ())


def test_a_sample_is_the_same_every_time() -> None:
    questions = [Question(f"q{n}", "?", "a", frozenset({n})) for n in range(50)]
    chosen = sample(questions, 10)
    assert len(chosen) == 10 and chosen == sample(questions[::-1], 10)
    assert set(sample(questions, 5)) <= set(chosen)
    assert len(sample(questions, None)) == 50


@given(st.integers(0, 40), st.integers(0, 2**32 - 1))
@settings(max_examples=30)
def test_codecs_keep_what_they_say(patches: int, seed: int) -> None:
    vectors = np.random.default_rng(seed).standard_normal((patches, DIM)).astype(np.float32)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    sizes = {}
    for name, codec in codecs().items():
        kept, sizes[name] = codec.apply(vectors)
        assert kept.shape == (-(-patches // codec.merged), DIM) and kept.dtype == np.float32
        assert np.isfinite(kept).all()
        if codec.merged == 1 and patches:
            towards = (kept * vectors).sum(axis=1) / np.linalg.norm(kept, axis=1)
            least = {"float16": 0.999, "int8": 0.999, "int4": 0.97}.get(name, 0.3)
            assert towards.min() > least
    if patches > 4:
        assert sizes["float16"] > sizes["int8"] > sizes["int4"] > sizes["int2"] > sizes["binary"]
