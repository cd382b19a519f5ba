"""What is found out before a server loads anything or makes a folder: why it cannot start."""

from __future__ import annotations

import shlex
import socket
from pathlib import Path

from retrieval.errors import InputError, StorageError
from retrieval.lock import LockedError, WriterLock
from retrieval.manifest import MANIFEST_NAME
from serving.http.auth import Keys
from serving.http.database import RECORDS, Database
from serving.http.settings import ServerSettings


def check_startable(settings: ServerSettings) -> None:
    """Raises ``StorageError`` if a server that only reads has no index or another one writes,
    ``InputError`` if the address needs keys and there are none, or cannot be listened on."""
    if settings.read_only:
        for path in settings.indexes.values():
            if not (path / MANIFEST_NAME).exists():
                raise StorageError(
                    f"there is no index at {path}; build it with `folioscope index build`, "
                    "or serve without --read-only to begin an empty one"
                )
    if not settings.loopback and not _has_keys(settings):
        raise InputError(
            f"will not listen on {settings.host} without API keys; make one first: "
            "folioscope keys create NAME --scope admin --new "
            f"--state {shlex.quote(str(settings.state))}"
        )
    _check_port(settings.host, settings.port)
    if not settings.read_only and settings.state.is_dir():
        only_writer(settings.state).release()


def only_writer(state: Path) -> WriterLock:
    """The right to do the jobs in ``state``: two servers would do each of them twice.

    Raises ``StorageError`` if another server has it.
    """
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)  # others' documents will be here
        return WriterLock(state).acquire()
    except OSError as error:
        raise StorageError(
            f"cannot use the server's folder {state}: {error.strerror}; name another --state folder"
        ) from error
    except LockedError as error:
        raise StorageError(
            f"another server does the jobs of {state}: {error.holder}; end it, or start this one "
            "with --read-only or with a --state folder of its own"
        ) from error


def _has_keys(settings: ServerSettings) -> bool:
    file = settings.state / RECORDS
    if not file.exists():
        return False
    database = Database(file)
    try:
        return Keys(database).any()
    finally:
        database.close()


def _check_port(host: str, port: int) -> None:
    """Raises ``InputError`` if another program listens there, or nobody here can."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, address in found:
            with socket.socket(family, kind, protocol) as probe:
                # As the server does itself: connections that ended lately do not count.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                probe.bind(address)
    except OSError as error:
        raise InputError(
            f"cannot listen on {host}, port {port} ({error.strerror or error}); "
            "end the program that uses it, or name another --port (0 takes a free one) or --host"
        ) from error
