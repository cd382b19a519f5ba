"""Which files the sources of a build mean. Cheap: a misspelt name is told before anything loads."""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from indexing.media_types import EXTENSIONS
from retrieval.errors import InputError
from retrieval.manifest import MANIFEST_NAME


@dataclass(frozen=True, slots=True)
class SourceFiles:
    """The files to read, and those ``passed_over``: below a folder that was named, of a kind
    that is not read.

    Among the files are what cannot be read, so that whoever reads them says so: links that lead
    nowhere or to a folder elsewhere, and folders that may not be looked into.
    """

    files: tuple[Path, ...]
    passed_over: tuple[Path, ...]


def expand_sources(sources: Sequence[str | Path]) -> list[Path]:
    """The files that ``sources`` mean, sorted, each once: files as they are, folders with all
    documents below them (by extension; hidden files left out), and ``*`` patterns.

    Raises ``InputError`` for a source that does not exist, or if nothing is found.
    """
    return list(find_sources(sources).files)


def find_sources(sources: Sequence[str | Path]) -> SourceFiles:
    """What ``expand_sources`` finds, and what it passes over."""
    found: dict[Path, None] = {}
    others: dict[Path, None] = {}
    for source in sources:
        path = Path(source).expanduser()
        try:
            for match in [path] if path.exists() else _matches(source, path):
                if match.is_dir():
                    _look_below(match, found, others)
                else:
                    found[plain_path(match)] = None
        except OSError as error:
            raise InputError(
                f"{source}: cannot be looked at ({error.strerror}); check the rights of its folder"
            ) from error
    if not found:
        kinds = " ".join(sorted(EXTENSIONS))
        raise InputError(f"no documents in {', '.join(map(str, sources))}; looked for {kinds}")
    return SourceFiles(tuple(found), tuple(other for other in others if other not in found))


def _look_below(folder: Path, found: dict[Path, None], others: dict[Path, None]) -> None:
    inside: list[Path] = []
    closed: list[Path] = []
    top = folder.resolve()

    def note(error: OSError) -> None:
        closed.append(Path(error.filename))

    for at, folders, files in os.walk(folder, onerror=note):
        folders[:] = [name for name in folders if not name.startswith(".")]
        linked = [path for name in folders if (path := Path(at, name)).is_symlink()]
        # What a link within the folder leads to is looked through where it lies.
        closed += [path for path in linked if not path.resolve().is_relative_to(top)]
        inside += [Path(at, name) for name in files if not name.startswith(".")]
    indexes = {below.parent for below in inside if below.name == MANIFEST_NAME}
    told = frozenset(closed)
    for below in sorted([*inside, *told]):
        if below in told:
            found[plain_path(below)] = None
        elif _is_device(below):
            continue
        elif below.suffix.lower() in EXTENSIONS:
            found[plain_path(below)] = None
        elif indexes.isdisjoint(below.parents):  # an index's own files are not worth a word
            others[plain_path(below)] = None


def _is_device(path: Path) -> bool:
    """Whether ``path`` is a socket, a pipe or the like; what cannot be told of is not."""
    try:
        return not stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False


def _matches(source: str | Path, pattern: Path) -> list[Path]:
    matches = sorted(glob.glob(str(pattern), recursive=True))  # noqa: PTH207
    # A link that leads nowhere matches itself; so does nothing that can be read.
    existing = [path for match in matches if (path := Path(match)).exists()]
    if not existing:
        raise InputError(f"{source}: no such file or folder, and no file matches it as a pattern")
    return existing


def plain_path(path: Path) -> Path:
    """The absolute path without "..", which a file should not be known by; as it is where a
    link before ".." makes the shorter path another file."""
    whole = path.absolute()
    if ".." not in whole.parts:
        return whole
    plain = Path(os.path.normpath(whole))
    return plain if plain.exists() and plain.samefile(whole) else whole
