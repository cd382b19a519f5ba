"""No altered file goes unnoticed, none changes an answer, and what can be mended is."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from retrieval import integrity
from retrieval.errors import StorageError
from retrieval.integrity import repair, verify
from retrieval.manifest import FileRecord, read_manifest
from retrieval.store import Store, StoreWriter
from tests.retrieval.store_samples import add, build, contents, write_vectors

Answers = tuple[list[object], list[object], list[object]]


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pristine") / "index"
    build(root)
    return root


@pytest.fixture
def index(pristine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path / "index"))


def answers(root: Path) -> Answers:
    """What searches could see of an index."""
    with Store.open(root) as store:
        found = [
            (query, *(part.tolist() for part in store.bm25_pages(query, 10)))
            for query in ("cat", "dogs sleep", "economie")
        ]
        vectors = [(ids.tolist(), v.tolist()) for ids, v in store.page_vectors()]
        return list(contents(store)), found, vectors  # type: ignore[return-value]


def committed_files(root: Path) -> list[str]:
    """Every file that a reader could look at, the manifest included."""
    manifest = read_manifest(root)
    return [*manifest.files, "MANIFEST.json", f"generations/{manifest.generation}.json"]


def one_of_each_kind(root: Path) -> list[str]:
    """The files that differ in what is lost with them: one for each table and folder."""
    kinds = {tuple(name.split("/")[:3]): name for name in committed_files(root) if "/" in name}
    return ["MANIFEST.json", *kinds.values()]


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 0x08
    path.write_bytes(data)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def test_a_whole_index_has_no_problems(index: Path) -> None:
    assert verify(index) == []
    assert repair(index) == []
    assert verify(index) == []


def test_a_writer_beside_it_does_not_look_like_damage(
    index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Commits while files are being hashed supersede the generation that is being checked."""
    compare = integrity.same_bytes

    def beside(path: Path, record: FileRecord) -> bool:
        monkeypatch.setattr(integrity, "same_bytes", compare)
        with StoreWriter.open(index) as writer:
            for name in ("one", "two", "three"):
                add(writer, name, ["a page"])
                writer.commit(write_vectors)
        return compare(path, record)

    monkeypatch.setattr(integrity, "same_bytes", beside)
    assert verify(index) == []
    assert integrity.same_bytes is compare


def test_no_index_at_all(tmp_path: Path) -> None:
    for action in (verify, repair):
        with pytest.raises(StorageError, match="no index"):
            action(tmp_path / "nowhere")


def test_every_flipped_byte_is_found_and_changes_no_answer(index: Path) -> None:
    expected = answers(index)
    rng = np.random.default_rng(7)
    for name in committed_files(index):
        path = index / name
        good = path.read_bytes()
        for at in {0, len(good) - 1, *rng.integers(0, len(good), 3).tolist()}:
            flip(path, at)
            problems = verify(index)
            assert problems, f"byte {at} of {name} was not noticed"
            assert any(name in p.path for p in problems), f"{name} was not named: {problems}"
            try:
                assert answers(index) == expected, f"byte {at} of {name} changed an answer"
            except StorageError as error:
                assert "repair" in str(error)
            path.write_bytes(good)
    assert verify(index) == []


@pytest.mark.parametrize("damage", [truncate, empty, Path.unlink])
def test_truncated_and_missing_files_are_refused(
    index: Path, damage: Callable[[Path], None]
) -> None:
    for name in committed_files(index):
        path = index / name
        good = path.read_bytes()
        damage(path)
        if name.startswith("generations") and damage is not Path.unlink:
            # Readers hold a lock on this copy, they do not read it.
            assert verify(index)
        else:
            with pytest.raises(StorageError):
                Store.open(index)
            assert any(name in problem.path for problem in verify(index))
        path.write_bytes(good)


@pytest.mark.parametrize("damage", [lambda path: flip(path, 40), truncate, Path.unlink])
def test_repair_leaves_a_whole_index_whatever_was_hit(
    pristine: Path, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    expected = answers(pristine)
    whole = set(expected[0])
    for i, name in enumerate(one_of_each_kind(pristine)):
        root = Path(shutil.copytree(pristine, tmp_path / str(i)))
        damage(root / name)
        actions = repair(root, write_vectors)
        assert actions, name
        assert verify(root) == [], name
        after = answers(root)
        if "/data/" not in name and "/_versions/" not in name and "/_deletions/" not in name:
            assert after[0] == expected[0], f"{name}: {actions}"
            assert after[2] == expected[2]
        elif "/data/" in name:
            assert set(after[0]) <= whole
            lost = {row[0] for row in whole} - {row[0] for row in after[0]}  # type: ignore[index]
            named = "\n".join(actions)
            assert "names were lost" in named or all(str(source) in named for source in lost)
        assert read_manifest(root).coarse_file is not None
        with StoreWriter.open(root) as writer:
            if "sha-new" not in writer.known_sources():
                add(writer, "new", ["zebras"])
            writer.commit(write_vectors)
        with Store.open(root) as store:
            assert len(store.bm25_pages("zebra", 5)[0]) == 1
            assert store.pages.page_ids[-1] >= 6
        shutil.rmtree(root)


def test_one_damaged_page_costs_one_document(index: Path) -> None:
    with Store.open(index) as store:
        codes = store.fetch_patches(np.array([0])).codes.tobytes()
    (path,) = [p for p in index.glob("lance/pages.lance/data/*") if codes in p.read_bytes()]
    flip(path, path.read_bytes().index(codes) + 5)
    with Store.open(index) as store:
        with pytest.raises(StorageError, match=r"page 0 in .*pages\.lance.*repair"):
            store.fetch_patches(np.array([2, 0]))
        store.fetch_patches(np.array([2]))
    actions = repair(index, write_vectors)
    assert "dropped /files/alpha.pdf: build it again" in actions
    with StoreWriter.open(index) as writer:
        assert writer.known_sources() == {"sha-beta": 2}


def test_a_lost_manifest_comes_back(index: Path) -> None:
    expected = answers(index)
    (index / "MANIFEST.json").unlink()
    with pytest.raises(StorageError):
        Store.open(index)
    assert verify(index)
    assert repair(index) == ["restored MANIFEST.json from generations/2.json"]
    assert answers(index) == expected


def test_the_version_hint_is_not_trusted(index: Path) -> None:
    expected = answers(index)
    for hint in index.glob("lance/*/_versions/latest_version_hint.json"):
        hint.write_text('{"version":99}')
    assert answers(index) == expected
    for hint in index.glob("lance/*/_versions/latest_version_hint.json"):
        hint.write_bytes(b"\xff")
    assert answers(index) == expected


def test_repair_waits_for_no_writer(index: Path) -> None:
    with StoreWriter.open(index), pytest.raises(StorageError, match="another writer"):
        repair(index)
