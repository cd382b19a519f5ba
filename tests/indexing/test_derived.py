"""What is made of sources and kept: made once, bounded, and the only thing that is removed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from indexing.derived import derived
from retrieval.errors import InputError


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("FOLIOSCOPE_CACHE", str(folder))
    return folder


def source(folder: Path, name: str, text: str = "x") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def result(
    path: Path, make: Callable[[Path], None], recipe: str = "recipe", most_mb: int = 1
) -> Path:
    """What ``derived`` gives, let go at once."""
    with derived(path, recipe, ".pdf", most_mb, make) as kept:
        return kept


def test_a_result_is_made_once_until_its_source_changes(cache: Path, tmp_path: Path) -> None:
    made: list[str] = []

    def make(to: Path) -> None:
        made.append(to.name)
        to.write_text(f"result {len(made)}")

    path = source(tmp_path, "letter")
    first = result(path, make)
    assert result(path, make) == first and len(made) == 1
    assert result(path, make, "another recipe") != first
    source(tmp_path, "letter", "longer")
    again = result(path, make)
    assert again != first and again.read_text() == "result 3"
    assert sorted(cache.iterdir()) == sorted(cache.glob("*.pdf")), "nothing half made is left"


def test_the_least_used_goes_and_what_others_keep_there_stays(cache: Path, tmp_path: Path) -> None:
    cache.mkdir()
    own = source(cache, "thesis.pdf", "y" * 2_000_000)
    os.utime(own, (1, 1))

    def make(to: Path) -> None:
        to.write_bytes(b"z" * 600_000)

    old = result(source(tmp_path, "a"), make)
    os.utime(old, (2, 2))
    new = result(source(tmp_path, "b"), make)
    assert own.exists() and new.exists() and not old.exists()


def test_what_is_in_use_stays_until_it_is_let_go(cache: Path, tmp_path: Path) -> None:
    def make(to: Path) -> None:
        to.write_bytes(b"z" * 600_000)

    with derived(source(tmp_path, "a"), "recipe", ".pdf", 1, make) as used:
        os.utime(used, (2, 2))
        second = result(source(tmp_path, "b"), make)
        assert used.exists() and second.exists()
        os.utime(used, (2, 2))
        os.utime(second, (3, 3))
        third = result(source(tmp_path, "c"), make)
        assert used.exists() and third.exists() and not second.exists()
    fourth = result(source(tmp_path, "d"), make)
    assert fourth.exists() and not used.exists() and not third.exists()


def test_a_full_disk_is_told_as_such(cache: Path, tmp_path: Path) -> None:
    def make(to: Path) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(InputError, match=r"No space left.*FOLIOSCOPE_CACHE"):
        result(source(tmp_path, "a"), make)
    assert not list(cache.iterdir())
