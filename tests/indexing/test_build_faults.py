"""A real build killed at every step of its commit, and at random: nothing committed is lost,
searches go on, and the next run finishes the work."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from indexing.build import BuildSettings
from indexing.index import Index
from indexing.settings import IntakeSettings
from retrieval.encoders.text import TextEncoder
from retrieval.faults import POINTS
from tests.indexing.pdfs import BEES, OWLS, SWARM, TIDES, write_books

REPOSITORY = Path(__file__).parents[2]
SETTINGS = BuildSettings(intake=IntakeSettings(ocr="off", workers=1))
QUESTIONS = ("Which bird hunts voles?", "What do bees store?", "When are spring tides?")
# After the rename of the manifest the new generation is the committed one.
COMMITTED = {"manifest-renamed", "sweeping", "swept"}
# A build that says each step, and commits after every few pages.
TALKATIVE = """
import sys
from indexing import build
from indexing.index import Index
from indexing.settings import IntakeSettings
build._CHECKPOINT_PAGES, build._CHECKPOINT_SHARE = 4, 0.0
settings = build.BuildSettings(intake=IntakeSettings(ocr="off", workers=1))
index = Index.create(sys.argv[1], settings=settings)
print("open", flush=True)
report = index.add([sys.argv[2]], progress=lambda step: print(step.stage, flush=True))
print("unchanged", report.unchanged, flush=True)
"""


@dataclass(frozen=True)
class Bookshelf:
    """Books that changed since ``index`` was built: one new, one other content, one the same."""

    books: Path
    index: Path


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    return TextEncoder.load()


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory, encoder: TextEncoder) -> Bookshelf:
    root = tmp_path_factory.mktemp("shelf")
    books = write_books(root / "books")
    Index.create(root / "index", encoder=encoder, settings=SETTINGS).add([books])
    write_books(books, {"bees": [SWARM], "tides": [TIDES]})
    return Bookshelf(books, root / "index")


def folioscope(*arguments: str | Path, fault: str) -> int:
    """Run the command with a fault; its exit status."""
    done = subprocess.run(
        [sys.executable, str(REPOSITORY / "folioscope.py"), *map(str, arguments)],
        env={**os.environ, "FOLIOSCOPE_FAULT": fault},
        capture_output=True,
        timeout=100,
    )
    return done.returncode


def build_with(fault: str, shelf: Bookshelf, root: Path) -> int:
    options = ("--ocr", "off", "--workers", "1")
    return folioscope("index", "build", shelf.books, "--index", root, *options, fault=fault)


def answers(index: Index) -> list[tuple[object, ...]]:
    """What a user sees: places, scores, regions; ids may differ between two builds."""
    return [
        (question, Path(hit.source).name, hit.page, round(hit.score, 4), hit.regions, hit.snippet)
        for question in QUESTIONS
        for hit in index.search(question).hits
    ]


def finish(root: Path, shelf: Bookshelf, encoder: TextEncoder) -> list[tuple[object, ...]]:
    """The next run of the build, compacted so that statistics hold no removed words."""
    index = Index.create(root, encoder=encoder, settings=SETTINGS)
    index.add([shelf.books])
    index.compact()
    assert index.verify() == []
    assert sorted(Path(str(row["source"])).name for row in index.documents()) == [
        "bees.pdf",
        "owls.pdf",
        "tides.pdf",
    ]
    return answers(index)


@pytest.fixture(scope="module")
def complete(
    shelf: Bookshelf, encoder: TextEncoder, tmp_path_factory: pytest.TempPathFactory
) -> list[tuple[object, ...]]:
    """What an undisturbed build answers."""
    root = tmp_path_factory.mktemp("complete") / "index"
    shutil.copytree(shelf.index, root)
    return finish(root, shelf, encoder)


@pytest.mark.slow
@pytest.mark.parametrize("point", [point for point in POINTS if point != "compacted"])
def test_killed_at(
    point: str,
    shelf: Bookshelf,
    encoder: TextEncoder,
    complete: list[tuple[object, ...]],
    tmp_path: Path,
) -> None:
    root = Path(shutil.copytree(shelf.index, tmp_path / "index"))
    reader = Index.open(root, encoder=encoder, settings=SETTINGS)
    before = answers(reader)
    assert build_with(point, shelf, root) == -signal.SIGKILL, f"{point} was never reached"
    assert answers(reader) == before, "a reader lost its generation"
    reader.close()

    found = Index.open(root, encoder=encoder, settings=SETTINGS)
    assert found.verify() == []
    assert found.refresh() == (3 if point in COMMITTED else 2)
    if point in COMMITTED:
        assert "tides" in found.search(QUESTIONS[2]).hits[0].source
    else:
        assert answers(found) == before
    found.close()
    assert finish(root, shelf, encoder) == complete
    assert [path for path in root.rglob("*") if path.name.endswith(".tmp")] == []


@pytest.mark.slow
def test_killed_while_compacting(
    shelf: Bookshelf, encoder: TextEncoder, complete: list[tuple[object, ...]], tmp_path: Path
) -> None:
    root = Path(shutil.copytree(shelf.index, tmp_path / "index"))
    found = Index.open(root, encoder=encoder, settings=SETTINGS)
    before = answers(found)
    assert folioscope("index", "compact", "--index", root, fault="compacted") == -signal.SIGKILL
    assert found.verify() == [] and found.refresh() == 2 and answers(found) == before
    found.close()
    assert finish(root, shelf, encoder) == complete


@pytest.mark.slow
@pytest.mark.parametrize(
    "point", ["writer-opened", "text-indexed", "generation-written", "manifest-written"]
)
def test_killed_before_there_is_an_index(
    point: str,
    shelf: Bookshelf,
    encoder: TextEncoder,
    complete: list[tuple[object, ...]],
    tmp_path: Path,
) -> None:
    root = tmp_path / "index"
    assert build_with(point, shelf, root) == -signal.SIGKILL
    found = finish(root, shelf, encoder)
    # Removed words never were in this index: only scores from term statistics may differ.
    assert {(row[0], row[1]) for row in found} == {(row[0], row[1]) for row in complete}


@pytest.mark.slow
def test_killed_at_random_again_and_again(encoder: TextEncoder, tmp_path: Path) -> None:
    """Each run is killed after a random number of steps; none may lose what another finished."""
    texts = (OWLS, BEES, SWARM, TIDES)
    volumes = {
        f"book-{i:02}": [f"Volume {i}, page {n}. {texts[n]}" for n in range(3)] for i in range(16)
    }
    books = write_books(tmp_path / "books", volumes)
    root = tmp_path / "index"
    command = [sys.executable, "-c", TALKATIVE, str(root), str(books)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    rng = random.Random(11)
    kept = 0
    for _ in range(5):
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            for _ in range(rng.randint(10, 36)):
                if not child.stdout.readline():
                    break
            child.kill()
        index = Index.open(root, encoder=encoder, settings=SETTINGS)
        assert index.verify() == []
        there = len(index.documents())
        assert there >= kept, "a document that was committed is gone"
        if there:
            assert index.search("owls", 1).hits[0].regions
        kept = there
        index.close()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == f"unchanged {kept}"
    index = Index.open(root, encoder=encoder, settings=SETTINGS)
    assert kept and len(index.documents()) == 16
    assert index.status().pages == 48 and index.verify() == []
