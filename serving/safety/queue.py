"""The review queue: borderline cases that wait for a person, in one SQLite file.

A case is committed before the asker hears that it waits, and a decision before the reviewer hears
that it was taken. The same case asked again is the same item; once it is decided, the gate follows
the decision.
"""

from __future__ import annotations

import json
import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from retrieval.errors import InputError, StorageError
from retrieval.types import Box
from serving.safety.types import Stage, Where

State = Literal["waiting", "approved", "rejected"]
STATES: tuple[State, ...] = ("waiting", "approved", "rejected")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS items (
    id TEXT PRIMARY KEY, fingerprint TEXT NOT NULL UNIQUE, state TEXT NOT NULL,
    origin TEXT NOT NULL, stage TEXT NOT NULL, place TEXT NOT NULL, category TEXT NOT NULL,
    question TEXT NOT NULL, answer TEXT, source TEXT, page INTEGER, box TEXT,
    quote TEXT NOT NULL, reasons TEXT NOT NULL, scores TEXT NOT NULL, policy TEXT NOT NULL,
    created REAL NOT NULL, decided REAL, reviewer TEXT, note TEXT
);
CREATE INDEX IF NOT EXISTS items_by_state ON items (state, created);
CREATE TABLE IF NOT EXISTS audit (
    at REAL NOT NULL, item TEXT NOT NULL, action TEXT NOT NULL, who TEXT NOT NULL,
    note TEXT NOT NULL, policy TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS audit_by_item ON audit (item, at);
"""


@dataclass(frozen=True, slots=True)
class ReviewCase:
    """What is put before a person. ``place`` says what ``quote`` is from; ``source``, ``page``
    (0-based) and ``box`` (page fractions) where it stands, if that is a page. ``origin`` is
    whatever the caller tells askers apart by: a collection, a tenant. ``fingerprint`` is equal for
    cases that one decision covers. ``scores`` maps a detector to its score."""

    fingerprint: str
    stage: Stage
    place: Where
    category: str
    question: str
    quote: str
    reasons: tuple[str, ...]
    scores: Mapping[str, float]
    policy: str
    answer: str | None = None
    source: str | None = None
    page: int | None = None
    box: Box | None = None
    origin: str = ""


@dataclass(frozen=True, slots=True)
class ReviewItem:
    """A case in the queue. Times are seconds since the epoch."""

    id: str
    state: State
    case: ReviewCase
    created: float
    decided: float | None = None
    reviewer: str | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One thing that happened to an item: ``queued``, ``asked-again``, ``approved`` ..."""

    at: float
    item: str
    action: str
    who: str
    note: str
    policy: str


def default_queue() -> Path:
    """Where the queue lies unless one is named: the user's state folder."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "folioscope" / "review.sqlite"


class ReviewQueue:
    """The queue in ``path``. Safe to share between threads, and between processes."""

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        """Name the file; it is made or opened when the first case comes, as most never need it."""
        self.path = path
        self._clock = clock
        self._lock = threading.RLock()
        self._opened: sqlite3.Connection | None = None

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._opened is not None:
                self._opened.close()
                self._opened = None

    def submit(self, case: ReviewCase) -> ReviewItem:
        """Queue a case, or find it: one fingerprint is one item, decided or not.

        Raises ``StorageError`` if it cannot be written; then nothing waits.
        """
        now = self._clock()
        with self._transaction() as connection:
            row = connection.execute(
                "SELECT * FROM items WHERE fingerprint = ?", (case.fingerprint,)
            ).fetchone()
            if row is not None:
                found = _item(row)
                if found.state == "waiting":
                    self._note(connection, now, found.id, "asked-again", "", "", case.policy)
                return found
            item = ReviewItem(f"rv-{secrets.token_hex(6)}", "waiting", case, now)
            connection.execute(
                "INSERT INTO items (id, fingerprint, state, origin, stage, place, category, "
                "question, answer, source, page, box, quote, reasons, scores, policy, created) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    item.id,
                    case.fingerprint,
                    item.state,
                    case.origin,
                    case.stage,
                    case.place,
                    case.category,
                    case.question,
                    case.answer,
                    case.source,
                    case.page,
                    json.dumps(case.box),
                    case.quote,
                    json.dumps(case.reasons, ensure_ascii=False),
                    json.dumps(dict(case.scores)),
                    case.policy,
                    now,
                ),
            )
            self._note(connection, now, item.id, "queued", "gate", "", case.policy)
            return item

    def state_of(self, fingerprint: str) -> State | None:
        """What was decided of a case, None if it was never queued."""
        rows = self._rows("SELECT state FROM items WHERE fingerprint = ?", fingerprint)
        return rows[0]["state"] if rows else None

    def get(self, item_id: str) -> ReviewItem:
        """An item. Raises ``InputError`` if there is none of this id."""
        rows = self._rows("SELECT * FROM items WHERE id = ?", item_id)
        if not rows:
            raise InputError(f"there is no case '{item_id}' in the review queue {self.path}")
        return _item(rows[0])

    def items(
        self,
        state: State | None = "waiting",
        *,
        origins: Sequence[str] | None = None,
        limit: int = 100,
        offset: int = 0,
    ) -> list[ReviewItem]:
        """Items, the oldest first; of these ``origins`` only, if given."""
        where, values = ["1 = 1"], list[Any]()
        if state is not None:
            where.append("state = ?")
            values.append(state)
        if origins is not None:
            where.append(f"origin IN ({', '.join('?' * len(origins))})")
            values.extend(origins)
        rows = self._rows(
            f"SELECT * FROM items WHERE {' AND '.join(where)} "
            "ORDER BY created, id LIMIT ? OFFSET ?",
            *values,
            limit,
            offset,
        )
        return [_item(row) for row in rows]

    def counts(self) -> dict[State, int]:
        """How many items are in each state."""
        rows = self._rows("SELECT state, count(*) AS n FROM items GROUP BY state")
        found = {row["state"]: int(row["n"]) for row in rows}
        return {state: found.get(state, 0) for state in STATES}

    def decide(
        self, item_id: str, decision: Literal["approved", "rejected"], *, who: str, note: str = ""
    ) -> ReviewItem:
        """Approve or reject a case; a decision may be changed, and the audit log keeps both.

        Raises ``InputError`` if there is no such case, or it was already decided so.
        """
        now = self._clock()
        with self._transaction() as connection:
            row = connection.execute("SELECT * FROM items WHERE id = ?", (item_id,)).fetchone()
            if row is None:
                raise InputError(f"there is no case '{item_id}' in the review queue {self.path}")
            if row["state"] == decision:
                raise InputError(f"case {item_id} was already {decision} by {row['reviewer']}")
            connection.execute(
                "UPDATE items SET state = ?, decided = ?, reviewer = ?, note = ? WHERE id = ?",
                (decision, now, who, note, item_id),
            )
            self._note(connection, now, item_id, decision, who, note, row["policy"])
        return self.get(item_id)

    def audit(self, item_id: str | None = None) -> list[AuditEntry]:
        """What happened, in order; to one item, if given."""
        where, values = ("WHERE item = ?", [item_id]) if item_id else ("", [])
        rows = self._rows(f"SELECT * FROM audit {where} ORDER BY at, rowid", *values)
        return [AuditEntry(**dict(row)) for row in rows]

    def labels(self) -> Iterator[dict[str, str]]:
        """Decisions as labelled rows that ``folioscope safety calibrate`` reads: what a person
        approved is benign, what was rejected harmful."""
        for state, label in (("approved", "benign"), ("rejected", "harmful")):
            for item in self.items(state, limit=-1):  # type: ignore[arg-type]
                yield {
                    "id": item.id,
                    "text": item.case.quote,
                    "label": label,
                    "category": item.case.category,
                    "place": item.case.place,
                    "source": f"review:{item.case.policy}",
                }

    def _note(
        self,
        connection: sqlite3.Connection,
        at: float,
        item: str,
        action: str,
        who: str,
        note: str,
        policy: str,
    ) -> None:
        connection.execute(
            "INSERT INTO audit (at, item, action, who, note, policy) VALUES (?, ?, ?, ?, ?, ?)",
            (at, item, action, who, note, policy),
        )

    @property
    def _connection(self) -> sqlite3.Connection:
        """Raises ``StorageError`` if the file cannot be used. The lock is held."""
        if self._opened is not None:
            return self._opened
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            made = sqlite3.connect(
                self.path, check_same_thread=False, isolation_level=None, timeout=10
            )
            made.row_factory = sqlite3.Row
            made.execute("PRAGMA journal_mode = WAL")
            made.execute("PRAGMA synchronous = FULL")
            made.executescript(_SCHEMA)
            self.path.chmod(0o600)
        except (OSError, sqlite3.Error) as error:
            raise StorageError(
                f"cannot use the review queue {self.path}: {error}; name another file"
            ) from error
        self._opened = made
        return made

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            connection = self._connection
            try:
                connection.execute("BEGIN IMMEDIATE")
                try:
                    yield connection
                    connection.execute("COMMIT")
                except BaseException:
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
                    raise
            except sqlite3.Error as error:
                raise StorageError(f"cannot write the review queue {self.path}: {error}") from error

    def _rows(self, statement: str, *values: Any) -> list[sqlite3.Row]:
        with self._lock:
            connection = self._connection
            try:
                return connection.execute(statement, values).fetchall()
            except sqlite3.Error as error:
                raise StorageError(f"cannot read the review queue {self.path}: {error}") from error


def _item(row: sqlite3.Row) -> ReviewItem:
    box = json.loads(row["box"]) if row["box"] else None
    case = ReviewCase(
        fingerprint=row["fingerprint"],
        stage=row["stage"],
        place=row["place"],
        category=row["category"],
        question=row["question"],
        quote=row["quote"],
        reasons=tuple(json.loads(row["reasons"])),
        scores=json.loads(row["scores"]),
        policy=row["policy"],
        answer=row["answer"],
        source=row["source"],
        page=row["page"],
        box=None if box is None else (box[0], box[1], box[2], box[3]),
        origin=row["origin"],
    )
    return ReviewItem(
        row["id"],
        row["state"],
        case,
        row["created"],
        row["decided"],
        row["reviewer"],
        row["note"],
    )
