"""The few things Folioscope needs of LanceDB beyond rows: files, versions, one error tree.

A commit must know which files a table version consists of: they are hashed into the
manifest, and every other file is garbage. Lance's own clean-up goes by age and cannot say
that, so the files are recognised by their names inside Lance's version file (a protobuf that
holds data file names and index ids verbatim).
"""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from retrieval.errors import StorageError

LANCE = "lance"
COARSE = "coarse"
FILE_VERSION = "2.2"
REMEDY = "run `folioscope index verify`, then `folioscope index repair`"
# Lance rewrites this hint in place and falls back to listing when it is absent or wrong.
_MUTABLE = "latest_version_hint.json"
_MAX_VERSION = 2**64 - 1


def connect(root: Path) -> Any:
    """A LanceDB connection to the tables of the index at ``root``."""
    # Its warnings on stderr speak of its own defaults, not of anything a user can act on.
    os.environ.setdefault("LANCE_LOG", "error")
    os.environ.setdefault("RUST_LOG", "error")
    import lancedb

    options = {"new_table_data_storage_version": FILE_VERSION}
    return lancedb.connect(str(root / LANCE), storage_options=options)


@contextlib.contextmanager
def lance_errors(path: Path, remedy: str) -> Iterator[None]:
    """Turn what LanceDB raises, Rust panics included, into ``StorageError``."""
    import pyarrow as pa

    def fail(error: BaseException) -> StorageError:
        said = " ".join(str(error).split())
        if "No space left on device" in said or "os error 28" in said:
            return StorageError(
                f"the disk of {path} is full; free some space and run it again "
                "(what was committed is whole)"
            )
        said = said[:300]
        return StorageError(f"{path} cannot be used ({said}); {remedy}")

    try:
        yield
    except StorageError:
        raise
    except (RuntimeError, ValueError, OSError, KeyError, pa.ArrowException) as error:
        raise fail(error) from error
    except BaseException as error:
        # Raised by pyo3 when Rust panics, at once or while awaited; neither can be imported.
        if type(error).__name__ not in ("PanicException", "RustPanic"):
            raise
        raise fail(error) from error


def table_folder(root: Path, table: str) -> Path:
    """Where LanceDB keeps a table."""
    return root / LANCE / f"{table}.lance"


def version_file(root: Path, table: str, version: int) -> Path:
    """Lance's own manifest of one version of a table."""
    return table_folder(root, table) / "_versions" / f"{_MAX_VERSION - version}.manifest"


def version_files(root: Path, table: str, version: int) -> list[Path]:
    """Every file that this version of the table is made of.

    Raises ``StorageError`` if Lance's version file is absent.
    """
    folder = table_folder(root, table)
    manifest = version_file(root, table, version)
    try:
        said = manifest.read_bytes()
    except OSError as error:
        raise StorageError(
            f"{manifest} is missing or unreadable; run `folioscope index repair`"
        ) from error
    found = [manifest]
    found += [path for path in _files(folder / "data") if path.name.encode() in said]
    found += [path for path in _files(folder / "_transactions") if path.name.encode() in said]
    for path in _files(folder / "_indices"):
        with contextlib.suppress(ValueError):
            name = path.relative_to(folder / "_indices").parts[0]
            if uuid.UUID(name).bytes in said:
                found.append(path)
    for path in _files(folder / "_deletions"):
        # <fragment>-<version read>-<id>.<arrow|bin>; the id is written as a protobuf varint.
        number = path.stem.rpartition("-")[2]
        if number.isdigit() and _varint(int(number)) in said:
            found.append(path)
    return found


def _files(folder: Path) -> Iterator[Path]:
    for base, _, names in os.walk(folder):
        for name in names:
            yield Path(base) / name


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def sweep(root: Path, keep: Iterable[str]) -> list[str]:
    """Remove every file of the tables and the coarse folder that is not in ``keep``.

    ``keep`` holds paths relative to ``root``. This is both the rollback of a writer that died
    and the clean-up of generations nobody reads. Returns what was removed.
    """
    wanted = set(keep)
    removed = []
    for folder in (root / LANCE, root / COARSE):
        for path in list(_files(folder)):
            name = path.relative_to(root).as_posix()
            if name not in wanted:
                path.unlink(missing_ok=True)
                if path.name != _MUTABLE:
                    removed.append(name)
        for base, _, _ in os.walk(folder, topdown=False):
            if Path(base) != folder:
                with contextlib.suppress(OSError):
                    Path(base).rmdir()
    return removed
