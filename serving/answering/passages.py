"""The nearest passages of pages: sentences, and whole rows of tables."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from retrieval.types import FloatArray, PageWords
from serving.answering.layout import Indices, Layout, cells, lay_out, union
from serving.answering.reading import Reading
from serving.answering.spans import Kind
from serving.answering.types import EvidencePage

_WORD_PRICE = 0.004
_PHRASES = 3
_LONGEST_CELL = 5
_LONGEST_FIELD = 10
_LABEL = re.compile(r"\w:$|[.\u2026_]{3,}$")
# A passage that has the very code asked about is near, whatever else it says.
_HAS_CODE = 0.3
_CODE = re.compile(r"\b(?=[\w-]*[^\W\d_])(?=[\w-]*\d)[\w-]{2,}\b")


def nearest(
    question: str, pages: Sequence[EvidencePage], trusts: Sequence[float], kind: Kind
) -> list[Reading]:
    """Of each page the passages that say most of what was asked; ``trusts`` is how far each page
    counts."""
    return [
        phrase
        for page, trust in zip(pages, trusts, strict=True)
        for phrase in _phrases(
            page, lay_out(page.record.words), kind, trust, _codes(question, page)
        )
    ]


def _codes(question: str, page: EvidencePage) -> frozenset[str]:
    """Codes that a question names, as "E14", without those that are the document's own name."""
    name = f"{page.hit.source.rsplit('/', 1)[-1]} {page.hit.title}".casefold()
    codes = {code.casefold() for code in _CODE.findall(question)}
    return frozenset(code for code in codes if code not in name)


def best_of(evidence: FloatArray, members: Indices) -> FloatArray:
    """What some words say at most for each token of the question, ``[q] float32``."""
    if not len(members):
        return np.zeros(len(evidence), np.float32)
    best: FloatArray = evidence[:, members].max(axis=1)
    return best


def _phrases(
    page: EvidencePage, layout: Layout, kind: Kind, trust: float, codes: frozenset[str]
) -> list[Reading]:
    words = page.record.words
    found = []
    for members in _passages(words, layout):
        if len(members) < 2:
            continue
        held = float(best_of(page.evidence, members).sum())
        score = max(0.0, held - _WORD_PRICE * len(members))
        score *= trust
        text = " ".join(words.texts[i] for i in members)
        if codes and codes & set(re.findall(r"[\w-]+", text.casefold())):
            score = max(score, _HAS_CODE)
        box = union(words.boxes, members)
        found.append(Reading(page, text, box, text, box, score, kind))
    return sorted(found, key=lambda reading: -reading.score)[:_PHRASES]


def _passages(words: PageWords, layout: Layout) -> list[Indices]:
    """Sentences, and of tables whole rows: a label without its numbers says nothing."""
    tabular = np.array([_is_tabular(row, words) for row in layout.rows], np.bool_)
    in_rows = tabular[layout.row_of]
    sentences = [s for s in layout.sentences if in_rows[s].mean() <= 0.5]
    # A sentence of rows is none; of what else it holds the row is shown.
    kept = np.concatenate([np.zeros(0, np.intp), *sentences])
    rest = np.setdiff1d(np.arange(len(words)), kept)
    return [*sentences, *(layout.rows[row] for row in np.unique(layout.row_of[rest]))]


def _is_tabular(row: Indices, words: PageWords) -> bool:
    texts = [words.texts[i] for i in row]
    if len(row) <= _LONGEST_FIELD and any(_LABEL.search(text) for text in texts[:-1]):
        return True
    parts = cells(row, words.boxes)
    short = all(len(part) <= _LONGEST_CELL for part in parts)
    return len(parts) > 1 and short and any(c.isdigit() for text in texts for c in text)
