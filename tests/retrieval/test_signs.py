"""Signs of patches: what is written is read, in any order, and scores as late interaction does."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.errors import StorageError
from retrieval.integrity import repair, verify
from retrieval.maxsim import PACKED, join_scaled
from retrieval.passages import best_passage
from retrieval.signs import Pages, Signs, scale_of, signs_of, write_signs
from retrieval.store import Store, StoreWriter
from tests.retrieval.store_samples import LANE, add, build, write_vectors

pages = st.dictionaries(st.integers(0, 500), st.integers(0, 40), max_size=12)
SCALE = np.full(1, 1 / 127, np.float32)


def codes_of(page_id: int, patches: int) -> np.ndarray:
    return np.random.default_rng(page_id).integers(-127, 128, (patches, 20)).astype(np.int8)


def write(path: Path, held: dict[int, int]) -> None:
    def made() -> Iterator[Pages]:
        for page_id in sorted(held):
            codes = codes_of(page_id, held[page_id])
            starts = np.array([0, len(codes)])
            yield np.array([page_id]), signs_of(codes), starts, scale_of(codes, starts, SCALE)

    write_signs(path, 20, np.array(sorted(held), np.int64), made())


@given(pages, pages, st.lists(st.integers(0, 500), max_size=10))
def test_pages_score_as_their_signs_say(
    tmp_path_factory: pytest.TempPathFactory,
    first: dict[int, int],
    second: dict[int, int],
    asked: list[int],
) -> None:
    folder = tmp_path_factory.mktemp("signs")
    second = {i: n for i, n in second.items() if i not in first}
    write(folder / "a", first)
    write(folder / "b", second)
    signs = Signs.open([folder / "a", folder / "b"], 20)
    held = {**first, **second}
    assert signs.page_ids.tolist() == sorted(held)
    wanted = np.array([*asked, *list(held)[::2]], np.int64)
    query = np.random.default_rng(1).standard_normal((3, 20)).astype(np.float32)
    weights = np.array([0.5, 0.3, 0.2], np.float32)
    ids, scores = signs.score(query, weights, wanted, window=8, stride=4)
    assert ids.tolist() == sorted(set(wanted.tolist()) & held.keys())
    for page_id, score in zip(ids.tolist(), scores.tolist(), strict=True):
        codes = codes_of(page_id, held[page_id])
        starts = np.array([0, len(codes)])
        plus = np.where(codes > 0, 1, -1).astype(np.float32)
        scale = scale_of(codes, starts, SCALE)
        (exact,) = best_passage(query, weights, plus, starts, scale, window=8, stride=4).tolist()
        assert score == pytest.approx(exact, abs=0.02)


def test_scores_have_the_size_of_exact_ones() -> None:
    rng = np.random.default_rng(3)
    codes = rng.normal(0, 40, (400, 128)).clip(-127, 127).astype(np.int8)
    starts, scales = np.array([0, 400]), np.full(1, 1 / 450, np.float32)
    query = rng.standard_normal((64, 128)).astype(np.float32)
    exact = query @ (codes * scales).T.astype(np.float32)
    bits = np.unpackbits(signs_of(codes), axis=1, bitorder="little").astype(np.float32) * 2 - 1
    # A unit vector's squares add up to 1: only then does the scale say what a similarity is.
    lengths = np.linalg.norm(codes * scales, axis=1).mean()
    close = query @ bits.T * scale_of(codes, starts, scales / lengths) * lengths
    assert np.polyfit(exact.ravel(), close.ravel(), 1)[0] == pytest.approx(1, abs=0.05)


def test_packed_codes_are_their_own_signs() -> None:
    packed = np.arange(6, dtype=np.uint8).view(PACKED).reshape(3, 2)
    np.testing.assert_array_equal(signs_of(packed), np.arange(6, dtype=np.uint8).reshape(3, 2))


def test_scaled_codes_have_the_signs_of_their_numbers() -> None:
    codes = codes_of(1, 6)
    scaled = join_scaled(codes, np.full(6, 32768, np.uint16))
    np.testing.assert_array_equal(signs_of(scaled), signs_of(codes))
    starts = np.array([0, 6])
    halved = scale_of(scaled, starts, SCALE * 2)
    np.testing.assert_allclose(halved, scale_of(codes, starts, SCALE), rtol=1e-6)


def test_files_of_another_kind_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "good", {3: 5, 4: 2})
    data = (tmp_path / "good").read_bytes()
    for name, bad in (("cut", data[:-1]), ("empty", b""), ("other", b"x" + data[1:])):
        (tmp_path / name).write_bytes(bad)
        with pytest.raises(StorageError, match=rf"{name}.*index repair"):
            Signs.open([tmp_path / name], 20)
    with pytest.raises(StorageError, match="absent"):
        Signs.open([tmp_path / "absent"], 20)
    with pytest.raises(StorageError, match="does not hold"):
        Signs.open([tmp_path / "good"], 28)


def signed(store: Store) -> dict[int, bytes]:
    """The signs of every page, once they are those of its patches."""
    patches = store.fetch_patches(np.arange(len(store.pages)))
    expected = {}
    for i, page_id in enumerate(store.pages.page_ids.tolist()):
        codes = patches.codes[patches.starts[i] : patches.starts[i + 1]]
        expected[page_id] = signs_of(codes).tobytes()
    found = {}
    for ids, bits, starts, _ in store.signs.fetch(store.pages.page_ids):
        for i, page_id in enumerate(ids.tolist()):
            found[page_id] = bits[starts[i] : starts[i + 1]].tobytes()
    assert found == expected
    return found


def test_a_commit_adds_what_is_new_and_compaction_writes_one_file(tmp_path: Path) -> None:
    build(tmp_path)
    with StoreWriter.open(tmp_path) as writer:
        add(writer, "more", ["a", "b"], seed=20)
        writer.commit()
        add(writer, "most", ["c"], seed=30)
        writer.commit(write_vectors)
    with Store.open(tmp_path) as store:
        assert len(store.manifest.signs_files) == 3
        assert len(store.manifest.lanes[LANE].signs_files) == 3
        before = signed(store)
    with StoreWriter.open(tmp_path) as writer:
        writer.compact()
        writer.commit(write_vectors)
    assert verify(tmp_path) == []
    with Store.open(tmp_path) as store:
        assert len(store.manifest.signs_files) == 1
        assert signed(store) == before


def test_lost_signs_are_made_again(tmp_path: Path) -> None:
    build(tmp_path)
    with Store.open(tmp_path) as store:
        path, before = tmp_path / store.manifest.signs_files[0], signed(store)
    data = bytearray(path.read_bytes())
    data[-1] ^= 0xFF
    path.write_bytes(data)
    assert [problem.path for problem in verify(tmp_path)] == [str(path)]
    assert "dropped damaged signs" in repair(tmp_path, write_vectors)
    assert verify(tmp_path) == []
    with Store.open(tmp_path) as store:
        assert signed(store) == before


def test_damaged_signs_are_not_copied_into_a_file_that_is_sound(tmp_path: Path) -> None:
    build(tmp_path)
    with Store.open(tmp_path) as store:
        path, before = tmp_path / store.manifest.signs_files[0], signed(store)
    data = bytearray(path.read_bytes())
    data[-1] ^= 0xFF
    path.write_bytes(data)
    with StoreWriter.open(tmp_path) as writer:
        writer.compact()
        writer.commit(write_vectors)
    with Store.open(tmp_path) as store:
        assert signed(store) == before
    assert verify(tmp_path) == []


def test_a_disk_that_fails_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "signs", {3: 5})
    signs = Signs.open([tmp_path / "signs"], 20)

    def fail(*_: object) -> int:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("os.preadv", fail)
    with pytest.raises(StorageError, match=r"signs cannot be read \(Input/output error\)"):
        list(signs.fetch(np.array([3])))
    size = (tmp_path / "signs").read_bytes()
    for pages in (1 << 40, 1 << 62):
        (tmp_path / "huge").write_bytes(size[:32] + pages.to_bytes(8, "little") + size[40:])
        with pytest.raises(StorageError, match=r"huge.*index repair"):
            Signs.open([tmp_path / "huge"], 20)
