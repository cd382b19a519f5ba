"""Which of a row's numbers the question means: the one whose column is headed by its words.

"How much gravel in Q4?" names a row and a column. The head of a column stands above it, in the
nearest row of words; a year, a quarter, a month, a region or a unit are all words of a head. Where
no head, or more than one, has the words of the question, the column cannot be told, and no number
of the row is an answer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from retrieval.types import FloatArray, PageWords
from serving.answering.layout import Indices, Layout, cells, union
from serving.answering.quantities import is_quantity
from serving.answering.spans import MONTHS

# Not any three capitals: "VAT" and "BUS" are labels, "DEC" a month.
_SIGN = (
    r"(?:[$€£¥₹]|US\$|RM|Rs\.?|kr\.?|USD|EUR|GBP|MYR|INR|CHF|SEK|NOK|DKK|JPY|CNY|AUD|CAD|NZD|SGD"
    r"|HKD|PLN|CZK)"
)
_DIGITS = r"\d{1,3}(?:[,.'\u00a0\u202f ]\d{3})+(?:[.,]\d+)?|\d+(?:[.,]\d+)?"
_NUMBER = re.compile(
    rf"{_SIGN}?\s?[-(\u2212+]?\s?{_SIGN}?\s?(?:{_DIGITS})\s?(?:%|{_SIGN}|[^\W\d_]{{1,3}})?\s?\)?\s?%?"
)
_EMPTY = re.compile(r"[-\u2013\u2014\u2212]+|n/?a\.?|\.{2,}", re.IGNORECASE)
_BARE_SIGN = re.compile(rf"{_SIGN}|[()%]+")
_YEAR = re.compile(r"(?:19|20)\d\d")
_PRICE = re.compile(r"\d[.,]\d\d\)?$|[$€£¥₹]")
_HOW_MANY = re.compile(r"\d{1,2}|\d+(?:[.,]\d+)?\s?%")
_HEAD_WITHIN = 0.85
_HEAD_NEAR = 0.12
_HEAD_ROWS = 3

_ORDINALS = {"first": "1", "second": "2", "third": "3", "fourth": "4"}
_PERIOD = re.compile(
    r"\b(?:(first|second|third|fourth|[1-4](?:st|nd|rd|th)) (quarter|half)"
    r"|(quarter|half)[ -]?(?:year )?([1-4])(?![\d,.]*\d)"
    r"|([qh])[ -]?([1-4])(?!\d)|([1-4])([qh])(?![a-z]))",
    re.IGNORECASE,
)
_MONTH = re.compile(
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?"
    r"|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\Z",
    re.IGNORECASE,
)
_PART_OF_YEAR = re.compile(r"[qh][1-4]")
_SHORT_YEAR = re.compile(r"\b(FY) ?'?(\d\d)(?!\d)|(?<=q[1-4]) ?[/'\u2019](\d\d)\b", re.IGNORECASE)
_UNITS = {
    **dict.fromkeys(("t", "ton", "tonne"), "tonne"),
    **dict.fromkeys(("kg", "kilo", "kilogram", "kilogramme"), "kg"),
    **dict.fromkeys(("l", "liter", "litre"), "litre"),
    **dict.fromkeys(("km", "kilometre", "kilometer"), "km"),
    **dict.fromkeys(("%", "percent", "percentage"), "%"),
    **dict.fromkeys(("$", "usd", "dollar"), "$"),
    **dict.fromkeys(("\u20ac", "eur", "euro"), "\u20ac"),
    **dict.fromkeys(("\u00a3", "gbp", "pound"), "\u00a3"),
}
_SAYS_NOTHING = frozenset(
    (
        *("a", "an", "the", "of", "in", "on", "at", "for", "to", "from", "by", "and", "or", "as"),
        *("i", "is", "wa", "are", "were", "be", "do", "doe", "did", "ha", "have", "had", "it"),
        *("what", "which", "how", "much", "many", "when", "where", "who", "there", "with", "per"),
    )
)


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """Numbers that stand side by side in a row, ``cells``, and the words of their label."""

    row: int
    cells: tuple[Indices, ...]
    label: Indices

    def of(self, word: int) -> int | None:
        """The number that a word belongs to."""
        return next((i for i, cell in enumerate(self.cells) if word in cell), None)


def tokens(text: str) -> frozenset[str]:
    """What a text says, in one form: "third quarter" is "q3", "March" is "mar", "FY22" a year.

    >>> sorted(tokens("How many tonnes in the 3rd quarter of FY22?"))
    ['2022', 'fy', 'q3', 'tonne']
    """
    text = _SHORT_YEAR.sub(lambda m: f" {m[1] or ''} {_century(m[2] or m[3])} ", text)
    text = re.sub(r"\bFY ?((?:19|20)\d\d)", r" FY \1 ", text, flags=re.IGNORECASE)
    found = set()

    def period(match: re.Match[str]) -> str:
        kind = next(match[i] for i in (2, 3, 5, 8) if match[i])
        which = next(match[i] for i in (1, 4, 6, 7) if match[i]).lower()
        found.add(kind[0].lower() + _ORDINALS.get(which, which[0]))
        return " "

    for word in re.findall(r"[^\W_]+(?:['\u2019]t\b)?|[%$\u20ac\u00a3]", _PERIOD.sub(period, text)):
        # "may" is a month where it has a capital.
        if _MONTH.match(word) and word != "may":
            found.add(word[:3].lower())
            continue
        plain = word.lower()
        plain = plain if len(plain) < 3 else plain.removesuffix("s")
        if plain.isdigit() and not _YEAR.fullmatch(plain):
            continue
        found.add(_UNITS.get(plain, plain))
    return frozenset(found - _SAYS_NOTHING)


def _century(year: str) -> str:
    return f"{19 if year > '50' else 20}{year}"


def runs_of(words: PageWords, layout: Layout, row: int) -> list[Run]:
    """The runs of numbers of a row that have a label left of them."""
    found: list[Run] = []
    label: list[int] = []
    numbers: list[Indices] = []
    for part in parts_of(layout.rows[row], words):
        text = _text(part, words)
        if _is_number(text) or _EMPTY.fullmatch(text):
            numbers.append(part)
        elif not _BARE_SIGN.fullmatch(text):
            if numbers and label:
                found.append(Run(row, tuple(numbers), np.array(label, np.intp)))
                label = []
            numbers = []
            label.extend(int(i) for i in part)
    if numbers and label:
        found.append(Run(row, tuple(numbers), np.array(label, np.intp)))
    return found


def column_meant(question: str, words: PageWords, layout: Layout, run: Run) -> int | None:
    """Which number of a run the question means, None if that cannot be told.

    A number that stands alone is meant, unless the words of the question head an empty column,
    or its own head is another period than the one asked for.
    """
    heads = heads_of(words, layout, run)
    asked = tokens(question) - tokens(_text(run.label, words))
    said = [tokens(head) for head in heads]
    other = [_other_period(head, asked) for head in said]
    if all(other):
        return None
    if len(said) > 1:
        shared = frozenset.intersection(*said)
        said = [head - shared for head in said]
    fits = [
        (-1, 0.0) if no else (len(head & asked), len(head & asked) / max(len(head), 1))
        for head, no in zip(said, other, strict=True)
    ]
    best = max(fits)
    if best[0] > 0 and fits.count(best) == 1:
        place = fits.index(best)
        empty = place >= len(run.cells) or _EMPTY.fullmatch(_text(run.cells[place], words))
        return None if empty else place
    if len(run.cells) == 1:
        return None if other[0] else 0
    if best[0]:
        return None
    # "Total 3 31.55", "Tax 20% 31.55": one is a price, the others are how many or at what rate.
    prices = [i for i, cell in enumerate(run.cells) if _PRICE.search(_text(cell, words))]
    others = [_text(cell, words) for i, cell in enumerate(run.cells) if i not in prices]
    if len(prices) == 1 and all(_HOW_MANY.fullmatch(text) for text in others):
        return prices[0]
    return None


def of_other_period(question: str, words: PageWords, layout: Layout, run: Run, place: int) -> bool:
    """Whether the head of a number names a part of a year that the question does not ask for."""
    said = tokens(heads_of(words, layout, run)[place])
    asked = tokens(question)
    parts = {token for token in said if _PART_OF_YEAR.fullmatch(token)}
    return _other_period(said, asked) or bool(parts - asked)


def _other_period(head: frozenset[str], asked: frozenset[str]) -> bool:
    periods = {token for token in head if _is_period(token)}
    wanted = {token for token in asked if _is_period(token)}
    return bool(periods and wanted) and periods.isdisjoint(wanted)


def _is_period(token: str) -> bool:
    return bool(_PART_OF_YEAR.fullmatch(token)) or token in MONTHS


def _text(members: Indices, words: PageWords) -> str:
    return " ".join(words.texts[i] for i in members)


def _is_number(text: str) -> bool:
    return _NUMBER.fullmatch(text) is not None


def parts_of(row: Indices, words: PageWords) -> list[Indices]:
    """The cells of a row; numbers set so closely that they are one cell are taken apart."""
    found: list[Indices] = []
    for part in cells(row, words.boxes):
        begin = len(part)
        while begin and _is_number(words.texts[part[begin - 1]]):
            begin -= 1
        if len(part) - begin < 2 or re.fullmatch(
            r"\D{0,4}(?:\d{1,3}(?: \d{3})+)", _text(part, words)
        ):
            # "38 kr" after its label, without a gap.
            if (split := _value_at_the_end(part, words)) is not None:
                found.extend((part[:split], part[split:]))
            else:
                found.append(part)
            continue
        if begin:
            found.append(part[:begin])
        found.extend(part[i : i + 1] for i in range(begin, len(part)))
    return found


def _value_at_the_end(part: Indices, words: PageWords) -> int | None:
    if len(part) > 8 or _is_number(_text(part, words)):
        return None
    for split in (len(part) - 1, len(part) - 2):
        text = _text(part[split:], words)
        if split > 0 and re.search(r"\d", words.texts[part[split]]) and _is_number(text):
            return split
    return None


def heads_of(words: PageWords, layout: Layout, run: Run) -> list[str]:
    """What stands above each number of a run; after these, heads of columns that it leaves
    empty."""
    boxes = words.boxes
    columns = [_span(cell, boxes) for cell in run.cells]
    edge = float(boxes[run.label, 2].max())
    top = float(boxes[layout.rows[run.row], 1].min())
    lowest: list[Indices] | None = None
    texts: list[str] = []
    for row in range(run.row - 1, -1, -1):
        members = layout.rows[row]
        if top - float(boxes[members, 1].min()) > _HEAD_WITHIN:
            break
        parts = _head_parts(members, words, edge, len(columns))
        if lowest is None:
            if len(parts) < min(2, len(columns)):
                continue
            lowest = parts
            assigned = _mutual(parts, columns, boxes)
            texts = [_text(parts[i], words) if i is not None else "" for i in assigned]
            free = [part for i, part in enumerate(parts) if i not in assigned]
            texts += [_text(part, words) for part in free]
            columns += [_span(part, boxes) for part in free]
            rows = 1
            continue
        rows += 1
        if not parts or rows > _HEAD_ROWS:
            break
        for place, column in enumerate(columns):
            nearest = min(parts, key=lambda part: abs(_mid(_span(part, boxes)) - _mid(column)))
            texts[place] = f"{texts[place]} {_text(nearest, words)}"
    return texts or [""] * len(columns)


def _head_parts(row: Indices, words: PageWords, edge: float, columns: int) -> list[Indices]:
    """The cells of a row that may head columns; none if it holds numbers or is running text."""
    found: list[Indices] = []
    for part in cells(row, words.boxes):
        over = part[words.boxes[part, 2] > edge]
        if not len(over):
            continue
        if len(over) > 1 and (
            len(over) == columns or all(_YEAR.fullmatch(words.texts[i]) for i in over)
        ):
            x0, x1 = _span(over, words.boxes)
            if columns > 1 and x1 - x0 > 0.06 * columns:
                found.extend(over[i : i + 1] for i in range(len(over)))
                continue
        if words.boxes[part[0], 0] < edge and len(part) > 1 and len(over) < len(part):
            continue  # the label column's own head, or a line of text
        found.append(part)
    texts = [_text(part, words) for part in found]
    years = [text for text in texts if _YEAR.fullmatch(text)]
    if any(_is_number(t) or is_quantity(t) or _EMPTY.fullmatch(t) for t in texts if t not in years):
        return []
    return found


def _span(part: Indices, boxes: FloatArray) -> tuple[float, float]:
    x0, _, x1, _ = union(boxes, part)
    return x0, x1


def _mid(span: tuple[float, float]) -> float:
    return (span[0] + span[1]) / 2


def _mutual(
    parts: Sequence[Indices], columns: Sequence[tuple[float, float]], boxes: FloatArray
) -> list[int | None]:
    """For each column the head that is nearest to it and to which it is nearest."""
    spans = [_span(part, boxes) for part in parts]
    apart = np.array([[_apart(span, column) for span in spans] for column in columns])
    found: list[int | None] = []
    for column in range(len(columns)):
        part = int(apart[column].argmin())
        mine = int(apart[:, part].argmin()) == column and apart[column, part] < _HEAD_NEAR
        found.append(part if mine else None)
    return found


def _apart(a: tuple[float, float], b: tuple[float, float]) -> float:
    """How far two columns are from each other: by their edges or middles, whichever agree best,
    as heads and numbers may be set to the left, the right or the middle."""
    return min(abs(a[0] - b[0]), abs(a[1] - b[1]), abs(_mid(a) - _mid(b)))
