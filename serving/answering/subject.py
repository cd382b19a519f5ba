"""Is a page about what the question is about? Names and dates that a question gives and a page
lacks say that the page is another company's, another receipt's, another day's."""

from __future__ import annotations

import difflib
import re

from serving.answering.accounts import canonical
from serving.answering.spans import DATE, asking_sentence, date_key
from serving.answering.types import EvidencePage

_NAME = re.compile(r"\b[A-Z0-9&][\w&.'\u2019-]*")
_GENERIC = frozenset(
    (
        *(
            "what",
            "which",
            "who",
            "when",
            "where",
            "how",
            "is",
            "are",
            "was",
            "were",
            "did",
            "does",
        ),
        *("the", "a", "an", "in", "on", "of", "for", "from", "and", "or", "by", "at", "to", "as"),
        *("usd", "fy", "q1", "q2", "q3", "q4", "p&l", "gaap", "page", "table", "figure", "if"),
        *("answer", "base", "give", "please", "write", "using", "based", "according", "january"),
        *("february", "march", "april", "may", "june", "july", "august", "september", "october"),
        *("november", "december", "assume", "here", "we", "calculate", "define", "round"),
    )
)
_OTHER_NAME = 0.25
_OTHER_DATE = 0.35
_ALIKE = 0.82


def names_in(question: str) -> list[str]:
    """Names that a question gives: capitalised words of its sentence with the question mark,
    without its first word, dates, figures, terms of accounts and asides in brackets.

    >>> names_in("What is the total on the receipt from ACME dated 1 May 2018? Answer in USD.")
    ['ACME']
    """
    asked = asking_sentence(question)
    asked = canonical(re.sub(r"\([^)]*\)", " ", DATE.sub(" ", asked)))
    found = []
    for match in _NAME.finditer(asked):
        word = re.sub(r"['\u2019]s?$", "", match.group()).strip(".,-'")
        if match.start() == 0 or word.lower() in _GENERIC or len(word) < 2:
            continue
        if re.fullmatch(r"[\d.,/:-]*|(?:FY|Q)\s?\d+\w*|(?:19|20)\d\d\w*", word):
            continue
        found.append(word)
    return found


def subject_fit(question: str, page: EvidencePage) -> float:
    """How far the page is about the names and the date of the question: 1 if it has them all, or
    if the question gives none."""
    words = [word.casefold() for word in page.record.words.texts]
    return _names_fit(question, page, words) * _date_fit(question, " ".join(words))


def missing_names(question: str, page: EvidencePage) -> list[str]:
    """Names of the question that neither the page nor its document's name has."""
    return _missing(question, page, [word.casefold() for word in page.record.words.texts])


def _missing(question: str, page: EvidencePage, words: list[str]) -> list[str]:
    names = [name.casefold() for name in names_in(question)]
    if not names:
        return []
    squeezed = re.sub(r"[\W_]+", "", f"{page.hit.source.rsplit('/', 1)[-1]}{page.hit.title}")
    squeezed = squeezed.casefold()
    known = {re.sub(r"\W+", "", word) for word in words}
    missing = []
    for name in names:
        plain = re.sub(r"\W+", "", name)
        there = plain in squeezed or plain in known
        if not there and len(plain) > 3:
            there = bool(difflib.get_close_matches(plain, known, 1, _ALIKE))
        if not there:
            missing.append(name)
    return missing


def _names_fit(question: str, page: EvidencePage, words: list[str]) -> float:
    names = names_in(question)
    if not names:
        return 1.0
    lacking = sum(map(len, _missing(question, page, words)))
    return 1 - (1 - _OTHER_NAME) * lacking / sum(map(len, names))


def _date_fit(question: str, text: str) -> float:
    wanted = _dates(question)
    if not wanted:
        return 1.0
    there = _dates(text)
    return 1.0 if not there or wanted & there else _OTHER_DATE


def _dates(text: str) -> set[tuple[int, ...]]:
    """Dates to the day; two digits of a year may stand at either end."""
    keys = [date_key(match.group()) for match in DATE.finditer(text)]
    keys += [date_key(match) for match in re.findall(r"\b(?:19|20)\d{6}\b", text)]
    # Day and month of figures cannot be told apart: both orders are one date.
    return {(key[0], *sorted(key[1:])) for key in keys if key is not None and len(key) == 3}
