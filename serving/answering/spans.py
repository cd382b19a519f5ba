"""Amounts, percentages, dates, numbers in text: found, and brought to a form that compares.

The same rules serve the reader, which looks for a span of the kind that a question asks for, and
the verifier, which asks whether a number of a claim stands in its evidence.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Literal

# ``cell``: a number of a table, or worked out from some, whose row and column are surely meant.
# ``stated``: a value whose label or clause, headings and document account for the whole question.
# ``when``: a date or a time of the day.
Kind = Literal[
    "amount",
    "percent",
    "date",
    "time",
    "when",
    "year",
    "count",
    "text",
    "yes-no",
    "computed",
    "cell",
    "stated",
]

_CURRENCY = r"(?:US\$|RM|Rs\.?|[$€£¥₹]|\b(?:USD|EUR|GBP|MYR|INR|CHF)\b)"
_NUMBER = r"\d{1,3}(?:[,.'\u00a0\u202f]\d{3})+(?:[.,]\d+)?|\d+(?:[.,]\d+)?"
# Not a part of a code, a time or a reference: "(139386-X)", "13:14:32", "49/2". A letter for
# the scale may follow at once: "£76.8m".
NUMBER = re.compile(
    rf"(?<![\w.,:/#-])(?<!\w[-\u2212(])[-(\u2212]?{_CURRENCY}?\s?(?>{_NUMBER})"
    r"(?:(?:mn|bn|[kmb])\b)?\)?(?![\w]|[:/-]\w)",
    re.IGNORECASE,
)
_PERCENT = re.compile(
    rf"[-(\u2212]?(?:{_NUMBER})\s?(?:%|\bper ?cent\b|\bpercentage points?\b)", re.I
)
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sept?|oct|nov|dec)[a-z]*\.?"
DATE = re.compile(
    r"\b\d{4}-\d{1,2}-\d{1,2}\b|\b\d{1,2}[./-]\d{1,2}[./-](?:\d{4}|\d{2})\b"
    rf"|\b\d{{1,2}}(?:st|nd|rd|th)?\s+{_MONTH},?\s+\d{{4}}\b"
    rf"|\b{_MONTH}\s+\d{{1,2}}(?:st|nd|rd|th)?,?\s+\d{{4}}\b|\b{_MONTH}\s+\d{{4}}\b",
    re.IGNORECASE,
)
# A time of the day: "21:40", "9.30 pm", "7 a.m.". With a point it needs its half of the day.
TIME = re.compile(
    r"(?<![\w.:])(?:(?:[01]?\d|2[0-3]):[0-5]\d(?::[0-5]\d)?(?:\s?[ap]\.?m\b\.?)?"
    r"|(?:0?[1-9]|1[0-2])(?:\.[0-5]\d)?\s?[ap]\.?m\b\.?)(?![\w:])",
    re.IGNORECASE,
)
YEAR = re.compile(r"\b(?:FY\s?)?((?:19|20)\d\d)\b", re.IGNORECASE)
_SCALES = {
    "thousand": 3,
    "k": 3,
    "million": 6,
    "millions": 6,
    "m": 6,
    "mn": 6,
    "mm": 6,
    "billion": 9,
    "billions": 9,
    "bn": 9,
    "b": 9,
    "trillion": 12,
}
_ATTACHED = re.compile(r"\d(mn|bn|[kmb])\)?$", re.IGNORECASE)
_SCALE = re.compile(rf"\s*({'|'.join(sorted(_SCALES, key=len, reverse=True))})\b", re.IGNORECASE)

# Asked for a value that no page states, unless somebody worked it out before.
_COMPUTED = re.compile(
    r"\b(?:"
    + "|".join(
        (
            "difference|gap|ratio|average|sum of|combined|how much (?:more|less|higher)",
            "how many (?:more|fewer|less) .*than",
            "change[ds]?|growth|grow|grew|increase[ds]?|decrease[ds]?|compare[ds]?|margin|turnover",
            "how many (?:figures|charts|tables|pages|images|pictures|times)",
            "how many .*(?:mention|appear|include[ds]? in the document)[a-z]*",
        )
    )
    + r")\b",
    re.IGNORECASE,
)
_ASKS: tuple[tuple[Kind, re.Pattern[str]], ...] = (
    (
        "percent",
        re.compile(r"\b(?:what|which)?\s*(?:percentage|percent|per cent|%|proportion)", re.I),
    ),
    ("year", re.compile(r"\b(?:which|what) (?:fiscal )?year\b", re.I)),
    (
        "time",
        re.compile(
            r"\b(?:what|which) (?:time|hours?)\b"
            r"(?= (?:of day|do|does|did|is|are|was|were|will|can|should)\b|\s*\?|$)"
            r"|\bwhat is the time(?= of\b|\s*\?)",
            re.I,
        ),
    ),
    ("date", re.compile(r"\b(?:what|which) (?:is the )?(?:date|day)\b|\bdate of\b", re.I)),
    ("when", re.compile(r"^when\b", re.I)),
    (
        "amount",
        re.compile(
            r"\bhow much\b|\b(?:total|amount|price|cost|revenues?|sales|expenses?|income|profit"
            r"|dividends?|assets|liabilities|inventor(?:y|ies)|expenditures?|capex|balance|paid"
            r"|fees?|charges?|spent|cash|debt|equity|ebitda|worth|value of|working capital|pp&e"
            r"|ppn?e|goodwill|payables?|receivables?|depreciation)\b",
            re.I,
        ),
    ),
    (
        "count",
        re.compile(r"\bhow many\b|\bnumber of\b|\bhow (?:long|old|tall|far|big|large)\b", re.I),
    ),
)
_YES_NO = re.compile(
    r"^(?:is|are|was|were|do|does|did|has|have|had|can|could|will|would|should)\b", re.I
)


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of a line of words: words ``first .. last`` (exclusive), and what it says."""

    first: int
    last: int
    text: str
    value: Decimal | None


_SENTENCE = re.compile(r"[^?]*\?|[^?]+$")
_FOCUS = re.compile(
    r"(?:what|which|how much|how many|when|where|who)\b(?:\s+(?:is|are|was|were|did|does|do|has"
    r"|have))?(?:\s+(?:the|a|an))?\s+(?P<focus>.+?)"
    r"(?=\s+(?:for|from|on|in|by|at|dated|according|as of|among|between|during|shown|based)\b"
    r"|[?,.(]|$)",
    re.IGNORECASE | re.DOTALL,
)


def focus_of(question: str) -> str:
    """The thing asked for, without what says where to look.

    >>> focus_of("What is the total amount on the receipt from ACME dated 1 May 2018?")
    'total amount'
    >>> focus_of("What were total current assets of ACME in 2019?")
    'total current assets of ACME'
    """
    match = _FOCUS.search(question)
    return match["focus"].strip() if match and match["focus"].strip() else question


def asking_sentence(question: str) -> str:
    """The sentence that asks, without those that say how to answer.

    >>> asking_sentence("Use the table. How many otters swam? Round to an integer.")
    'How many otters swam?'
    """
    sentences = [s.strip() for s in _SENTENCE.findall(question)]
    asked = next((s for s in sentences if s.endswith("?")), question)
    # Of several sentences before the mark the last one asks.
    return re.split(r"(?<=[.:])\s+(?=[A-Zw])", asked)[-1]


def asked_for(question: str) -> Kind:
    """What kind of answer a question wants; ``computed`` if no page is likely to state it."""
    question = question.strip()
    if _YES_NO.search(question):
        return "yes-no"
    percent = _ASKS[0][1].search(question)
    if _COMPUTED.search(question) and not percent:
        return "computed"
    for kind, pattern in _ASKS:
        if pattern.search(question):
            # "What are total assets?" asks for an amount; "Who audits the accounts?" does not.
            if kind == "amount" and re.match(r"(?i)^(?:who|where|why|which)\b", question):
                continue
            return kind
    return "text"


def number_value(text: str) -> Decimal | None:
    """The value of a number as people write it: "(1,234.5)" is -1234.5, "RM 6.00" is 6.

    >>> number_value("$1,577"), number_value("(12.5)%"), number_value("1.234,50")
    (Decimal('1577'), Decimal('-12.5'), Decimal('1234.50'))
    """
    digits = re.search(_NUMBER, text)
    if digits is None:
        return None
    plain = re.sub(r"['\u00a0\u202f]", "", digits.group())
    # The last mark is the decimal one, unless just three digits follow it and it is a comma, or
    # it occurs more than once.
    marks = [c for c in plain if c in ",."]
    if len(set(marks)) == 2:
        plain = plain.replace(marks[0], "").replace(marks[-1], ".")
    elif marks and (len(marks) > 1 or re.search(r",\d{3}$", plain)):
        plain = re.sub(r"[,.]", "", plain)
    else:
        plain = plain.replace(",", ".")
    try:
        value = Decimal(plain)
    except InvalidOperation:
        return None
    before = text[: digits.start()]
    return -value if re.search(r"[-(\u2212]\s*\D{0,4}$", before) else value


def values_of(number: re.Match[str]) -> tuple[Decimal, ...]:
    """The value of a ``NUMBER``, and what it is with the scale that is written to it or after
    it: both 1.5 and 1,500,000 may be what a page says where a text has "1.5 million"."""
    value = number_value(number.group())
    if value is None:
        return ()
    scale = _ATTACHED.search(number.group()) or _SCALE.match(number.string, number.end())
    return (value, value.scaleb(_SCALES[scale[1].lower()])) if scale else (value,)


def date_key(text: str) -> tuple[int, ...] | None:
    """Year, month and day as numbers, in the order that can be told; None if it is no date.

    Day and month of "03/04/2018" cannot be told apart: they come sorted.
    """
    named = re.search(_MONTH, text, re.IGNORECASE)
    numbers = [int(part) for part in re.findall(r"\d+", text)]
    if named:
        month = MONTHS.index(named.group()[:3].lower()) + 1
        years = [n for n in numbers if n > 31]
        days = [n for n in numbers if n <= 31]
        return (years[0], month, *days[:1]) if years else None
    if len(numbers) == 1 and len(str(numbers[0])) == 8:
        whole = str(numbers[0])
        numbers = [int(whole[:4]), int(whole[4:6]), int(whole[6:])]
    if len(numbers) != 3:
        return None
    year = next((n for n in (numbers[0], numbers[2]) if n > 31), numbers[2])
    rest = list(numbers)
    rest.remove(year)
    return (year + 2000 if year < 100 else year, *sorted(rest))


def spans_of(kind: Kind, words: list[str]) -> list[Span]:
    """Spans of a kind in a line of words, which are taken as separated by one space."""
    line = " ".join(words)
    starts = [0]
    for word in words:
        starts.append(starts[-1] + len(word) + 1)
    found: list[Span] = []
    for match in _matches(kind, line):
        first = max(i for i, at in enumerate(starts[:-1]) if at <= match.start())
        last = next(i for i, at in enumerate(starts) if at >= match.end())
        text = match.group().strip()
        found.append(Span(first, last, text, number_value(text)))
    return found


def _matches(kind: Kind, line: str) -> list[re.Match[str]]:
    if kind in ("date", "time", "when"):
        patterns = {"date": (DATE,), "time": (TIME,), "when": (DATE, TIME)}[kind]
        return [match for pattern in patterns for match in pattern.finditer(line)]
    if kind == "year":
        return list(YEAR.finditer(line))
    if kind == "percent":
        return list(_PERCENT.finditer(line))
    dates = [match.span() for match in DATE.finditer(line)]
    numbers = [
        match
        for match in NUMBER.finditer(line)
        if not any(a < match.end() and match.start() < b for a, b in dates)
    ]
    if kind == "count":
        return [match for match in numbers if not line[match.end() :].startswith("%")]
    # An amount of money has a currency, cents, thousands, or at least looks like no year.
    return [
        match
        for match in numbers
        if not line[match.end() :].lstrip().startswith("%")
        and not re.fullmatch(r"(?:19|20)\d\d", match.group().strip())
    ]
