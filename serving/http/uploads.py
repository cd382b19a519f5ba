"""Uploaded files, stored by the hash of their content.

Nothing that a client sends becomes a path: the folder is a hash that we computed, the file's
name is its own reduced to letters, digits and a few marks (the name is worth keeping: it is
part of what a document says about itself).
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
import threading
import unicodedata
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from retrieval.manifest import fsync_folder
from serving.http.forms import no_room
from serving.http.problems import Problem

_UNSAFE = re.compile(r"[^\w .()+,&-]+")
_LONGEST = 120
_CHUNK = 1 << 20
# Room for the index and its next commit, beside the upload itself.
_KEEP_FREE = 200_000_000
# A file is stored before its job is queued; and who sent one in vain may ask about it.
_KEPT_SECONDS = 3600.0


def safe_name(name: str) -> str:
    """The last part of ``name`` as a harmless file name; never empty, never hidden.

    >>> safe_name("../../etc/passwd"), safe_name("Bericht 2023 (neu).pdf"), safe_name("..")
    ('passwd', 'Bericht 2023 (neu).pdf', 'document')
    """
    plain = unicodedata.normalize("NFC", name.replace("\\", "/"))
    last = PurePosixPath(plain).name
    cleaned = _UNSAFE.sub("_", last).strip(" .")
    stem, dot, extension = cleaned.rpartition(".")
    if dot and len(extension) <= 8:
        cleaned = f"{_cut(stem, _LONGEST)}.{extension}"
    return _cut(cleaned, _LONGEST + 16).strip(" .") or "document"


def _cut(text: str, most: int) -> str:
    """``text`` within ``most`` bytes of UTF-8."""
    return text.encode("utf-8")[:most].decode("utf-8", "ignore")


class Uploads:
    """The files of one collection under ``folder``."""

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self._folder = folder
        self._most = most_bytes
        # A file that is being sent again must not be swept away.
        self._moving = threading.Lock()

    def store(self, content: BinaryIO, name: str, owner: str) -> Path:
        """Write a file to disk, durably; returns where. The same content is kept once for each
        ``owner`` (tenants must not be able to touch each other's copies).

        Raises ``Problem`` 413 if it is too large, 422 if it is empty, 503 if the disk is full.
        """
        try:
            return self._store(content, name, owner)
        except OSError as error:
            raise no_room(name) from error

    def _store(self, content: BinaryIO, name: str, owner: str) -> Path:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._check_room()
        digest, size = hashlib.sha256(), 0
        handle, temporary = tempfile.mkstemp(prefix=".upload-", dir=self._folder)
        try:
            with os.fdopen(handle, "wb") as file:
                while chunk := content.read(_CHUNK):
                    size += len(chunk)
                    if size > self._most:
                        raise Problem(
                            413,
                            "file-too-large",
                            f"{name} is larger than {self._most // 1_000_000} MB.",
                            "Split it, or ask the operator to raise upload_mb.",
                        )
                    digest.update(chunk)
                    file.write(chunk)
                if not size:
                    raise Problem(422, "empty-file", f"{name} is empty.", "Send its content.")
                file.flush()
                os.fsync(file.fileno())
            whose = hashlib.sha256(owner.encode()).hexdigest()[:8]
            final = self._folder / whose / digest.hexdigest() / safe_name(name)
            with self._moving:
                final.parent.mkdir(parents=True, exist_ok=True)
                held = [path for path in final.parent.iterdir() if path.is_file()]
                if held:
                    os.utime(held[0])
                    return held[0]
                Path(temporary).replace(final)
            for folder in (final.parent, final.parent.parent, self._folder):
                fsync_folder(folder)
            return final
        finally:
            with suppress(FileNotFoundError):
                Path(temporary).unlink()

    def holds(self, path: Path) -> bool:
        """Whether ``path`` is one of these files."""
        return path.is_relative_to(self._folder)

    def discard(self, path: Path) -> None:
        """Delete one of these files, after its document left the index."""
        if self.holds(path):
            shutil.rmtree(path.parent, ignore_errors=True)

    def sweep(
        self, in_vain: Iterable[str], held: Callable[[], Collection[str]], now: float
    ) -> list[Path]:
        """Delete the files ``in_vain`` that are not ``held``, and what a server that was killed had
        not received whole, an hour after they came; which."""
        before = now - _KEPT_SECONDS
        with self._moving:
            found = [*map(Path, in_vain), *self._folder.glob(".upload-*")]
            old = [p for p in found if self.holds(p) and p.is_file() and p.stat().st_mtime < before]
            keep = held() if old else ()
            gone = [path for path in old if str(path) not in keep]
            for path in gone:
                path.unlink()
                if path.parent != self._folder:
                    path.parent.rmdir()
        return gone

    def _check_room(self) -> None:
        if shutil.disk_usage(self._folder).free < _KEEP_FREE:
            raise OSError("no room")
