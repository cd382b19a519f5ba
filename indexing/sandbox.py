"""Worker processes as the parent sees them: leased, watched, killed, replaced."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from multiprocessing import Pipe
from pathlib import Path

from indexing.messages import Ready, Reply, Request, Working
from retrieval.errors import FolioscopeError, ServiceError

_ROOT = Path(__file__).resolve().parent.parent
# Importing the libraries on a cold, busy machine; a file's time begins after it.
_START_SECONDS = 60.0


class WorkerDiedError(FolioscopeError):
    """The worker crashed, ran out of memory, or took too long; it was replaced."""


class Worker:
    """One worker process, started when first asked; ``ServiceError`` if it does not start."""

    def __init__(self, memory_mb: int) -> None:
        self._memory_mb = memory_mb
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, request: Request) -> None:
        """Send a request."""
        if self._process is not None and self._process.poll() is not None:
            self.kill()  # it died while nobody was asking: no file is to blame
        if self._process is None:
            self._start()
        try:
            self._connection.send(request)
        except OSError as error:
            self.kill()
            raise WorkerDiedError("the worker process ended unexpectedly") from error

    def reply(self, seconds: float, in_all: float = 0.0) -> Reply:
        """The next reply. Raises ``WorkerDiedError`` after ``seconds``, or if it crashed.

        A worker that says it is still at work gets ``seconds`` anew, up to ``in_all``.
        """
        deadline = time.monotonic() + max(seconds, in_all)
        limit = seconds
        while True:
            try:
                if not self._connection.poll(limit):
                    self.kill()
                    most = seconds if limit == seconds else in_all
                    raise WorkerDiedError(f"took longer than the limit of {most:g} seconds")
                answer: Reply = self._connection.recv()
            except (EOFError, OSError) as error:
                raise WorkerDiedError(self._last_words()) from error
            if not isinstance(answer, Working):
                return answer
            limit = max(0.0, min(seconds, deadline - time.monotonic()))

    def kill(self) -> None:
        """End the process; the next request starts another."""
        process, self._process = self._process, None
        if process is not None:
            self._connection.close()
            # The whole group: an OCR program at work for it would go on otherwise.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.kill()
            process.wait()

    def _last_words(self) -> str:
        """How the process ended; it is put away."""
        process = self._process
        code = 0
        if process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = process.wait(1.0)  # its end of the socket closes just before it is gone
        self.kill()
        # A C++ library that gets no memory aborts; the system's own killer sends SIGKILL.
        if code in (-signal.SIGABRT, -signal.SIGKILL):
            return f"took more than the reader's {self._memory_mb} MB of memory, or crashed it"
        return "crashed the reader"

    def _start(self) -> None:
        ours, theirs = Pipe(duplex=True)
        path = os.pathsep.join([str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        threads = dict.fromkeys(
            ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OMP_THREAD_LIMIT"), "1"
        )
        self._process = subprocess.Popen(
            [sys.executable, "-m", "indexing.worker", str(theirs.fileno()), str(self._memory_mb)],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            process_group=0,
            env={**os.environ, **threads, "PYTHONPATH": path},
        )
        theirs.close()
        self._connection = ours
        try:
            ready = ours.poll(_START_SECONDS) and isinstance(ours.recv(), Ready)
        except (EOFError, OSError):
            ready = False
        if not ready:
            self.kill()
            raise ServiceError(
                "a reader process does not start; run with FOLIOSCOPE_DEBUG=1 to see why "
                f"(its limit is {self._memory_mb} MB of memory)"
            )


class WorkerPool:
    """A fixed number of workers; ``lease`` hands out one at a time, to any thread."""

    def __init__(self, workers: int, memory_mb: int) -> None:
        self._all = [Worker(memory_mb) for _ in range(workers)]
        self._free: queue.LifoQueue[Worker] = queue.LifoQueue()
        for worker in self._all:
            self._free.put(worker)

    @contextlib.contextmanager
    def lease(self) -> Iterator[Worker]:
        """A worker for the length of the block. One whose dialogue was cut short is ended."""
        worker = self._free.get()
        try:
            yield worker
        except FolioscopeError:
            raise  # said in a complete reply, or by a worker that is gone already
        except BaseException:
            worker.kill()
            raise
        finally:
            self._free.put(worker)

    def close(self) -> None:
        """End every worker."""
        deadline = time.monotonic() + 1.0
        for _ in self._all:
            with contextlib.suppress(queue.Empty):
                self._free.get(timeout=max(0.0, deadline - time.monotonic()))
        for worker in self._all:
            worker.kill()
