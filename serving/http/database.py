"""The server's own records, jobs, keys and the audit log, in one SQLite file.

SQLite commits each of them before a client hears of it, so a killed server forgets nothing
that it promised.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from retrieval.errors import StorageError

RECORDS = "server.sqlite"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, collection TEXT NOT NULL, kind TEXT NOT NULL, state TEXT NOT NULL,
    owner TEXT NOT NULL, work TEXT NOT NULL, progress TEXT NOT NULL DEFAULT '{}',
    result TEXT, created REAL NOT NULL, started REAL, ended REAL
);
CREATE INDEX IF NOT EXISTS jobs_waiting ON jobs (collection, state, created);
CREATE TABLE IF NOT EXISTS keys (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, digest TEXT NOT NULL, scopes TEXT NOT NULL,
    collections TEXT NOT NULL, pinned TEXT NOT NULL, created REAL NOT NULL, revoked REAL
);
CREATE TABLE IF NOT EXISTS audit (
    at REAL NOT NULL, key TEXT NOT NULL, action TEXT NOT NULL, collection TEXT NOT NULL,
    target TEXT NOT NULL, request TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS audit_at ON audit (at);
CREATE TABLE IF NOT EXISTS served (collection TEXT PRIMARY KEY);
"""


class Database:
    """One connection that writes and one that reads, each one user at a time, so that a
    question need not wait until a job's progress is on disk."""

    def __init__(self, path: Path) -> None:
        """Raises ``StorageError`` if the file cannot be opened or is not a database."""
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Before SQLite makes it: what it puts beside it gets the same rights.
            path.touch(mode=0o600)
            self._connection = _connect(path)
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.executescript(_SCHEMA)
            self._reader = _connect(path)
        except (OSError, sqlite3.Error) as error:
            raise StorageError(
                f"cannot use the server's records {path}: {error}; name another --state folder"
            ) from error
        path.chmod(0o600)
        self._lock = threading.RLock()
        self._read_lock = threading.Lock()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Everything inside lands, or nothing does."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                # SQLite ends the transaction itself on a full disk; left open, it would stop all
                # that follow.
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def rows(self, statement: str, *values: object) -> list[sqlite3.Row]:
        """What a query finds."""
        with self._read_lock:
            return self._reader.execute(statement, values).fetchall()

    def close(self) -> None:
        """Close the file."""
        with self._lock, self._read_lock:
            self._connection.close()
            self._reader.close()


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
    connection.row_factory = sqlite3.Row
    return connection
