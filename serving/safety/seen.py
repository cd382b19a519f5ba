"""What was seen on pictures of pages, kept in one SQLite file: a page is looked at once.

A cache: what cannot be read from it is looked at again, and what cannot be written is forgotten.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path

_SCHEMA = """
CREATE TABLE IF NOT EXISTS seen (
    page TEXT NOT NULL, looked_by TEXT NOT NULL, scores TEXT NOT NULL,
    PRIMARY KEY (page, looked_by)
) WITHOUT ROWID;
"""
_BUSY = 5.0
_log = logging.getLogger(__name__)


class SeenPictures:
    """Scores by page and by who looked. Safe to share between threads, and between processes."""

    def __init__(self, path: Path | None = None) -> None:
        """Name the file, opened when first needed; without one all is kept in memory."""
        self.path = path
        self._lock = threading.Lock()
        self._opened: sqlite3.Connection | None = None

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._opened is not None:
                self._opened.close()
                self._opened = None

    def get(self, page: str, looked_by: str) -> list[float] | None:
        """The numbers kept of a page, None if there are none."""
        try:
            with self._lock:
                row = (
                    self._connection()
                    .execute(
                        "SELECT scores FROM seen WHERE page = ? AND looked_by = ?",
                        (page, looked_by),
                    )
                    .fetchone()
                )
            return None if row is None else [float(value) for value in json.loads(row[0])]
        except (sqlite3.Error, OSError, ValueError, TypeError) as error:
            _log.warning("cannot read %s, pictures are looked at again: %s", self.path, error)
            return None

    def put(self, page: str, looked_by: str, scores: Sequence[float]) -> None:
        """Keep the numbers of a page."""
        try:
            with self._lock, self._connection() as connection:
                connection.execute(
                    "INSERT OR REPLACE INTO seen VALUES (?, ?, ?)",
                    (page, looked_by, json.dumps(list(scores))),
                )
        except (sqlite3.Error, OSError) as error:
            _log.warning("cannot write %s, pictures will be looked at again: %s", self.path, error)

    def _connection(self) -> sqlite3.Connection:
        if self._opened is None:
            if self.path is not None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(
                self.path or ":memory:", timeout=_BUSY, check_same_thread=False
            )
            try:
                connection.executescript(_SCHEMA)
            except sqlite3.Error:
                connection.close()
                raise
            self._opened = connection
        return self._opened
