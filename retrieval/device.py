"""Where late interaction is computed: on the processor, or on a GPU through torch.

``auto`` takes a GPU where there is one. torch is looked for only where a driver is, since
importing it takes longer than a search.
"""

from __future__ import annotations

from collections.abc import Callable
from ctypes.util import find_library
from importlib.util import find_spec
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import InputError
from retrieval.passages import best_passage
from retrieval.store_rows import RaggedPatches
from retrieval.types import FloatArray, QueryEmbedding

DEVICES = ("auto", "cpu", "cuda")


class Scorer(Protocol):
    """Scores pages for questions as ``retrieval.passages.best_passage`` does."""

    @property
    def is_gpu(self) -> bool: ...

    def of_lane(self, name: str) -> Scorer:
        """The same for the pages of one lane; what a device may keep is shared by all."""
        ...

    def score(
        self,
        query: QueryEmbedding,
        patches: RaggedPatches,
        page_ids: NDArray[np.int64],
        *,
        window: int,
        stride: int,
    ) -> FloatArray:
        """``[k] float32``; ``page_ids [k]`` tell pages apart that a device may keep."""
        ...


class CpuScorer:
    """The compiled kernel, or numpy."""

    is_gpu = False

    def of_lane(self, name: str) -> CpuScorer:
        """See ``Scorer``."""
        return self

    def score(
        self,
        query: QueryEmbedding,
        patches: RaggedPatches,
        page_ids: NDArray[np.int64],
        *,
        window: int,
        stride: int,
    ) -> FloatArray:
        """See ``Scorer``."""
        return best_passage(
            query.vectors,
            query.weights,
            patches.codes,
            patches.starts,
            patches.scales,
            window=window,
            stride=stride,
        )


def has_driver() -> bool:
    """Whether torch and a driver for NVIDIA's GPUs are installed; costs no import."""
    # In this order: a library is looked for by other processes, a package by a look at a folder.
    return find_spec("torch") is not None and find_library("cuda") is not None


def choose_scorer(device: str, driver: Callable[[], bool] = has_driver) -> Scorer:
    """The scorer of ``device``, one of ``DEVICES``. Raises ``InputError`` if it is not there."""
    if device not in DEVICES:
        raise InputError(f"--device is {', '.join(DEVICES)}, not '{device}'")
    if device == "cpu" or (device == "auto" and not driver()):
        return CpuScorer()
    if find_spec("torch") is None:
        raise InputError(
            "--device cuda needs torch, not installed here; run `pip install 'folioscope[gpu]'`, "
            "or use --device cpu"
        )
    from retrieval.maxsim_torch import TorchScorer, cuda_is_there

    if cuda_is_there():
        return TorchScorer("cuda")
    if device == "auto":
        return CpuScorer()
    raise InputError("--device cuda: torch sees no GPU here; use --device cpu, or auto")
