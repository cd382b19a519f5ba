"""What every room agrees on: documents, pages, patches, regions, hits.

Geometry is always in *page fractions*: ``x0, y0, x1, y1`` in ``[0, 1]``, origin at the
top-left corner of the page as a person sees it (rotation and crop box applied).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
Box = tuple[float, float, float, float]
MetadataValue = str | int | float | bool


@dataclass(frozen=True, slots=True, eq=False)
class PageWords:
    """The words of a page in reading order.

    ``texts`` has n entries; ``boxes`` is ``[n, 4] float32`` page fractions; ``lines`` is
    ``[n] int32``, equal for words that share a line and increasing in reading order.
    """

    texts: tuple[str, ...]
    boxes: FloatArray
    lines: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.texts)

    @staticmethod
    def empty() -> PageWords:
        return PageWords((), np.zeros((0, 4), np.float32), np.zeros(0, np.int32))

    def text(self) -> str:
        """The page's text, one line of the page a line."""
        parts: list[str] = []
        for i, word in enumerate(self.texts):
            if i:
                parts.append("\n" if self.lines[i] != self.lines[i - 1] else " ")
            parts.append(word)
        return "".join(parts)


@dataclass(frozen=True, slots=True)
class TimeRange:
    """When a page of a recording is on the screen: from ``start`` to ``end``, in seconds from
    the recording's first moment. ``frame`` is the moment whose picture is the page."""

    start: float
    end: float
    frame: float


@dataclass(frozen=True, slots=True)
class SourcePart:
    """What part of its file a page is, where that shows several papers: ``frame`` (0-based) of
    the file, and the rectangle on it in fractions of that frame."""

    frame: int
    box: Box

    @property
    def whole(self) -> bool:
        """Whether it is all of its frame."""
        return self.box == (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True, slots=True, eq=False)
class PageContent:
    """One page as intake hands it on, before any encoder has seen it.

    ``number`` is 0-based within the document; ``label`` is what the page calls itself
    ("iv", "A-3") or ``str(number + 1)``. ``width`` and ``height`` are PDF points, or pixels
    for images. ``image`` is ``[h, w, 3] uint8`` RGB, or None when the encoder reads words
    only. ``text_source`` is ``layer``, ``ocr:tesseract``, ``ocr:rapidocr`` or ``none``.
    ``flags`` are machine words such as ``repaired``, ``rendered-by-poppler``, ``ocr-failed``.
    ``times`` is set for pages of recordings, ``part`` for those of scans with several papers.
    """

    number: int
    label: str
    width: float
    height: float
    words: PageWords
    text_source: str = "layer"
    image: NDArray[np.uint8] | None = None
    outline: str = ""
    flags: tuple[str, ...] = ()
    times: TimeRange | None = None
    part: SourcePart | None = None


@dataclass(frozen=True, slots=True)
class DocumentInfo:
    """A source as intake sees it before its pages are read.

    ``source`` is the path the user gave, made absolute; ``sha256`` is of the file's bytes
    and is what makes a build resumable. ``note`` is said to who adds it: what a recording would
    cost if all of it were shown, and how much is kept.
    """

    source: str
    sha256: str
    media_type: str
    title: str
    pages: int
    bytes: int
    metadata: Mapping[str, MetadataValue] = field(default_factory=dict)
    flags: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class PageEmbedding:
    """Patch vectors of one page.

    ``vectors`` is ``[n, d] float32`` with unit rows, ``boxes`` is ``[n, 4] float32`` page
    fractions: ``boxes[i]`` is the rectangle that ``vectors[i]`` stands for. A page with
    nothing on it has n = 0.
    """

    vectors: FloatArray
    boxes: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class QueryEmbedding:
    """Query vectors ``[q, d] float32`` (unit rows), the token each stands for, and the
    non-negative weight ``[q] float32`` of each in the late-interaction sum."""

    vectors: FloatArray
    tokens: tuple[str, ...]
    weights: FloatArray


@dataclass(frozen=True, slots=True)
class Region:
    """A place on a page that matched. ``score`` is in ``[0, 1]``."""

    box: Box
    score: float
    text: str = ""


@dataclass(frozen=True, slots=True)
class Hit:
    """One page found. ``score`` orders the hits; ``scores`` holds each lane's share; ``size``
    is the page's width and height in points (a picture's in pixels); ``times`` says when a
    page of a recording is shown; ``part`` where the paper lies on a scan of several; ``found_by``
    names the lanes that by themselves would have had
    it among the candidates."""

    rank: int
    score: float
    scores: Mapping[str, float]
    page_id: int
    doc_id: int
    source: str
    title: str
    page: int
    label: str
    metadata: Mapping[str, MetadataValue]
    flags: tuple[str, ...]
    regions: tuple[Region, ...]
    snippet: str = ""
    size: tuple[float, float] = (0.0, 0.0)
    times: TimeRange | None = None
    part: SourcePart | None = None
    found_by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SearchResult:
    """What a search returns: the hits, the generation they come from, and where time went.

    ``timing_ms`` has the keys ``encode``, ``coarse``, ``fetch``, ``rerank`` and ``total``.
    ``explain`` carries lane details when asked for.
    """

    query: str
    index_generation: int
    timing_ms: Mapping[str, float]
    hits: tuple[Hit, ...]
    explain: Mapping[str, Any] | None = None
