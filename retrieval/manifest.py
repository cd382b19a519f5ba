"""The manifest: the one file that says what an index is at a generation.

Everything else under the folder is either named here (with size and hash) or garbage of a
writer that did not finish. A copy of each generation's manifest is kept under
``generations/`` while someone may still read that generation: readers hold a shared lock on
it (``GenerationLease``), and a writer removes a generation's files only when it can take
that lock alone.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from types import TracebackType
from typing import Any

from retrieval.errors import StorageError
from retrieval.faults import fault_point

# 2 added lanes; an index of 1 is one without, and becomes 2 with its next commit.
SCHEMA_VERSION = 2
_READABLE = (1, 2)
MANIFEST_NAME = "MANIFEST.json"
GENERATIONS = "generations"


@dataclass(frozen=True, slots=True)
class FileRecord:
    """What a file held when it was committed; Lance and FAISS files never change after."""

    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class LaneRecord:
    """One more encoder's vectors of every page, beside those of the index's first encoder.

    The fields are those that ``Manifest`` has for the first; ``directory_crc`` guards which
    pages have how many patches and page vectors in this lane.
    """

    encoder_id: str
    encoder_fingerprint: str
    dim: int
    compression: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    coarse_file: str | None = None
    signs_files: tuple[str, ...] = ()
    directory_crc: int = 0


@dataclass(frozen=True, slots=True)
class Manifest:
    """One generation of an index.

    ``lance_versions`` maps table name to the Lance version readers check out. ``files`` maps
    every file of those versions (relative, posix) to its record. ``coarse_file`` is None when
    no coarse index covers this generation: it can be rebuilt from Lance. ``directory_crc`` and
    ``documents_crc`` guard the columns that are read whole at open. ``skipped`` lists sources
    that could not be indexed, as ``[source, sha256, reason]``. ``lanes`` are the encoders beside
    the first, by name. ``signs_files`` are those of ``retrieval.signs``; they may lack pages,
    or be none in an index of an older Folioscope.
    """

    schema_version: int
    generation: int
    lance_versions: Mapping[str, int]
    coarse_file: str | None
    coarse_sha256: str | None
    encoder_id: str
    encoder_fingerprint: str
    dim: int
    compression: str
    counts: Mapping[str, int]
    settings: Mapping[str, Any]
    next_page_id: int = 0
    next_doc_id: int = 0
    directory_crc: int = 0
    documents_crc: int = 0
    files: Mapping[str, FileRecord] = field(default_factory=dict)
    skipped: tuple[tuple[str, str, str], ...] = ()
    signs_files: tuple[str, ...] = ()
    lanes: Mapping[str, LaneRecord] = field(default_factory=dict)
    checksum: str = ""

    def with_checksum(self) -> Manifest:
        """A copy whose ``checksum`` covers every other field."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return Manifest(**{**values, "checksum": _checksum(_body(self))})


def _body(manifest: Manifest) -> dict[str, Any]:
    body = asdict(manifest)
    del body["checksum"]
    return body


def _checksum(body: Mapping[str, Any]) -> str:
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _parse(path: Path, data: bytes) -> Manifest:
    try:
        raw = json.loads(data)
        if not isinstance(raw, dict):
            raise ValueError("not an object")
        version = raw.get("schema_version")
        stated = raw.pop("checksum", "")
    except (ValueError, UnicodeDecodeError) as error:
        raise _damaged(path, "is not readable JSON") from error
    if _checksum(raw) != stated:
        raise _damaged(path, "does not match its own checksum")
    if version not in _READABLE:
        raise StorageError(
            f"{path} is of schema version {version}, this Folioscope reads {SCHEMA_VERSION}; "
            "use the version that wrote it, or build the index anew"
        )
    try:
        raw["files"] = {name: FileRecord(**record) for name, record in raw["files"].items()}
        raw["skipped"] = tuple((str(s), str(h), str(r)) for s, h, r in raw["skipped"])
        raw["signs_files"] = tuple(raw.get("signs_files", ()))
        raw["lanes"] = {
            name: LaneRecord(**{**lane, "signs_files": tuple(lane.get("signs_files", ()))})
            for name, lane in raw.get("lanes", {}).items()
        }
        return Manifest(**raw, checksum=stated)
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise _damaged(path, "lacks a field or has one too many") from error


def _damaged(path: Path, what: str) -> StorageError:
    return StorageError(f"{path} {what}: the index is damaged; run `folioscope index repair`")


def read_manifest_file(path: Path) -> Manifest:
    """The manifest in ``path``. Raises ``StorageError`` if it is absent, altered or foreign."""
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise StorageError(
            f"there is no index at {path.parent} (no {path.name}); "
            "make one with `folioscope index build`"
        ) from error
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}") from error
    return _parse(path, data)


def read_manifest(root: Path) -> Manifest:
    """The current generation's manifest of the index at ``root``."""
    return read_manifest_file(root / MANIFEST_NAME)


def write_manifest(root: Path, manifest: Manifest) -> Manifest:
    """Make ``manifest`` the current generation, atomically; returns it with its checksum.

    The copy under ``generations/`` lands first, so that a reader which sees the new manifest
    always finds a file to hold its lease on.
    """
    manifest = manifest.with_checksum()
    text = json.dumps({**_body(manifest), "checksum": manifest.checksum}, indent=1).encode()
    copies = root / GENERATIONS
    copies.mkdir(exist_ok=True)
    _write_durably(generation_path(root, manifest.generation), text)
    fault_point("generation-written")
    _write_durably(root / MANIFEST_NAME, text, faults=True)
    return manifest


def generation_path(root: Path, generation: int) -> Path:
    """Where the copy of a generation's manifest lies."""
    return root / GENERATIONS / f"{generation}.json"


def _write_durably(path: Path, data: bytes, *, faults: bool = False) -> None:
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("wb") as file:
        file.write(data[: len(data) // 2])
        if faults:
            file.flush()
            fault_point("manifest-unfinished")
        file.write(data[len(data) // 2 :])
        file.flush()
        os.fsync(file.fileno())
    if faults:
        fault_point("manifest-written")
    temporary.replace(path)
    if faults:
        fault_point("manifest-renamed")
    fsync_folder(path.parent)


def fsync_folder(folder: Path) -> None:
    """Make renames and new names in ``folder`` survive a power cut."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class GenerationLease:
    """A reader's shared hold on one generation, dropped by ``close`` or by dying.

    On a folder that cannot be locked (read-only media without lock support) the lease is
    empty: nobody can write there either.
    """

    def __init__(self, fd: int | None) -> None:
        self._fd = fd

    @staticmethod
    def take(root: Path, generation: int) -> GenerationLease | None:
        """The lease, or None if a writer has just swept the generation: read the manifest anew."""
        path = generation_path(root, generation)
        try:
            fd = os.open(path, os.O_RDONLY)
        except OSError:
            return None
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
            if os.fstat(fd).st_nlink == 0:
                os.close(fd)
                return None
        except BlockingIOError:
            os.close(fd)
            return None
        except OSError:
            os.close(fd)
            return GenerationLease(None)
        return GenerationLease(fd)

    def close(self) -> None:
        """Give the generation up. Closing twice is harmless."""
        if self._fd is not None:
            fd, self._fd = self._fd, None
            os.close(fd)

    def __enter__(self) -> GenerationLease:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()


def pin_current(root: Path) -> tuple[Manifest, GenerationLease | None]:
    """The current manifest and a lease on its generation, whose files then stay; no lease if the
    generation's copy is missing. A commit in between means trying again."""
    for _ in range(20):
        manifest = read_manifest(root)
        lease = GenerationLease.take(root, manifest.generation)
        if lease is not None:
            return manifest, lease
    return manifest, None


def retire_generations(root: Path, keep: frozenset[int]) -> list[Manifest]:
    """Drop the copies of generations that nobody reads; return the manifests that remain.

    Copies of generations in ``keep``, or leased by a living reader, stay. Damaged copies go:
    they cannot say which files they protect.
    """
    remaining: list[Manifest] = []
    for path in sorted((root / GENERATIONS).glob("*")):
        if path.suffix != ".json" or not path.stem.isdigit():
            path.unlink(missing_ok=True)
            continue
        if int(path.stem) not in keep and _unlink_unless_leased(path):
            continue
        with contextlib.suppress(StorageError):
            remaining.append(read_manifest_file(path))
    return remaining


def _unlink_unless_leased(path: Path) -> bool:
    fd = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    else:
        path.unlink(missing_ok=True)
        return True
    finally:
        os.close(fd)
