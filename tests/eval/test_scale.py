"""A made-up collection: true to its statistics, resumable, and measured to the end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from eval.bench_scale import fit_growth
from eval.synthetic.build import INDEX, STATE, CollectionSpec, build_collection
from eval.synthetic.pages import Collection, page_counts
from eval.synthetic.questions import make_questions
from eval.synthetic.statistics import SHIPPED, Statistics, draw, quantile_mean, root
from folioscope import bench_app as app
from retrieval.errors import FolioscopeError, InputError, StorageError
from retrieval.integrity import verify
from retrieval.store import Store

SPEC = CollectionSpec(patches=40.0, vectors=4)


@pytest.fixture(scope="module")
def collection() -> Collection:
    return Collection(Statistics.read(), SPEC.patches)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an index of 120 pages that was built in two runs."""
    folder = tmp_path_factory.mktemp("scale")
    build_collection(folder, 70, SPEC)
    build_collection(folder, 120, SPEC)
    return folder


def test_a_document_is_the_same_whenever_it_is_made(collection: Collection) -> None:
    again = Collection(Statistics.read(), SPEC.patches)
    for first, second in zip(collection.document(3, 4), again.document(3, 4), strict=True):
        assert np.array_equal(first.words, second.words)
        assert np.array_equal(first.vectors, second.vectors)
        assert np.allclose(np.linalg.norm(first.vectors, axis=1), 1, atol=1e-5)
    other = collection.document(4, 4)[0]
    assert not np.array_equal(other.words, collection.document(3, 4)[0].words)


def test_vectors_have_the_measured_moments(collection: Collection) -> None:
    pages = [page for number in range(8) for page in collection.document(number, 25)]
    words = np.concatenate([page.words for page in pages])
    vectors = np.concatenate([page.vectors for page in pages])
    statistics, kinds = collection.statistics, collection.vocabulary.kinds(words)
    assert (kinds == 0).mean() == pytest.approx(statistics.text["function_share"], abs=0.02)
    assert len(words) / len(pages) == pytest.approx(SPEC.patches, rel=0.15)
    for kind in (0, 1):
        mean = vectors[kinds == kind].mean(axis=0)
        wanted = statistics.kind_means[kind]
        assert float(mean @ wanted) / np.linalg.norm(mean) / np.linalg.norm(wanted) > 0.8
    # Neighbours share context: their products exceed those of words of different documents.
    rest = vectors - collection.vocabulary.vectors[words]
    near = float((rest[1:] * rest[:-1]).sum(axis=1).mean())
    far = float((rest[:4000] * rest[-4000:]).sum(axis=1).mean())
    shared = statistics.shares
    wanted = sum(np.mean(shared[name]) for name in ("window", "phrase", "chapter", "section"))
    assert abs(far) < 0.03
    assert near == pytest.approx(wanted, rel=0.4)


def test_a_question_is_nearer_to_its_page_than_to_others(collection: Collection) -> None:
    sizes = page_counts(collection.statistics, 400)
    ranks = []
    for question in make_questions(collection, 300, 12, seed=1):
        made = collection.document(question.document, int(sizes[question.document]))
        scores = [
            float((question.embedding.vectors @ page.vectors.T).max(axis=1).mean())
            for page in made
            if len(page.vectors)
        ]
        own = made[question.number]
        if len(own.vectors) and len(scores) > 3:
            score = float((question.embedding.vectors @ own.vectors.T).max(axis=1).mean())
            ranks.append(np.mean(np.array(scores) > score))
        assert question.embedding.weights.sum() == pytest.approx(1, abs=1e-5)
    assert np.mean(ranks) < 0.35


def test_a_build_goes_on_and_the_index_is_whole(built: Path) -> None:
    assert verify(built / INDEX) == []
    with Store.open(built / INDEX) as store:
        assert len(store.pages) == 120 and store.coarse_path is not None
        assert store.manifest.settings["pooling"]["vectors"] == SPEC.vectors
    steps = json.loads((built / STATE).read_text())["steps"]
    assert [step["pages"] for step in steps] == [70, 120]
    state = build_collection(built, 120, SPEC)
    assert len(state.steps) == 2  # nothing was left to do


def test_what_does_not_fit_is_refused(built: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="120 pages already"):
        build_collection(built, 50, SPEC)
    with pytest.raises(StorageError, match="encoder_fingerprint"):
        build_collection(built, 200, CollectionSpec(patches=41.0, vectors=4))
    (tmp_path / "scale.json").write_text("{")
    with pytest.raises(InputError, match="cannot be read"):
        build_collection(tmp_path, 50, SPEC)
    huge = CliRunner().invoke(app, ["scale", "--pages", "2000000000"]).exception
    assert isinstance(huge, FolioscopeError) and "GB are free" in str(huge)


def test_statistics_are_read_back(tmp_path: Path) -> None:
    shipped = Statistics.read()
    shipped.write(tmp_path / "again.npz")
    again = Statistics.read(tmp_path / "again.npz")
    assert again.shares == shipped.shares and again.question == shipped.question
    assert np.array_equal(again.cluster_centres, shipped.cluster_centres)
    (tmp_path / "cut.npz").write_bytes(SHIPPED.read_bytes()[:1000])
    with pytest.raises(InputError, match="not statistics"):
        Statistics.read(tmp_path / "cut.npz")
    assert np.allclose(
        root(shipped.rest_covariance) @ root(shipped.rest_covariance).T,
        shipped.rest_covariance,
        atol=1e-3,
    )
    uniform = np.linspace(0, 1, 10_001)
    drawn = draw(shipped.patches, uniform).mean()
    assert drawn == pytest.approx(quantile_mean(shipped.patches), rel=0.01)


def test_statistics_want_words(built: Path, tmp_path: Path) -> None:
    error = CliRunner().invoke(app, ["statistics", "-i", str(built / INDEX)]).exception
    assert isinstance(error, InputError) and "statistics need 200,000" in str(error)


def test_growth_is_the_exponent() -> None:
    rows: list[dict[str, Any]] = [
        {"pages": n, "disk_mb": 2.0 * n, "warm_total_p50_ms": 3.0 * n**0.5, "rss_mb": 7.0}
        for n in (100, 1000, 10_000)
    ]
    found = fit_growth(rows)
    assert found["disk_mb"] == pytest.approx(1) and found["rss_mb"] == pytest.approx(0, abs=1e-9)
    assert found["warm_total_p50_ms"] == pytest.approx(0.5)
    assert fit_growth(rows[:1]) == {}


@pytest.mark.slow
def test_the_command_measures_and_cleans_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    sizes = ("--pages", "100", "--pages", "300", "--patches", "40", "--vectors", "4")
    done = CliRunner().invoke(
        app, ["scale", *sizes, "--questions", "6", "--exhaustive", "4", "--json"]
    )
    assert done.exit_code == 0, done.exception
    found = json.loads(done.stdout)
    assert [row["pages"] for row in found["rows"]] == [100, 300]
    for row in found["rows"]:
        assert 0 < row["warm_total_p50_ms"] <= row["warm_total_p99_ms"]
        assert row["rss_mb"] > 0 and row["pages_per_s"] > 0 and row["disk_kb_a_page"] > 1
        assert 0 <= row["found_vectors"] <= 1
        # Of few pages, nearly all are candidates.
        assert row["found"] > 0.6
    assert found["facts"]["growth"]["disk_mb"] > 0.5
    assert not list(tmp_path.glob("folioscope-scale-*"))
