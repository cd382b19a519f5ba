"""Text as a model would read it, whatever was done to hide it from people or from filters.

Letters that only look Latin, characters without width, text direction overrides and the invisible
"tag" letters of Unicode are ways of passing words by a filter that compares characters. They are
undone here, and counted: honest documents have next to none of them.
"""

from __future__ import annotations

import base64
import binascii
import re
import unicodedata
from dataclasses import dataclass

# Zero-width space, word joiner, invisible operators, soft hyphen; not the joiners that Persian,
# Indic scripts and emoji are written with.
_NO_WIDTH = dict.fromkeys([0x00AD, 0x034F, 0x180E, 0x200B, *range(0x2060, 0x2065), 0xFEFF])
_JOINERS = dict.fromkeys([0x200C, 0x200D])
_DIRECTION = dict.fromkeys([*range(0x202A, 0x202F), *range(0x2066, 0x206A)])
_TAGS = {0xE0000 + code: chr(code) for code in range(0x20, 0x7F)}
_TAG_MARKS = dict.fromkeys([0xE0001, 0xE007F])
_VARIATIONS = dict.fromkeys([*range(0xFE00, 0xFE0F), *range(0xE0100, 0xE01F0)])

# Cyrillic and Greek letters drawn like Latin ones.
_LOOKALIKES = str.maketrans(
    "авсеԁһіјӏмпорԛгѕтуѵѡхАВСЕНІЈКМОРЅТУХαβεικνορτυχωΑΒΕΖΗΙΚΜΝΟΡΤΥΧ",
    "abcedhijlmnopqrstuvwxABCEHIJKMOPSTYXabeiknoptuxwABEZHIKMNOPTYX",
)
# Greek letters that formulas are written with; the others in the table are drawn exactly like the
# Latin ones, so nobody picks them as a symbol.
_SYMBOLS = frozenset("αβεικνρτυχω")
_FUNCTIONS = re.compile(r"arc|sin|cos|tan|cot|log|exp|lim|max|min|arg")
_WORD = re.compile(r"\w+")
_LATIN = re.compile(r"[A-Za-z]")
_FOREIGN = re.compile(r"[Ͱ-ϿЀ-ԯ]")
_ENCODED = re.compile(r"(?<![\w+/=])[A-Za-z0-9+/]{24,}={0,2}(?![\w+/=])")
_MOST_DECODED = 4000


@dataclass(frozen=True, slots=True)
class Plain:
    """``text`` with nothing hidden left. The counts say how much was: characters without width,
    direction overrides, invisible tag letters, words with letters of another alphabet that pass for
    Latin; ``decoded`` is readable text found in base64."""

    text: str
    no_width: int
    direction: int
    tags: int
    mixed_words: int
    decoded: tuple[str, ...]


def visible(text: str) -> str:
    """``text`` without characters that show nothing and may say something, for models to read."""
    if text.isascii():
        return text
    return text.translate(_TAGS_AWAY)


_TAGS_AWAY = {**_NO_WIDTH, **_DIRECTION, **dict.fromkeys(_TAGS), **_TAG_MARKS}


def plain(text: str) -> Plain:
    """Undo what hides words in ``text``, and count it."""
    decoded = tuple(
        said for found in _ENCODED.finditer(text[:200_000]) if (said := _decoded(found.group()))
    )
    if text.isascii():
        return Plain(text, 0, 0, 0, 0, decoded)
    tags = sum(1 for c in text if ord(c) in _TAGS)
    no_width = sum(1 for c in text if ord(c) in _NO_WIDTH)
    direction = sum(1 for c in text if ord(c) in _DIRECTION)
    shown = text.translate({**_NO_WIDTH, **_JOINERS, **_DIRECTION, **_TAG_MARKS, **_VARIATIONS})
    shown = unicodedata.normalize("NFKC", shown.translate(_TAGS))
    mixed = 0

    def alike(match: re.Match[str]) -> str:
        nonlocal mixed
        word = match.group()
        if _LATIN.search(word) and _FOREIGN.search(word):
            mixed += _disguised(word)
            return word.translate(_LOOKALIKES)
        return word

    if _FOREIGN.search(shown):
        shown = _WORD.sub(alike, shown)
    return Plain(shown, no_width, direction, tags, mixed, decoded)


def _disguised(word: str) -> bool:
    """Whether a word of two alphabets passes for a Latin one: every letter that is not Latin looks
    like one (mixed-script confusables, Unicode Technical Standard 39, section 5).

    A letter that looks like none hides nothing: "kΩ", "μm", "Δt". Nor does the symbol of a formula
    beside its index or its function: "ωmax", "sinθ", "kBΔ".
    """
    foreign = _FOREIGN.findall(word)
    if any(ord(letter) not in _LOOKALIKES for letter in foreign):
        return False
    if not _SYMBOLS.issuperset(foreign):
        return True
    rest = _FUNCTIONS.sub("", word).strip("_0123456789")
    inside = any(letter in _SYMBOLS for letter in rest[1:-1])
    return len(_LATIN.findall(rest)) > 2 and (inside or len(foreign) > 1)


def _decoded(encoded: str) -> str:
    """What base64 says, if that is text; else nothing."""
    encoded = encoded[: _MOST_DECODED - _MOST_DECODED % 4]
    try:
        raw = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
        said = raw.decode("utf-8")
    except (binascii.Error, ValueError):
        return ""
    letters = sum(1 for c in said if c.isalpha() or c == " ")
    return said if said.isprintable() and letters > 0.8 * len(said) and " " in said else ""
