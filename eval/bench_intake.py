"""Intake alone, without encoder or index: ``folioscope bench intake SOURCES``.

Pages go through the sandbox as they do in a build, one worker, first with text layers checked
against the page as drawn, then as they are, document by document in turn, so that both settings
meet the same load. The peak memory is the largest worker's. On a busy machine pages a second say
little: the processor time of the two parts is measured apart, on every tenth page, in this process.
"""

from __future__ import annotations

import resource
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from eval.benchmark import Benchmark
from indexing.faults import Faults
from indexing.inspection import sniff
from indexing.intake import IntakeWorkers
from indexing.layer import check_layer
from indexing.media_types import PDF
from indexing.renderers import open_document
from indexing.settings import IntakeSettings, OcrChoice
from indexing.source_files import expand_sources
from retrieval.errors import FolioscopeError, InputError
from retrieval.types import PageContent, PageWords

# Pages of one document that are read at most: a long one would hide the others.
_MOST_PAGES = 60
_EVERY = 10


def measure_intake(
    sources: Sequence[str],
    ocr: OcrChoice = "off",
    show: Callable[[str], None] = lambda text: None,
) -> Benchmark:
    """One row a setting: pages, seconds, pages/s, and how many pages were flagged.

    Raises ``InputError`` if no page can be read.
    """
    paths = expand_sources(sources)
    seconds: dict[bool, float] = {True: 0.0, False: 0.0}
    pages: Counter[bool] = Counter()
    flags: Counter[str] = Counter()
    left_out = 0
    settings = IntakeSettings(workers=1, ocr=ocr)
    plain = settings.model_copy(update={"check_layer": False})
    spent = {"words": 0.0, "check": 0.0}
    looked = 0
    with IntakeWorkers(settings) as checked, IntakeWorkers(plain) as unchecked:
        for number, path in enumerate(paths):
            show(f"{number + 1} of {len(paths)}: {path.name}")
            try:
                count = min(_MOST_PAGES, checked.describe(path).pages)
                unchecked.describe(path)
                # In turn, so that neither always finds the file in the system's memory.
                for check in (True, False) if number % 2 else (False, True):
                    began = time.perf_counter()
                    read = _read(checked if check else unchecked, path, count)
                    seconds[check] += time.perf_counter() - began
                    pages[check] += len(read)
                    if check:
                        flags.update(flag for page in read for flag in page.flags)
                looked += _processor_time(path, settings, count, spent)
            except FolioscopeError:
                left_out += 1
    if not pages:
        raise InputError("none of the sources has a page that can be read")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    rows: list[dict[str, Any]] = [
        {
            "text_layer": "checked" if check else "as it is",
            "pages": pages[check],
            "seconds": seconds[check],
            "pages_a_s": pages[check] / seconds[check],
        }
        for check in (True, False)
    ]
    facts = {
        "documents": len(paths) - left_out,
        "left_out": left_out,
        "ocr": ocr,
        "largest_worker_mb": peak,
        "pages_looked_at_apart": looked,
        **{f"{part}_processor_ms_a_page": 1e3 * s / max(1, looked) for part, s in spent.items()},
        **{f"flagged_{flag}": count for flag, count in sorted(flags.items())},
    }
    return Benchmark("intake", rows, facts)


def _processor_time(
    path: Path, settings: IntakeSettings, count: int, spent: dict[str, float]
) -> int:
    """Add what reading the words and checking the layer take to ``spent``; how many pages."""
    if sniff(path) != PDF:
        return 0
    numbers = range(0, count, _EVERY)
    with open_document(path, PDF, settings) as document:
        for number in numbers:
            began = time.process_time()
            layer = Faults().attempt(lambda n=number: document.words(n), PageWords.empty(), "")  # type: ignore[misc]
            between = time.process_time()
            if len(layer):
                check_layer(document, number, layer, Faults())
            spent["words"] += between - began
            spent["check"] += time.process_time() - between
    return len(numbers)


def _read(workers: IntakeWorkers, path: Path, count: int) -> list[PageContent]:
    return list(workers.read_pages(path, pages=range(count)))
