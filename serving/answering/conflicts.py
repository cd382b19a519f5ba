"""What other documents say instead: a revised copy, last year's version, another page of the kind.

Which of two documents is right cannot be told from them. The best one's answer is given, and beside
it what the others say in its place, so that nobody takes one of two versions for the truth.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

from serving.answering.reading import Reading
from serving.answering.spans import number_value

_MOST = 3
_ALIKE = 0.8
# A reading that stands as well as the best one, or nearly.
_AS_GOOD = 0.9


def others_say(best: Reading, readings: Sequence[Reading]) -> list[Reading]:
    """Of each other document the reading that would have answered in place of ``best``, where its
    value is another one: the first of each value."""
    found: list[Reading] = []
    documents = {best.page.record.doc_id}
    values = {_value(best.text)}
    for reading in readings:
        doc = reading.page.record.doc_id
        if doc in documents or not _in_place_of(reading, best):
            continue
        documents.add(doc)
        if _value(reading.text) not in values:
            values.add(_value(reading.text))
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


def _value(text: str) -> str:
    """A value in one form: "27 days" as "27 days", "1,355.0" as "1355"."""
    value = number_value(text)
    if value is None or re.search(r"\d[^\d,.]+\d", text):
        return " ".join(text.split()).casefold()
    unit = " ".join(re.sub(r"[\d.,()\u00a0-]+", " ", text).split())
    return f"{value.normalize():f} {unit}".casefold()
