"""Other libraries' late interaction, timed in their own environment: a program, not a module.

``folioscope bench maxsim --peers PYTHON`` runs it with a Python that has maxsim-cpu or
colpali-engine. It imports nothing of Folioscope. On its standard
input come one JSON object that says how to make the same vectors, then names of kernels, a line
each; every name is answered by the milliseconds of processor time that one run took.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import sys
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np


def kernels(query: Any, vectors: Any, starts: Any) -> dict[str, Callable[[], Any]]:
    """Every kernel that this environment has, over pages of its own type, ready to run."""
    pages = [vectors[a:b] for a, b in itertools.pairwise(starts)]
    found: dict[str, Callable[[], Any]] = {}
    with contextlib.suppress(ImportError):
        variable = import_module("maxsim_cpu").maxsim_scores_variable
        found["maxsim-cpu, float32"] = lambda: variable(query, pages)
    try:
        torch = import_module("torch")
    except ImportError:
        return found
    torch.set_num_threads(1)
    # A wheel of torchvision for GPUs beside torch for CPUs lacks these two; nothing here uses them.
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        with contextlib.suppress(RuntimeError):
            library.define(name + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    tensors = [torch.from_numpy(page) for page in pages]
    queries = [torch.from_numpy(query)]
    with contextlib.suppress(ImportError):
        utils = import_module("colpali_engine.utils.processing_utils")
        score = utils.BaseVisualRetrieverProcessor.score_multi_vector
        found["colpali-engine score_multi_vector, float32"] = lambda: score(
            queries, tensors, device="cpu"
        )
    return found


def main() -> None:
    problem = json.loads(sys.stdin.readline())
    with np.load(problem["arrays"]) as arrays:
        query, vectors, starts = arrays["query"], arrays["vectors"], arrays["starts"]
    # What a library prints must not be taken for an answer.
    answers, sys.stdout = sys.stdout, sys.stderr
    found = kernels(query, vectors, starts)
    errors = {}
    for name in list(found):
        try:
            scores = np.asarray(found[name]()).ravel()
            errors[name] = [float(score) for score in scores]
        except Exception as error:
            print(f"{name}: {error!r}", file=sys.stderr)
            del found[name]
    print(json.dumps(errors), file=answers, flush=True)
    for line in sys.stdin:
        began = time.process_time()
        found[line.strip()]()
        print((time.process_time() - began) * 1e3, file=answers, flush=True)


if __name__ == "__main__":
    main()
