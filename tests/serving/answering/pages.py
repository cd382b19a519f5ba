"""Pages made of rows of cells, for the tests of reading tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from retrieval.reading_turn import TURNED, as_read
from retrieval.store import PageRecord
from retrieval.types import Box, Hit, PageWords
from serving.answering.types import EvidencePage

Row = Sequence[str]
_HEIGHT = 0.015


def table_page(
    rows: Sequence[Row],
    *,
    source: str = "acme_2021_10k.pdf",
    page_id: int = 1,
    rank: int = 1,
    columns: Sequence[float] = (0.08, 0.6, 0.75, 0.9),
) -> EvidencePage:
    """A page with a row of words for each of ``rows``; cell i begins at ``columns[i]``.

    Numbers are set flush right within their column, as accounts set them.
    """
    texts: list[str] = []
    boxes: list[Box] = []
    lines: list[int] = []
    for number, row in enumerate(rows):
        y = 0.05 + number * 0.03
        for column, cell in zip(columns, row, strict=False):
            width = 0.008 * len(cell)
            x = column if column == columns[0] else column + 0.08 - width
            for word in cell.split():
                texts.append(word)
                boxes.append((x, y, x + 0.008 * len(word), y + _HEIGHT))
                lines.append(number)
                x += 0.008 * (len(word) + 1)
    words = PageWords(
        tuple(texts), np.array(boxes, np.float32).reshape(-1, 4), np.array(lines, np.int32)
    )
    record = PageRecord(page_id, 1, page_id, "1", 612, 792, words, words.boxes, "layer", "", ())
    hit = Hit(rank, 1.0, {}, page_id, 1, source, "", page_id, "1", {}, (), (), "", (612, 792))
    nothing = np.zeros((1, len(texts)), np.float32)
    return EvidencePage(hit, record, nothing, nothing)


def turned_page(page: EvidencePage, quarters: int) -> EvidencePage:
    """The page as a scan that has to be turned by ``quarters``, counter-clockwise, to be read."""
    words = as_read(page.record.words, -quarters)
    return replace(page, record=replace(page.record, words=words, flags=(TURNED,)))


BALANCE = (
    ("Acme Consolidated Balance Sheets",),
    ("(in millions)",),
    ("", "2021", "2020"),
    ("Merchandise inventories", "5,409", "5,209"),
    ("Total current assets", "19,815", "19,378"),
    ("Property, plant and equipment, net", "7,597", "7,213"),
    ("Total assets", "50,873", "50,710"),
    ("Total current liabilities", "13,997", "13,933"),
)
CASH = (
    ("Acme Consolidated Statements of Cash Flows",),
    ("(in millions)",),
    ("", "2021", "2020", "2019"),
    ("Net cash provided by operating activities", "9,221", "8,183", "7,311"),
    ("Purchases of property, plant and equipment", "(1,522)", "(1,766)", "(1,484)"),
)
EARNINGS = (
    ("Acme Consolidated Statements of Earnings",),
    ("(in millions)",),
    ("", "2021", "2020", "2019"),
    ("Products", "56,435", "54,928", "50,053"),
    ("Total net sales", "67,044", "65,398", "59,812"),
    ("Operating profit", "9,123", "8,644", "8,545"),
)


def report() -> list[EvidencePage]:
    """The three statements of one company."""
    return [
        table_page(rows, page_id=number, rank=number)
        for number, rows in enumerate((BALANCE, CASH, EARNINGS), 1)
    ]
