"""The manifest lands whole or not at all, and says so when it was altered."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from retrieval.errors import StorageError
from retrieval.manifest import (
    MANIFEST_NAME,
    FileRecord,
    GenerationLease,
    Manifest,
    generation_path,
    read_manifest,
    retire_generations,
    write_manifest,
)


@pytest.fixture
def manifest() -> Manifest:
    return Manifest(
        schema_version=1,
        generation=1,
        lance_versions={"pages": 3},
        coarse_file="coarse/1.faiss",
        coarse_sha256="00",
        encoder_id="text",
        encoder_fingerprint="f00d",
        dim=128,
        compression="int8",
        counts={"pages": 2},
        settings={"strips": 8, "naïve": "é"},
        next_page_id=2**40,
        files={"lance/x": FileRecord(12, "ab")},
        skipped=(("a.pdf", "00", "encrypted"),),
    )


def test_what_is_written_is_read_back(tmp_path: Path, manifest: Manifest) -> None:
    written = write_manifest(tmp_path, manifest)
    assert read_manifest(tmp_path) == written
    assert replace(written, checksum="") == manifest
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".tmp"] == []


def test_every_flipped_byte_is_noticed(tmp_path: Path, manifest: Manifest) -> None:
    written = write_manifest(tmp_path, manifest)
    path = tmp_path / MANIFEST_NAME
    good = path.read_bytes()
    for i in range(len(good)):
        path.write_bytes(good[:i] + bytes([good[i] ^ 0x10]) + good[i + 1 :])
        try:
            assert read_manifest(tmp_path) == written, f"byte {i}"
        except StorageError as error:
            assert MANIFEST_NAME in str(error)
    for cut in range(len(good)):
        path.write_bytes(good[:cut])
        with pytest.raises(StorageError, match="MANIFEST"):
            read_manifest(tmp_path)


def test_no_index_and_foreign_schema_say_what_to_do(tmp_path: Path, manifest: Manifest) -> None:
    with pytest.raises(StorageError, match=r"no index.*index build"):
        read_manifest(tmp_path / "nowhere")
    write_manifest(tmp_path, replace(manifest, schema_version=99))
    with pytest.raises(StorageError, match="schema version 99"):
        read_manifest(tmp_path)


def test_a_lease_keeps_its_generation(tmp_path: Path, manifest: Manifest) -> None:
    for generation in (1, 2, 3):
        write_manifest(tmp_path, replace(manifest, generation=generation))
    lease = GenerationLease.take(tmp_path, 1)
    assert lease is not None
    with lease:
        remaining = retire_generations(tmp_path, frozenset({3}))
        assert [m.generation for m in remaining] == [1, 3]
    assert [m.generation for m in retire_generations(tmp_path, frozenset({3}))] == [3]
    assert not generation_path(tmp_path, 1).exists()
    assert GenerationLease.take(tmp_path, 1) is None
