"""What a file is, by its bytes, and why it cannot be used, in its owner's words.

Names lie (a PNG called report.pdf, a web page saved as a PDF), so the type comes from the
content. Refusals name the file, say what is wrong, and what to do.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from indexing.settings import raise_limit
from retrieval.errors import InputError

PDF = "application/pdf"
TGA = "image/x-tga"
# How far into a file the PDF mark may come: the specification's own tolerance.
_PDF_WITHIN = 1024
_HEAD = 4096

# What files of a type are called. The rare ones are what scanners, fax servers and old slide
# programs leave behind.
_SUFFIXES: dict[str, tuple[str, ...]] = {
    PDF: (".pdf",),
    "image/jpeg": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "image/png": (".png", ".apng"),
    "image/tiff": (".tif", ".tiff"),
    "image/webp": (".webp",),
    "image/avif": (".avif", ".avifs"),
    "image/gif": (".gif",),
    "image/bmp": (".bmp", ".dib"),
    "image/jp2": (".jp2", ".j2k", ".j2c", ".jpc", ".jpx"),
    "image/x-portable-anymap": (".ppm", ".pgm", ".pbm", ".pnm"),
    "image/x-pcx": (".pcx",),
    "image/x-sgi": (".sgi", ".rgb", ".bw"),
    "image/x-dds": (".dds",),
    "image/x-photoshop": (".psd",),
    "image/x-fli": (".fli", ".flc"),
    TGA: (".tga",),
}
EXTENSIONS = frozenset(suffix for suffixes in _SUFFIXES.values() for suffix in suffixes)

# (where the mark stands, the mark, the type)
_MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"II*\x00", "image/tiff"),
    (0, b"MM\x00*", "image/tiff"),
    (0, b"II+\x00", "image/tiff"),
    (0, b"MM\x00+", "image/tiff"),
    (0, b"GIF87a", "image/gif"),
    (0, b"GIF89a", "image/gif"),
    (0, b"BM", "image/bmp"),
    (0, b"\x00\x00\x00\x0cjP  \r\n\x87\n", "image/jp2"),
    (0, b"\xff\x4f\xff\x51", "image/jp2"),
    (8, b"WEBP", "image/webp"),
    (4, b"ftypavif", "image/avif"),
    (4, b"ftypavis", "image/avif"),
    (0, b"DDS ", "image/x-dds"),
    (0, b"8BPS", "image/x-photoshop"),
    (0, b"\x01\xda\x00", "image/x-sgi"),
    (0, b"\x01\xda\x01", "image/x-sgi"),
    (4, b"\x11\xaf", "image/x-fli"),
    (4, b"\x12\xaf", "image/x-fli"),
)
_AS_PDF = "save or print it as PDF and give that"
_UNPACK = "unpack it and give the files inside"
_AS_PNG = "save it as PNG or JPEG"
_OTHERS: tuple[tuple[int, bytes, str, str], ...] = (
    (0, b"\xd0\xcf\x11\xe0", "an old Office document", _AS_PDF),
    (0, b"%!PS", "PostScript", _AS_PDF),
    (0, b"{\\rtf", "an RTF document", _AS_PDF),
    (0, b"\x1f\x8b", "a gzip archive", _UNPACK),
    (0, b"7z\xbc\xaf", "a 7-Zip archive", _UNPACK),
    (0, b"Rar!", "a RAR archive", _UNPACK),
    (4, b"ftyphei", "a HEIC picture", _AS_PNG),
    (4, b"ftypmif1", "a HEIF picture", _AS_PNG),
    (0, b"\x00\x00\x00\x0cJXL ", "a JPEG XL picture", _AS_PNG),
    (4, b"ftyp", "a video", "give pictures of what it shows"),
    (0, b"\x1a\x45\xdf\xa3", "a video", "give pictures of what it shows"),
    (0, b"\x7fELF", "a program", "leave it out"),
    (0, b"MZ", "a program", "leave it out"),
)
# What a ZIP archive holds first tells the Office formats from one another.
_ZIPPED: tuple[tuple[bytes, str], ...] = (
    (b"word/", "a Word document"),
    (b"ppt/", "a PowerPoint presentation"),
    (b"xl/", "an Excel workbook"),
    (b"opendocument", "an OpenDocument file"),
    (b"application/epub", "an EPUB book"),
    (b"[Content_Types].xml", "an Office document"),
)


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
            what = "is a folder" if path.is_dir() else "does not exist or is not a file"
            raise InputError(f"{path}: {what}; name a PDF or picture")
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
        raise InputError(f"{path}: cannot be read ({error.strerror}); check its rights") from error


def media_type_of(path: Path, head: bytes) -> str:
    """The type that the first bytes ``head`` show. Raises ``InputError`` for an unknown one."""
    for start, magic, media_type in _MAGIC:
        if head.startswith(magic, start):
            return media_type
    if head[:1] == b"P" and head[1:2] in b"123456" and head[2:3].isspace():
        return "image/x-portable-anymap"
    if head[:1] == b"\x0a" and head[1:2] in b"\x00\x02\x03\x04\x05" and head[2:3] == b"\x01":
        return "image/x-pcx"
    if b"%PDF-" in head[:_PDF_WITHIN]:
        return PDF
    if not head.strip(b"\x00"):
        raise InputError(f"{path}: holds only zero bytes, as after a broken copy; fetch it again")
    if path.suffix.lower() == ".tga" and _may_be_tga(head):
        return TGA
    raise InputError(f"{path}: {_describe(head)}")


def _may_be_tga(head: bytes) -> bool:
    """TGA is the one type without a mark: its name and a header that makes sense must do."""
    return (
        len(head) > 18
        and head[1] in (0, 1)
        and head[2] in (1, 2, 3, 9, 10, 11)
        and head[16] in (1, 8, 15, 16, 24, 32)
    )


def _describe(head: bytes) -> str:
    """What ``head`` is the beginning of, and what its owner can do."""
    if head.startswith(b"PK\x03\x04"):
        found = next((name for mark, name in _ZIPPED if mark in head), None)
        return f"is {found}; {_AS_PDF}" if found else f"is a ZIP archive; {_UNPACK}"
    for start, magic, name, remedy in _OTHERS:
        if head.startswith(magic, start):
            return f"is {name}, not a PDF or picture; {remedy}"
    start_of_text = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:256].lower()
    if start_of_text.startswith((b"<!doctype html", b"<html")):
        return (
            "is a web page, perhaps an error page saved in the document's place; "
            "fetch the document again, or print the page as PDF"
        )
    if start_of_text.startswith((b"<?xml", b"<svg")):
        return f"is XML, not a PDF or picture; {_AS_PDF}"
    printable = sum(32 <= byte < 127 or byte in b"\r\n\t" for byte in head)
    if printable > 0.95 * len(head):
        return f"is plain text, not a PDF or picture; {_AS_PDF}"
    return (
        "is not a PDF or a picture of a known type, by its first bytes; if it should be one, it "
        "is damaged: fetch or export it again"
    )


def _name_agrees(path: Path, media_type: str) -> bool:
    suffix = path.suffix.lower()
    return not suffix or suffix in _SUFFIXES[media_type]
