"""Files on their way to a server: read a piece at a time, open only while they are sent."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import BinaryIO

import httpx2 as httpx

from retrieval.errors import InputError


class FileToSend:
    """What httpx takes for an open file. It is opened when its turn comes and closed at its end:
    a request of hundreds of files needs one handle."""

    def __init__(self, path: Path) -> None:
        """Raises ``InputError`` if ``path`` cannot be read."""
        self._path = path
        self._file: BinaryIO | None = None
        self._at = 0
        with self._open() as file:
            self._size = os.fstat(file.fileno()).st_size

    def tell(self) -> int:
        """Where the next piece begins."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """The next piece begins ``offset`` bytes after the start, or the end."""
        self.close()
        self._at = offset + (self._size if whence == os.SEEK_END else 0)
        return self._at

    def read(self, size: int) -> bytes:
        """The next piece; empty at the end. Raises ``InputError`` if the file is not as long as it
        was: its length was sent before it."""
        if self._file is None:
            self._file = self._open()
            self._file.seek(self._at)
        try:
            piece = self._file.read(size)
        except OSError as error:
            raise self._unreadable(error) from error
        self._at += len(piece)
        if self._at > self._size or (not piece and self._at < self._size):
            raise InputError(f"{self._path}: it changed while it was sent; send it again")
        if not piece:
            self.close()
        return piece

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open(self) -> BinaryIO:
        try:
            return self._path.open("rb")
        except OSError as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: OSError) -> InputError:
        return InputError(f"{self._path}: cannot be read ({error.strerror})")


class ReadInThread(httpx.AsyncByteStream):
    """The body of a request whose pieces are read in a thread: a slow disk must not hold up what
    else the event loop has to do."""

    def __init__(self, body: httpx.SyncByteStream) -> None:
        self._body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        pieces: Iterator[bytes] = iter(self._body)
        # An empty piece, as of an empty field, is not the end.
        while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
            yield piece
