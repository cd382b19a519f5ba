"""Benchmarks on one thread: the number must be set before numpy and FAISS are loaded."""

from __future__ import annotations

import os
import sys

_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


def restart_on_one_thread() -> None:
    """Start this very command again with one thread a library, unless that is so already."""
    if all(os.environ.get(name) == "1" for name in _VARIABLES):
        return
    sys.stdout.flush()
    environment = {**os.environ, **dict.fromkeys(_VARIABLES, "1")}
    os.execve(sys.executable, sys.orig_argv, environment)
