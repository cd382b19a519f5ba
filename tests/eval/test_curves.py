"""What two stages lose: counted on a small collection where every number can be checked."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
from typer.testing import CliRunner

from eval.cli import app
from eval.config import read_config
from eval.curve_plots import curve_sections
from eval.curves import sample
from eval.datasets import Question
from eval.harness import curves_config
from eval.report import write_report
from indexing.index import Index
from retrieval.errors import InputError
from tests.eval.samples import row, write_jsonl
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
    by_name = {row["compression"]: row for row in found["compression"]}
    # The index holds int8 already: to keep it again changes nothing.
    assert by_name["int8"]["same_top10"] == by_name["fp16"]["same_top10"] == 1.0
    bytes_of = {name: row["bytes_a_page"] for name, row in by_name.items()}
    assert bytes_of["fp16"] == pytest.approx(2 * DIM / (DIM + 2) * bytes_of["int8"], rel=1e-3)
    assert bytes_of["fp16"] == pytest.approx(16 * bytes_of["binary"], rel=1e-3)
    assert bytes_of["int8"] > bytes_of["int8+pool2"] > bytes_of["int8+pool3"]
    with Index.open(collection, encoder=TopicEncoder()) as index:
        status = index.status()
    assert found["collection"]["pages"] == status.pages


def test_the_compressed_are_asked_as_search_asks(collection: Path, tmp_path: Path) -> None:
    """Fiscal years are written out before a question is encoded."""
    rows = [row(f"y{n}", f"Q3'{n} FY{n} Q{n % 4}'{n}", "report-0.pdf", [0]) for n in range(10, 20)]
    dataset = write_jsonl(tmp_path / "years.jsonl", rows)
    config = read_config(None, {"dataset": str(dataset), "index": collection})
    found = curves_config(config, None, (48,))
    assert {r["compression"]: r["same_top10"] for r in found["compression"]}["int8"] == 1.0


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
