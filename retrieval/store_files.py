"""Size and hash of every file of a generation: recorded at commit, checked at open."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from retrieval.errors import StorageError
from retrieval.manifest import FileRecord, Manifest, fsync_folder
from retrieval.store_lance import LANCE, REMEDY, lance_errors, version_files


def hash_durably(path: Path) -> FileRecord:
    """The record of a file that is complete, once it is safely on disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return FileRecord(file.tell(), digest)


def same_bytes(path: Path, record: FileRecord) -> bool:
    """Whether ``path`` still holds what was recorded. Raises ``OSError`` if unreadable."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == record.sha256


def record_files(
    root: Path, tables: Mapping[str, Any], known: Mapping[str, FileRecord]
) -> dict[str, FileRecord]:
    """Records of every file of the tables' current versions, by path relative to ``root``.

    Files in ``known`` are not read again, as Lance never changes a file; the others are
    hashed and forced to disk.
    """
    records: dict[str, FileRecord] = {}
    folders: set[Path] = set()
    for name, table in tables.items():
        version = int(table.version)
        files = version_files(root, name, version)
        _check_recognised(root, name, table, files)
        for path in files:
            relative = path.relative_to(root).as_posix()
            record = known.get(relative)
            records[relative] = record or hash_durably(path)
            if record is None:
                folders.update(p for p in path.parents if p.is_relative_to(root))
    for folder in sorted(folders):
        fsync_folder(folder)
    return records


def _check_recognised(root: Path, name: str, table: Any, files: list[Path]) -> None:
    # Were a file overlooked, the sweep would delete live data; Lance's own counts tell.
    with lance_errors(root / LANCE, REMEDY):
        entries = table.list_versions()
    said = next(e["metadata"] for e in entries if e["version"] == table.version)
    kinds = [path.relative_to(root).parts[2] for path in files]
    for kind, key in (("data", "total_data_files"), ("_deletions", "total_deletion_files")):
        if kinds.count(kind) < int(said[key]):
            raise StorageError(
                f"table '{name}' has {said[key]} files under {kind}, only {kinds.count(kind)} "
                "were recognised: this LanceDB writes another format than Folioscope knows; "
                "install the version that Folioscope's requirements name"
            )


def check_files(root: Path, manifest: Manifest) -> None:
    """Raise ``StorageError`` for the first file that is not as it was committed.

    Page data, the bulk of an index, is only checked for size: its rows carry CRCs of their
    own. So are signs: they only choose which pages are read. Everything that is used without such
    a check (versions, deletions, the text index, the coarse index) is hashed.
    """
    for name, record in manifest.files.items():
        path = root / name
        try:
            size = path.stat().st_size
        except OSError as error:
            raise StorageError(f"{path} is missing; {REMEDY}") from error
        if size != record.bytes:
            raise StorageError(
                f"{path} has {size} bytes, {record.bytes} were written: it was truncated or "
                f"altered; {REMEDY}"
            )
        by_size = "/data/" in name or name.endswith(".signs")
        if not by_size and not same_bytes(path, record):
            raise StorageError(f"{path} was altered; {REMEDY}")
