"""What a file is, by its bytes, and why it cannot be used, in its owner's words.

Names lie (a PNG called report.pdf, a web page saved as a PDF), so the type comes from the
content. Refusals name the file, say what is wrong, and what to do.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from retrieval.errors import InputError

PDF = "application/pdf"
# How far into a file the PDF mark may come: the specification's own tolerance.
_PDF_WITHIN = 1024
_HEAD = 4096

EXTENSIONS = frozenset(
    (".pdf", ".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".gif", ".bmp", ".jp2")
)
_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
    (b"II+\x00", "image/tiff"),
    (b"MM\x00+", "image/tiff"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"BM", "image/bmp"),
    (b"\x00\x00\x00\x0cjP  \r\n\x87\n", "image/jp2"),
)
_KNOWN_OTHERS: tuple[tuple[bytes, str], ...] = (
    (b"PK\x03\x04", "a ZIP archive or an Office document"),
    (b"\xd0\xcf\x11\xe0", "an old Office document"),
    (b"%!PS", "PostScript"),
    (b"{\\rtf", "an RTF document"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"7z\xbc\xaf", "a 7-Zip archive"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a program"),
)


@dataclass(frozen=True, slots=True)
class FileFacts:
    """A source before it is opened: type by content, size, SHA-256 of its bytes."""

    media_type: str
    bytes: int
    sha256: str
    flags: tuple[str, ...]


def inspect_file(path: Path) -> FileFacts:
    """Read ``path`` once. Raises ``InputError`` if it cannot be a document."""
    digest = hashlib.sha256()
    size = 0
    head = b""
    try:
        if not path.is_file():
            what = "is a folder" if path.is_dir() else "does not exist or is not a file"
            raise InputError(f"{path}: {what}; name a PDF or picture")
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                head = head or block[:_HEAD]
                digest.update(block)
                size += len(block)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check its rights") from error
    if not size:
        raise InputError(f"{path}: the file is empty (0 bytes); fetch or export it again")
    media_type = media_type_of(path, head)
    flags = () if _name_agrees(path, media_type) else ("misnamed",)
    return FileFacts(media_type, size, digest.hexdigest(), flags)


def sniff(path: Path) -> str:
    """The type of ``path`` by its first bytes alone. Raises ``InputError``."""
    try:
        with path.open("rb") as file:
            return media_type_of(path, file.read(_HEAD))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def media_type_of(path: Path, head: bytes) -> str:
    """The type that the first bytes ``head`` show. Raises ``InputError`` for an unknown one."""
    for magic, media_type in _MAGIC:
        if head.startswith(magic):
            return media_type
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    if b"%PDF-" in head[:_PDF_WITHIN]:
        return PDF
    if not head.strip(b"\x00"):
        raise InputError(f"{path}: holds only zero bytes, as after a broken copy; fetch it again")
    raise InputError(f"{path}: {_describe(head)}; Folioscope reads PDF and pictures")


def _describe(head: bytes) -> str:
    for magic, name in _KNOWN_OTHERS:
        if head.startswith(magic):
            return f"is {name}, not a PDF or picture"
    start = head.lstrip()[:256].lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return "is a web page, perhaps an error page saved in the document's place"
    if start.startswith((b"<?xml", b"<svg")):
        return "is XML, not a PDF or picture"
    printable = sum(32 <= byte < 127 or byte in b"\r\n\t" for byte in head)
    if printable > 0.95 * len(head):
        return "is plain text, not a PDF or picture"
    return "is not a PDF or a picture of a known type (its first bytes are unknown)"


def _name_agrees(path: Path, media_type: str) -> bool:
    suffix = path.suffix.lower()
    if not suffix or suffix not in EXTENSIONS:
        return not suffix
    short = {".jpg": "jpeg", ".tif": "tiff"}.get(suffix, suffix[1:])
    return media_type.endswith("/" + short)
