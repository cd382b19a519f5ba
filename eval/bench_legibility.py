"""How many pixels a letter needs: ``folioscope bench legibility SOURCES``.

Pages of born-digital PDFs are drawn so that a lower-case letter of their body text has a given
height in pixels, set on white paper large enough that no engine enlarges them, and read by OCR.
The text layer says what should have been read. Only words of the body's size count. Each size is
also read enlarged twofold, which shows what of the loss is the engine's and what the pixels'.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pymupdf
from numpy.typing import NDArray
from PIL import Image as Pillow

from eval.benchmark import Benchmark
from indexing.ocr_engines import ENGINES, Engine, Reading, read_once
from indexing.source_files import expand_sources
from retrieval.errors import InputError

HEIGHTS = (2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 14.0)
# Of the font size; 0.45 to 0.53 in the faces that documents are set in.
X_HEIGHT = 0.5
_FEWEST_WORDS, _MOST_WORDS = 40, 140
_BODY = 0.1
# Both engines are given at least so much paper: rapidocr enlarges what has a shorter side.
_PAPER = 768


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """A part of a page: where (points), its body's x-height in points, and the body's words with
    their boxes ``[n, 4]`` in points from the part's corner."""

    path: Path
    number: int
    clip: tuple[float, float, float, float]
    x_height: float
    words: tuple[str, ...]
    boxes: NDArray[np.float64]


def measure_legibility(
    sources: Sequence[str],
    pages: int = 6,
    heights: Sequence[float] = HEIGHTS,
    engines: Sequence[Engine] = ENGINES,
    show: Callable[[str], None] = lambda text: None,
) -> Benchmark:
    """One row an engine, size and enlargement: recall of the words, of those with a digit, the
    engine's confidence, and its box heights in x-heights.

    Raises ``InputError`` if no source has a page of running text.
    """
    chosen = samples(expand_sources(sources), pages)
    if not chosen:
        raise InputError("none of the sources is a PDF with running text in its text layer")
    rows: list[dict[str, Any]] = []
    for engine in engines:
        for height in heights:
            for enlarged in (1, 2) if height <= 6 else (1,):
                show(f"{engine} at {height:g} pixels")
                found = [_one(sample, engine, height, enlarged) for sample in chosen]
                row: dict[str, Any] = {
                    "engine": engine,
                    "x_height_px": height,
                    "enlarged": enlarged,
                }
                for name in found[0]:
                    values = [one[name] for one in found if one[name] is not None]
                    row[name] = float(np.mean(values)) if values else None
                rows.append(row)
    words = sum(len(sample.words) for sample in chosen)
    return Benchmark("legibility", rows, {"pages": len(chosen), "words": words})


def plotted(found: Benchmark) -> str:
    """The curve of each engine as SVG: words read, of those read of large print."""
    from eval.plots import Line, line_plot

    lines = []
    for enlarged in (1, 2):
        for number, engine in enumerate(dict.fromkeys(row["engine"] for row in found.rows)):
            rows = [
                row for row in found.rows if row["engine"] == engine and row["enlarged"] == enlarged
            ]
            most = max(row["word_recall"] for row in found.rows if row["engine"] == engine)
            lines.append(
                Line(
                    engine if enlarged == 1 else f"{engine}, enlarged twofold",
                    [row["x_height_px"] for row in rows],
                    [row["word_recall"] / most for row in rows],
                    dashed=enlarged > 1,
                    like=number,
                )
            )
    ticks = sorted({row["x_height_px"] for row in found.rows})
    return line_plot(
        lines,
        "height of a lower-case letter, pixels",
        "words read, of those read at best",
        x_ticks=ticks,
        y_range=(0, 1.05),
        legend_columns=2,
    )


def _one(sample: Sample, engine: Engine, height: float, enlarged: int) -> dict[str, Any]:
    zoom = height / sample.x_height
    image = _on_paper(draw_sample(sample, zoom))
    if enlarged > 1:
        size = (image.shape[1] * enlarged, image.shape[0] * enlarged)
        image = np.asarray(Pillow.fromarray(image).resize(size, Pillow.Resampling.LANCZOS))
    reading = read_once(image, engine)
    truth, found = Counter(map(plain, sample.words)), Counter(map(plain, reading.texts))
    digits = Counter({word: n for word, n in truth.items() if any(map(str.isdigit, word))})
    return {
        "word_recall": _recall(truth, found),
        "number_recall": _recall(digits, found) if digits else None,
        "confidence": reading.confidence,
        "unread_lines": float(len(reading.unread)),
        "estimated_px": _estimated(sample, reading, zoom * enlarged) / enlarged
        if len(reading.texts)
        else None,
    }


def _recall(truth: Counter[str], found: Counter[str]) -> float:
    return (truth & found).total() / max(1, truth.total())


def _estimated(sample: Sample, reading: Reading, zoom: float) -> float:
    """The median x-height that the product would estimate for the body's words, in pixels."""
    x = (reading.boxes[:, 0] + reading.boxes[:, 2]) / 2 / zoom
    y = (reading.boxes[:, 1] + reading.boxes[:, 3]) / 2 / zoom
    on_body = [
        ((sample.boxes[:, :2] <= (a, b)) & (sample.boxes[:, 2:] >= (a, b))).all(axis=1).any()
        for a, b in zip(x, y, strict=True)
    ]
    chosen = reading.x_heights[np.array(on_body, bool)]
    return float(np.median(chosen)) if len(chosen) else float(np.median(reading.x_heights))


def plain(text: str) -> str:
    return "".join(character for character in text.lower() if character.isalnum())


def samples(paths: Sequence[Path], pages: int) -> list[Sample]:
    """``pages`` parts, each of another document as far as there are as many, drawn by hash."""
    ranked = sorted(paths, key=lambda path: hashlib.sha256(path.name.encode()).digest())
    found: list[Sample] = []
    for turn in range(8):
        for path in ranked:
            sample = _sample(path, turn)
            if sample is not None:
                found.append(sample)
            if len(found) == pages:
                return found
    return found


def _sample(path: Path, turn: int) -> Sample | None:
    try:
        document = pymupdf.open(path, filetype="pdf")
    except Exception:  # MuPDF raises classes of all kinds; a file that does not open is left out
        return None
    with document:
        if document.needs_pass or not document.is_pdf:
            return None
        for step in range(10):
            seed = f"{path.name}/{turn}/{step}".encode()
            number = int.from_bytes(hashlib.sha256(seed).digest()[:4]) % len(document)
            sample = _part(path, document[number])
            if sample is not None:
                return sample
    return None


def _part(path: Path, page: Any) -> Sample | None:
    """The part of an upright page around its body text, of a few dozen words."""
    spans = [
        span
        for block in page.get_text("dict")["blocks"]
        for line in block.get("lines", ())
        if line["dir"] == (1.0, 0.0)
        for span in line["spans"]
        if span["text"].strip() and span["alpha"] > 0
    ]
    if page.rotation or not spans:
        return None
    letters = np.array([len(span["text"]) for span in spans])
    sizes = np.array([span["size"] for span in spans])
    order = np.argsort(sizes)
    body = float(sizes[order][np.searchsorted(np.cumsum(letters[order]), letters.sum() / 2)])
    boxes = np.array([span["bbox"] for span in spans])
    alike = np.abs(sizes / body - 1) < _BODY
    rows = page.get_text("words")
    kept = [row for row in rows if _on(row, boxes[alike])][:_MOST_WORDS]
    if len(kept) < _FEWEST_WORDS or body < 4:
        return None
    places = np.array([row[:4] for row in kept])
    x0, y0 = places[:, :2].min(axis=0) - 4
    x1, y1 = places[:, 2:].max(axis=0) + 4
    truth = [row[4] for row in kept if plain(row[4])]
    clip = (max(0.0, x0), max(0.0, y0), min(page.rect.width, x1), min(page.rect.height, y1))
    moved = places - [clip[0], clip[1], clip[0], clip[1]]
    return Sample(path, page.number, clip, body * X_HEIGHT, tuple(truth), moved)


def _on(row: Sequence[Any], boxes: NDArray[np.float64]) -> bool:
    x, y = (row[0] + row[2]) / 2, (row[1] + row[3]) / 2
    return bool(((boxes[:, :2] <= (x, y)) & (boxes[:, 2:] >= (x, y))).all(axis=1).any())


def draw_sample(sample: Sample, zoom: float) -> NDArray[np.uint8]:
    """The part at ``zoom`` pixels a point, ``[h, w, 3] uint8`` RGB."""
    with pymupdf.open(sample.path, filetype="pdf") as document:
        pixmap = document[sample.number].get_pixmap(
            matrix=pymupdf.Matrix(zoom, zoom),
            clip=pymupdf.Rect(sample.clip),
            colorspace=pymupdf.csRGB,
            alpha=False,
        )
        part = np.frombuffer(pixmap.samples, np.uint8).reshape(pixmap.h, pixmap.w, 3)
    return part


def _on_paper(part: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = part.shape[:2]
    paper = np.full((max(_PAPER, height), max(_PAPER, width), 3), 255, np.uint8)
    paper[:height, :width] = part
    return paper
