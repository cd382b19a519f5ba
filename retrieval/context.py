"""What a document says about itself, as text that document-level BM25 can match.

A page seldom says which report, year or product it belongs to: the file name, the title and
the first page do. "FY22" in a question and "2022" in a title are made to meet.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePath

from retrieval.types import MetadataValue

# Words of the first page that join the context. 100 were better than 60, 300 or 800 on the
# development half of the questions: a cover names the document, a chapter names its subject.
FIRST_WORDS = 100

_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Za-z])(?=\d)|(?<=\d)(?=[A-Za-z]{3,})")
_SEPARATORS = re.compile(r"[_\-.+()\[\]]+")
_FISCAL_SHORT = re.compile(r"\bFY\s?['\u2019]?(\d\d)\b", re.IGNORECASE)
_FISCAL_LONG = re.compile(r"\bFY\s?(\d{4})\b", re.IGNORECASE)
_QUARTER = re.compile(r"\b(Q[1-4]|H[12])\s?(?:FY\s?)?['\u2019]?(\d\d(?:\d\d)?)\b", re.IGNORECASE)


def document_context(
    source: str,
    title: str,
    metadata: Mapping[str, MetadataValue],
    first_words: Sequence[str],
) -> str:
    """The text that stands for a document: file name (cut at case and digits), title,
    metadata values and the first words of its first page."""
    stem = PurePath(source).stem
    spaced = _SEPARATORS.sub(" ", stem)
    values = [str(value) for value in metadata.values() if not isinstance(value, bool)]
    parts = [spaced, _CAMEL.sub(" ", spaced), title, *values, " ".join(first_words[:FIRST_WORDS])]
    return plain_years("\n".join(part for part in parts if part))


def plain_years(text: str) -> str:
    """``text`` with fiscal-year shorthand written out: "FY22" and "FY2022" as "FY 2022",
    "Q3'19" as "Q3 2019"."""
    text = _QUARTER.sub(lambda m: f"{m[1]} {_year(m[2])}", text)
    text = _FISCAL_LONG.sub(r"FY \1", text)
    return _FISCAL_SHORT.sub(lambda m: f"FY {_year(m[1])}", text)


def _year(digits: str) -> str:
    if len(digits) == 4:
        return digits
    return ("19" if int(digits) >= 70 else "20") + digits
