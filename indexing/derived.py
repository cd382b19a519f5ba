"""What was made of a source once and is needed again: a PDF of a letter, the kept frames of a clip.

A bounded folder of the user's cache. Nothing in it is the truth: what is missing is made anew.
"""

from __future__ import annotations

import contextlib
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


def derived(
    source: Path, recipe: str, suffix: str, most_mb: int, make: Callable[[Path], None]
) -> Path:
    """The file that ``make(path)`` writes of ``source``, made once for its present content.

    ``recipe`` names all else that the result depends on. When such files are more than
    ``most_mb`` million bytes, those not used for longest go. Raises ``InputError`` if
    the folder cannot be written, ``OSError`` if ``source`` cannot be read.
    """
    state = source.stat()
    facts = f"{os.fsencode(source)!r} {state.st_size} {state.st_mtime_ns} {state.st_ino} {recipe}"
    folder = cache_folder()
    kept = folder / f"{hashlib.sha256(facts.encode()).hexdigest()[:40]}{suffix}"
    with contextlib.suppress(OSError):
        os.utime(kept)
        return kept
    try:
        with workspace() as work:
            made = work / f"made{suffix}"
            make(made)
            _make_room(folder, most_mb * 1_000_000 - made.stat().st_size)
            _flush(made)
            made.replace(kept)
    except OSError as error:
        # Of the source's kind, so that it costs a build this source and not the others.
        raise InputError(
            f"{source}: what is made of it cannot be kept in {folder} ({error.strerror or error}); "
            "make room there, or set FOLIOSCOPE_CACHE to another folder"
        ) from error
    return kept


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
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
            total -= size
