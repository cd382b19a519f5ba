"""A writer killed at any instruction leaves the last commit, and the next writer finishes."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from retrieval.faults import POINTS
from retrieval.integrity import verify
from retrieval.store import Store, StoreWriter
from tests.retrieval.store_samples import SPEC, add, build, contents, write_vectors

REPOSITORY = Path(__file__).parents[2]
# After the rename of the manifest the new generation is the committed one.
COMMITTED = {"manifest-renamed", "sweeping", "swept"}
WRITER = """
import sys
from pathlib import Path
from retrieval.store import StoreWriter
from tests.retrieval.store_samples import SPEC, add, write_vectors
with StoreWriter.open(Path(sys.argv[1]), create=SPEC) as writer:
    print("open", flush=True)
    if 0 in writer.documents:
        writer.remove_document(0)
    add(writer, "later", ["owls hoot", "cats again"], seed=9)
    writer.compact()
    writer.commit(write_vectors)
"""


def start(root: Path, fault: str = "") -> subprocess.Popen[str]:
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    if fault:
        env["FOLIOSCOPE_FAULT"] = fault
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(root)],
        env=env,
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
    )


def finish(root: Path) -> list[object]:
    """What the next run of the same build makes of the index."""
    with StoreWriter.open(root, create=SPEC) as writer:
        if "sha-later" not in writer.known_sources():
            if 0 in writer.documents:
                writer.remove_document(0)
            add(writer, "later", ["owls hoot", "cats again"], seed=9)
        writer.commit(write_vectors)
    assert verify(root) == []
    with Store.open(root) as store:
        return list(contents(store))


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pristine") / "index"
    build(root)
    return root


@pytest.mark.slow
@pytest.mark.parametrize("point", POINTS)
def test_killed_at(point: str, pristine: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(pristine, tmp_path / "index"))
    with Store.open(root) as reader:
        before = list(contents(reader))
        with start(root, point) as process:
            assert process.wait() == -signal.SIGKILL, f"{point} was never reached"
        assert list(contents(reader)) == before
    assert verify(root) == []
    with Store.open(root) as store:
        assert store.manifest.generation == (3 if point in COMMITTED else 2)
        assert point in COMMITTED or list(contents(store)) == before
    complete = Path(shutil.copytree(pristine, tmp_path / "complete"))
    assert finish(root) == finish(complete)
    left = [p for p in root.rglob("*") if p.name.endswith(".tmp")]
    assert left == []


@pytest.mark.slow
@pytest.mark.parametrize("point", ["pages-flushed", "generation-written", "manifest-written"])
def test_killed_in_the_first_commit(point: str, tmp_path: Path) -> None:
    root = tmp_path / "index"
    with start(root, point) as process:
        assert process.wait() == -signal.SIGKILL
    assert len(finish(root)) == 2


@pytest.mark.slow
def test_killed_at_random_times(pristine: Path, tmp_path: Path) -> None:
    rng = random.Random(5)
    expected = finish(Path(shutil.copytree(pristine, tmp_path / "complete")))
    for i in range(5):
        root = Path(shutil.copytree(pristine, tmp_path / str(i)))
        with start(root) as process:
            assert process.stdout is not None
            process.stdout.readline()
            try:
                process.wait(rng.uniform(0.0, 0.15))
            except subprocess.TimeoutExpired:
                process.kill()
        assert verify(root) == []
        assert finish(root) == expected
