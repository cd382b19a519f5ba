"""Running the application under uvicorn, with logs for people or for machines."""

from __future__ import annotations

import json
import logging
import socket
import sys
import threading
from types import FrameType
from typing import Any

import uvicorn

from retrieval.errors import FolioscopeError
from serving.http.app import create_app
from serving.http.settings import ServerSettings
from serving.http.tracing import open_tracing

_log = logging.getLogger("folioscope.http")
_EXTRA = ("request_id", "status", "milliseconds", "key")
# Answers under way get this long when the server is asked to stop.
_GRACE_SECONDS = 30
# Exit status of a server that could not start, as uvicorn's own.
_NOT_STARTED = 3


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "at": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line.update({name: getattr(record, name) for name in _EXTRA if hasattr(record, name)})
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


class _Lines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        extra = "  ".join(
            f"{name}={getattr(record, name)}" for name in _EXTRA if getattr(record, name, "") != ""
        )
        return f"{super().format(record)}  {extra}".rstrip()


class _Server(uvicorn.Server):
    """Says where it listens, which for port 0 nobody knows before. Tells ``stopping`` at once: what
    only waits must not hold up the end."""

    def __init__(self, config: uvicorn.Config, stopping: threading.Event) -> None:
        super().__init__(config)
        self._told = stopping

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn does."""
        await super().startup(sockets)
        for one in (bound for server in self.servers for bound in server.sockets):
            host, port = one.getsockname()[:2]
            shown = f"[{host}]" if ":" in host else host
            _log.info("listening on http://%s:%d", shown, port)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """As uvicorn does."""
        self._told.set()
        super().handle_exit(sig, frame)


def run(settings: ServerSettings, *, json_logs: bool) -> None:
    """Serve until the process is asked to stop; answers under way are finished first.

    Raises what kept it from starting, if that is an error of ours.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        _JsonLines() if json_logs else _Lines("%(asctime)s %(levelname)s %(name)s: %(message)s")
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("folioscope").setLevel(logging.INFO)
    stopping = threading.Event()
    app = create_app(settings, tracing=open_tracing(), stopping=stopping)

    def failure() -> FolioscopeError | None:
        return getattr(app.state, "failure", None)

    # An error of ours is a sentence; uvicorn would print the way to it.
    logging.getLogger("uvicorn.error").addFilter(lambda _: failure() is None)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    server = _Server(config, stopping)
    try:
        server.run()
    except KeyboardInterrupt:  # Ctrl-C has ended it in order already
        return
    except SystemExit:  # how uvicorn says that it did not start, by version
        _raise(failure())
        raise
    _raise(failure())
    if not server.started:
        sys.exit(_NOT_STARTED)


def _raise(error: FolioscopeError | None) -> None:
    if error is not None:
        raise error
