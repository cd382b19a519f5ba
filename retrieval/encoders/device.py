"""Where a torch model runs and in which precision, and what that device knows of its memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from retrieval.errors import EncoderError

R = TypeVar("R")
DTYPES = ("bfloat16", "float16", "float32")


def choose_device(named: str | None) -> str:
    """``named``, or the best there is: cuda, mps, cpu. Raises ``EncoderError`` if it is absent."""
    import torch

    kind = (named or "").split(":")[0]
    available = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if named is None:
        return next(name for name, there in available.items() if there)
    if not available.get(kind, False):
        have = ", ".join(name for name, there in available.items() if there)
        raise EncoderError(f"device={named}: torch sees no such device here; it has {have}")
    return named


def choose_dtype(named: str | None, device: str) -> Any:
    """The torch dtype ``named``, or what suits the device: bfloat16 on a GPU, where the models
    were trained in it, float32 on a CPU, where half precision is slower."""
    import torch

    if named is not None:
        if named not in DTYPES:
            raise EncoderError(f"dtype={named}: it is one of {', '.join(DTYPES)}")
        return getattr(torch, named)
    if device.startswith("cuda"):
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return torch.bfloat16 if device == "mps" else torch.float32


class TorchMemory:
    """``retrieval.encoders.batching.Memory`` of a torch device.

    A CPU has no peak to read; there pages go one by one, since batches gain nothing.
    """

    def __init__(self, device: str) -> None:
        self._device = device
        self._cuda = device.startswith("cuda")

    def free(self) -> int:
        """Bytes free on the device, with those that torch holds but does not use."""
        import torch

        if not self._cuda:
            return 0
        free, _ = torch.cuda.mem_get_info(self._device)
        idle = torch.cuda.memory_reserved(self._device) - torch.cuda.memory_allocated(self._device)
        return int(free + idle)

    def peak_of(self, work: Callable[[], R]) -> tuple[R, int]:
        """What ``work`` returns and what it took at most; 0 where that is not known."""
        import torch

        if not self._cuda:
            return work(), 0
        torch.cuda.reset_peak_memory_stats(self._device)
        before = torch.cuda.memory_allocated(self._device)
        found = work()
        return found, int(torch.cuda.max_memory_allocated(self._device) - before)

    def is_exhausted(self, error: BaseException) -> bool:
        """CUDA has a class for it; the CPU's allocator and MPS raise ``RuntimeError``."""
        import torch

        if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
            return True
        said = str(error)
        return isinstance(error, RuntimeError) and (
            "out of memory" in said or "can't allocate memory" in said
        )

    def clear(self) -> None:
        """Return torch's cached blocks to the device."""
        import torch

        if self._cuda:
            torch.cuda.empty_cache()
        elif self._device == "mps":
            torch.mps.empty_cache()
