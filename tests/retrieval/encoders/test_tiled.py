"""A page shown in tiles keeps one patch for every place, and its print is legible in them."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from retrieval.encoders.base import PageEncoder, Reads
from retrieval.encoders.families import FAMILIES
from retrieval.encoders.geometry import grid_boxes
from retrieval.encoders.tiled import TiledEncoder, shrinks_print
from retrieval.legibility import MINIMUM, X_HEIGHT_SHARE, ReaderInput
from retrieval.types import PageContent, PageEmbedding, PageWords, QueryEmbedding

SIDE = 8


class MeanColour:
    """An encoder that squashes each page to 448 x 448 and gives the mean tone of 8 x 8 patches:
    what it gives for a patch can be told from the page."""

    id = "mean"
    fingerprint = "0"
    dim = 2
    reads: frozenset[Reads] = frozenset({"image"})

    def __init__(self) -> None:
        self.sizes: list[tuple[int, int]] = []

    def encode_pages(self, pages: Sequence[PageContent]) -> list[PageEmbedding]:
        found = []
        for page in pages:
            assert page.image is not None
            self.sizes.append((page.image.shape[1], page.image.shape[0]))
            small = Image.fromarray(page.image).resize((448, 448), Image.Resampling.BOX)
            tones = np.asarray(small.convert("L"), np.float32) / 255
            means = tones.reshape(SIDE, 448 // SIDE, SIDE, 448 // SIDE).mean(axis=(1, 3)).ravel()
            vectors = np.stack((means, np.sqrt(1 - means**2)), axis=1).astype(np.float32)
            found.append(PageEmbedding(vectors, grid_boxes(SIDE, SIDE)))
        return found

    def encode_queries(self, queries: Sequence[str]) -> list[QueryEmbedding]:
        return [QueryEmbedding(np.zeros((0, 2), np.float32), (), np.zeros(0, np.float32))] * len(
            queries
        )


def page(x_height: float, size: tuple[int, int] = (1600, 2000)) -> PageContent:
    """A page that darkens from left to right, with words all over of that x-height in pixels."""
    width, height = size
    ramp = np.linspace(255, 0, width).astype(np.uint8)
    image = np.repeat(np.tile(ramp, (height, 1))[:, :, None], 3, axis=2)
    h = x_height / X_HEIGHT_SHARE["layer"] / height
    corners = [(x / 12, y / 40) for y in range(39) for x in range(12)]
    boxes = np.array([(x, y, x + 0.05, y + h) for x, y in corners], np.float32)
    words = PageWords(
        tuple("w" for _ in corners), np.clip(boxes, 0, 1), np.arange(len(corners), dtype=np.int32)
    )
    return PageContent(0, "1", float(width), float(height), words, image=image)


def encoder(most: int = 40) -> tuple[TiledEncoder, MeanColour]:
    inner = MeanColour()
    return TiledEncoder(inner, ReaderInput(fixed=(448, 448)), most), inner


def test_small_print_is_shown_in_tiles_at_a_legible_size() -> None:
    tiled, inner = encoder()
    (found,) = tiled.encode_pages([page(8)])
    assert inner.sizes[0] == (1600, 2000) and len(inner.sizes) > 4
    assert all(max(size) <= 448 for size in inner.sizes[1:])
    cost = tiled.cost
    assert (cost.pages, cost.tiles) == (1, len(inner.sizes) - 1)
    assert cost.vectors == len(found.vectors) > cost.vectors_whole == SIDE * SIDE


def test_every_place_has_one_patch_of_the_tiles_with_the_right_tone() -> None:
    tiled, _ = encoder()
    (found,) = tiled.encode_pages([page(8)])
    boxes, tones = found.boxes[SIDE * SIDE :], found.vectors[SIDE * SIDE :, 0]
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    assert tones == pytest.approx(1 - centres[:, 0], abs=0.02)
    rng = np.random.default_rng(5)
    for x, y in rng.random((300, 2)):
        covering = ((boxes[:, :2] <= (x, y)) & (boxes[:, 2:] >= (x, y))).all(axis=1).sum()
        # Patches of neighbouring tiles do not share a grid: where one ends the other may begin.
        assert 0 <= covering <= 4
    area = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1).sum()
    assert area == pytest.approx(1, abs=0.12)


def test_large_print_and_pages_without_words_are_shown_whole() -> None:
    tiled, inner = encoder()
    bare = page(8)
    bare = PageContent(0, "1", 1600, 2000, PageWords.empty(), image=bare.image)
    found = tiled.encode_pages([page(40), bare])
    assert [len(one.vectors) for one in found] == [SIDE * SIDE] * 2
    assert len(inner.sizes) == 2 and tiled.cost.tiles == 0


def test_the_budget_of_tiles_is_kept() -> None:
    tiled, inner = encoder(most=4)
    tiled.encode_pages([page(8)])
    assert 1 < len(inner.sizes) <= 5


def test_what_an_encoder_shrinks_away_is_told() -> None:
    tiled, inner = encoder()
    assert not shrinks_print(inner, page(8))  # it does not say what it makes of pages
    inner.reader_input = tiled.reader_input  # type: ignore[attr-defined]
    assert shrinks_print(inner, page(8)) and not shrinks_print(inner, page(40))
    assert not shrinks_print(tiled, page(8))


def test_a_budget_is_another_encoder() -> None:
    first, _ = encoder(4)
    second, _ = encoder(5)
    assert isinstance(first, PageEncoder)
    assert first.fingerprint != second.fingerprint and first.id == "mean?tiles=4"
    assert MINIMUM > 0


@pytest.mark.parametrize(
    ("family", "images", "expected"),
    [
        ("paligemma", {"size": {"width": 448, "height": 448}}, ReaderInput(fixed=(448, 448))),
        ("qwen2_vl", {"size": {"longest_edge": 602112}}, ReaderInput(max_pixels=602112)),
        ("idefics3", {"size": {"longest_edge": 1456}}, ReaderInput(max_side=1456)),
    ],
)
def test_families_say_what_they_make_of_a_page(
    family: str, images: dict[str, object], expected: ReaderInput
) -> None:
    processor = SimpleNamespace(image_processor=SimpleNamespace(**images))
    assert FAMILIES[family].input(processor) == expected
