"""The reader on pages that lie sideways: it looks for rows and columns along their lines, and cites
what it finds where it lies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from retrieval.reading_turn import as_read, quarters_to_read, turned_box
from serving.answering.reader import read
from serving.answering.reading import Reading
from serving.answering.types import EvidencePage


def read_turned(question: str, pages: Sequence[EvidencePage], near: float) -> list[Reading]:
    """``read``, whichever way the pages lie."""
    quarters = {
        page.record.page_id: quarters_to_read(page.record.words, page.record.flags)
        for page in pages
    }
    lying = {page.record.page_id: page for page in pages}
    standing = [_stood_up(page, quarters[page.record.page_id]) for page in pages]
    return [_laid_down(reading, lying, quarters) for reading in read(question, standing, near)]


def _stood_up(page: EvidencePage, quarters: int) -> EvidencePage:
    if not quarters:
        return page
    return replace(page, record=replace(page.record, words=as_read(page.record.words, quarters)))


def _laid_down(
    reading: Reading, lying: Mapping[int, EvidencePage], quarters: Mapping[int, int]
) -> Reading:
    page_id = reading.page.record.page_id
    back = -quarters[page_id]
    return replace(
        reading,
        page=lying[page_id],
        box=turned_box(reading.box, back) if back else reading.box,
        around=turned_box(reading.around, back) if back else reading.around,
        rests_on=tuple(_laid_down(part, lying, quarters) for part in reading.rests_on),
    )
