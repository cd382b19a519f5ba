"""Does an answer hold? Checked by this code against the pages' words, never by the model.

A citation holds if its page was retrieved and its quote stands in the page's words inside its
box: letters may differ as OCR differs, digits may not. A claim holds if every number, date and
name in it stands in the words that it cites, or follows from them by an arithmetic step that it
spells out and that is right.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal, InvalidOperation

import numpy as np

from retrieval.store import PageRecord
from retrieval.types import Box
from serving.answering.layout import union
from serving.answering.spans import DATE, NUMBER, date_key, number_value, values_of
from serving.answering.types import Citation, Claim, Verdict

# How alike the letters of a quote and of the page must be; OCR misreads one in twenty.
_ALIKE = 0.85
# Words whose centre is so far outside the box, in page fractions, still count as inside.
_SLACK = 0.012
# The share of a page up to which a box is a place rather than the page.
_SMALL = 0.2
_STEP = re.compile(
    r"(?P<left>[-(\u2212$€£]*\d[-\u2212\u2013(\d$€£,. %)+*/x\u00d7\u00f7]*?)[ ]*=[ ]*"
    r"(?P<right>[-\u2212($€£]?\d[\d,.]*\s?%?)",
    re.IGNORECASE,
)
_MINUS = ("-", "\u2212")
# Words that say of a number without a sign that it is below zero, or how far something fell.
_FALLS = re.compile(
    r"\b(?:loss|losses|lost|deficits?|negative|minus|below|less|lower|fewer|down|outflows?|used|fell"
    r"|(?:decreas|declin|deduct|reduc|fall|shr[aiu]nk|drop|shortfall)\w*)\b",
    re.IGNORECASE,
)
_NAME = re.compile(r"\b[A-Z][\w&.'-]*(?:\s+(?:of|the|and|&|de|von|van)?\s*[A-Z][\w&.'-]*)+")
# A capital after these is a sentence's or a noun's, not a name's.
_ARTICLES = frozenset(
    (
        *("the", "a", "an", "this", "that", "its", "their", "our", "in", "on", "at", "of", "for"),
        *("by", "as", "from", "both", "der", "die", "das", "ein", "eine", "im", "am", "le", "la"),
        *("les", "un", "une", "el", "los", "las", "il", "lo", "de", "het", "een", "o", "os"),
    )
)
_TOKEN = re.compile(r"[^\W_]+(?:[.,'\u2019-][^\W_]+)*")


def plain(text: str) -> str:
    """``text`` for comparing: compatibility forms, dashes and quotes alike, case folded."""
    text = unicodedata.normalize("NFKC", text)
    text = re.sub(r"[\u2010-\u2015\u2212]", "-", text)
    return re.sub(r"[\u2018\u2019\u02bc]", "'", text).casefold()


def tokens(text: str) -> list[str]:
    """Words and numbers of ``text``; numbers without thousands marks."""
    return [_number_form(token) for token in _TOKEN.findall(plain(text))]


def _number_form(token: str) -> str:
    if any(c.isdigit() for c in token) and not re.search(r"[^\d.,']", token):
        value = number_value(token)
        return str(value.normalize()) if value is not None else token
    return token


def find_quote(quote: str, record: PageRecord) -> Box | None:
    """Where on the page ``quote`` stands: the box around its words; None if it does not."""
    wanted = tokens(quote)
    if not wanted:
        return None
    owner: list[int] = []
    said: list[str] = []
    for i, word in enumerate(record.words.texts):
        for token in tokens(word):
            owner.append(i)
            said.append(token)
    best: tuple[float, int] = (0.0, -1)
    span = len(wanted)
    for start in range(max(1, len(said) - span + 1)):
        likeness = _likeness(wanted, said[start : start + span])
        if likeness > best[0]:
            best = (likeness, start)
            if likeness == 1.0:
                break
    if best[0] < _ALIKE:
        return None
    members = np.unique(np.array(owner[best[1] : best[1] + span], np.intp))
    return union(record.words.boxes, members)


def _likeness(wanted: Sequence[str], said: Sequence[str]) -> float:
    """1 for the same tokens; 0 as soon as one with a digit is not the same."""
    if len(wanted) != len(said):
        return 0.0
    same = 0.0
    weight = 0
    for a, b in zip(wanted, said, strict=True):
        size = max(len(a), 1)
        weight += size
        if a == b:
            same += size
        elif any(c.isdigit() for c in a) or any(c.isdigit() for c in b):
            return 0.0
        else:
            same += size * difflib.SequenceMatcher(None, a, b, autojunk=False).ratio()
    return same / weight


def words_inside(record: PageRecord, box: Box) -> str:
    """What the page says inside ``box``."""
    boxes = record.words.boxes
    x, y = (boxes[:, 0] + boxes[:, 2]) / 2, (boxes[:, 1] + boxes[:, 3]) / 2
    x0, y0, x1, y1 = box
    inside = (x >= x0 - _SLACK) & (x <= x1 + _SLACK) & (y >= y0 - _SLACK) & (y <= y1 + _SLACK)
    return " ".join(record.words.texts[i] for i in np.flatnonzero(inside))


def check_citation(citation: Citation, pages: Mapping[int, PageRecord]) -> Citation:
    """``citation`` with its problems."""
    record = pages.get(citation.page_id)
    if record is None:
        return replace(citation, problems=("the page was not among those found",))
    x0, y0, x1, y1 = citation.box
    if not (0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1):
        return replace(citation, problems=("the box is not a part of the page",))
    if not tokens(citation.quote):
        return replace(citation, problems=("there is no quote",))
    found = find_quote(citation.quote, record)
    small = (x1 - x0) * (y1 - y0) <= _SMALL
    # In a small box the words may come in any order: a table's label and value do. On a whole
    # page any sentence could be put together from its words.
    stands = (small and _stands_in(citation.quote, words_inside(record, citation.box))) or (
        found is not None and _within(found, citation.box)
    )
    if not stands:
        elsewhere = found is not None
        where = "stands elsewhere on the page" if elsewhere else "does not stand on the page"
        return replace(citation, problems=(f"the quote {where}",))
    return replace(citation, problems=())


def _within(inner: Box, outer: Box) -> bool:
    x, y = (inner[0] + inner[2]) / 2, (inner[1] + inner[3]) / 2
    return (
        outer[0] - _SLACK <= x <= outer[2] + _SLACK and outer[1] - _SLACK <= y <= outer[3] + _SLACK
    )


def _stands_in(quote: str, text: str) -> bool:
    """Whether the tokens of ``quote`` are in ``text``: each number exactly, words nearly, in
    any order (a table's label and value need not follow each other in the file)."""
    wanted, said = tokens(quote), tokens(text)
    left = list(said)
    same = weight = 0.0
    for token in wanted:
        weight += len(token)
        if token in left:
            left.remove(token)
            same += len(token)
            continue
        if any(c.isdigit() for c in token):
            return False
        close = difflib.get_close_matches(token, left, 1, 0.75)
        if close:
            left.remove(close[0])
            same += len(token) * difflib.SequenceMatcher(None, token, close[0]).ratio()
    return weight > 0 and same / weight >= _ALIKE


def check_claim(claim: Claim, pages: Mapping[int, PageRecord], question: str = "") -> Claim:
    """``claim`` with its citations checked, its problems and its verdict.

    What the question itself says (a year, a name) need not be proven again.
    """
    citations = tuple(check_citation(citation, pages) for citation in claim.citations)
    sound = [citation for citation in citations if not citation.problems]
    evidence = " ".join(
        f"{citation.quote} {words_inside(pages[citation.page_id], citation.box)}"
        for citation in sound
    )
    problems = [problem for citation in citations for problem in citation.problems]
    if not citations:
        problems.append("it cites nothing")
    units = _units([pages[citation.page_id] for citation in sound])
    steps, wrong, right = _steps(f"{claim.text}\n{claim.arithmetic}", evidence, units)
    # The constants of a step that is right (365 days, a half) stand in no evidence.
    text = claim.text
    for step in right:
        text = text.replace(step, " ")
    problems += wrong
    given = _values_in(evidence) | _with_footnotes(evidence) | _values_in(question)
    known = given | {abs(result) for result in steps}
    problems += [
        f"{shown} does not stand in the evidence"
        for shown, values in _numbers(text)
        if not any(_stands(value, other, units) for value in values for other in known)
    ]
    negative = {-v for v in steps if v < 0} | _negative_values_in(f"{evidence} {question}")
    problems += [
        f"{shown} is not negative in the evidence"
        for shown, values in _numbers(text)
        if shown.startswith(_MINUS) and not _FALLS.search(evidence)
        if not any(_stands(value, other, units) for value in values for other in negative)
    ]
    dates = {date_key(m.group()) for m in DATE.finditer(f"{evidence} {question}")} | {
        date_key(token) for token in re.findall(r"\b\d{8}\b", evidence)
    }
    problems += [
        f"the date {m.group()} does not stand in the evidence"
        for m in DATE.finditer(claim.text)
        if date_key(m.group()) not in dates
    ]
    said = plain(f"{evidence} {question}")
    problems += [
        f"the name {name} does not stand in the evidence"
        for name in _names(claim.text)
        if not _name_stands(name, said)
    ]
    if sound and (foreign := scripts(claim.text) - scripts(f"{evidence} {question}")):
        problems.append(f"its words are in {', '.join(sorted(foreign))}, those of the page are not")
    return replace(
        claim,
        citations=citations,
        problems=tuple(dict.fromkeys(problems)),
        verdict=_verdict(bool(sound), not problems),
    )


def scripts(text: str) -> set[str]:
    """The scripts of a text's letters, as "LATIN", "CYRILLIC", "CJK"; a symbol alone, such as a
    Greek letter in a formula, is none.

    >>> sorted(scripts("Der Umsatz (\u03b1) \u0432\u044b\u0440\u043e\u0441"))
    ['CYRILLIC', 'LATIN']
    """
    found = set()
    for word in re.findall(r"[^\W\d_]{2,}", text):
        found.add(unicodedata.name(word[0], "UNKNOWN").split()[0])
    # Japanese mixes its syllables with Chinese characters within one text.
    return {{"HIRAGANA": "CJK", "KATAKANA": "CJK"}.get(name, name) for name in found}


def _verdict(anything: bool, everything: bool) -> Verdict:
    if anything and everything:
        return "supported"
    return "partly" if anything else "unsupported"


def verdict_of(claims: Sequence[Claim]) -> Verdict:
    """The verdict on an answer of these claims."""
    kinds = {claim.verdict for claim in claims}
    if kinds == {"supported"}:
        return "supported"
    return "partly" if kinds & {"supported", "partly"} else "unsupported"


def _numbers(text: str) -> list[tuple[str, tuple[Decimal, ...]]]:
    """Numbers of a claim, dates apart, with the values that they may stand for."""
    dates = [m.span() for m in DATE.finditer(text)]
    found = []
    for match in NUMBER.finditer(text):
        if any(a < match.end() and match.start() < b for a, b in dates):
            continue
        values = values_of(match)
        if values:
            found.append((match.group().strip(), values))
    return found


def _values_in(text: str) -> set[Decimal]:
    return {abs(value) for _, values in _numbers(text) for value in values}


def _negative_values_in(text: str) -> set[Decimal]:
    """How far below zero the negative numbers of a text are: "(620)" and "-620" give 620."""
    return {-value for _, values in _numbers(text) for value in values if value < 0}


def _with_footnotes(text: str) -> set[Decimal]:
    """Numbers with a footnote's letters right behind them: "73ab"."""
    found = (number_value(m[1]) for m in re.finditer(r"(?<![\w.,])(\d[\d.,]*)[a-e]{1,2}\b", text))
    return {abs(value) for value in found if value is not None}


def _units(records: Iterable[PageRecord]) -> tuple[int, ...]:
    """The powers of ten that pages give their figures in: "(in millions)"."""
    said = {word for record in records for text in record.words.texts for word in tokens(text)}
    names = {3: ("thousand", "thousands"), 6: ("million", "millions"), 9: ("billion", "billions")}
    return tuple(power for power, words in names.items() if said & set(words))


def _stands(value: Decimal, other: Decimal, units: Sequence[int]) -> bool:
    """Equal, or equal once the unit of the page is written out: 1,577 on a page in millions is
    1,577,000,000 and 1.577 billion. "1.6 billion" is not: it is rounded, and a rounded figure is
    another figure unless the step is spelled out."""
    value = abs(value)
    return value == other or any(value == other.scaleb(unit) for unit in units)


def _steps(
    text: str, evidence: str, units: Sequence[int]
) -> tuple[set[Decimal], list[str], list[str]]:
    """Results of arithmetic steps whose operands stand in the evidence and that are right, what is
    wrong with the others, and the right ones as they are written."""
    known = _values_in(evidence)
    results: set[Decimal] = set()
    wrong: list[str] = []
    right: list[str] = []
    for match in _STEP.finditer(text):
        left = re.sub(r"[$€£, ]|%", "", match["left"].lower())
        left = left.replace("\u00d7", "*").replace("x", "*").replace("\u00f7", "/")
        left = re.sub(r"[\u2212\u2013]", "-", left)
        left = re.sub(r"^[^-(\d]+", "", left)
        if not re.fullmatch(r"[-+*/().\d]+", left) or not re.search(r"\d[-+*/]", left):
            continue
        result = number_value(match["right"])
        operands = [Decimal(part) for part in re.findall(r"\d+(?:\.\d+)?", left)]
        value = _evaluate(left)
        if value is None or result is None:
            continue
        step = match.group().strip()
        if not all(
            any(_stands(operand, other, units) for other in known | {abs(r) for r in results})
            or operand in (1, 2, 100, 365, 1000)
            for operand in operands
        ):
            wrong.append(f"a number of the step {step} does not stand in the evidence")
        elif not _rounded(value, result, "%" in match["right"], bool(_FALLS.search(text))):
            wrong.append(f"the step {step} is wrong")
        else:
            results.add(result)
            right.append(step)
    return results, wrong, right


def _evaluate(expression: str) -> Decimal | None:
    """The value of + - * / and brackets over numbers; None if it is not such an expression."""
    parts = re.findall(r"\d+(?:\.\d+)?|[-+*/()]", expression)
    at = 0

    def peek() -> str:
        return parts[at] if at < len(parts) else ""

    def take() -> str:
        nonlocal at
        at += 1
        return parts[at - 1] if at <= len(parts) else ""

    def atom() -> Decimal:
        token = take()
        if token == "-":
            return -atom()
        if token == "(":
            value = addition()
            if take() != ")":
                raise InvalidOperation
            return value
        return Decimal(token)

    def product() -> Decimal:
        value = atom()
        while peek() in ("*", "/") and peek():
            value = value * atom() if take() == "*" else value / atom()
        return value

    def addition() -> Decimal:
        value = product()
        while peek() in ("+", "-") and peek():
            value = value + product() if take() == "+" else value - product()
        return value

    try:
        value = addition()
    except (InvalidOperation, ZeroDivisionError, RecursionError):
        return None
    return value if at == len(parts) else None


def _rounded(value: Decimal, said: Decimal, percent: bool, falls: bool) -> bool:
    """Whether ``said`` is ``value`` to the digits it gives, or its percentage.

    Where something ``falls``, a negative value may be said without its sign.
    """
    digits = Decimal(1).scaleb(int(said.as_tuple().exponent))
    candidates = [value, value * 100] if percent else [value]
    if falls and value < 0:
        candidates += [-c for c in candidates]
    return any(abs(c - said) <= digits / 2 for c in candidates)


def _names(text: str) -> list[str]:
    """Names in a text: two capitalised words or more, an article before them apart."""
    found = []
    for name in _NAME.findall(text):
        first, _, rest = name.partition(" ")
        if first.lower() not in _ARTICLES:
            found.append(name)
        elif " " in rest:
            found.append(rest.strip())
    return found


def _name_stands(name: str, said: str) -> bool:
    wanted = tokens(name)
    present = set(tokens(said))
    return all(
        token in present or difflib.get_close_matches(token, present, 1, 0.8) for token in wanted
    )
