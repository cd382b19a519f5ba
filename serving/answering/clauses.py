"""Values in sentences: a quantity, a date or a time, and the clause that says what it is of."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from retrieval.types import PageWords
from serving.answering.facts import Fact, Sections, text_of
from serving.answering.layout import Indices, Layout, breaks, step_of
from serving.answering.quantities import Quantity, quantities_in
from serving.answering.wanted import stems

_BOUNDARY = re.compile(r"[,;)]$|[.!?]$")
_JOINS = frozenset(("and", "then", "but", "or", "while", "whereas"))
_NOT = re.compile(r"\b(?:not|no|never|without|except|unless|n't|cannot)\b", re.IGNORECASE)
_EVERY = re.compile(r"\b(?:every|each|per|once)\b", re.IGNORECASE)
_YEAR = re.compile(r"(?:19|20)\d\d")


def facts_of_sentences(
    words: PageWords, layout: Layout, sections: Sections, used: set[int]
) -> Iterator[Fact]:
    step = ""
    for members in _sentences(words, layout):
        text = text_of(members, words)
        numbered = step_of(text)
        begins = members[0] == 0 or breaks(words, int(members[0]) - 1)
        if numbered:
            step = numbered
        elif begins:
            step = ""
        if sum(int(i) in used for i in members) > len(members) / 2:
            continue
        yield from _of_sentence(words, layout, members, step, sections)


def _sentences(words: PageWords, layout: Layout) -> Iterator[Indices]:
    """Sentences of the layout, what follows a colon being of its one."""
    held: list[Indices] = []
    for members in layout.sentences:
        held.append(members)
        last = int(members[-1])
        if words.texts[last].endswith(":") and last + 1 < len(words) and not breaks(words, last):
            continue
        yield np.concatenate(held)
        held = []


def _of_sentence(
    words: PageWords, layout: Layout, members: Indices, step: str, sections: Sections
) -> Iterator[Fact]:
    texts = [words.texts[i] for i in members]
    found = quantities_in(texts)
    if not found:
        return
    above = sections.above(int(layout.row_of[members[0]]), of_table=False)
    clauses = _clauses(texts, found)
    for quantity in found:
        if step and quantity.first <= 1 and quantity.text == step:
            continue
        a, b = next(c for c in clauses if c[0] <= quantity.first < c[1])
        said = " ".join([*texts[a : quantity.first], *texts[quantity.last : b]])
        own_words = range(quantity.first, quantity.last)
        lead = " ".join(t for i, t in enumerate(texts[: clauses[0][1]]) if i not in own_words)
        after = " ".join(texts[quantity.last : min(b, quantity.last + 2)])
        before = " ".join(texts[max(a, quantity.first - 2) : quantity.first])
        first, last = quantity.first, quantity.last
        yield Fact(
            quantity.text, members[first:last], members, quantity.dimension, quantity.unit,
            stems(said), stems(lead) | above, said, step, bool(_EVERY.search(before)),
            bool(_NOT.search(" ".join(texts[a:b]))), frozenset(_YEAR.findall(said)),
            stems(after), frozenset() if not a else stems(lead) - stems(said) - above,
        )  # fmt: skip


def _clauses(texts: list[str], found: list[Quantity]) -> list[tuple[int, int]]:
    """A sentence cut at its commas and joining words, so that each piece holds a quantity, and
    what stands before its first is with it."""
    cuts = {i + 1 for i, text in enumerate(texts) if _BOUNDARY.search(text)}
    cuts |= {i for i, text in enumerate(texts) if text.lower() in _JOINS}
    # "Between 5 and 35": its two ends are of one thing, and neither alone is it.
    cuts -= {q.last for q in found if q.first and texts[q.first - 1].lower() == "between"}
    edges = [0]
    for cut in sorted(cuts):
        if any(q.first < cut < q.last for q in found):
            continue
        if any(edges[-1] <= q.first < cut for q in found) and any(q.first >= cut for q in found):
            edges.append(cut)
    return list(zip(edges, [*edges[1:], len(texts)], strict=True))
