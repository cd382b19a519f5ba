"""Conditions on documents: ``year >= 2020 AND company = 'AMD'``.

SQLite evaluates them, in memory, on a table of nothing but documents, and an authoriser
that allows reading that table and pure functions and nothing else.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import InputError
from retrieval.store_rows import DocumentRow

_FIXED = ("source", "title", "pages", "media_type", "bytes")
_FUNCTIONS = frozenset(
    "abs,coalesce,glob,ifnull,iif,instr,length,like,lower,ltrim,max,min,nullif,replace,round,"  # noqa: SIM905
    "rtrim,substr,trim,typeof,upper".split(",")
)
_ALLOWED = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ})
_ID = "doc_id"
_STEPS = 50_000_000


def select(documents: Mapping[int, DocumentRow], condition: str) -> NDArray[np.int64]:
    """Ids, ascending, of the documents for which ``condition`` is true.

    Columns are the metadata keys and source, title, pages, media_type, bytes; a metadata key
    of such a name wins. Metadata that a document lacks is NULL; booleans are 1 and 0
    (``TRUE`` and ``FALSE`` work). Raises ``InputError`` if the condition is not understood.
    """
    columns = _columns(documents)
    if not condition.strip():
        raise InputError(f"the filter is empty; {_known(columns)}")
    connection = sqlite3.connect(":memory:")
    try:
        _fill(connection, columns, documents)
        connection.set_authorizer(_authorise)
        # A few nested calls of replace() would otherwise make a text of a gigabyte.
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 1_000_000)
        connection.setlimit(sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 1000)
        connection.setlimit(sqlite3.SQLITE_LIMIT_EXPR_DEPTH, 200)
        connection.set_progress_handler(_Budget(), 10_000)
        try:
            # The line end closes a "--" comment, which would otherwise hide the bracket.
            found = connection.execute(
                f'SELECT "{_ID}" FROM documents WHERE ({condition}\n) ORDER BY 1'
            ).fetchall()
        except (sqlite3.Error, sqlite3.Warning, ValueError, UnicodeError) as error:
            raise InputError(
                f"cannot use the filter {condition!r}: {error}; {_known(columns)}"
            ) from error
    finally:
        connection.close()
    ids = [row[0] for row in found]
    # A bracket in the condition can close ours; what then comes back need not be documents.
    if not all(isinstance(doc_id, int) and doc_id in documents for doc_id in ids):
        raise InputError(f"cannot use the filter {condition!r}; {_known(columns)}")
    return np.array(ids, np.int64)


class _Budget:
    """Ends a condition that would run for minutes (nested patterns)."""

    def __init__(self) -> None:
        self._left = _STEPS // 10_000

    def __call__(self) -> int:
        self._left -= 1
        return int(self._left < 0)


def _columns(documents: Mapping[int, DocumentRow]) -> list[str]:
    names: dict[str, str] = {}
    for document in documents.values():
        for key in document.metadata:
            # SQLite's names ignore case: of two keys that differ only so, the first is known.
            names.setdefault(key.lower(), key)
    for name in _FIXED:
        names.setdefault(name, name)
    names.pop(_ID, None)
    return sorted(name for name in names.values() if "\0" not in name)


def _known(columns: list[str]) -> str:
    shown = [name if re.fullmatch(r"[A-Za-z_]\w*", name) else f'"{name}"' for name in columns]
    return f"known columns: {', '.join(shown)}; example: pages > 10 AND title LIKE '%report%'"


def _fill(
    connection: sqlite3.Connection, columns: list[str], documents: Mapping[int, DocumentRow]
) -> None:
    quoted = ", ".join(_quote(name) for name in (_ID, *columns))
    connection.execute(f"CREATE TABLE documents ({quoted})")
    rows = []
    for doc_id, document in documents.items():
        values: dict[str, object] = {name: getattr(document, name) for name in _FIXED}
        values.update({key.lower(): value for key, value in document.metadata.items()})
        rows.append((doc_id, *(values.get(name.lower()) for name in columns)))
    marks = ", ".join("?" * (len(columns) + 1))
    connection.executemany(f"INSERT INTO documents VALUES ({marks})", rows)


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _authorise(
    action: int, first: str | None, second: str | None, _database: str | None, _by: str | None
) -> int:
    if action == sqlite3.SQLITE_FUNCTION:
        return sqlite3.SQLITE_OK if second in _FUNCTIONS else sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_OK if action in _ALLOWED else sqlite3.SQLITE_DENY
