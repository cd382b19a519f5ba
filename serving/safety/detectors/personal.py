"""Personal data in answers: numbers whose check digits hold, telephone numbers, addresses.

Only what can be verified counts: a page of amounts is full of digits that look like card numbers.
What an answer says of a person in words is not seen here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import phonenumbers
from stdnum import iban, luhn
from stdnum.us import ssn

from serving.safety.text import plain
from serving.safety.types import Case, Score

CATEGORY = "personal"
# How surely a match is what it looks like, and how much harm it can do; thresholds pick among them.
_SECRET, _CONTACT = 0.9, 0.6
_IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{2,4}){3,8}\b")
_CARD = re.compile(r"(?<![\d.,])(?:\d[ -]?){12,18}\d(?![\d.,]*\d)")
_SSN = re.compile(r"(?<![\d-])\d{3}-\d{2}-\d{4}(?![\d-])")
_EMAIL = re.compile(r"\b[\w.+-]+@[\w-]+(?:\.[\w-]+)+\b")
# Issuers' ranges: without them one long number in ten passes as a card.
_ISSUERS = re.compile(r"(?:4\d{12}(?:\d{3}){0,2}|5[1-5]\d{14}|2[2-7]\d{14}|3[47]\d{13}|6\d{15})")


class PersonalDetector:
    """``Detector`` over the answer. Stateless."""

    id = "personal-1"
    categories = (CATEGORY,)

    def detect(self, case: Case) -> Sequence[Score]:
        """The worst kind found, with the kinds' names, and nothing of what was found."""
        if case.answer is None:
            return ()
        found = dict(_kinds(plain(case.answer).text))
        if not found:
            return ()
        names = ", ".join(sorted(found))
        return [Score(CATEGORY, max(found.values()), "answer", detail=names)]


def _kinds(text: str) -> Iterator[tuple[str, float]]:
    if any(_is_iban(match.group()) for match in _IBAN.finditer(text)):
        yield "bank account", _SECRET
    if any(_is_card(match.group()) for match in _CARD.finditer(text)):
        yield "card number", _SECRET
    if any(ssn.is_valid(match.group()) for match in _SSN.finditer(text)):
        yield "social security number", _SECRET
    if _EMAIL.search(text):
        yield "e-mail address", _CONTACT
    # Without a country a number must say its own: "+41 44 668 18 00".
    if any(True for _ in phonenumbers.PhoneNumberMatcher(text, None)):
        yield "telephone number", _CONTACT


def _is_iban(text: str) -> bool:
    """Whether it is one, or begins with one: a word in capitals may follow."""
    parts = text.split(" ")
    return any(iban.is_valid("".join(parts[:end])) for end in range(len(parts), 0, -1))


def _is_card(text: str) -> bool:
    digits = re.sub(r"[ -]", "", text)
    return _ISSUERS.fullmatch(digits) is not None and luhn.is_valid(digits)
