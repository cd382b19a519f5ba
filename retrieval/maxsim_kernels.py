"""Fused late-interaction kernels of other packages, used where they are installed and faster.

The matrix of similarities of a tile is the largest thing that torch writes and reads again; a
fused kernel never makes it. Which one is fastest depends on the GPU, the driver and the release,
so the first large tile of a process is scored by all of them: one that fails or disagrees with
torch is left out, and of the others the quickest does the work from then on.

They score whole pages only. Passages (a window over a page of text) stay with torch.
"""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

# Below this many rows a tile says little about the next.
ENOUGH_ROWS = 8192
_WARM, _TIMED = 2, 5
# Halves have 11 bits; sums over a question's tokens average their errors out.
_TOLERANCE = 4e-3

_log = logging.getLogger(__name__)

Lengths = NDArray[np.int64]


class FusedKernel(Protocol):
    """A kernel of another package."""

    @property
    def name(self) -> str: ...

    def __call__(self, tokens: Any, counts: Lengths, rows: Any, lengths: Lengths) -> Any:
        """``[questions, pages] float32``: for each question its tokens' largest products with a
        page's rows, added up.

        ``tokens [t, d]`` and ``rows [n, d]`` are halves on the device, ``counts [questions]`` and
        ``lengths [pages]`` (all above 0) say whose they are.
        """
        ...


class LateInteractionKernels:
    """``late-interaction-kernels``: packed questions against packed pages, one launch."""

    name = "late-interaction-kernels"

    def __init__(self) -> None:
        self._score = import_module("late_interaction_kernels").maxsim_varlen

    def __call__(self, tokens: Any, counts: Lengths, rows: Any, lengths: Lengths) -> Any:
        """See ``FusedKernel``."""
        return self._score(
            tokens,
            rows,
            _ends(counts, tokens),
            _ends(lengths, rows),
            max_seqlen_q=int(counts.max()),
            max_seqlen_d=int(lengths.max()),
        )


class FlashMaxSim:
    """``flash-maxsim``: one question a launch against packed pages."""

    name = "flash-maxsim"

    def __init__(self) -> None:
        self._score = import_module("flash_maxsim").flash_maxsim_packed

    def __call__(self, tokens: Any, counts: Lengths, rows: Any, lengths: Lengths) -> Any:
        """See ``FusedKernel``."""
        torch = import_module("torch")
        ends, longest = _ends(lengths, rows), int(lengths.max())
        asked = torch.split(tokens, counts.tolist())
        return torch.stack([self._score(each, rows, ends, longest) for each in asked])


def _ends(lengths: Lengths, like: Any) -> Any:
    torch = import_module("torch")
    ends = np.concatenate(([0], np.cumsum(lengths))).astype(np.int32)
    return torch.from_numpy(ends).to(like.device)


def installed_kernels() -> list[FusedKernel]:
    """Those that can be imported; a package that cannot is named in the log."""
    found: list[FusedKernel] = []
    kinds: dict[str, Callable[[], FusedKernel]] = {
        "late_interaction_kernels": LateInteractionKernels,
        "flash_maxsim": FlashMaxSim,
    }
    for module, kind in kinds.items():
        if find_spec(module) is not None:
            try:
                found.append(kind())
            except Exception as error:  # another package's import may fail in any way
                _log.warning("%s cannot be used: %s", module, error)
    return found


def quickest(
    kernels: Sequence[FusedKernel],
    score: Callable[[FusedKernel], Any],
    plain: Callable[[], Any],
    wait: Callable[[], None],
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> FusedKernel | None:
    """The kernel with which ``score`` gives what ``plain`` does in less time; None without one.

    ``plain`` gives the right scores, of any shape, ``wait`` returns when the device is idle,
    ``clock`` is in seconds.
    """
    right = plain()
    best, least = None, _milliseconds(plain, wait, clock)
    said = [f"torch {least:.2f}"]
    for kernel in kernels:
        try:
            apart = float((score(kernel) - right).abs().max() / right.abs().max().clamp(min=1e-6))
            if not apart <= _TOLERANCE:
                _log.warning("%s is not used: its scores are %.2g apart", kernel.name, apart)
                continue
            took = _milliseconds(partial(score, kernel), wait, clock)
        except Exception as error:  # compilers and drivers fail in their own ways
            _log.warning("%s is not used: %s", kernel.name, error)
            continue
        said.append(f"{kernel.name} {took:.2f}")
        if took < least:
            best, least = kernel, took
    _log.info("late interaction by %s (ms: %s)", best.name if best else "torch", ", ".join(said))
    return best


def _milliseconds(
    work: Callable[[], Any], wait: Callable[[], None], clock: Callable[[], float]
) -> float:
    took = []
    for turn in range(_WARM + _TIMED):
        wait()
        began = clock()
        work()
        wait()
        if turn >= _WARM:
            took.append((clock() - began) * 1e3)
    return statistics.median(took)
