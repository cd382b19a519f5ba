"""What the rest of intake needs from a library that opens documents.

Kept small on purpose: PyMuPDF is AGPL, and whoever cannot live with that swaps it for
pdfium by setting, without anything above this interface noticing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import FolioscopeError, InputError
from retrieval.types import Box, PageWords, SourcePart, TimeRange

Image = NDArray[np.uint8]
_AGAIN = "fetch or export it again"
# What the command line tells whoever has a document that needs a password.
UNLOCK = "give it with --password, or save the document without one"


class LockedError(InputError):
    """The document is encrypted: no other library will do better."""


class LibraryError(InputError):
    """The library could not open the document: another one might."""


# Pictures on a page from which on they are symbols of a map, and how near each other, in fractions
# of the page, the strips of one picture lie.
_MOST_PICTURES, _NEAR = 300, 0.002


class OpenDocument(Protocol):
    """A document that is open for reading, page by page; pages count from 0.

    Methods raise the library's own errors; ``indexing.reading`` turns them into flags.
    """

    @property
    def pages(self) -> int: ...

    @property
    def title(self) -> str: ...

    @property
    def flags(self) -> tuple[str, ...]:
        """Machine words about the whole document, such as ``repaired``."""
        ...

    @property
    def note(self) -> str:
        """What whoever adds the document should be told; see ``DocumentInfo.note``."""
        ...

    def label(self, number: int) -> str: ...

    def outline(self, number: int) -> str:
        """The path of headings in force on the page, "Chapter > Section"."""
        ...

    def size(self, number: int) -> tuple[float, float]:
        """Width and height of the page as displayed: points, or pixels for pictures."""
        ...

    def words(self, number: int) -> PageWords:
        """The text layer, boxes in fractions of the page as displayed."""
        ...

    def times(self, number: int) -> TimeRange | None:
        """When a page of a recording is on the screen; None for everything else."""
        ...

    def part(self, number: int) -> SourcePart | None:
        """Where the page lies on a scan of several papers; None for everything else."""
        ...

    def picture_share(self, number: int) -> float:
        """The share of the page, 0 to 1, that pictures cover."""
        ...

    def has_content(self, number: int) -> bool:
        """Whether the file says to print anything on the page, whatever comes of it."""
        ...

    def page_flags(self, number: int) -> tuple[str, ...]:
        """Machine words about a page, complete once it was rendered, such as ``cut-off``."""
        ...

    def render(self, number: int, dpi: int, max_pixels: int) -> Image:
        """``[h, w, 3] uint8`` RGB, at ``dpi`` or less so as to stay within ``max_pixels``."""
        ...

    def pixels(self, number: int, dpi: int) -> tuple[int, int]:
        """Width and height of the page at ``dpi``, a picture's own, whatever limit there is."""
        ...

    def render_part(self, number: int, dpi: int, box: Box) -> Image:
        """A part of the page in fractions, at ``dpi``; of a picture, its own pixels."""
        ...

    def detail(self, number: int) -> float:
        """The resolution in dpi beyond which drawing the page shows nothing new: that of the
        finest picture that fills much of it, or infinity where it is drawn from curves."""
        ...

    def unpainted(self, number: int) -> list[tuple[Box, str]]:
        """Stretches of text that the file says not to paint, as far as the library tells: where
        they would stand, in page fractions, and what they say."""
        ...

    def doubtful(self, number: int) -> list[Box]:
        """Where text stands of which a picture may show something else, as far as the library
        tells: it is not painted, or a picture is painted over it. In page fractions."""
        ...

    def pictures(self, number: int) -> list[Box]:
        """Where pictures stand, in page fractions; those that touch, as the strips that many
        programs cut a picture into, are one."""
        ...

    def close(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


@contextlib.contextmanager
def opening(path: Path, what: str) -> Iterator[None]:
    """Turns whatever a library raises on a hostile file into a ``LibraryError`` saying that
    ``what`` ("the PDF") cannot be opened, and what to do."""
    try:
        yield
    except FolioscopeError:
        raise
    except MemoryError as error:
        raise LibraryError(
            f"{path}: {what} needs more memory to open than a reader may take; "
            "save it in smaller parts"
        ) from error
    except Exception as error:  # libraries raise classes of all kinds on hostile input
        why = in_words(error)
        # Where the library says no more than that, neither does the message.
        detail = "" if str(path) in why or "Failed to open" in why else f" ({why})"
        raise LibraryError(f"{path}: {what} is damaged beyond repair{detail}; {_AGAIN}") from error


def locked(password: str | None) -> str:
    """Why a document that needs a password does not open."""
    if password:
        return "the PDF is locked and the password given does not open it; check the password"
    return f"the PDF is locked and needs a password; {UNLOCK}"


def in_words(error: BaseException) -> str:
    """What a library's error says, on one line, without the library's codes."""
    if isinstance(error, MemoryError):
        return "it needs more memory than a reader may take"
    text = next(iter(str(error).splitlines()), "")
    if text.startswith("code=") and ": " in text:
        text = text.split(": ", 1)[1]
    return " ".join(text.split())[:300].rstrip(".") or type(error).__name__


def fitting_dpi(width: float, height: float, dpi: int, max_pixels: int) -> float:
    """``dpi``, or what keeps a page of ``width`` x ``height`` points within ``max_pixels``."""
    pixels = (width / 72 * dpi) * (height / 72 * dpi)
    return dpi if pixels <= max_pixels else dpi * float(np.sqrt(max_pixels / pixels))


def pixels_at(width: float, height: float, dpi: int) -> tuple[int, int]:
    """A page of ``width`` x ``height`` points in pixels."""
    return max(1, round(width / 72 * dpi)), max(1, round(height / 72 * dpi))


def pixel_part(box: Box, width: int, height: int) -> tuple[int, int, int, int]:
    """``box`` of a picture of ``width`` x ``height``, in whole pixels, one at least."""
    x0 = min(width - 1, max(0, round(box[0] * width)))
    y0 = min(height - 1, max(0, round(box[1] * height)))
    return (
        x0,
        y0,
        min(width, max(x0 + 1, round(box[2] * width))),
        min(height, max(y0 + 1, round(box[3] * height))),
    )


def united(boxes: list[Box]) -> list[Box]:
    """What of ``boxes`` is on the page, those that touch put together; none where there are more
    than a page of text has pictures."""
    if len(boxes) > _MOST_PICTURES:
        return []
    groups: list[Box] = []
    for x0, y0, x1, y1 in boxes:
        one: Box = (max(x0, 0.0), max(y0, 0.0), min(x1, 1.0), min(y1, 1.0))
        if one[0] >= one[2] or one[1] >= one[3]:
            continue
        apart: list[Box] = []
        for other in groups:
            if _touch(one, other):
                one = (
                    min(one[0], other[0]),
                    min(one[1], other[1]),
                    max(one[2], other[2]),
                    max(one[3], other[3]),
                )
            else:
                apart.append(other)
        groups = [*apart, one]
    return groups


def _touch(a: Box, b: Box) -> bool:
    return max(a[0], b[0]) <= min(a[2], b[2]) + _NEAR and max(a[1], b[1]) <= min(a[3], b[3]) + _NEAR


def outline_paths(entries: list[tuple[int, str, int]], pages: int) -> list[str]:
    """The heading path in force on every page, from ``(level, title, page)`` entries.

    A page on which a section begins belongs to that section, as its first lines are what the
    page is about.
    """
    begins: dict[int, str] = {}
    path: list[str] = []
    for level, title, page in entries:
        path = [*path[: max(0, level - 1)], " ".join(title.split())]
        if 0 <= page < pages:
            begins[page] = " > ".join(part for part in path if part)
    paths = []
    current = ""
    for page in range(pages):
        current = begins.get(page, current)
        paths.append(current)
    return paths
