"""The worker process: opens documents for its parent, within limits, and dies with it.

Started as ``python -m indexing.worker FD MEMORY_MB``; requests and replies are pickled over
the socket FD. Parsers of hostile files crash and hang: here that costs one page.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys
import threading
import time
import traceback
from multiprocessing.connection import Connection
from pathlib import Path

from indexing import reading
from indexing.faults import Faults
from indexing.inspection import sniff
from indexing.messages import (
    Describe,
    Finished,
    PlanPages,
    Ready,
    Refused,
    Render,
    Request,
    Working,
)
from indexing.planning import plan_page
from indexing.renderers import OpenDocument, opened
from indexing.renderers.base import Image
from indexing.renderers.recordings import picture_at
from indexing.renderers.several import part_of
from indexing.settings import raise_limit
from retrieval.errors import FolioscopeError, InputError

_WATCH_SECONDS = 2.0


def _die_with(parent: int) -> None:
    """End this process when ``parent`` is gone, however long the page at hand still takes.

    Linux's parent-death signal would do, but it fires when the *thread* that started us ends.
    """
    while os.getppid() == parent:
        time.sleep(_WATCH_SECONDS)
    # The group: an OCR program or poppler that is at work for us goes too.
    os.killpg(0, signal.SIGKILL)


def serve(connection: Connection) -> None:
    """Answer requests until the parent closes its end."""
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        connection.send(Ready())
        while True:
            _answer(connection, connection.recv())


def _answer(connection: Connection, request: Request) -> None:
    settings = request.settings

    def alive() -> None:
        _allow_processor_time(settings.seconds_per_page)
        connection.send(Working())

    try:
        if isinstance(request, Describe):
            _allow_processor_time(settings.seconds_per_page)
            found = reading.describe_file(request.path, settings, request.metadata, alive)
            connection.send(found)
            return
        media_type = sniff(request.path)
        if isinstance(request, Render) and request.moment is not None:
            connection.send(picture_at(request.path, media_type, request.moment, settings))
            return
        if isinstance(request, Render) and request.part is not None:
            connection.send(part_of(request.path, media_type, request.part, settings))
            return
        with opened(request.path, media_type, settings, alive) as (document, path, media_type):
            if isinstance(request, Render):
                connection.send(_picture(document, path, media_type, request))
                return
            if isinstance(request, PlanPages):
                for number in request.numbers:
                    _allow_processor_time(settings.seconds_per_page)
                    connection.send(plan_page(document, media_type, number, settings))
                connection.send(Finished())
                return
            for number in request.numbers:
                _allow_processor_time(settings.seconds_per_page)
                page = reading.read_page(
                    document,
                    path,
                    media_type,
                    number,
                    settings,
                    want_image=request.want_image,
                    text_only=request.text_only,
                    on_part=alive,
                )
                connection.send(page)
        connection.send(Finished())
    except FolioscopeError as error:
        connection.send(Refused(error))
    except (BrokenPipeError, ConnectionResetError):
        raise
    except MemoryError:
        remedy = raise_limit("worker_memory_mb", 2 * settings.worker_memory_mb)
        message = f"{request.path}: needs more memory to read than a reader may take; {remedy}"
        connection.send(Refused(InputError(message)))
    except Exception as error:  # the process boundary: whatever a library raised becomes a reply
        # Libraries' errors on bad files are caught where they are called: this one is our own.
        traceback.print_exc()
        message = f"{request.path}: unexpected {error!r} while reading it; please report it"
        connection.send(Refused(FolioscopeError(message)))


def _picture(document: OpenDocument, path: Path, media_type: str, request: Render) -> Image:
    faults = Faults()
    image = reading.render(
        document, path, media_type, request.number, request.settings, faults, request.dpi
    )
    if image is None:
        raise InputError(
            f"{path}: page {request.number + 1} cannot be rendered ({faults.reason}); "
            "open it in another program"
        )
    return image


def _allow_processor_time(seconds: float) -> None:
    """End this process when a page takes more than ``seconds`` of the processor, even if the
    parent that should end it is stopped."""
    own = resource.getrusage(resource.RUSAGE_SELF)
    spent = own.ru_utime + own.ru_stime
    _, most = resource.getrlimit(resource.RLIMIT_CPU)
    with contextlib.suppress(ValueError, OSError):
        # Whole seconds; OCR may keep two threads busy.
        resource.setrlimit(resource.RLIMIT_CPU, (int(spent + 2 * seconds) + 2, most))


def main() -> None:
    """Take the limits, then serve."""
    fd, memory_mb = int(sys.argv[1]), int(sys.argv[2])
    threading.Thread(target=_die_with, args=(os.getppid(),), daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (memory_mb << 20, memory_mb << 20))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Libraries that print must not write over the parent's terminal or JSON.
    if not os.environ.get("FOLIOSCOPE_DEBUG"):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
    serve(Connection(fd))


if __name__ == "__main__":
    main()
