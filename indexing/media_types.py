"""Types of files, told by their first bytes; of those that are none of ours, what they are.

Names lie (a PNG called report.pdf), so a name decides only where bytes cannot: a TGA picture has
no mark, and a web page under another name is mostly an error page in a document's place.
"""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path

from retrieval.errors import InputError

PDF = "application/pdf"
TGA = "image/x-tga"
HEIC = "image/heic"
HTML = "text/html"
RTF = "application/rtf"
DOC, XLS, PPT = "application/msword", "application/vnd.ms-excel", "application/vnd.ms-powerpoint"
_OPEN_XML = "application/vnd.openxmlformats-officedocument"
DOCX = f"{_OPEN_XML}.wordprocessingml.document"
PPTX = f"{_OPEN_XML}.presentationml.presentation"
XLSX = f"{_OPEN_XML}.spreadsheetml.sheet"
_OPEN_DOCUMENT = "application/vnd.oasis.opendocument."
# How far into a file the PDF mark may come: the specification's own tolerance.
_PDF_WITHIN = 1024
HEAD_BYTES = 4096

# What files of a type are called. The rare ones are what scanners, fax servers and old slide
# programs leave behind.
_OFFICE: dict[str, tuple[str, ...]] = {
    DOCX: (".docx", ".docm", ".dotx"),
    PPTX: (".pptx", ".pptm", ".ppsx", ".potx"),
    XLSX: (".xlsx", ".xlsm", ".xltx", ".xlsb"),
    f"{_OPEN_DOCUMENT}text": (".odt", ".ott"),
    f"{_OPEN_DOCUMENT}presentation": (".odp", ".otp"),
    f"{_OPEN_DOCUMENT}spreadsheet": (".ods", ".ots"),
    DOC: (".doc", ".dot"),
    PPT: (".ppt", ".pps"),
    XLS: (".xls", ".xlt"),
    RTF: (".rtf",),
    HTML: (".html", ".htm", ".xhtml"),
}
_SUFFIXES: dict[str, tuple[str, ...]] = {
    PDF: (".pdf",),
    "image/jpeg": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "image/png": (".png", ".apng"),
    "image/tiff": (".tif", ".tiff"),
    "image/webp": (".webp",),
    "image/avif": (".avif", ".avifs"),
    HEIC: (".heic", ".heif", ".hif"),
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
    "video/mp4": (".mp4", ".m4v"),
    "video/quicktime": (".mov", ".qt"),
    "video/x-matroska": (".mkv",),
    "video/webm": (".webm",),
    **_OFFICE,
}
# Read through LibreOffice, which converts them to PDF.
OFFICE = frozenset(_OFFICE)
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
    (0, b"DDS ", "image/x-dds"),
    (0, b"8BPS", "image/x-photoshop"),
    (0, b"\x01\xda\x00", "image/x-sgi"),
    (0, b"\x01\xda\x01", "image/x-sgi"),
    (4, b"\x11\xaf", "image/x-fli"),
    (4, b"\x12\xaf", "image/x-fli"),
    (0, b"{\\rtf", RTF),
    # QuickTime files from before the mark `ftyp`
    (4, b"moov", "video/quicktime"),
    (4, b"wide", "video/quicktime"),
    (4, b"mdat", "video/quicktime"),
)
_AS_PDF = "save or print it as PDF and give that"
_UNPACK = "unpack it and give the files inside"
_AS_PNG = "save it as PNG or JPEG"
_AS_MP4 = "save it as MP4"
_OTHERS: tuple[tuple[int, bytes, str, str], ...] = (
    (0, b"\xd0\xcf\x11\xe0", "an old Office document of a kind not known here", _AS_PDF),
    (0, b"%!PS", "PostScript", _AS_PDF),
    (0, b"\x1f\x8b", "a gzip archive", _UNPACK),
    (0, b"7z\xbc\xaf", "a 7-Zip archive", _UNPACK),
    (0, b"Rar!", "a RAR archive", _UNPACK),
    (0, b"\x00\x00\x00\x0cJXL ", "a JPEG XL picture", _AS_PNG),
    (8, b"AVI LIST", "an AVI video", _AS_MP4),
    (0, b"FLV\x01", "a Flash video", _AS_MP4),
    (0, b"0&\xb2u\x8ef\xcf\x11", "a Windows Media video", _AS_MP4),
    (4, b"ftypM4A", "a sound recording", "give its transcript"),
    (0, b"\x7fELF", "a program", "leave it out"),
    (0, b"MZ", "a program", "leave it out"),
)
# What an ISO media file (`ftyp`) is by its brands; the others are videos.
_BRANDS: tuple[tuple[bytes, str], ...] = (
    (b"avif", "image/avif"),
    (b"avis", "image/avif"),
    (b"hei", HEIC),
    (b"hevc", HEIC),
    (b"hevx", HEIC),
    (b"mif1", HEIC),
    (b"qt  ", "video/quicktime"),
)
# The part that makes an Office document of a ZIP archive.
_PARTS: tuple[tuple[str, str], ...] = (
    ("word/document", DOCX),
    ("ppt/presentation", PPTX),
    ("xl/workbook", XLSX),
)
# Streams of the old format, as its directory names them.
_STREAMS: tuple[tuple[str, str], ...] = (
    ("WordDocument", DOC),
    ("PowerPoint Document", PPT),
    ("Workbook", XLS),
    ("Book", XLS),
)
_LOCKED_STREAM = "EncryptedPackage"


def media_type_of(path: Path, head: bytes) -> str:
    """The type that the first bytes ``head`` show. Raises ``InputError`` for an unknown one."""
    for start, magic, media_type in _MAGIC:
        if head.startswith(magic, start):
            return media_type
    if head.startswith(b"ftyp", 4) and not head.startswith(b"ftypM4A", 4):
        return _by_brand(head)
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return "video/webm" if b"webm" in head[:64] else "video/x-matroska"
    if head.startswith(b"PK\x03\x04"):
        return _zipped(path, head)
    if head.startswith(b"\xd0\xcf\x11\xe0"):
        found = _old_office(path, head)
        if found:
            return found
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
    if _is_html(head) and path.suffix.lower() in ("", *_OFFICE[HTML]):
        return HTML
    raise InputError(f"{path}: {_describe(head)}")


def name_agrees(path: Path, media_type: str) -> bool:
    """Whether a file of this type may be called so; a name without an ending may be anything."""
    suffix = path.suffix.lower()
    return not suffix or suffix in _SUFFIXES[media_type]


def _by_brand(head: bytes) -> str:
    """A picture or a video: the brands in the first box say, the main one first."""
    size = min(int.from_bytes(head[:4], "big"), 256)
    brands = [head[8:12], *(head[at : at + 4] for at in range(16, size, 4))]
    # `mif1` is a picture of any codec: the further brands say which.
    if brands[0] in (b"mif1", b"msf1"):
        brands = [*(brand for brand in brands if brand not in (b"mif1", b"msf1")), b"mif1"]
    for brand in brands:
        for mark, media_type in _BRANDS:
            if brand.startswith(mark):
                return media_type
    return "video/mp4"


def _zipped(path: Path, head: bytes) -> str:
    """Which Office format a ZIP archive is. Raises ``InputError`` if it is none."""
    if head[30:38] == b"mimetype" and head[38:].startswith(_OPEN_DOCUMENT.encode()):
        for media_type in sorted(_OFFICE, key=len, reverse=True):
            if head[38:].startswith(media_type.encode()):
                return media_type
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (
        OSError,
        zipfile.BadZipFile,
        ValueError,
        EOFError,
        NotImplementedError,
        struct.error,
    ) as error:
        raise InputError(
            f"{path}: begins as a ZIP archive (Office documents are such) but is cut off or "
            "damaged; fetch or export it again"
        ) from error
    for part, media_type in _PARTS:
        if any(name.startswith(part) for name in names):
            return media_type
    if "META-INF/container.xml" in names:
        raise InputError(f"{path}: is an EPUB book; {_AS_PDF}")
    raise InputError(f"{path}: is a ZIP archive; {_UNPACK}")


def _old_office(path: Path, head: bytes) -> str | None:
    """The type of a compound file, by the streams in the first sector of its directory."""
    try:
        (shift,) = struct.unpack_from("<H", head, 30)
        (sector,) = struct.unpack_from("<I", head, 48)
        if shift not in (9, 12):
            return None
        with path.open("rb") as file:
            file.seek((sector + 1) << shift)
            entries = file.read(4096)
    except (OSError, struct.error, OverflowError):
        return None
    if _LOCKED_STREAM.encode("utf-16-le") in entries:
        raise InputError(
            f"{path}: is an Office document locked with a password; save it without one"
        )
    found = (kind for name, kind in _STREAMS if name.encode("utf-16-le") in entries)
    return next(found, None)


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
    for start, magic, name, remedy in _OTHERS:
        if head.startswith(magic, start):
            return f"is {name}, not a document; {remedy}"
    if _is_html(head):
        return (
            "is a web page, perhaps an error page saved in the document's place; "
            "fetch the document again, or name it .html if the page is what is meant"
        )
    if _text(head).startswith((b"<?xml", b"<svg")):
        return f"is XML, not a document; {_AS_PDF}"
    printable = sum(32 <= byte < 127 or byte in b"\r\n\t" for byte in head)
    if printable > 0.95 * len(head):
        return f"is plain text, not a document; {_AS_PDF}"
    return (
        "is not a document of a known type, by its first bytes; if it should be one, it "
        "is damaged: fetch or export it again"
    )


def _is_html(head: bytes) -> bool:
    text = _text(head)
    if text.startswith(b"<?xml"):
        text = text.partition(b"?>")[2].lstrip()
    while text.startswith(b"<!--"):
        text = text.partition(b"-->")[2].lstrip()
    return text.startswith((b"<!doctype html", b"<html", b"<head", b"<body"))


def _text(head: bytes) -> bytes:
    return head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
