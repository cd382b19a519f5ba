"""What a build would make of sources, said before it, agrees with what the build then makes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

from folioscope import app
from indexing.index import Index
from indexing.settings import IntakeSettings
from indexing.source_plans import SourcePlan, plan_sources, spread
from retrieval.encoders import load_encoder
from tests.indexing import samples


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sources")
    texts = [f"{samples.PARAGRAPH} {i}" for i in range(29)]
    (root / "book.pdf").write_bytes(samples.pdf([*texts, ""]))
    (root / "cut.pdf").write_bytes(samples.pdf(["A title"])[:120])
    (root / "white.png").write_bytes(samples.saved(Image.new("RGB", (300, 300), "white"), "PNG"))
    rng = np.random.default_rng(1)
    large = np.full((3000, 5000, 3), 255, np.uint8)
    large[2000:2064, 4000:4500] = np.where(rng.random((64, 500, 1)) < 0.5, 0, 255)
    (root / "large.png").write_bytes(samples.saved(Image.fromarray(large), "PNG"))
    return root


def plans(paths: list[Path], **more: object) -> dict[str, SourcePlan]:
    settings = IntakeSettings(ocr="tesseract", workers=1)
    found = plan_sources(paths, settings, load_encoder("text"), **more)  # type: ignore[arg-type]
    return {Path(plan.source).name: plan for plan in found}


def test_a_plan_agrees_with_the_build(folder: Path, tmp_path: Path) -> None:
    plan = plans([folder / "book.pdf"], sample=6)["book.pdf"]
    assert (plan.verdict, plan.pages, plan.sampled) == ("fine", 30, 6)
    # One page of the six is empty, and speaks for five.
    assert (plan.layer_pages, plan.empty_pages, plan.ocr_pages) == (25, 5, 0)
    whole = plans([folder / "book.pdf"], sample=0)["book.pdf"]
    assert (whole.sampled, whole.layer_pages, whole.empty_pages) == (30, 29, 1)
    index = Index.create(tmp_path / "index")
    index.add([folder / "book.pdf"])
    assert whole.vectors == pytest.approx(index.status().patches, rel=0.1)
    assert whole.seconds > 0 and whole.bytes > whole.vectors * 128


def test_pictures_are_told_with_the_parts_they_would_be_read_in(folder: Path) -> None:
    found = plans([folder / "large.png", folder / "white.png"])
    large, white = found["large.png"], found["white.png"]
    assert (large.ocr_pages, large.empty_pages) == (1, 0) and 1 <= large.tiles <= 4
    assert (white.ocr_pages, white.empty_pages, white.tiles) == (0, 1, 0)


def test_the_command_for_people_and_for_machines(folder: Path) -> None:
    run = CliRunner().invoke(app, ["inspect", str(folder), "--ocr", "tesseract", "--json"])
    assert run.exit_code == 0
    said = json.loads(run.stdout)
    assert said["total"]["sources"] == 4 and said["total"]["refused"] == 1
    by_name = {Path(row["source"]).name: row for row in said["sources"]}
    assert by_name["cut.pdf"]["verdict"] == "refused" and by_name["cut.pdf"]["reason"]
    assert by_name["book.pdf"]["sampled"] == 12
    run = CliRunner().invoke(app, ["inspect", str(folder), "--ocr", "tesseract"])
    assert run.exit_code == 0 and "book.pdf" in run.stdout and "refused: " in run.stdout
    assert "projected from" in run.stdout
    run = CliRunner().invoke(app, ["inspect", str(folder / "cut.pdf"), "--ocr", "tesseract"])
    assert run.exit_code == 2


@given(st.integers(1, 5000), st.integers(0, 100))
def test_a_sample_is_spread_over_the_document(pages: int, sample: int) -> None:
    found = spread(pages, sample)
    assert found == sorted(set(found)) and 0 <= found[0] <= found[-1] < pages
    assert len(found) == (pages if not sample else min(pages, sample))
    if sample > 1:
        assert (found[0], found[-1]) == (0, pages - 1)
