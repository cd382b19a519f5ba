"""``folioscope bench``: every benchmark runs, small, and keeps what is needed to judge it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from folioscope import bench_app as app
from retrieval.errors import FolioscopeError, InputError, ServiceError
from retrieval.maxsim import levels
from tests.indexing.pdfs import write_books


def bench(*arguments: str | Path) -> Any:
    done = CliRunner().invoke(app, [*map(str, arguments), "--json"])
    assert done.exit_code == 0, done.exception
    return json.loads(done.stdout)


def fails(*arguments: str | Path) -> FolioscopeError:
    error = CliRunner().invoke(app, [*map(str, arguments)]).exception
    assert isinstance(error, FolioscopeError)
    return error


def test_kernels_and_what_a_result_says(tmp_path: Path) -> None:
    options = ("--pages", "8", "--patches", "40", "--repeats", "2", "--out", tmp_path / "new")
    found = bench("maxsim", *options)
    kept = json.loads((tmp_path / "new" / "maxsim.json").read_text("utf-8"))
    assert kept["rows"] == found["rows"] and kept["facts"] == found["facts"]
    assert {"cpu", "cores", "memory_gb", "versions", "threads"} <= set(found["machine"])
    assert found["date"].startswith("20") and found["benchmark"] == "maxsim"
    rows = {row["kernel"]: row for row in found["rows"]}
    assert set(rows) == {
        f"{level}, {kind}" for level in levels() for kind in ("int8", "fp16", "fp32", "binary")
    }
    for name, row in rows.items():
        most = {"int8": 0.02, "fp16": 1e-3, "fp32": 1e-5, "binary": 0.6}[name.split(", ")[1]]
        assert row["largest_error"] <= most and row["gb_s"] > 0 and row["gflop_s"] > 0
    assert {"peak_read_gb_s", "int8_a_second_2_at_once"} <= set(found["facts"])


def test_peers_of_the_kernels_that_are_not_there(tmp_path: Path) -> None:
    error = fails("maxsim", "--pages", "2", "--patches", "8", "--peers", tmp_path / "python")
    assert isinstance(error, InputError) and "name a Python" in str(error)
    bare = tmp_path / "bare"
    bare.write_text("#!/bin/sh\nread line\necho '{}'\n")
    bare.chmod(0o755)
    error = fails("maxsim", "--pages", "2", "--patches", "8", "--peers", bare)
    assert isinstance(error, InputError) and "has neither maxsim-cpu nor colpali" in str(error)


def test_no_gpu_is_said_and_nothing_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eval.bench_gpu.find_spec", lambda name: None)
    error = fails("gpu")
    assert isinstance(error, InputError) and "needs torch" in str(error)


@pytest.mark.models
def test_the_gpu_benchmark_on_a_processor(collection: Path) -> None:
    pytest.importorskip("torch", reason="run `make test-models`")
    from eval.bench_gpu import measure_gpu

    found = measure_gpu(6, collection, repeats=1, device="cpu", patches=20)
    rows = {(row["kernel"], row["questions"]): row for row in found.rows}
    assert {asked for _, asked in rows} == {1, 32}
    assert rows["fp16, streamed", 32]["top_10_as_float32"] > 0.9
    assert found.facts["from_disk_rerank_ms"] > 0


def test_coarse_types() -> None:
    rows = bench("coarse", "--vectors", "1600", "--questions", "4", "--kind", "flat")["rows"]
    (row,) = rows
    assert (row["vectors"], row["recall_10"], row["recall_100"]) == (1600, 1.0, 1.0)
    error = fails("coarse", "--kind", "magic")
    assert isinstance(error, InputError) and "magic" in str(error) and "sq8" in str(error)


def test_pooling_finds_more_with_more_vectors(collection: Path, dataset: Path) -> None:
    found = bench("pooling", dataset, "-i", collection)
    assert found["facts"] == {"questions": 4, "pages": 48, "candidates": 100}
    # Of 48 pages, 100 candidates leave out none.
    assert all(row["exact_top_10_found"] == 1.0 for row in found["rows"])
    assert [row["bytes_a_page"] for row in found["rows"]][:2] == [64, 256]
    only = dataset.with_name("docs.txt")
    only.write_text("report-3.pdf\n")
    assert bench("pooling", dataset, "-i", collection, "--documents", only)["facts"]["pages"] == 8
    only.write_text("report-2.pdf\n")
    assert "no question" in str(fails("pooling", dataset, "-i", collection, "--documents", only))


@pytest.mark.slow
def test_a_build_and_its_parts(tmp_path: Path) -> None:
    found = bench("build", write_books(tmp_path / "books"))
    rows = {row["part"]: row for row in found["rows"]}
    assert {"words", "render", "encode", "pool"} <= set(rows)
    pages = rows["encode"]["pages"]
    assert pages > 0 and all(row["pages"] == pages for part, row in rows.items() if part != "OCR")
    shares = [row["share"] for part, row in rows.items() if row["share"] and "sum" not in part]
    assert sum(shares) == pytest.approx(1.0)
    (tmp_path / "empty.pdf").write_bytes(b"")
    assert "none of the sources" in str(fails("build", tmp_path / "empty.pdf"))


def test_a_server_that_does_not_start_is_said(collection: Path, dataset: Path) -> None:
    """The server's process does not know the encoder that only these tests have."""
    error = fails("load", dataset, "-i", collection, "--seconds", "1")
    assert isinstance(error, ServiceError) and "before it was ready" in str(error)
    several = ("--servers", "2", "--upload", dataset)
    assert "only read" in str(fails("load", dataset, "-i", collection, *several))


def test_wrong_places_are_refused(tmp_path: Path, collection: Path, dataset: Path) -> None:
    assert "ocr_gt" in str(fails("ocr", tmp_path))
    assert "--half" in str(fails("answers", dataset, "-i", collection, "--half", "both"))
    (tmp_path / "file").touch()
    quick = ("maxsim", "--pages", "2", "--patches", "40", "--repeats", "1")
    assert "cannot write" in str(fails(*quick, "--out", tmp_path / "file"))


def test_tables_for_people() -> None:
    done = CliRunner().invoke(app, ["maxsim", "--pages", "2", "--patches", "40", "--repeats", "1"])
    assert "| kernel " in done.stdout and "patches 40" in done.stdout
