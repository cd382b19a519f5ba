"""A workbook made ready to be printed for readers: all of its cells, and rows that stay whole.

Printed as it is, a sheet loses the cells beyond its print area, and one that is wider than a page
is cut into strips: headings and names on one page, figures on the next, words in two at the edge.
"""

from __future__ import annotations

import re
import shutil
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

# How a part may be packed, by the format's standard.
PACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_BOOK = "xl/workbook.xml"
_SHEET = re.compile(r"xl/worksheets/[^/]+\.xml")
# What is larger is copied as it is: it is read whole, and has more rows than anyone prints.
_MOST_BYTES = 64_000_000
# A sheet of so many columns is printed as wide as a page; print of one of more would be dust.
_MOST_COLUMNS, _UPRIGHT_COLUMNS = 26, 8
_PRINT_AREA = re.compile(
    rb"<definedName\b[^>]*name=[\"']_xlnm\.Print_Area[\"'][^>]*>[^<]*</definedName>"
)
_NO_NAMES = re.compile(rb"<definedNames>\s*</definedNames>")
_EXTENT = re.compile(rb"<dimension\b[^>]*\bref=[\"']([A-Z]{1,3})\d+:([A-Z]{1,3})\d+[\"']")
_BEGIN = re.compile(rb"<worksheet\b[^>]*>")
_PROPERTIES = re.compile(rb"<sheetPr\b([^>]*?)(?:/>|>(.*?)</sheetPr>)", re.DOTALL)
_FITS = re.compile(rb"<pageSetUpPr\b[^>]*/>")
_SETUP = re.compile(rb"<pageSetup\b([^>]*?)/>")
_SCALES = re.compile(rb"\s(?:scale|fitToWidth|fitToHeight)=(?:\"[^\"]*\"|'[^']*')")
# Set-ups of single users come before the sheet's own, and are not what is printed.
_VIEWS = re.compile(rb"<customSheetViews>.*?</customSheetViews>", re.DOTALL)
_CELLS_END = re.compile(rb"</sheetData>|<sheetData\s*/>")
_AS_WIDE_AS_A_PAGE = b' fitToWidth="1" fitToHeight="0"'


def write_printable(path: Path, to: Path, alive: Callable[[], None]) -> bool:
    """Write the XLSX at ``path`` ready to be printed; False, and maybe a part of a file, if it
    cannot be taken apart. ``alive`` is called after each part."""
    try:
        with zipfile.ZipFile(path) as archive, zipfile.ZipFile(to, "w") as copy:
            for entry in archive.infolist():
                if entry.compress_type not in PACKED:
                    return False
                change = _change_of(entry)
                if change is not None:
                    copy.writestr(entry.filename, change(archive.read(entry)))
                else:
                    with archive.open(entry) as part, copy.open(entry.filename, "w") as place:
                        shutil.copyfileobj(part, place)
                alive()
    except (
        *(OSError, zipfile.BadZipFile, KeyError, ValueError, EOFError, RuntimeError),
        *(NotImplementedError, zlib.error),
    ):
        return False
    return True


def _change_of(entry: zipfile.ZipInfo) -> Callable[[bytes], bytes] | None:
    if entry.file_size > _MOST_BYTES:
        return None
    if entry.filename == _BOOK:
        return _without_areas
    return fitted if _SHEET.fullmatch(entry.filename) else None


def _without_areas(book: bytes) -> bytes:
    # A list of names must not be empty.
    return _NO_NAMES.sub(b"", _PRINT_AREA.sub(b"", book))


def fitted(sheet: bytes) -> bytes:
    """``sheet``, XML, to be printed as wide as a page if it has few columns enough."""
    begin, extent, end = _BEGIN.search(sheet), _EXTENT.search(sheet), _CELLS_END.search(sheet)
    if begin is None or extent is None or end is None:
        return sheet
    columns = _number(extent[2]) - _number(extent[1]) + 1
    if columns > _MOST_COLUMNS:
        return sheet
    head, cells, tail = sheet[: begin.end()], sheet[begin.end() : end.end()], sheet[end.end() :]
    own = _PROPERTIES.search(cells[: extent.start() - begin.end()])
    inside = _FITS.sub(b"", (own[2] if own else None) or b"")
    attributes = own[1] if own else b""
    properties = b'<sheetPr%b>%b<pageSetUpPr fitToPage="1"/></sheetPr>' % (attributes, inside)
    cells = properties + (cells[: own.start()] + cells[own.end() :] if own else cells)
    tail = _VIEWS.sub(b"", tail)
    setup = _SETUP.search(tail)
    if setup is None:
        side = b' orientation="landscape"' if columns > _UPRIGHT_COLUMNS else b""
        return b"%b%b<pageSetup%b%b/>%b" % (head, cells, side, _AS_WIDE_AS_A_PAGE, tail)
    changed = b"<pageSetup%b%b/>" % (_SCALES.sub(b"", setup[1]), _AS_WIDE_AS_A_PAGE)
    return head + cells + tail[: setup.start()] + changed + tail[setup.end() :]


def _number(column: bytes) -> int:
    """Which column "A", "Z" or "AA" is, from 1 on."""
    number = 0
    for letter in column:
        number = 26 * number + letter - ord("A") + 1
    return number
