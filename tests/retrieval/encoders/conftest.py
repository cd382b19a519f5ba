"""Tests of the visual encoders: real loading and encoding code, tiny checkpoints, no network.

The packages are an extra; where they are missing these tests are skipped and
``make test-models`` says how to run them.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

_HERE = Path(__file__).parent
_library: Any = None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if find_spec("torch") and find_spec("colpali_engine"):
        return
    skip = pytest.mark.skip(reason="torch and colpali-engine are absent; run `make test-models`")
    for item in items:
        if item.get_closest_marker("models"):
            item.add_marker(skip)


def declare_missing_operators() -> None:
    """torchvision's wheel looks for two compiled operators that it lacks beside a CPU torch.

    They are declared, never called: none of the models here detects objects.
    """
    global _library
    import torch

    if _library is None and torch.version.cuda is None:
        _library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            _library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a tiny checkpoint of a family, written once a session."""
    declare_missing_operators()
    from tests.retrieval.encoders import tiny

    made: dict[str, Path] = {}

    def make(name: str) -> Path:
        if name not in made:
            made[name] = tmp_path_factory.mktemp(name)
            tiny.WRITERS[name](made[name])
        return made[name]

    return make
