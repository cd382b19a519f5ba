"""Questions with the pages that answer them, read from files that people can write by hand.

JSONL rows follow the schema in data/README.md; a CSV needs the columns ``question``,
``document`` and ``page`` (1-based, as people count), one row a relevant page.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retrieval.errors import InputError

# Pages that say it too, by the names that data sets use: neither right nor wrong.
_ALSO = ("also_on_pages", "title_also_on_pages", "term_also_on_pages")


@dataclass(frozen=True, slots=True)
class GoldBox:
    """A place that holds the answer: ``box`` is x0, y0, x1, y1 in ``unit`` (``pdf_pt`` or
    ``image_px``), origin at the top left."""

    page: int
    box: tuple[float, float, float, float]
    unit: str


@dataclass(frozen=True, slots=True)
class Question:
    """A question, the document that answers it, and the 0-based pages there.

    ``scope`` is ``corpus`` (asked of everything) or ``doc`` (asked within the document).
    Pages in ``ignored`` are taken out of a ranking before it is measured.
    """

    qid: str
    text: str
    doc: str
    pages: frozenset[int]
    ignored: frozenset[int] = frozenset()
    kind: str = "all"
    scope: str = "corpus"
    boxes: tuple[GoldBox, ...] = ()
    suspect: bool = False

    @property
    def half(self) -> str:
        """``dev`` or ``test``, by a hash of the document: a document is in one half only."""
        return "dev" if hashlib.sha256(self.doc.encode()).digest()[-1] % 2 == 0 else "test"


def read_questions(path: Path) -> list[Question]:
    """The answerable questions of a ``.jsonl`` or ``.csv`` file, in its order.

    Rows without pages, of scope ``video``, or marked as suspect by their source are left out.
    Raises ``InputError``: file, line, and what is missing.
    """
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as UTF-8 text ({error})") from error
    found = _csv(path, text) if path.suffix.lower() == ".csv" else _jsonl(path, text)
    usable = [q for q in found if q.pages and q.scope != "video" and not q.suspect]
    if not usable:
        raise InputError(f"{path}: holds no question with a page that answers it")
    return usable


def _jsonl(path: Path, text: str) -> list[Question]:
    questions = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            questions.append(_question(json.loads(line)))
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{path}, line {number}: not a question ({error!r}); it needs qid, question, "
                "doc and pages"
            ) from error
    return questions


def _question(row: Mapping[str, Any]) -> Question:
    meta = row.get("meta") or {}
    boxes = (
        GoldBox(int(box["page"]), _four(box["bbox"]), str(box["unit"]))
        for box in row.get("boxes", ())
    )
    pages = frozenset(int(page) for page in row["pages"])
    ignored = {int(page) for key in _ALSO for page in meta.get(key, ())}
    return Question(
        qid=str(row["qid"]),
        text=str(row["question"]),
        doc=str(row["doc"]),
        pages=pages if row.get("answerable", True) else frozenset(),
        ignored=frozenset(ignored) - pages,
        kind=str(row.get("kind", "all")),
        scope=str(row.get("scope", "corpus")),
        boxes=tuple(boxes),
        suspect=str(meta.get("page_check", "")).startswith("suspect"),
    )


def _four(numbers: Sequence[float]) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = (float(number) for number in numbers)
    return x0, y0, x1, y1


def _csv(path: Path, text: str) -> list[Question]:
    rows = csv.DictReader(text.splitlines())
    needed = ("question", "document", "page")
    missing = [name for name in needed if name not in (rows.fieldnames or ())]
    if missing:
        raise InputError(f"{path}: the first line must name the columns {', '.join(needed)}")
    pages: dict[tuple[str, str], set[int]] = {}
    for number, row in enumerate(rows, 2):
        try:
            page = int(row["page"]) - 1
        except (TypeError, ValueError):
            page = -1
        if page < 0 or not row["question"] or not row["document"]:
            raise InputError(f"{path}, row {number}: needs a question, a document and a page >= 1")
        pages.setdefault((row["question"], row["document"]), set()).add(page)
    return [
        Question(f"row-{number}", question, document, frozenset(found))
        for number, ((question, document), found) in enumerate(pages.items(), 1)
    ]


def only_documents(questions: Iterable[Question], listed: Path) -> tuple[list[Question], list[str]]:
    """The questions about the documents that a text file lists, one a line, and the list."""
    try:
        names = [line.strip() for line in listed.read_text("utf-8").splitlines() if line.strip()]
    except OSError as error:
        raise InputError(f"{listed}: cannot be read ({error.strerror})") from error
    wanted = set(names)
    return [question for question in questions if question.doc in wanted], names
