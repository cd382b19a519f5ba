"""The picture of a hit: the page with what matched glowing, and the regions outlined.

A reader must still read the page through the heat, so strong heat tints like a marker pen
(it multiplies, black ink stays black) and weak heat leaves the paper alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from retrieval.types import FloatArray, Region

# From faint to strong: paper, pale yellow, amber, vermilion. Multiplied into the page.
_STOPS = np.array([0.06, 0.3, 0.6, 1.0], np.float32)
_COLOURS = np.array([[255, 255, 255], [255, 244, 170], [255, 198, 92], [255, 128, 84]], np.float32)
_OUTLINE = (214, 64, 24)
_LABEL_TEXT = (255, 255, 255)
# Heat is drawn small and enlarged: it is smooth, and a page image is not.
_GRID = 320


def heatmap(
    similarities: FloatArray, weights: FloatArray, boxes: FloatArray, size: tuple[int, int]
) -> FloatArray:
    """How much every spot of the page speaks for the question.

    Parameters
    ----------
    similarities
        ``[q, n] float32`` of query tokens to patches.
    weights
        ``[q] float32``, the tokens' shares.
    boxes
        ``[n, 4] float32`` page fractions of the patches.
    size
        Height and width of the result, usually those of the page image.

    Returns
    -------
    ``[h, w] float32`` in ``[0, 1]``, smooth; 1 at the strongest spot, zeros when nothing
    stands out.
    """
    height, width = size
    if height < 1 or width < 1:
        raise ValueError(f"size must be positive (height, width), not {size}")
    strength = _strength(similarities, weights)
    if not strength.size or strength.max() <= 0:
        return np.zeros((height, width), np.float32)
    scale = min(1.0, _GRID / max(height, width))
    rows, columns = max(1, round(height * scale)), max(1, round(width * scale))
    canvas = np.zeros((rows, columns), np.float32)
    for i in np.argsort(strength):
        if strength[i] <= 0:
            continue
        x0, x1 = _span(boxes[i, 0], boxes[i, 2], columns)
        y0, y1 = _span(boxes[i, 1], boxes[i, 3], rows)
        # strongest last: where boxes overlap, the strongest is what is seen
        canvas[y0:y1, x0:x1] = strength[i]
    near = _blur(canvas, max(rows, columns) * 0.006)
    wide = _blur(canvas, max(rows, columns) * 0.025)
    # a thin word loses most of its height to the blur; its line's glow shows it from afar
    smooth = np.maximum(near, 0.9 * wide)
    enlarged = np.asarray(
        Image.fromarray(smooth / smooth.max()).resize((width, height), Image.Resampling.BICUBIC)
    )
    clipped: FloatArray = np.clip(enlarged, 0, 1).astype(np.float32)
    return clipped


def tint(heat: FloatArray) -> NDArray[np.uint8]:
    """Heat ``[h, w]`` as the colour to multiply a page with, ``[h, w, 3] uint8``; white is none."""
    channels = [np.interp(heat, _STOPS, _COLOURS[:, c]) for c in range(3)]
    return np.stack(channels, axis=-1).astype(np.uint8)


def draw_hit(
    image: NDArray[np.uint8], regions: Sequence[Region], heat: FloatArray | None = None
) -> Image.Image:
    """The page ``[h, w, 3] uint8`` RGB with heat ``[h, w]`` and numbered regions drawn on it.

    The best region has the strongest outline. Numbers are the regions' order, so that a list
    beside the picture can refer to them.
    """
    page = image.astype(np.float32)
    if heat is not None:
        if heat.shape != image.shape[:2]:
            raise ValueError(f"heat {heat.shape} must have the image's size {image.shape[:2]}")
        page *= tint(heat).astype(np.float32) / 255
    base = Image.fromarray(np.clip(page, 0, 255).astype(np.uint8), "RGB").convert("RGBA")
    layer = Image.new("RGBA", base.size, (255, 255, 255, 0))
    pen = ImageDraw.Draw(layer)
    unit = max(base.size) / 1000
    # later regions first, so that the best one's frame lies on top
    for number, region in reversed(list(enumerate(regions, 1))):
        _outline(pen, region, number, base.size, unit)
    return Image.alpha_composite(base, layer).convert("RGB")


def _strength(similarities: FloatArray, weights: FloatArray) -> FloatArray:
    """``[n]``: each patch's weighted similarity above what tokens find all over the page."""
    sims = np.asarray(similarities, np.float32)
    if not sims.size:
        return np.zeros(sims.shape[-1], np.float32)
    peak = sims.max(axis=1, keepdims=True)
    usual = np.quantile(sims, 0.9, axis=1, keepdims=True)
    above = np.clip((sims - usual) / np.maximum(peak - usual, 1e-6), 0, 1) ** 2
    # a token that finds nothing on the page must not light up its best of nothing
    share = np.maximum(np.asarray(weights, np.float32)[:, None] * (peak - usual), 0)
    strength = (above * share).sum(axis=0)
    return np.asarray(strength / max(float(strength.max()), 1e-9), np.float32)


def _blur(canvas: FloatArray, sigma: float) -> FloatArray:
    """Gaussian blur as two small matrix products; Pillow's has no floating-point mode."""
    rows, columns = canvas.shape
    return np.asarray(_gaussian(rows, sigma) @ canvas @ _gaussian(columns, sigma).T, np.float32)


def _gaussian(n: int, sigma: float) -> FloatArray:
    at = np.arange(n)
    near = np.exp(-((at[:, None] - at) ** 2) / (2 * max(sigma, 0.3) ** 2))
    return np.asarray(near / near.sum(axis=1, keepdims=True), np.float32)


def _span(low: float, high: float, cells: int) -> tuple[int, int]:
    """First and last + 1 of the cells that a box covers, at least one, inside the page."""
    first = min(max(int(np.floor(low * cells)), 0), cells - 1)
    last = min(max(int(np.ceil(high * cells)), first + 1), cells)
    return first, last


def _outline(
    pen: ImageDraw.ImageDraw, region: Region, number: int, size: tuple[int, int], unit: float
) -> None:
    width, height = size
    best = number == 1
    margin = 2.5 * unit
    x0 = max(region.box[0] * width - margin, unit)
    y0 = max(region.box[1] * height - margin, unit)
    x1 = max(min(region.box[2] * width + margin, width - unit), x0 + 1)
    y1 = max(min(region.box[3] * height + margin, height - unit), y0 + 1)
    colour = (*_OUTLINE, 255 if best else 165)
    radius = min(6 * unit, (x1 - x0) / 2, (y1 - y0) / 2)
    line = max(1, round((3.2 if best else 1.8) * unit))
    pen.rounded_rectangle((x0, y0, x1, y1), radius, outline=colour, width=line)
    font = ImageFont.load_default(max(8.0, 13 * unit))
    text = f"{number}"
    side = max(10.0, 19 * unit)
    # outside the box's left edge, where it covers no text of the region
    left = max(x0 - side - 2 * unit, 0)
    badge = (left, y0, left + side, y0 + side)
    pen.rounded_rectangle(badge, side * 0.3, fill=(*_OUTLINE, 255 if best else 190))
    pen.text(
        (left + side / 2, y0 + side / 2), text, fill=(*_LABEL_TEXT, 255), font=font, anchor="mm"
    )
