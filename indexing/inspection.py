"""What a file is, by its bytes, and why it cannot be used, in its owner's words.

Names lie (a PNG called report.pdf, a web page saved as a PDF), so the type comes from the
content. Refusals name the file, say what is wrong, and what to do.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from indexing.media_types import HEAD_BYTES, media_type_of, name_agrees
from indexing.settings import raise_limit
from retrieval.errors import InputError


@dataclass(frozen=True, slots=True)
class FileFacts:
    """A source before it is opened: type by content, size, SHA-256 of its bytes."""

    media_type: str
    bytes: int
    sha256: str
    flags: tuple[str, ...]


def inspect_file(path: Path, max_mb: int = 4096) -> FileFacts:
    """Read ``path`` once. Raises ``InputError`` if it cannot be a document, or is larger than
    ``max_mb`` million bytes."""
    digest = hashlib.sha256()
    size = 0
    head = b""
    try:
        if not path.is_file():
            raise InputError(f"{path}: {_no_file(path)}")
        size = path.stat().st_size
        if size > max_mb * 1_000_000:
            wanted = size // 1_000_000 + 1
            raise InputError(
                f"{path}: the file has {wanted - 1} MB, the limit is {max_mb}; split it, or "
                f"{raise_limit('max_file_mb', wanted)}"
            )
        size = 0
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                head = head or block[:HEAD_BYTES]
                digest.update(block)
                size += len(block)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check its rights") from error
    if not size:
        raise InputError(f"{path}: the file is empty (0 bytes); fetch or export it again")
    media_type = media_type_of(path, head)
    flags = () if name_agrees(path, media_type) else ("misnamed",)
    return FileFacts(media_type, size, digest.hexdigest(), flags)


def _no_file(path: Path) -> str:
    if path.is_dir():
        if not os.access(path, os.R_OK | os.X_OK):
            return "this folder cannot be looked into; check its rights"
        if path.is_symlink():
            return f"is a link to another folder; name that to read it ({path.resolve()})"
        return "is a folder; name a document"
    if path.is_symlink():
        return f"is a link that leads nowhere ({path.readlink()}); mend or remove it"
    return "does not exist or is not a file; name a document"


def sniff(path: Path) -> str:
    """The type of ``path`` by its first bytes alone. Raises ``InputError``."""
    try:
        with path.open("rb") as file:
            return media_type_of(path, file.read(HEAD_BYTES))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check its rights") from error
