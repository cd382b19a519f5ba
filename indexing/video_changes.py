"""How different two frames look, by three measures that are blind to different things.

* *Detail*: the standard deviation, in grey levels, of the difference within squares of 16 x 16
  pixels. The square that changed most decides, so that one digit is seen on a page that
  otherwise stays as it is. SSIM divides the same quantity by the square's own contrast, and so
  loses a ticked box among letters (docs/BENCHMARKS.md).
* *Brightness*: the mean of tiles of 64 x 64 pixels. Where nothing has contours, only this sees
  a fade.
* *Layout*: a difference hash (16 x 16 bits) of the whole frame. Blind to what is small, it
  tells a cut from something that moves.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from retrieval.types import FloatArray

_WINDOW = 8
_TILE = 8  # windows
_HASH = 16
# Codecs leave this much on a picture that stands still.
_NOISE = 3
# A neighbour must be brighter by this much to set a bit: flat areas would flicker.
_STEP = 2


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """A frame prepared for comparison.

    ``pixels`` is ``[h, w] uint8``; ``windows`` ``[r, 8, c, 8] float32`` views it as windows with
    ``means`` and ``variances`` ``[r, c]``; ``tiles`` are mean tones, ``bits`` the hash ``[256]``.
    """

    pixels: NDArray[np.uint8]
    windows: FloatArray
    means: FloatArray
    variances: FloatArray
    tiles: FloatArray
    bits: NDArray[np.bool_]

    @staticmethod
    def of(grey: NDArray[np.uint8]) -> Look:
        """Prepare ``grey`` ``[h, w] uint8``; what does not fill a window is repeated."""
        height, width = grey.shape
        pad = ((0, -height % _WINDOW), (0, -width % _WINDOW))
        whole = np.pad(grey, pad, mode="edge") if any(pad[0] + pad[1]) else grey
        rows, columns = whole.shape[0] // _WINDOW, whole.shape[1] // _WINDOW
        windows = whole.reshape(rows, _WINDOW, columns, _WINDOW).astype(np.float32)
        means = np.einsum("iajb->ij", windows) / _WINDOW**2
        squares = np.einsum("iajb,iajb->ij", windows, windows) / _WINDOW**2
        return Look(grey, windows, means, squares - means**2, _tiles(means), _difference_hash(grey))


def _tiles(means: FloatArray) -> FloatArray:
    rows = np.add.reduceat(means, np.arange(0, means.shape[0], _TILE), axis=0)
    sums = np.add.reduceat(rows, np.arange(0, means.shape[1], _TILE), axis=1)
    high = np.diff(np.append(np.arange(0, means.shape[0], _TILE), means.shape[0]))
    wide = np.diff(np.append(np.arange(0, means.shape[1], _TILE), means.shape[1]))
    tiles: FloatArray = (sums / np.outer(high, wide)).astype(np.float32)
    return tiles


def _difference_hash(grey: NDArray[np.uint8]) -> NDArray[np.bool_]:
    small = Pillow.fromarray(grey).resize((_HASH + 1, _HASH), Pillow.Resampling.BOX)
    tones = np.asarray(small, np.int16)
    bits: NDArray[np.bool_] = (tones[:, 1:] > tones[:, :-1] + _STEP).ravel()
    return bits


def still(a: Look, grey: NDArray[np.uint8]) -> bool:
    """Whether no pixel of ``grey`` differs by more than a codec leaves on a picture at rest."""
    if a.pixels.shape != grey.shape:
        return False
    apart = np.maximum(a.pixels, grey) - np.minimum(a.pixels, grey)
    return int(apart.max(initial=0)) <= _NOISE


def detail_map(a: Look, b: Look) -> FloatArray:
    """Standard deviation of the difference in every square of 2 x 2 windows, grey levels."""
    products = np.einsum("iajb,iajb->ij", a.windows, b.windows) / _WINDOW**2
    spread = a.variances + b.variances - 2 * (products - a.means * b.means)
    if min(spread.shape) >= 2:
        spread = (spread[:-1, :-1] + spread[1:, :-1] + spread[:-1, 1:] + spread[1:, 1:]) / 4
    found: FloatArray = np.sqrt(np.maximum(spread, 0.0)).astype(np.float32)
    return found


def detail_change(a: Look, b: Look) -> float:
    """The change, in grey levels, of the square that changed most: 0 to 255."""
    if a.windows.shape != b.windows.shape:
        return 255.0
    return float(detail_map(a, b).max())


def moving_share(a: Look, b: Look, threshold: float) -> float:
    """The share of squares, 0 to 1, that changed by ``threshold`` grey levels or more."""
    if a.windows.shape != b.windows.shape:
        return 1.0
    return float((detail_map(a, b) >= threshold).mean())


def brightness_change(a: Look, b: Look) -> float:
    """The largest change of a tile's mean tone, 0 to 255."""
    if a.tiles.shape != b.tiles.shape:
        return 255.0
    return float(np.abs(a.tiles - b.tiles).max(initial=0.0))


def layout_change(a: Look, b: Look) -> float:
    """The share of the difference hash's bits, 0 to 1, that differ."""
    return float((a.bits != b.bits).mean())
