"""A model that squashes every page to one small picture, shown the page in tiles as well.

At 448 x 448 pixels a letter of a printed page is two or three pixels high: the model sees that
there is text, and little of what it says. Pages whose smallest print falls below the legible are
therefore shown whole and in overlapping tiles, each at a size at which the print is legible, as
far as the budget of tiles goes. Every place on the page keeps one patch of the tiles: in an
overlap, that of the tile in which it lies deeper.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from retrieval.encoders.base import PageEncoder, Reads
from retrieval.legibility import MINIMUM, Crop, ReaderInput, legible_crops, seen_at
from retrieval.types import Box, FloatArray, PageContent, PageEmbedding, QueryEmbedding

_REVISION = "tiled-1"
_WHOLE = (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True, slots=True)
class Cost:
    """What tiles add: pages that were tiled, tiles, and vectors with them and without."""

    pages: int
    tiles: int
    vectors: int
    vectors_whole: int


def shrinks_print(encoder: PageEncoder, page: PageContent) -> bool:
    """Whether ``encoder``, which reads pictures, sees the smallest print of ``page`` at a size at
    which nobody could read it. One that cuts pages into tiles does what can be done."""
    reader: ReaderInput | None = getattr(encoder, "reader_input", None)
    if reader is None or page.image is None or isinstance(encoder, TiledEncoder):
        return False
    height, width = page.image.shape[:2]
    size = (float(max(1, width)), float(max(1, height)))
    return 0 < seen_at(page.words, page.text_source, size, reader) < MINIMUM


class TiledEncoder:
    """A ``PageEncoder`` that shows ``inner``, whose input is ``reader``, at most ``most`` tiles
    of a page beside the whole."""

    def __init__(self, inner: PageEncoder, reader: ReaderInput, most: int) -> None:
        self._inner = inner
        self._most = most
        self.reader_input = reader
        joint = "&" if "?" in inner.id else "?"
        self.id = f"{inner.id}{joint}tiles={most}"
        seed = f"{_REVISION} {inner.fingerprint} {reader} {most}"
        self.fingerprint = hashlib.sha256(seed.encode()).hexdigest()
        self.dim = inner.dim
        self.cost = Cost(0, 0, 0, 0)

    @property
    def reads(self) -> frozenset[Reads]:
        """The page's words too: they say how small its print is."""
        return self._inner.reads

    @property
    def tiles(self) -> int:
        """The most tiles of a page."""
        return self._most

    def encode_pages(self, pages: Sequence[PageContent]) -> list[PageEmbedding]:
        """One embedding a page: the patches of the whole, then those of its tiles.

        ``cost`` says afterwards what the tiles of these pages added.
        """
        plans = [self._crops(page) for page in pages]
        shown: list[PageContent] = []
        for page, crops in zip(pages, plans, strict=True):
            shown += [page, *(_shown(page, crop) for crop in crops)]
        encoded = iter(self._inner.encode_pages(shown))
        found = []
        whole_vectors = 0
        for crops in plans:
            whole = next(encoded)
            whole_vectors += len(whole.vectors)
            parts = [
                _placed(next(encoded), crop.box, [other.box for other in crops]) for crop in crops
            ]
            found.append(_joined([whole, *parts]) if parts else whole)
        self.cost = Cost(
            sum(map(bool, plans)),
            sum(map(len, plans)),
            sum(len(embedding.vectors) for embedding in found),
            whole_vectors,
        )
        return found

    def encode_queries(self, queries: Sequence[str]) -> list[QueryEmbedding]:
        """The inner encoder's."""
        return self._inner.encode_queries(queries)

    def _crops(self, page: PageContent) -> list[Crop]:
        if page.image is None or not page.image.size:
            return []
        height, width = page.image.shape[:2]
        size = (float(width), float(height))
        seen = seen_at(page.words, page.text_source, size, self.reader_input)
        if not seen or seen >= MINIMUM:
            return []
        crops = legible_crops(
            _WHOLE,
            page.words,
            page.text_source,
            size,
            self.reader_input,
            least=MINIMUM,
            most=self._most,
        )
        # A tile without words says what the whole page says.
        return [crop for crop in crops if crop.pixels] if len(crops) > 1 else []


def _shown(page: PageContent, crop: Crop) -> PageContent:
    """``page`` with a part of its picture in place of the whole."""
    assert page.image is not None
    height, width = page.image.shape[:2]
    x0, y0 = int(crop.box[0] * width), int(crop.box[1] * height)
    x1 = max(x0 + 1, round(crop.box[2] * width))
    y1 = max(y0 + 1, round(crop.box[3] * height))
    part = Image.fromarray(np.ascontiguousarray(page.image[y0:y1, x0:x1]))
    if part.size != (crop.width, crop.height):
        part = part.resize((crop.width, crop.height), Image.Resampling.LANCZOS)
    return replace(page, image=np.asarray(part, np.uint8))


def _placed(embedding: PageEmbedding, tile: Box, tiles: Sequence[Box]) -> PageEmbedding:
    """A tile's patches on the page, without those that lie deeper in another tile."""
    origin = np.array([tile[0], tile[1]] * 2, np.float32)
    scale = np.array([tile[2] - tile[0], tile[3] - tile[1]] * 2, np.float32)
    boxes: FloatArray = embedding.boxes * scale + origin
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    mine = _depth(centres, tile)
    keep = np.ones(len(boxes), bool)
    for other in tiles:
        if other != tile:
            depth = _depth(centres, other)
            # Of two tiles in which it lies equally deep, the first has it.
            keep &= (depth < mine) | ((depth == mine) & (tile < other))
    return PageEmbedding(embedding.vectors[keep], boxes[keep])


def _depth(points: NDArray[np.floating[Any]], tile: Box) -> NDArray[np.float32]:
    """How far inside ``tile`` each point is, in page fractions; negative outside."""
    depth: NDArray[np.float32] = np.minimum(
        np.minimum(points[:, 0] - np.float32(tile[0]), np.float32(tile[2]) - points[:, 0]),
        np.minimum(points[:, 1] - np.float32(tile[1]), np.float32(tile[3]) - points[:, 1]),
    )
    return depth


def _joined(parts: Sequence[PageEmbedding]) -> PageEmbedding:
    return PageEmbedding(
        np.concatenate([part.vectors for part in parts]),
        np.concatenate([part.boxes for part in parts]),
    )
