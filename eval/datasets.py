"""Questions with the pages that answer them, read from files that people can write by hand.

JSONL rows follow the schema in data/README.md; a CSV needs the columns ``question``,
``document`` and ``page`` (1-based, as people count), one row a relevant page, separated by commas,
semicolons or tabs, as spreadsheets of different countries write them. Data sets that
bring their own pages (ViDoRe, MTEB) are read by ``eval.vidore``.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from retrieval.errors import InputError

# Pages that say it too, by the names that data sets use: neither right nor wrong.
_ALSO = ("also_on_pages", "title_also_on_pages", "term_also_on_pages")
_COLUMNS = ("question", "document", "page")
_SEPARATORS = ",;\t"
_SHEETS = (".xlsx", ".xls", ".ods", ".numbers")

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
        """The grade of every page that answers, where the question is asked."""
        if self.judged:
            within = self.judged
            if self.scope == "doc":
                within = tuple(page for page in within if page.doc == self.doc)
            return {(page.doc, page.page): page.grade for page in within}
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
    """The answerable questions of a ``.jsonl``, ``.csv`` or ``.tsv`` file, in its order.

    Rows without pages, of scope ``video``, or marked as suspect by their source are left out;
    with ``unanswerable``, those that no page answers stay, to see whether they are declined.
    Raises ``InputError``: file, line, and what is missing.
    """
    if path.suffix.lower() in _SHEETS:
        raise InputError(f"{path}: is a workbook; save its sheet as CSV (UTF-8)")
    try:
        text = path.read_text("utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8 text ({error}); save it as UTF-8") from error
    is_table = path.suffix.lower() in (".csv", ".tsv")
    found = _csv(path, text) if is_table else _jsonl(path, text)
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
    first = text.lstrip().partition("\n")[0]
    # Not split into lines first: a cell may hold line breaks.
    rows = csv.DictReader(StringIO(text, newline=""), delimiter=max(_SEPARATORS, key=first.count))
    found: dict[str, dict[Page, int]] = {}
    try:
        rows.fieldnames = [name.strip().lower() for name in rows.fieldnames or ()]
        if not set(_COLUMNS) <= set(rows.fieldnames):
            raise InputError(
                f"{path}: the first line must name the columns {', '.join(_COLUMNS)}; "
                f"it names {', '.join(filter(None, rows.fieldnames)) or 'none'}"
            )
        for number, row in enumerate(rows, 2):
            # A spreadsheet writes a row of empty cells for one that was emptied.
            if any(isinstance(cell, list) or (cell or "").strip() for cell in row.values()):
                question, page = _csv_row(row, f"{path}, row {number}")
                found.setdefault(question, {}).setdefault(page, number)
    except csv.Error as error:
        raise InputError(f"{path}, line {rows.line_num + 1}: not CSV ({error})") from error
    return [
        _of_pages(f"row-{min(pages.values())}", question, list(pages))
        for question, pages in found.items()
    ]


def _csv_row(row: dict[Any, Any], where: str) -> tuple[str, Page]:
    """The question of a row and a page that answers it. Raises ``InputError``."""
    if None in row:
        raise InputError(
            f"{where}: has more cells than the first line; put a text that holds the separator "
            "between quotation marks"
        )
    question, document, page = ((row[name] or "").strip() for name in _COLUMNS)
    # What passed through a data frame with a gap in the column is written as 3.0.
    whole = page.removesuffix(".0")
    if not question or not document or not whole.isdecimal() or int(whole) < 1:
        said = f", not '{page}'" if page else ""
        raise InputError(
            f"{where}: needs a question, a document and a page >= 1{said}: pages count from 1, and "
            "a question that several pages answer has a row for each"
        )
    return question, (document, int(whole) - 1)


def _of_pages(qid: str, text: str, pages: Sequence[Page]) -> Question:
    """A question that ``pages`` answer, of one document or of several."""
    docs = list(dict.fromkeys(doc for doc, _ in pages))
    mine = frozenset(page for doc, page in pages if doc == docs[0])
    judged = tuple(Judged(doc, page) for doc, page in pages) if len(docs) > 1 else ()
    return Question(qid, text, docs[0], mine, judged=judged)


def by_one_name(questions: Iterable[Question], ids: Mapping[str, int]) -> list[Question]:
    """The questions with each document called by one name, whatever they call it.

    ``ids`` are the documents by name. A ranking names a document once: under its other names it
    would count as not found.
    """
    first: dict[int, str] = {}
    for name, doc_id in ids.items():
        first.setdefault(doc_id, name)
    names = {name: first[doc_id] for name, doc_id in ids.items()}
    if len(first) == len(ids):
        return list(questions)

    def called(name: str) -> str:
        return names.get(name, name)

    return [
        replace(
            question,
            doc=called(question.doc),
            judged=tuple(replace(page, doc=called(page.doc)) for page in question.judged),
            boxes=tuple(replace(b, doc=called(b.doc)) if b.doc else b for b in question.boxes),
        )
        for question in questions
    ]


def only_documents(questions: Iterable[Question], listed: Path) -> tuple[list[Question], list[str]]:
    """The questions about the documents that a text file lists, one a line, and the list."""
    try:
        names = [line.strip() for line in listed.read_text("utf-8").splitlines() if line.strip()]
    except OSError as error:
        raise InputError(f"{listed}: cannot be read ({error.strerror})") from error
    wanted = set(names)
    return [question for question in questions if question.doc in wanted], names
