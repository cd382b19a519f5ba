"""What was made of a source once and is needed again: a PDF of a letter, the kept frames of a clip.

A bounded folder of the user's cache. Nothing in it is the truth: what is missing is made anew.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from retrieval.errors import InputError

# Only what is named like this is ever removed: whoever names the folder may keep more in it.
_OURS = re.compile(r"[0-9a-f]{40}\.[a-z.]+")
# What a process that was ended left half made is removed after a day.
_STALE_SECONDS = 86_400.0
_WORK = "making-"
# How often others may remove a result before it can be held: more is no accident.
_TRIES = 5


def cache_folder() -> Path:
    """``$FOLIOSCOPE_CACHE``, or ``folioscope`` in the user's cache folder.

    Where that cannot be written, a folder of this user's among the temporary files.
    """
    named = os.environ.get("FOLIOSCOPE_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    wanted = Path(named) if named else Path(base) / "folioscope"
    with contextlib.suppress(OSError):
        wanted.mkdir(mode=0o700, parents=True, exist_ok=True)
        if os.access(wanted, os.W_OK):
            return wanted
    own = Path(tempfile.gettempdir()) / f"folioscope-{os.getuid()}"
    own.mkdir(mode=0o700, exist_ok=True)
    if own.is_symlink() or own.stat().st_uid != os.getuid():
        raise OSError(f"{own} belongs to somebody else; set FOLIOSCOPE_CACHE to a folder of yours")
    return own


@contextlib.contextmanager
def derived(
    source: Path, recipe: str, suffix: str, most_mb: int, make: Callable[[Path], None]
) -> Iterator[Path]:
    """The file that ``make(path)`` writes of ``source``, made once for its present content.

    ``recipe`` names all else that the result depends on. When such files are more than
    ``most_mb`` million bytes, those not used for longest go; none goes while it is in use, which
    is the length of the block. Raises ``InputError`` if the folder cannot be written, ``OSError``
    if ``source`` cannot be read.
    """
    state = source.stat()
    facts = f"{os.fsencode(source)!r} {state.st_size} {state.st_mtime_ns} {state.st_ino} {recipe}"
    folder = cache_folder()
    kept = folder / f"{hashlib.sha256(facts.encode()).hexdigest()[:40]}{suffix}"
    for _ in range(_TRIES):
        file = _held(kept)
        if file is not None:
            break
        _make(source, kept, most_mb, make)
    else:
        raise InputError(
            f"{source}: what is made of it goes missing from {folder}; raise cache_mb, or set "
            "FOLIOSCOPE_CACHE to another folder"
        )
    try:
        yield kept
    finally:
        os.close(file)


def _held(kept: Path) -> int | None:
    """A descriptor under whose lock ``kept`` is not removed; None if it is not there."""
    try:
        file = os.open(kept, os.O_RDONLY)
    except OSError:
        return None
    with contextlib.suppress(OSError):  # some network folders have no locks
        fcntl.flock(file, fcntl.LOCK_SH)
    with contextlib.suppress(OSError):
        if kept.stat().st_ino == os.fstat(file).st_ino:  # else it was removed before the lock
            os.utime(kept)
            return file
    os.close(file)
    return None


def _make(source: Path, kept: Path, most_mb: int, make: Callable[[Path], None]) -> None:
    try:
        with workspace() as work:
            made = work / f"made{kept.suffix}"
            make(made)
            _make_room(kept.parent, most_mb * 1_000_000 - made.stat().st_size)
            _flush(made)
            made.replace(kept)
    except OSError as error:
        # Of the source's kind, so that it costs a build this source and not the others.
        raise InputError(
            f"{source}: what is made of it cannot be kept in {kept.parent} "
            f"({error.strerror or error}); make room there, or set FOLIOSCOPE_CACHE to another "
            "folder"
        ) from error


def _flush(path: Path) -> None:
    """To the disk before it gets its name: a name outlives a power cut, bytes may not."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


@contextlib.contextmanager
def workspace() -> Iterator[Path]:
    """An empty folder beside what is kept, removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix=_WORK, dir=cache_folder()))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _make_room(folder: Path, most_bytes: int) -> None:
    files: list[tuple[float, int, Path]] = []
    for entry in folder.iterdir():
        with contextlib.suppress(OSError):  # another process may remove it at the same time
            state = entry.stat()
            if _OURS.fullmatch(entry.name) and entry.is_file():
                files.append((state.st_mtime, state.st_size, entry))
            elif entry.name.startswith(_WORK) and state.st_mtime < time.time() - _STALE_SECONDS:
                shutil.rmtree(entry, ignore_errors=True)
    total = sum(size for _, size, _ in files)
    for _, size, path in sorted(files):
        if total <= most_bytes:
            return
        with contextlib.suppress(OSError), path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # in use: another one goes
            path.unlink()
            total -= size
