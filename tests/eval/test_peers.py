"""Other engines beside Folioscope: the truth they are held to, and the command as a whole."""

from __future__ import annotations

import json
import os
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from eval.peers import processes
from eval.peers.capabilities import check_capabilities
from eval.peers.engines import ENGINES
from eval.peers.environments import ENVIRONMENTS, interpreter, make
from eval.peers.export import exact_scores, export_index, export_synthetic
from eval.peers.measure import at_recall, frontier
from eval.peers.processes import Limits, Stage
from eval.peers.workload import Workload
from eval.synthetic.build import CollectionSpec
from folioscope import bench_app as app
from retrieval.errors import FolioscopeError, InputError

PAGES = 80
# Words instead of vectors; few pages scored in full of few; estimates instead of vectors.
ROUGH = ("bm25s", "visual-rag-toolkit", "xtr-warp")


@pytest.fixture(scope="module")
def workload(tmp_path_factory: pytest.TempPathFactory) -> Workload:
    folder = tmp_path_factory.mktemp("peers") / "workload"
    return export_synthetic(folder, PAGES, 12, CollectionSpec(patches=12.0))


@given(st.lists(st.integers(1, 9), min_size=1, max_size=30), st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_the_truth_is_maxsim_by_its_definition(lengths: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((sum(lengths), 4)).astype(np.float16)
    starts = np.cumsum([0, *lengths]).astype(np.int64)
    questions = rng.standard_normal((5, 4)).astype(np.float32)
    found = exact_scores(vectors, starts, questions, np.array([0, 2, 5]))
    for q, (a, b) in enumerate(((0, 2), (2, 5))):
        for page, (first, last) in enumerate(pairwise(starts)):
            rows = vectors[first:last].astype(np.float64)
            score = sum(max(float(row @ token) for row in rows) for token in questions[a:b])
            assert found[q, page] == pytest.approx(score, abs=1e-4)


def test_a_workload_is_read_back(workload: Workload) -> None:
    pages, questions = workload.pages(), workload.questions()
    assert len(pages) == PAGES and len(pages.texts) == PAGES and pages.dim == 128
    assert all(len(pages.page(i)) for i in range(PAGES))
    assert np.allclose(np.linalg.norm(pages.page(3), axis=1), 1, atol=2e-3)
    assert 8 <= len(questions) <= 12
    assert all(len(q.exact) == 10 and q.target and q.text for q in questions)
    assert any(not q.target.isdisjoint(q.exact) for q in questions)
    part = pages.part(10, 20)
    assert part.documents.tolist() == [1] * 10
    assert np.array_equal(part.page(2), pages.page(12)) and part.texts[2] == pages.texts[12]


def test_the_pages_of_an_index(collection: Path, dataset: Path, tmp_path: Path) -> None:
    from retrieval.encoders.base import register_encoder
    from tests.retrieval.search_samples import TopicEncoder

    register_encoder(TopicEncoder().id, lambda argument: TopicEncoder())
    found = export_index(tmp_path / "w", collection, dataset, 10)
    assert found.about["pages"] == 47 and len(found.questions()) >= 1
    assert all(q.target <= set(range(47)) for q in found.questions())


def test_equal_recall_is_read_off_the_curve() -> None:
    curve = [
        {"p50_ms": 5.0, "recall_10": 0.8},
        {"p50_ms": 9.0, "recall_10": 0.95},
        {"p50_ms": 7.0, "recall_10": 0.7},
        {"p50_ms": 20.0, "recall_10": 0.95},
    ]
    assert [p["p50_ms"] for p in frontier(curve)] == [5.0, 9.0]
    found = at_recall(curve, 0.9)
    assert found is not None and found["p50_ms"] == 9.0
    assert at_recall(curve, 0.96) is None


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("engine", sorted(set(ENGINES) - {"folioscope", "lancedb"}))
def test_every_engine_finds_what_is_there(engine: str, workload: Workload, tmp_path: Path) -> None:
    if interpreter(engine) is None:
        pytest.skip(f"no environment for {engine}: python -m eval.peers.environments {engine}")
    stage = Stage(tmp_path / "stage")
    place: dict[str, Any] = {"workload": workload.folder, "folder": tmp_path / "index"}
    (tmp_path / "index").mkdir()
    built = stage.run(engine, "build", Limits(), **place)
    assert not built.ended and built.value("build_s") > 0
    assert built.value("version") not in (None, "absent")
    measured = stage.run(engine, "measure", Limits(), cores=1, setting_s=5, **place)
    assert not measured.ended and measured.value("memory_mb") > 10
    best = max(point["recall_10"] for point in measured.points)
    assert best > (0.02 if engine in ROUGH else 0.7)
    assert all(0 < p["p50_ms"] <= p["p95_ms"] for p in measured.points)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_command_compares_and_tries_out(tmp_path: Path) -> None:
    if interpreter("lancedb") is None:
        pytest.skip("lancedb is here in another release: python -m eval.peers.environments lancedb")
    options = ("--pages", "60", "--patches", "24", "--questions", "8", "--engine", "lancedb")
    done = CliRunner().invoke(
        app,
        [
            "peers",
            *options,
            "--folder",
            str(tmp_path),
            "--out",
            str(tmp_path),
            "--no-checks",
            "--json",
        ],
    )
    assert done.exit_code == 0, done.exception
    found = json.loads(done.stdout)
    rows: list[dict[str, Any]] = found["rows"]
    engines = {row["engine"] for row in rows}
    assert {"folioscope, vectors", "lancedb, scan"} <= engines
    exact = [row for row in rows if row["engine"] == "lancedb, scan"]
    # A scan with float16 vectors misses nothing, and Folioscope with all pages as candidates
    # finds as much, so that there is a ratio.
    assert exact[0]["recall_10"] > 0.95 and not exact[0]["note"]
    assert not list(tmp_path.glob("folioscope-peers-*"))


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_what_folioscope_can_do_is_tried(workload: Workload, tmp_path: Path) -> None:
    stage = Stage(tmp_path / "stage")
    found = check_capabilities(stage, tmp_path, ["folioscope"], workload, kills=(0.5,))
    (row,) = found.rows
    assert {row[what] for what in ("persist", "add", "delete", "filter", "places")} == {"yes"}
    assert row["crash"] == "yes: 1 killed additions"


def test_limits_end_a_process(workload: Workload, tmp_path: Path) -> None:
    stage = Stage(tmp_path / "stage")
    place: dict[str, Any] = {"workload": workload.folder, "folder": tmp_path / "index"}
    (tmp_path / "index").mkdir()
    late = stage.run("folioscope", "build", Limits(seconds=0.05), **place)
    assert late.ended.startswith("stopped after") and late.value("build_s") is None
    fat = stage.run("folioscope", "build", Limits(memory_mb=1), **place)
    assert "GB of memory" in fat.ended
    failed = stage.run("folioscope", "measure", Limits(), setting_s=1, **place)
    assert failed.ended.startswith("failed with exit code 1: StorageError")


def test_a_process_does_not_outlive_who_waits_for_it(
    workload: Workload, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has a session of its own, so that Ctrl-C at the terminal does not reach it."""
    seen: list[int] = []

    def interrupted(pid: int) -> float:
        seen.append(pid)
        raise KeyboardInterrupt

    monkeypatch.setattr(processes, "_private_mb", interrupted)
    stage = Stage(tmp_path / "stage")
    with pytest.raises(KeyboardInterrupt):
        stage.run("folioscope", "build", Limits(), workload=workload.folder, folder=tmp_path)
    with pytest.raises(ProcessLookupError):
        os.kill(seen[0], 0)


def fails(*arguments: str) -> FolioscopeError:
    error = CliRunner().invoke(app, ["peers", *arguments]).exception
    assert isinstance(error, FolioscopeError)
    return error


def test_what_cannot_be_measured_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOLIOSCOPE_PEERS", str(tmp_path))
    assert "known: folioscope" in str(fails("--engine", "magic"))
    assert "whole numbers" in str(fails("--pages", "many"))
    assert "--asked" in str(fails("--index", str(tmp_path)))
    absent = next((name for name in ENVIRONMENTS if interpreter(name) is None), None)
    if absent is not None:
        assert "python -m eval.peers.environments" in str(fails("--engine", absent))
    with pytest.raises(InputError, match="no environment"):
        make("magic")
    assert set(ENVIRONMENTS) == set(ENGINES) - {"folioscope", "folioscope-fp16"}
