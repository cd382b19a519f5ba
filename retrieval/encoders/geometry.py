"""Which rectangle of the page a patch vector stands for.

Three layouts cover the known families. A *grid* is the page cut evenly, row by row: a fixed one
(ColPali squashes every page to a square) or one that follows the page's proportions (Qwen-VL).
*Tiles* are Idefics3's: the page cut into squares, each of which is a grid of its own, followed
by one picture of the whole page. Boxes are page fractions, so resizing does not concern them.
"""

from __future__ import annotations

import math

import numpy as np

from retrieval.types import FloatArray

_WHOLE = (0.0, 0.0, 1.0, 1.0)


def grid_boxes(
    rows: int, columns: int, within: tuple[float, float, float, float] = _WHOLE
) -> FloatArray:
    """The cells of a grid, row by row from the top left: ``[rows * columns, 4] float32``.

    >>> grid_boxes(1, 2).tolist()
    [[0.0, 0.0, 0.5, 1.0], [0.5, 0.0, 1.0, 1.0]]
    """
    if rows < 1 or columns < 1:
        raise ValueError(f"a grid has rows and columns, not {rows} x {columns}")
    x0, y0, x1, y1 = within
    x = x0 + (x1 - x0) * np.arange(columns + 1) / columns
    y = y0 + (y1 - y0) * np.arange(rows + 1) / rows
    left, top = np.meshgrid(x[:-1], y[:-1])
    right, bottom = np.meshgrid(x[1:], y[1:])
    cells = np.stack([left.ravel(), top.ravel(), right.ravel(), bottom.ravel()], axis=1)
    boxes: FloatArray = cells.astype(np.float32)
    return boxes


def tile_boxes(row: int, column: int, rows: int, columns: int, patches: int) -> FloatArray:
    """The patches of the tile at (row, column), both from 0, of rows x columns tiles.

    ``patches`` is how many a tile has, a square number. Returns ``[patches, 4] float32``.
    """
    if not (0 <= row < rows and 0 <= column < columns):
        raise ValueError(f"there is no tile ({row}, {column}) among {rows} x {columns}")
    side = square_side(patches)
    tile = (column / columns, row / rows, (column + 1) / columns, (row + 1) / rows)
    return grid_boxes(side, side, tile)


def square_side(patches: int) -> int:
    """The side of a square grid of ``patches`` cells. Raises ``ValueError`` if there is none."""
    side = math.isqrt(max(patches, 0))
    if side < 1 or side * side != patches:
        raise ValueError(f"{patches} patches are no square grid")
    return side
