"""The value that a page states outright: the one whose words account for all of the question.

A word that neither the value's label or clause, nor the headings above it, nor the document's name
has is a sign that something else is asked for: another step, another year, another product. Then
there is no answer here. Nor is there one where two values account for it equally well.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from retrieval.types import PageWords
from serving.answering.clauses import facts_of_sentences
from serving.answering.facts import Fact, Sections
from serving.answering.layout import Layout, lay_out
from serving.answering.rows import facts_of_row, is_contents, is_margin
from serving.answering.spans import DATE, asking_sentence
from serving.answering.types import EvidencePage
from serving.answering.wanted import MOVES, Wanted, measures_in, speaks_of, stem, stems, wanted

_TITLE_ROWS = 6
_ALIKE = 0.8
# What papers are called, and what says how an answer is to be given.
_GENERIC = frozenset(
    (
        *("receipt", "invoic", "bill", "dat", "total", "sum", "pric", "cost", "usd", "million"),
        *("thousand", "billion", "answer", "question", "pleas", "respons", "round", "decimal"),
    )
)
# Words of a label or a clause that make of its value no other one.
_NEUTRAL = frozenset(("total", "sum", "overall", *map(stem, ("then", "but", "while", "whereas"))))


@dataclass(frozen=True, slots=True, eq=False)
class Stated:
    """A fact that answers. ``held``: how many words of the question its own words have; ``extra``:
    how many they have that were not asked."""

    page: EvidencePage
    fact: Fact
    held: int
    extra: int

    @property
    def rank(self) -> tuple[int, bool]:
        """A label that says just what was asked is that; of others it cannot be told by what else
        they say."""
        return (self.held, self.extra == 0)


def find_stated(question: str, pages: Sequence[EvidencePage]) -> list[Stated]:
    """Facts that account for the whole question, the best first; of each document those that
    account for it best, which are more than one where it cannot be told which is meant."""
    asked = wanted(question)
    if asked is None or not asked.terms | asked.measures:
        return []
    found: list[Stated] = []
    for page in pages:
        if not len(page.record.words):
            continue
        about = _about(page)
        if asked.terms - MOVES - about - _said(page):
            continue
        layout = lay_out(page.record.words)
        for fact in facts_of(page.record.words, layout):
            stated = _fits(asked, page, fact, about)
            if stated is not None:
                found.append(stated)
    found.sort(key=lambda s: (-s.held, s.extra > 0, s.page.hit.rank, s.extra))
    best: dict[int, tuple[int, bool]] = {}
    for stated in found:
        best.setdefault(stated.page.record.doc_id, stated.rank)
    return [s for s in found if s.rank == best[s.page.record.doc_id]]


def facts_of(words: PageWords, layout: Layout) -> list[Fact]:
    """Every fact of a page: those of its rows, then those of its sentences."""
    if is_contents(words, layout):
        return []
    sections = Sections(words, layout)
    found: list[Fact] = []
    used: set[int] = set()
    for number, row in enumerate(layout.rows):
        if is_margin(row, words):
            continue
        of_row = list(facts_of_row(words, layout, number, sections))
        found.extend(of_row)
        if any(fact.dimension != "text" for fact in of_row):
            used.update(int(i) for i in row)
    found.extend(facts_of_sentences(words, layout, sections, used))
    return found


def _about(page: EvidencePage) -> frozenset[str]:
    """What a document says it is: its file's name, its title, the lines that it begins with."""
    name = page.hit.source.rsplit("/", 1)[-1].rpartition(".")[0]
    words = page.record.words
    rows = lay_out(words).rows[:_TITLE_ROWS] if page.record.number == 0 else ()
    first = [words.texts[i] for row in rows for i in row]
    return stems(" ".join((" ", *re.split(r"[\W_]+", name), page.hit.title, *first)))


def _said(page: EvidencePage) -> frozenset[str]:
    return stems(" ".join((" ", *page.record.words.texts)))


def missing_words(question: str, page: EvidencePage) -> frozenset[str]:
    """Words and numbers of ``question`` that neither the page nor its document's name has. Names
    and dates are not among them: ``subject_fit`` weighs these."""
    asked = wanted(question)
    if asked is None:
        return frozenset()
    plain = re.sub(r"\b\d{8}\b", " ", DATE.sub(" ", asking_sentence(question)))
    plain = re.sub(r"\b[A-Z&][\w&.'\u2019-]*", " ", plain)
    # "Does it weigh", "how hot": the unit may say it.
    measured = frozenset(stem(name) for name in asked.measures - {"price"})
    terms = (asked.terms & stems(f" {plain}") | measured) - asked.years - _GENERIC
    said = _said(page) | _about(page)
    left = terms - said
    return frozenset(
        term for term in left if term.isdigit() or not get_close_matches(term, said, 1, _ALIKE)
    )


def _fits(asked: Wanted, page: EvidencePage, fact: Fact, about: frozenset[str]) -> Stated | None:
    if fact.denied or fact.every != asked.every or (fact.step != asked.step and asked.step):
        return None
    if not _measures(asked, fact, about):
        return None
    if fact.years and asked.years and not fact.years & asked.years:
        return None
    around = fact.own | fact.wider
    needed = asked.terms
    if fact.tabular and fact.dimension == "time":
        needed = needed - MOVES
    if needed - around - about:
        return None
    measured = measures_in(fact.label) & asked.measures
    own = asked.terms & fact.own
    held = len(own) + bool(measured) + bool(asked.counted and asked.counted in fact.counted)
    if not own and not measured and not asked.step and not asked.counted:
        return None
    extra = len(fact.own - asked.terms - _NEUTRAL) - len(measured)
    if extra > 0 and needed & fact.lead - about:
        return None  # of "the old one holds 4 l, the new one 6 l" the second is not the old one's
    return Stated(page, fact, held, max(0, extra))


def _measures(asked: Wanted, fact: Fact, about: frozenset[str]) -> bool:
    """Whether the value is of the kind that was asked for."""
    if asked.unit:
        return fact.unit == asked.unit or (
            not fact.unit and fact.tabular and asked.unit in stems(fact.label)
        )
    if asked.counted:
        return asked.counted in fact.counted and not fact.dimension
    if not asked.dimensions:
        return fact.tabular
    if fact.dimension in asked.dimensions:
        return True
    if fact.dimension or not fact.tabular:
        return False
    # A number alone is one of what its table is about.
    return not asked.measures or speaks_of(fact.own | fact.wider | about, asked.measures)
