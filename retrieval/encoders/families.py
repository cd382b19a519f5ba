"""The ColPali family: which classes load a checkpoint, and how its patches lie on the page.

Every member answers with one vector a token of the prompt; those of the page's picture are
kept, in the order of the prompt, and each is given its rectangle. The instruction around the
picture is left out: it stands for no place on the page.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.encoders.geometry import grid_boxes, square_side, tile_boxes
from retrieval.errors import EncoderError
from retrieval.legibility import ReaderInput
from retrieval.types import FloatArray

# Positions of the picture's tokens ``[n]`` in the prompt, and their boxes ``[n, 4]``.
Places = tuple[NDArray[np.intp], FloatArray]
_TILE = re.compile(r"<row_(\d+)_col_(\d+)>")
# Below this a page of print is a smudge to any of these models.
_FEWEST_TOKENS = 16


@dataclass(frozen=True, slots=True)
class Family:
    """``model`` and ``processor`` are class names in ``colpali_engine.models``.

    ``places(processor, ids, grid)`` maps one page's token ids ``[length]`` (and its
    ``image_grid_thw``, where the processor gives one) to the picture's tokens;
    ``limit(processor, max_pixels)`` makes the processor keep to a budget; ``input(processor)`` says
    how it shrinks pages.
    """

    model: str
    processor: str
    places: Callable[[Any, NDArray[np.int64], NDArray[np.int64] | None], Places]
    limit: Callable[[Any, int], None]
    input: Callable[[Any], ReaderInput]


def _picture_tokens(processor: Any, ids: NDArray[np.int64]) -> NDArray[np.intp]:
    return np.flatnonzero(ids == int(processor.image_token_id))


def fixed_grid(processor: Any, ids: NDArray[np.int64], grid: NDArray[np.int64] | None) -> Places:
    """The page squashed to a square of patches, whatever its shape."""
    at = _picture_tokens(processor, ids)
    side = square_side(len(at))
    return at, grid_boxes(side, side)


def dynamic_grid(processor: Any, ids: NDArray[np.int64], grid: NDArray[np.int64] | None) -> Places:
    """As many rows and columns as the page's shape asks for; each token is a square of
    ``merge_size`` x ``merge_size`` patches of the vision encoder."""
    at = _picture_tokens(processor, ids)
    if grid is None:
        raise EncoderError("the processor gave no image_grid_thw; install a newer transformers")
    merge = int(processor.image_processor.merge_size)
    rows, columns = int(grid[1]) // merge, int(grid[2]) // merge
    if rows * columns != len(at):
        raise EncoderError(
            f"a grid of {rows} x {columns} does not explain {len(at)} tokens of the picture; "
            "install the versions that Folioscope's requirements name"
        )
    return at, grid_boxes(rows, columns)


def tiles(processor: Any, ids: NDArray[np.int64], grid: NDArray[np.int64] | None) -> Places:
    """Idefics3's squares, named in the prompt by row and column, then the whole page.

    The names are read off the prompt itself: the image processor's own count of rows and
    columns for a size (``get_number_of_image_patches``) is off for some shapes.
    """
    at = _picture_tokens(processor, ids)
    length = int(processor.image_seq_len)
    if not len(at) or len(at) % length:
        raise EncoderError(f"{len(at)} tokens of the picture are no tiles of {length}")
    firsts = at[::length]
    before = np.concatenate(([0], at[length - 1 :: length][:-1] + 1))
    names = [
        _TILE.search(processor.tokenizer.decode(ids[a:b].tolist()))
        for a, b in zip(before, firsts, strict=True)
    ]
    cells = [(int(m[1]) - 1, int(m[2]) - 1) if m else None for m in names]
    rows = 1 + max((cell[0] for cell in cells if cell), default=0)
    columns = 1 + max((cell[1] for cell in cells if cell), default=0)
    side = square_side(length)
    boxes = [
        tile_boxes(*cell, rows, columns, length) if cell else grid_boxes(side, side)
        for cell in cells
    ]
    return at, np.concatenate(boxes)


def _fixed_input(processor: Any) -> ReaderInput:
    size = processor.image_processor.size
    return ReaderInput(fixed=(int(size["width"]), int(size["height"])))


def _grid_input(processor: Any) -> ReaderInput:
    return ReaderInput(max_pixels=int(processor.image_processor.size["longest_edge"]))


def _tiles_input(processor: Any) -> ReaderInput:
    return ReaderInput(max_side=int(processor.image_processor.size["longest_edge"]))


def _no_limit(processor: Any, max_pixels: int) -> None:
    size = processor.image_processor.size
    raise EncoderError(
        f"this model sees every page at {size['width']} x {size['height']}: max_pixels would "
        "change nothing; leave it out"
    )


def _limit_grid(processor: Any, max_pixels: int) -> None:
    images = processor.image_processor
    cell = int(images.patch_size) * int(images.merge_size)
    least = _FEWEST_TOKENS * cell * cell
    if max_pixels < least:
        raise EncoderError(f"max_pixels={max_pixels} is too small; it is at least {least}")
    images.size["longest_edge"] = max_pixels
    images.size["shortest_edge"] = min(int(images.size["shortest_edge"]), max_pixels)


def _limit_tiles(processor: Any, max_pixels: int) -> None:
    """The longest side is a whole number of tiles, so that a square page keeps to the budget."""
    images = processor.image_processor
    tile = int(images.max_image_size["longest_edge"])
    side = math.isqrt(max_pixels) // tile
    if side < 1:
        raise EncoderError(f"max_pixels={max_pixels} is too small; it is at least {tile * tile}")
    images.size["longest_edge"] = side * tile


def _qwen(name: str, processor: str) -> Family:
    return Family(name, processor, dynamic_grid, _limit_grid, _grid_input)


# By ``model_type`` of config.json.
FAMILIES: Mapping[str, Family] = {
    "paligemma": Family("ColPali", "ColPaliProcessor", fixed_grid, _no_limit, _fixed_input),
    "gemma3": Family("ColGemma3", "ColGemmaProcessor3", fixed_grid, _no_limit, _fixed_input),
    "qwen2_vl": _qwen("ColQwen2", "ColQwen2Processor"),
    "qwen2_5_vl": _qwen("ColQwen2_5", "ColQwen2_5_Processor"),
    "qwen3_vl": _qwen("ColQwen3", "ColQwen3Processor"),
    "qwen3_5": _qwen("ColQwen3_5", "ColQwen3_5Processor"),
    "idefics3": Family("ColIdefics3", "ColIdefics3Processor", tiles, _limit_tiles, _tiles_input),
    "modernvbert": Family(
        "ColModernVBert", "ColModernVBertProcessor", tiles, _limit_tiles, _tiles_input
    ),
}


def family_of(config: Mapping[str, Any], name: str) -> Family:
    """The family of a checkpoint. Raises ``EncoderError`` for any other model."""
    kind = str(config.get("model_type"))
    family = FAMILIES.get(kind)
    if family is not None:
        return family
    if kind in ("colpali", "colqwen2", "colmodernvbert", "colidefics3"):
        raise EncoderError(
            f"{name} is in transformers' own layout (model_type {kind}); name the checkpoint "
            "that colpali-engine loads, whose name has no -hf at its end"
        )
    known = ", ".join(sorted(FAMILIES))
    raise EncoderError(
        f"{name} is a model of type '{kind}', not one of the ColPali family ({known})"
    )
