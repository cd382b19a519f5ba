"""What may follow ``--encoder family:``, in one syntax for every family that takes options.

``MODEL[@REVISION][?key=value[&key=value...]]``, as in
``vidore/colqwen2-v1.0@f7d1a1b?max_pixels=602112``. An option nobody knows is refused: an
encoder that silently ignores ``max_pixels`` gives an index that costs what it was meant to save.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, unquote

from retrieval.errors import EncoderError


@dataclass(frozen=True, slots=True)
class Argument:
    """``target`` is a path, a hub name or an address; ``revision`` is "" if none was given."""

    target: str
    revision: str
    options: Mapping[str, str]

    def integer(self, name: str, least: int = 1) -> int | None:
        """The option as a whole number, or None. Raises ``EncoderError`` below ``least``."""
        text = self.options.get(name)
        if text is None:
            return None
        try:
            value = int(text)
        except ValueError as error:
            raise EncoderError(f"{name}={text} is not a whole number; write {name}=1000") from error
        if value < least:
            raise EncoderError(f"{name}={value} is too small; it is at least {least}")
        return value

    def number(self, name: str, default: float) -> float:
        """The option as a positive number."""
        text = self.options.get(name)
        try:
            value = default if text is None else float(text)
        except ValueError:
            value = 0.0
        if not 0 < value < float("inf"):
            raise EncoderError(f"{name}={text} is not a positive number")
        return value


def parse(family: str, text: str, known: Mapping[str, str]) -> Argument:
    """Take ``text`` apart. ``known`` maps each option to what it is, for the error message."""
    target, _, query = text.partition("?")
    pairs = parse_qsl(query, keep_blank_values=True)
    options = dict(pairs)
    unknown = sorted(set(options) - set(known))
    if unknown:
        listed = ", ".join(f"{name} ({what})" for name, what in known.items())
        raise EncoderError(f"--encoder {family}: unknown option '{unknown[0]}'; known: {listed}")
    if len(options) != len(pairs):
        raise EncoderError(f"--encoder {family}: an option is given twice in '{query}'")
    revision = ""
    # A folder may have an @ in its name; an address has one before a user's name.
    if "://" not in target and not Path(target).exists():
        target, _, revision = target.partition("@")
    if not target:
        raise EncoderError(f"--encoder {family}: name a model, as in --encoder {family}:MODEL")
    return Argument(unquote(target) if "://" not in target else target, revision, options)
