"""How every cost grows with the collection: ``folioscope bench scale --pages 10000 --pages ...``.

Pages are made up with the statistics of real embeddings (``eval.synthetic``), and go through the
product's writer, store and searcher. What intake and encoder cost is not in these figures.
"""

from __future__ import annotations

import multiprocessing
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from eval.benchmark import Benchmark
from eval.synthetic.build import INDEX, BuildState, CollectionSpec, Progress, build_collection
from eval.synthetic.pages import Collection
from eval.synthetic.probe import measure_latency, measure_recall
from eval.synthetic.questions import MadeQuestion, make_questions
from eval.synthetic.statistics import Statistics
from retrieval.errors import InputError

# Bytes a page on disk while it is built: vectors, boxes, text, and the coarse file twice.
_DISK_A_PATCH, _DISK_A_PAGE = 150, 12_000
# What is fitted: cost ~ pages ** exponent.
FITTED = (
    "disk_mb",
    "build_s",
    "rss_mb",
    "warm_total_p50_ms",
    "warm_total_p99_ms",
    "warm_coarse_p50_ms",
    "warm_fetch_p50_ms",
    "warm_rerank_p50_ms",
    "vectors_p50_ms",
    "bm25_pages_p50_ms",
)


@dataclass(frozen=True, slots=True)
class ScaleSettings:
    """``questions`` are timed, the first ``exhaustive`` of them scored against every page."""

    spec: CollectionSpec = field(default_factory=CollectionSpec)
    questions: int = 200
    exhaustive: int = 20
    folder: Path | None = None


def measure_scale(
    sizes: Sequence[int], settings: ScaleSettings, progress: Progress | None = None
) -> Benchmark:
    """One row a size; the index grows from one to the next.

    In ``settings.folder`` the index is kept, and a run that was stopped goes on there; without
    one it is made in a temporary folder and removed, however the run ends.
    """
    sizes = sorted(set(sizes))
    with ExitStack() as stack:
        folder = settings.folder
        if folder is None:
            folder = Path(tempfile.mkdtemp(prefix="folioscope-scale-"))
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
        _check_disk(folder, sizes[-1], settings.spec)
        collection = Collection(Statistics.read(), settings.spec.patches, settings.spec.seed)
        rows = [_row(folder, pages, collection, settings, progress) for pages in sizes]
    facts = {
        "patches_a_page": settings.spec.patches,
        "vectors_a_page": settings.spec.vectors,
        "questions": settings.questions,
        "exhaustive_questions": settings.exhaustive,
        "growth": fit_growth(rows),
    }
    return Benchmark("scale", rows, facts)


def _row(
    folder: Path,
    pages: int,
    collection: Collection,
    settings: ScaleSettings,
    progress: Progress | None,
) -> dict[str, Any]:
    state = build_collection(folder, pages, settings.spec, progress)
    questions = make_questions(collection, pages, settings.questions, settings.spec.seed)
    tell = progress or (lambda what, at: None)
    tell("asking", pages)
    searched = _alone(measure_latency, folder / INDEX, questions)
    row = {"pages": pages, **_build_figures(state, folder, pages), **searched}
    if settings.exhaustive:
        tell("scoring every page", pages)
        row |= _alone(measure_recall, folder / INDEX, questions[: settings.exhaustive])
    return row


def _alone(
    measure: Callable[[Path, Sequence[MadeQuestion]], Mapping[str, Any]],
    root: Path,
    questions: Sequence[MadeQuestion],
) -> Mapping[str, Any]:
    """The outcome of ``measure`` in a process that has done nothing else."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(measure, root, questions).result()


def _build_figures(state: BuildState, folder: Path, pages: int) -> dict[str, Any]:
    index = folder / INDEX
    size = sum(path.stat().st_size for path in index.rglob("*") if path.is_file())
    # Coarse files of earlier sizes belong to those sizes.
    coarse = float(state.steps[-1]["coarse_s"]) if state.steps else 0.0
    adding, committing = (state.seconds.get(name, 0.0) for name in ("adding", "committing"))
    seconds = adding + committing + coarse
    return {
        "disk_mb": size / 1e6,
        "disk_kb_a_page": size / 1e3 / pages,
        "build_s": seconds,
        "adding_s": adding,
        "committing_s": committing,
        "coarse_s": coarse,
        "pages_per_s": pages / max(seconds, 1e-9),
    }


def _check_disk(folder: Path, pages: int, spec: CollectionSpec) -> None:
    """Raise ``InputError`` before a build that the disk cannot hold."""
    place = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    held = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) if folder.exists() else 0
    needed = pages * (_DISK_A_PAGE + spec.patches * _DISK_A_PATCH) - held
    free = shutil.disk_usage(place).free
    if needed > free:
        raise InputError(
            f"{pages:,} pages need about {needed / 1e9:.0f} GB more on {place}, "
            f"{free / 1e9:.0f} GB are free; ask for fewer pages or name another --folder"
        )


def fit_growth(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Exponents b of ``cost ~ pages ** b``, by least squares over logarithms; needs two sizes.

    1 is proportional growth, 0 none at all.
    """
    if len(rows) < 2:
        return {}
    pages = np.log([row["pages"] for row in rows])
    found = {}
    for name in FITTED:
        values = [row.get(name) or 0.0 for row in rows]
        if min(values) > 0:
            found[name] = float(np.polyfit(pages, np.log(values), 1)[0])
    return found
