"""What the two ways through the service share: the files, the rows, and what must be there."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from eval.serving_process import ServedIndex
from indexing.index import Index
from retrieval.errors import InputError
from serving.client import Client
from serving.http.schemas import Document


class Steps:
    """The rows of a benchmark of the service: a step, how many of how many, and its seconds."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def add(self, step: str, seconds: float, got: int, wanted: int) -> None:
        """One more step."""
        row = {"step": step, "seconds": round(seconds, 1), "got": got, "of": wanted}
        self.rows.append(row)


class Sources:
    """The files of a folder: by the hash of their content, and by their path below it.

    Raises ``InputError`` for a folder without files.
    """

    def __init__(self, folder: Path) -> None:
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        if not files:
            raise InputError(f"{folder}: there is no file in this folder")
        self.files = {_sha256(path): path for path in files}
        self.sha256 = {path.relative_to(folder).as_posix(): sha for sha, path in self.files.items()}


def documents_of(client: Client) -> Iterator[Document]:
    """Every document that the server lists."""
    offset = 0
    while True:
        part = client.documents(offset, 100)
        yield from part.documents
        offset += 100
        if offset >= part.total:
            return


def add_what_is_there(steps: Steps, client: Client, sources: Sources, skipped: int) -> None:
    """Rows of what the server holds: every file that could be read, once, with its pages."""
    listed: Sequence[Document] = list(documents_of(client))
    held = Counter(document.sha256 for document in listed)
    there = sum(sha in held for sha in sources.files)
    steps.add("documents there", 0.0, there, len(sources.files) - skipped)
    steps.add("documents there twice", 0.0, sum(held.values()) - len(held), 0)
    steps.add("pages there", 0.0, client.status().pages, sum(d.pages for d in listed))


def add_damages(steps: Steps, server: ServedIndex) -> None:
    """The row of what ``index verify`` finds in the index of a server that was stopped."""
    began = time.monotonic()
    damages = Index.open(server.index).verify()
    steps.add("damages that verify finds", time.monotonic() - began, len(damages), 0)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
