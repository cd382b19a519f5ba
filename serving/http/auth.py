"""Who is asking, and what that key may do.

Keys are 256-bit random secrets, so a plain SHA-256 is enough to keep them at rest: nobody can
try them all. A key may be limited to some collections, and to documents with *pinned* metadata:
what it uploads gets them, what it may see must have them, by every route.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import sqlite3
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from retrieval.errors import InputError
from retrieval.types import MetadataValue
from serving.http.database import Database
from serving.http.problems import Problem

Scope = Literal["read", "write", "review", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
_PREFIX = "folio"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks. ``collections`` empty means all; ``pinned`` empty means every document."""

    key: str
    scopes: frozenset[str]
    collections: frozenset[str]
    pinned: Mapping[str, MetadataValue]

    def may(self, scope: Scope) -> bool:
        """Whether this scope was given; ``admin`` includes the others."""
        return scope in self.scopes or "admin" in self.scopes

    def sees(self, collection: str) -> bool:
        """Whether the collection exists for this key."""
        return not self.collections or collection in self.collections


ANONYMOUS = Principal("anonymous", frozenset(SCOPES), frozenset(), {})


@dataclass(frozen=True, slots=True)
class Key:
    """A key as it is listed; its secret is nowhere."""

    id: str
    name: str
    scopes: tuple[str, ...]
    collections: tuple[str, ...]
    pinned: Mapping[str, MetadataValue]
    created: float
    revoked: float | None


class Keys:
    """The keys of a server."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(
        self,
        name: str,
        scopes: list[str],
        collections: list[str] | None = None,
        pinned: Mapping[str, MetadataValue] | None = None,
    ) -> tuple[Key, str]:
        """A new key and its token, which is shown this once."""
        unknown = sorted(set(scopes) - set(SCOPES))
        if unknown or not scopes:
            raise InputError(
                f"unknown scope {', '.join(unknown) or '(none)'}; known: {', '.join(SCOPES)}"
            )
        key_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT INTO keys VALUES (?, ?, ?, ?, ?, ?, ?, NULL)",
                (
                    key_id,
                    name,
                    _digest(secret),
                    json.dumps(sorted(set(scopes))),
                    json.dumps(sorted(set(collections or ()))),
                    json.dumps(dict(pinned or {})),
                    time.time(),
                ),
            )
        return self._get(key_id), f"{_PREFIX}_{key_id}_{secret}"

    def revoke(self, key_id: str) -> Key:
        """End a key; it stays listed. Raises ``InputError`` if there is none of this id."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE keys SET revoked = coalesce(revoked, ?) WHERE id = ?", (time.time(), key_id)
            )
        return self._get(key_id)

    def all(self) -> list[Key]:
        """Every key, oldest first."""
        return [_key(row) for row in self._database.rows("SELECT * FROM keys ORDER BY created")]

    def note_served(self, collections: Iterable[str]) -> None:
        """Remember which collections there are, for ``collections_served``."""
        names = sorted(set(collections) - self.collections_served())
        if names:
            with self._database.transaction() as connection:
                connection.executemany(
                    "INSERT OR IGNORE INTO served VALUES (?)", [(name,) for name in names]
                )

    def collections_served(self) -> set[str]:
        """The collections that servers with these records ever had: what a key may be limited to
        without a doubt."""
        return {row["collection"] for row in self._database.rows("SELECT collection FROM served")}

    def any(self) -> bool:
        """Whether a key was ever made: from then on one is asked for.

        Revoked keys count: revoking the last one must not open the door.
        """
        return bool(self._database.rows("SELECT 1 FROM keys LIMIT 1"))

    def principal(self, token: str) -> Principal:
        """Whose token it is. Raises ``Problem`` 401."""
        prefix, _, rest = token.partition("_")
        key_id, _, secret = rest.partition("_")
        rows = self._database.rows("SELECT * FROM keys WHERE id = ? AND revoked IS NULL", key_id)
        digest = rows[0]["digest"] if rows else _digest("")
        # Compared in every case, so that time does not tell which ids exist.
        if not hmac.compare_digest(digest, _digest(secret)) or not rows or prefix != _PREFIX:
            raise unknown_key()
        key = _key(rows[0])
        return Principal(key.id, frozenset(key.scopes), frozenset(key.collections), key.pinned)

    def _get(self, key_id: str) -> Key:
        rows = self._database.rows("SELECT * FROM keys WHERE id = ?", key_id)
        if not rows:
            raise InputError(f"there is no key '{key_id}'; see `folioscope keys list`")
        return _key(rows[0])


def unknown_key() -> Problem:
    """The refusal of a missing or wrong key."""
    return Problem(
        401,
        "unauthorized",
        "A valid API key is needed.",
        "Send it as `Authorization: Bearer folio_...`; `folioscope keys create` makes one.",
        {"WWW-Authenticate": "Bearer"},
    )


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _key(row: sqlite3.Row) -> Key:
    revoked = row["revoked"]
    return Key(
        id=str(row["id"]),
        name=str(row["name"]),
        scopes=tuple(json.loads(str(row["scopes"]))),
        collections=tuple(json.loads(str(row["collections"]))),
        pinned=json.loads(str(row["pinned"])),
        created=float(str(row["created"])),
        revoked=None if revoked is None else float(str(revoked)),
    )
