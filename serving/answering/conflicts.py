"""What other documents say instead: a revised copy, last year's version, another page of the kind.

Which of two documents is right cannot be told from them. The best one's answer is given, and beside
it what the others say in its place, so that nobody takes one of two versions for the truth.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from decimal import Decimal

from serving.answering.quantities import unit_form
from serving.answering.reading import Reading
from serving.answering.spans import DATE, date_key, number_value

_MOST = 3
_ALIKE = 0.8
# A reading that stands as well as the best one, or nearly.
_AS_GOOD = 0.9
_NUMBER = re.compile(r"\d(?:[\d.,'\u00a0\u202f]*\d)?")
_WORD = re.compile(r"[^\s\d(),;:\u2212\u2013-]+")
_CURRENCIES = {"$": "usd", "us$": "usd", "\u20ac": "eur", "\u00a3": "gbp", "\u20b9": "inr"}
_SCALES = frozenset(("thousand", "million", "billion"))
_TEMPERATURES = ("\u00b0C", "\u00b0F", "\u00baC", "\u00baF")


def others_say(best: Reading, readings: Sequence[Reading]) -> list[Reading]:
    """Of each other document the reading that would have answered in place of ``best``, where its
    value is another one: the first of each value."""
    found: list[Reading] = []
    documents = {best.page.record.doc_id}
    values = [best.text]
    for reading in readings:
        doc = reading.page.record.doc_id
        if doc in documents or not _in_place_of(reading, best):
            continue
        documents.add(doc)
        if not any(same_value(reading.text, value) for value in values):
            values.append(reading.text)
            found.append(reading)
    return found[:_MOST]


def _in_place_of(reading: Reading, best: Reading) -> bool:
    if reading.kind != best.kind or not reading.told or reading.arithmetic:
        return False
    if best.kind == "stated":
        return True  # each accounts for the whole question
    if reading.score < _AS_GOOD * best.score:
        return False
    said, other = _without(best), _without(reading)
    return difflib.SequenceMatcher(None, said, other, autojunk=False).ratio() >= _ALIKE


def _without(reading: Reading) -> str:
    return " ".join(reading.quote.replace(reading.text, " ").split()).casefold()


def same_value(one: str, other: str) -> bool:
    """Whether two values are one, however they are written; a unit may be left out.

    >>> same_value("30 min", "30 minutes"), same_value("3 May 2024", "03/05/2024")
    (True, True)
    >>> same_value("1,355.0", "1355 EUR"), same_value("30 min", "30 h")
    (True, False)
    """
    if DATE.fullmatch(one) and DATE.fullmatch(other):
        return _same_date(one, other)
    numbers, words = _parts(one)
    others, other_words = _parts(other)
    if numbers != others or words == other_words:
        return numbers == others
    bare = bool(numbers) and not (words and other_words)
    return bare and not (words | other_words) & _SCALES


def _same_date(one: str, other: str) -> bool:
    first, second = date_key(one), date_key(other)
    if first is None or second is None:
        return " ".join(one.split()).casefold() == " ".join(other.split()).casefold()
    named = [bool(re.search(r"[^\W\d]{3}", text)) for text in (one, other)]
    if all(named):
        return first == second
    if any(named):  # of the one in figures day and month cannot be told apart
        return sorted(first) == sorted(second)
    numbers, others = ([int(n) for n in re.findall(r"\d+", text)] for text in (one, other))
    return others in (numbers, numbers[::-1])


def _parts(text: str) -> tuple[tuple[Decimal | None, ...], frozenset[str]]:
    """The numbers of a value, and its other words: units in one form, currencies by their code."""
    said = _NUMBER.findall(text)
    numbers = tuple(map(number_value, [text] if len(said) == 1 else said))
    words = _WORD.findall(_NUMBER.sub(" ", text))
    forms = (None if word in _TEMPERATURES else unit_form(word) for word in words)
    plain = (form or word.casefold() for form, word in zip(forms, words, strict=True))
    return numbers, frozenset(_CURRENCIES.get(word, word) for word in plain if word != "to")
