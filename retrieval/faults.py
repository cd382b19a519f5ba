"""Named places where a test may kill the process, to prove that a commit is atomic.

A crash is simulated by the real thing, SIGKILL, because anything gentler would run
``finally`` blocks and flush buffers that a dying machine does not.
"""

from __future__ import annotations

import os
import signal

_VARIABLE = "FOLIOSCOPE_FAULT"

POINTS = (
    "writer-opened",
    "pages-flushing",
    "pages-flushed",
    "table-flushed",
    "documents-flushed",
    "deletes-applied",
    "text-indexed",
    "compacted",
    "coarse-unfinished",
    "coarse-written",
    "coarse-renamed",
    "signs-written",
    "files-hashed",
    "generation-written",
    "manifest-unfinished",
    "manifest-written",
    "manifest-renamed",
    "sweeping",
    "swept",
)


def fault_point(name: str) -> None:
    """Kill this process with SIGKILL if ``FOLIOSCOPE_FAULT`` names this point, else nothing.

    ``name`` must be one of ``POINTS``, so that the tests which walk that list miss none.
    """
    wanted = os.environ.get(_VARIABLE)
    if wanted is None:
        return
    if name not in POINTS:
        raise AssertionError(f"fault point '{name}' is missing from retrieval.faults.POINTS")
    if wanted == name:
        os.kill(os.getpid(), signal.SIGKILL)
