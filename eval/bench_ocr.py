"""Accuracy and time of the OCR engines on receipts: ``folioscope bench ocr DATA``.

``DATA`` is a folder with ``docs/receipts/*.jpg``, ``ocr_gt/*.json`` (text boxes of each receipt)
and ``questions/all.jsonl``. The receipts are drawn by a hash of their names, so the same ones
come every time. Three figures an engine: the share of the true words that were read (by letters
and digits, case apart), the share of questions whose answer is among the words read, and the
share of those answers that were also read within the answer's true box. Times are of one page
on one thread.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from eval.benchmark import Benchmark
from indexing.ocr import read_words
from retrieval.errors import InputError
from retrieval.types import PageWords

Choice = Literal["tesseract", "rapidocr", "auto"]
CHOICES: tuple[Choice, ...] = get_args(Choice)


def measure_ocr(data: Path, pages: int = 12, seed: str = "") -> Benchmark:
    """One row an engine; ``facts["pages"]`` has every page's figures.

    Raises ``InputError`` if ``data`` is not such a folder.
    """
    names = receipt_names(data, pages, seed)
    if not names or not (data / "questions" / "all.jsonl").is_file():
        raise InputError(
            f"{data} lacks docs/receipts/*.jpg with ocr_gt/*.json, or questions/all.jsonl"
        )
    found = list(_measure(data, names, receipt_questions(data)))
    rows = [_row(choice, [row for row in found if row["choice"] == choice]) for choice in CHOICES]
    return Benchmark("ocr", rows, {"receipts": len(names), "seed": seed, "pages": found})


def word_recall(truth: str, words: PageWords) -> float:
    """The share of the true words, counted with repetition, that are among ``words``."""
    return share_read(truth, words.texts)


def share_read(truth: str, words: Sequence[str]) -> float:
    """As ``word_recall``, of words without places."""
    wanted, found = Counter(_plain(truth)), Counter(_plain(" ".join(words)))
    return sum((wanted & found).values()) / max(1, sum(wanted.values()))


def word_precision(truth: str, words: PageWords) -> float:
    """The share of ``words`` that are true."""
    wanted, found = Counter(_plain(truth)), Counter(_plain(" ".join(words.texts)))
    return sum((wanted & found).values()) / max(1, sum(found.values()))


def answer_places(question: dict[str, Any], words: PageWords, size: tuple[int, int]) -> bool:
    """Whether a true box of the answer holds a read word with the answer's letters."""
    width, height = size
    for box in question["boxes"]:
        x0, y0, x1, y1 = np.array(box["bbox"], float) / [width, height, width, height]
        centres = (words.boxes[:, :2] + words.boxes[:, 2:]) / 2
        inside = (centres > [x0, y0]).all(axis=1) & (centres < [x1, y1]).all(axis=1)
        text = "".join(words.texts[i] for i in np.flatnonzero(inside))
        if any(_squeezed(answer) in _squeezed(text) for answer in question["answers"]):
            return True
    return False


def receipt_names(data: Path, count: int, seed: str = "") -> list[str]:
    """``count`` receipts of ``data`` whose text is known, drawn by a hash of their names."""
    names = [path.stem for path in (data / "docs" / "receipts").glob("*.jpg")]
    names = [name for name in names if (data / "ocr_gt" / f"{name}.json").is_file()]
    return sorted(names, key=lambda name: hashlib.sha256(f"{seed}{name}".encode()).digest())[:count]


def receipt_questions(data: Path) -> dict[str, list[dict[str, Any]]]:
    """The questions about each receipt, by its name."""
    found: dict[str, list[dict[str, Any]]] = {}
    with (data / "questions" / "all.jsonl").open(encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            if row["doc"].startswith("receipts/"):
                found.setdefault(Path(row["doc"]).stem, []).append(row)
    return found


def _measure(
    data: Path, pages: list[str], questions: dict[str, list[dict[str, Any]]]
) -> Iterator[dict[str, Any]]:
    for choice in CHOICES:
        # The first page pays for loading the weights; it is read once before the clock runs.
        read_words(_picture(data, pages[0]), choice)
        for name in pages:
            image = _picture(data, name)
            truth = json.loads((data / "ocr_gt" / f"{name}.json").read_text(encoding="utf-8"))
            began, began_cpu = time.perf_counter(), time.process_time()
            page = read_words(image, choice)
            seconds, cpu = time.perf_counter() - began, time.process_time() - began_cpu
            asked = questions.get(name, [])
            read = " ".join(page.words.texts)
            text = " ".join(box["text"] for box in truth)
            size = (image.shape[1], image.shape[0])
            yield {
                "choice": choice,
                "page": name,
                "engine": page.engine,
                "confidence": round(page.confidence, 3),
                "words": len(page.words),
                "recall": word_recall(text, page.words),
                "precision": word_precision(text, page.words),
                "questions": len(asked),
                "answered": sum(answered(question, read) for question in asked),
                "placed": sum(answer_places(question, page.words, size) for question in asked),
                "seconds": seconds,
                "cpu_seconds_own": cpu,
            }


def answered(question: dict[str, Any], text: str) -> bool:
    """Whether an answer to ``question`` is one of the words of ``text``."""
    return answered_by(question["answers"], text)


def answered_by(answers: Sequence[str], text: str) -> bool:
    """Whether one of ``answers`` is one of the words of ``text``, by letters and digits; or
    an amount with its currency's sign before it, as one word."""
    words = {_squeezed(word) for word in text.split()}
    return any(
        _squeezed(answer) in words
        or re.search(rf"(?<![\d.,]){re.escape(answer)}(?![\d])", text) is not None
        for answer in answers
    )


def _picture(data: Path, name: str) -> NDArray[np.uint8]:
    with Pillow.open(data / "docs" / "receipts" / f"{name}.jpg") as picture:
        return np.asarray(picture.convert("RGB"), np.uint8)


def _plain(text: str) -> list[str]:
    return [word for word in map(_squeezed, text.split()) if word]


def _squeezed(text: str) -> str:
    return "".join(character for character in text.lower() if character.isalnum())


def _row(choice: str, pages: Sequence[dict[str, Any]]) -> dict[str, Any]:
    asked = sum(page["questions"] for page in pages)
    seconds = [page["seconds"] for page in pages]
    return {
        "engine": choice,
        "word_recall": float(np.mean([page["recall"] for page in pages])),
        "word_precision": float(np.mean([page["precision"] for page in pages])),
        "answer_read": sum(page["answered"] for page in pages) / max(1, asked),
        "answer_in_its_box": sum(page["placed"] for page in pages) / max(1, asked),
        "median_s": float(np.median(seconds)),
        "max_s": max(seconds),
        "by_rapidocr": sum(page["engine"] == "rapidocr" for page in pages) / len(pages),
    }
