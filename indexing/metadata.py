"""Metadata of sources from a CSV or JSONL file, or from ``key=value`` on the command line.

A row names its source in a column ``source``, ``path`` or ``file``: a file name, a path, or
the end of one.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path

from retrieval.errors import InputError
from retrieval.types import MetadataValue

SOURCE_COLUMNS = ("source", "path", "file")
_TRUE, _FALSE = frozenset(("true", "yes")), frozenset(("false", "no"))


class MetadataTable:
    """Rows of metadata by source. ``table(path)`` gives a path's row, or nothing."""

    def __init__(self, rows: Mapping[str, Mapping[str, MetadataValue]]) -> None:
        self._rows = dict(rows)
        self._used: set[str] = set()

    @property
    def unused(self) -> list[str]:
        """Sources of rows that no path has matched so far."""
        return [source for source in self._rows if source not in self._used]

    @classmethod
    def read(cls, path: Path) -> MetadataTable:
        """Read a ``.csv`` or ``.jsonl`` file. Raises ``InputError`` naming file and line."""
        try:
            text = path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"cannot read the metadata file {path}: {error}") from error
        rows = _from_csv(path, text) if path.suffix.lower() == ".csv" else _from_jsonl(path, text)
        table: dict[str, Mapping[str, MetadataValue]] = {}
        for line, row in rows:
            column = next((name for name in SOURCE_COLUMNS if row.get(name)), None)
            if column is None:
                raise InputError(
                    f"{path}, line {line}: no source; name the file in a column "
                    f"'{SOURCE_COLUMNS[0]}' (or {', '.join(SOURCE_COLUMNS[1:])})"
                )
            source = str(row[column]).replace("\\", "/").strip("/").removeprefix("./")
            if source in table:
                raise InputError(f"{path}, line {line}: a second row for '{source}'")
            table[source] = {key: value for key, value in row.items() if key != column}
        return cls(table)

    def __len__(self) -> int:
        return len(self._rows)

    def __call__(self, path: Path) -> Mapping[str, MetadataValue]:
        """The row of ``path``: the longest end of the path that a row names."""
        parts = path.absolute().parts[1:]
        for start in range(len(parts)):
            source = "/".join(parts[start:])
            row = self._rows.get(source)
            if row is not None:
                self._used.add(source)
                return row
        return {}


def parse_pairs(pairs: Iterable[str]) -> dict[str, MetadataValue]:
    """``["year=2021", "company=AMD"]`` as typed values. Raises ``InputError``."""
    values: dict[str, MetadataValue] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.strip():
            raise InputError(f"'{pair}' is not of the form key=value")
        values[key.strip()] = parse_value(value)
    return values


def parse_value(text: str) -> MetadataValue:
    """A whole number, a number, true/false (yes/no), or the text itself.

    Numbers with a leading zero or plus (zip codes, telephone numbers) stay text.
    """
    text = text.strip()
    lowered = text.lower()
    if lowered in _TRUE or lowered in _FALSE:
        return lowered in _TRUE
    digits = text.removeprefix("-")
    if (digits[:1] == "0" and digits[1:2].isdigit()) or text.startswith("+") or "_" in text:
        return text
    if not digits[:1].isdigit() and not digits.startswith("."):
        return text
    try:
        whole = int(text)
        return whole if _storable(whole) else text
    except ValueError:
        try:
            number = float(text)
        except ValueError:
            return text
        return number if math.isfinite(number) else text


def _storable(value: object) -> bool:
    """Whether filters and JSON can hold a number: finite, and whole ones within 64 bits."""
    if isinstance(value, float):
        return math.isfinite(value)
    return not isinstance(value, int) or -(2**63) <= value < 2**63


def _from_csv(path: Path, text: str) -> Iterable[tuple[int, dict[str, MetadataValue]]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        for row in reader:
            if None in row or None in row.values():
                raise InputError(
                    f"{path}, line {reader.line_num}: not as many fields as the header has"
                )
            yield reader.line_num, {k: parse_value(v) for k, v in row.items() if v.strip()}
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: not valid CSV ({error})") from error


def _from_jsonl(path: Path, text: str) -> Iterable[tuple[int, dict[str, MetadataValue]]]:
    # Not splitlines(), which also cuts at characters that JSON allows within a text.
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise InputError(f"{path}, line {number}: not valid JSON ({error})") from error
        if not isinstance(row, dict):
            raise InputError(f"{path}, line {number}: not a JSON object")
        for key, value in row.items():
            if value is not None and not isinstance(value, str | int | float | bool):
                raise InputError(
                    f"{path}, line {number}: '{key}' is {type(value).__name__}; metadata are "
                    "texts, numbers and booleans"
                )
            if not _storable(value):
                raise InputError(
                    f"{path}, line {number}: '{key}' is {value}, which no filter can compare; "
                    "write it as a text"
                )
        yield number, {key: value for key, value in row.items() if value is not None}
