"""``folioscope serve`` as a process of its own, for benchmarks of the server."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx2 as httpx

from retrieval.errors import ServiceError
from serving.client import Client

_READY_SECONDS = 120
_ALIVE_LOOK = 0.1
_TAIL = 500


@contextmanager
def empty_server() -> Iterator[ServedIndex]:
    """A server without documents, not yet started; it and its folder are gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="folioscope-service-") as folder:
        server = ServedIndex(Path(folder) / "index", log=Path(folder) / "log")
        try:
            yield server
        finally:
            server.kill()


class ServedIndex:
    """A server on ``index``, alone in its process group; it can be started again and again."""

    def __init__(self, index: Path, *, log: Path, options: Sequence[str] = ()) -> None:
        """``options`` are further ones of ``folioscope serve``."""
        self.index = index
        self._log = log
        self._options = options
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Of the server; its indexing process is another. Raises ``ServiceError`` if none runs."""
        if self._process is None:
            raise ServiceError("the server was not started")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> float:
        """Start and wait until it is ready; the seconds. Raises ``ServiceError``."""
        began = time.monotonic()
        command = [sys.executable, "-m", "folioscope", "serve", "-i", str(self.index)]
        command += [*self._options, "--port", str(self._port)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                env={**os.environ, "FOLIOSCOPE_REQUESTS_PER_MINUTE": "10000000"},
                stdout=log,
                stderr=log,
                process_group=0,
            )
        while time.monotonic() - began < _READY_SECONDS and self._process.poll() is None:
            try:
                if httpx.get(f"{self.url}/readyz", timeout=10).status_code == 200:
                    return time.monotonic() - began
            except httpx.TransportError:
                time.sleep(_ALIVE_LOOK)
        said = self._log.read_text(errors="replace")[-_TAIL:]
        status = self._process.poll()
        how = f"was not ready within {_READY_SECONDS} seconds"
        if status is not None:
            how = f"ended with status {status} before it was ready"
        raise ServiceError(f"the server {how}; its last words: {said}")

    def client(self) -> Client:
        """A client of it."""
        return Client(self.url, timeout=_READY_SECONDS)

    def kill(self) -> None:
        """End the server and its indexing process at once, as a power cut would."""
        if self._process is not None and self.running:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def stop(self) -> int:
        """Ask it to stop, and wait until it has; its exit status, 0 where none ran."""
        if self._process is None or not self.running:
            return 0
        self._process.terminate()
        return self._process.wait()
