"""One writer at a time, across processes and within one.

``flock`` rather than a pid file: the kernel drops it when its holder dies, however it
dies, so there is no stale lock to reason about and nothing to clean up.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import sys
import time
import weakref
from pathlib import Path
from types import TracebackType

from retrieval.errors import StorageError

LOCK_NAME = "LOCK"


class LockedError(StorageError):
    """Another writer is at work; whoever can wait may try again."""

    def __init__(self, message: str, holder: str) -> None:
        super().__init__(message)
        self.holder = holder


class WriterLock:
    """The exclusive right to write to one index; a context manager.

    The file stays behind after release: removing it would let two writers lock two
    different inodes of the same name.
    """

    def __init__(self, root: Path) -> None:
        self._path = root / LOCK_NAME
        self._fd: int | None = None

    def acquire(self) -> WriterLock:
        """Take the lock at once or raise ``LockedError`` that names its holder."""
        try:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise StorageError(
                f"cannot write to the index: {self._path}: {error.strerror}; "
                "check the folder's permissions"
            ) from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = _describe_holder(fd)
            os.close(fd)
            raise LockedError(
                f"another writer has the index {self._path.parent} open: {holder}; "
                "wait until it ends, or stop it, then run again",
                holder,
            ) from error
        owner = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "command": " ".join(Path(part).name for part in sys.argv[:2]),
        }
        os.ftruncate(fd, 0)
        os.pwrite(fd, json.dumps(owner).encode(), 0)
        self._fd = fd
        _held.add(self)
        return self

    def release(self) -> None:
        """Let the next writer in. Releasing twice is harmless."""
        if self._fd is not None:
            fd, self._fd = self._fd, None
            _held.discard(self)
            os.ftruncate(fd, 0)
            fcntl.flock(fd, fcntl.LOCK_UN)
            os.close(fd)

    def __enter__(self) -> WriterLock:
        return self if self._fd is not None else self.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()

    def _forget_in_child(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def _describe_holder(fd: int) -> str:
    with contextlib.suppress(ValueError, OSError):
        owner = json.loads(os.pread(fd, 4096, 0))
        return (
            f"process {owner['pid']} on {owner['host']} since {owner['since']} ({owner['command']})"
        )
    return "its process could not be identified"


# A forked worker inherits the descriptor and with it the lock, and would keep the index
# locked after its parent was killed.
_held: weakref.WeakSet[WriterLock] = weakref.WeakSet()


def _release_in_child() -> None:
    for lock in list(_held):
        lock._forget_in_child()
    _held.clear()


os.register_at_fork(after_in_child=_release_in_child)
