"""Questions with the pages that answer them, read from files that people can write by hand.

JSONL rows follow the schema in data/README.md; a CSV needs the columns ``question``,
``document`` and ``page`` (1-based, as people count), one row a relevant page. Data sets that
bring their own pages (ViDoRe, MTEB) are read by ``eval.vidore``.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from retrieval.errors import InputError

# Pages that say it too, by the names that data sets use: neither right nor wrong.
_ALSO = ("also_on_pages", "title_also_on_pages", "term_also_on_pages")


Page = tuple[str, int]
"""A document's name and a 0-based page in it."""


@dataclass(frozen=True, slots=True)
class GoldBox:
    """A place that holds the answer: ``box`` is x0, y0, x1, y1 in ``unit`` (``pdf_pt`` or
    ``image_px``), origin at the top left. ``doc`` is empty where it is the question's;
    ``annotator`` tells apart people who marked the same page each in their own way."""

    page: int
    box: tuple[float, float, float, float]
    unit: str
    doc: str = ""
    annotator: int = 0


@dataclass(frozen=True, slots=True)
class Judged:
    """A page that answers, and how well: the higher the ``grade``, the better."""

    doc: str
    page: int
    grade: int = 1


@dataclass(frozen=True, slots=True)
class Question:
    """A question, the document that answers it, and the 0-based pages there.

    ``scope`` is ``corpus`` (asked of everything) or ``doc`` (asked within the document).
    Pages in ``ignored`` are taken out of a ranking before it is measured. ``judged`` is for
    data sets that grade pages or find answers in several documents; where it is empty, every
    page in ``pages`` answers equally well. ``answers`` are alternatives, as a person wrote them.
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
    answers: tuple[str, ...] = ()
    answerable: bool = True
    judged: tuple[Judged, ...] = ()
    language: str = ""

    @property
    def relevant(self) -> dict[Page, int]:
        """The grade of every page that answers."""
        if self.judged:
            return {(page.doc, page.page): page.grade for page in self.judged}
        return {(self.doc, page): 1 for page in self.pages}

    def boxes_on(self, doc: str, page: int) -> list[GoldBox]:
        """The places marked on a page."""
        return [b for b in self.boxes if (b.doc or self.doc) == doc and b.page == page]

    @property
    def half(self) -> str:
        """``dev`` or ``test``, by a hash of the document: a document is in one half only."""
        return "dev" if hashlib.sha256(self.doc.encode()).digest()[-1] % 2 == 0 else "test"


class _Box(BaseModel):
    page: Annotated[int, Field(strict=True, ge=0)]
    bbox: tuple[float, float, float, float]
    unit: Literal["pdf_pt", "image_px"]


class _Row(BaseModel):
    """A line of JSONL as it comes from outside."""

    model_config = ConfigDict(coerce_numbers_to_str=True)

    qid: str
    question: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
    doc: Annotated[str, StringConstraints(min_length=1)]
    pages: list[Annotated[int, Field(strict=True, ge=0)]]
    answers: list[str] | None = None
    answerable: bool = True
    kind: str = "all"
    scope: Literal["corpus", "doc", "video"] = "corpus"
    boxes: list[_Box] = []
    meta: dict[str, Any] | None = None


def read_questions(path: Path, *, unanswerable: bool = False) -> list[Question]:
    """The answerable questions of a ``.jsonl`` or ``.csv`` file, in its order.

    Rows without pages, of scope ``video``, or marked as suspect by their source are left out;
    with ``unanswerable``, those that no page answers stay, to see whether they are declined.
    Raises ``InputError``: file, line, and what is missing.
    """
    try:
        text = path.read_text("utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8 text ({error}); save it as UTF-8") from error
    found = _csv(path, text) if path.suffix.lower() == ".csv" else _jsonl(path, text)
    usable = [
        q
        for q in found
        if (q.pages or (unanswerable and not q.answerable)) and q.scope != "video" and not q.suspect
    ]
    if not usable:
        raise InputError(f"{path}: holds no question with a page that answers it")
    return usable


def _jsonl(path: Path, text: str) -> list[Question]:
    questions = []
    line_of: dict[str, int] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            question = _question(_Row.model_validate_json(line))
        except (ValueError, TypeError) as error:
            said = _said(error) if isinstance(error, ValidationError) else str(error)
            raise InputError(
                f"{path}, line {number}: not a question ({said}); it needs qid, "
                "question, doc and pages (a list, counted from 0)"
            ) from error
        if question.qid in line_of:
            raise InputError(
                f"{path}, line {number}: qid '{question.qid}' was used in line "
                f"{line_of[question.qid]}; give every question one of its own"
            )
        line_of[question.qid] = number
        questions.append(question)
    return questions


def _said(error: ValidationError) -> str:
    """The first of pydantic's complaints as ``pages.0: Input should be ...``."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {first['msg']}" if where else first["msg"]


def _question(row: _Row) -> Question:
    meta = row.meta or {}
    pages = frozenset(row.pages)
    ignored = {int(page) for key in _ALSO for page in meta.get(key, ())}
    return Question(
        qid=row.qid,
        text=row.question,
        doc=row.doc,
        pages=pages if row.answerable else frozenset(),
        ignored=frozenset(ignored) - pages,
        kind=row.kind,
        scope=row.scope,
        boxes=tuple(GoldBox(box.page, box.bbox, box.unit) for box in row.boxes),
        suspect=str(meta.get("page_check", "")).startswith("suspect"),
        answers=tuple(row.answers or ()),
        answerable=row.answerable,
    )


def _csv(path: Path, text: str) -> list[Question]:
    # Not split into lines first: a cell may hold line breaks.
    rows = csv.DictReader(StringIO(text, newline=""))
    needed = ("question", "document", "page")
    missing = [name for name in needed if name not in (rows.fieldnames or ())]
    if missing:
        raise InputError(f"{path}: the first line must name the columns {', '.join(needed)}")
    pages: dict[tuple[str, str], set[int]] = {}
    try:
        for number, row in enumerate(rows, 2):
            question, document, page = (row[name] or "" for name in needed)
            if not question.strip() or not document or not page.isdecimal() or int(page) < 1:
                raise InputError(
                    f"{path}, row {number}: needs a question, a document and a page >= 1"
                )
            pages.setdefault((question, document), set()).add(int(page) - 1)
    except csv.Error as error:
        raise InputError(f"{path}, line {rows.line_num + 1}: not CSV ({error})") from error
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
