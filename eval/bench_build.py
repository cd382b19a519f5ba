"""How fast an index is built, next to the sum of its parts: ``folioscope bench build PATH``.

Every part is timed alone, on one thread, page by page: the words of the text layer, rendering,
OCR (only on the pages for which the product chooses it), encoding, pooling. Then the product
builds an index of the same files with every core; the peak memory is its largest process's.
"""

from __future__ import annotations

import resource
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eval.benchmark import Benchmark
from indexing.index import Index
from indexing.ocr import read_words
from indexing.reading import describe_file, read_page
from indexing.renderers import OpenDocument, open_document
from indexing.settings import IntakeSettings, cores
from indexing.source_files import expand_sources
from retrieval.encoders import load_encoder
from retrieval.errors import FolioscopeError, InputError
from retrieval.pooling import pool_page
from retrieval.types import DocumentInfo, PageContent

_PAGES_AT_ONCE = 16
_VECTORS = 16


@dataclass(slots=True)
class Parts:
    """Seconds and pages of each part, in the order in which they first ran."""

    seconds: dict[str, float] = field(default_factory=dict)
    pages: dict[str, int] = field(default_factory=dict)

    @contextmanager
    def time(self, part: str, pages: int) -> Iterator[None]:
        """Put the block, which handles ``pages`` pages, on the clock of ``part``."""
        began = time.perf_counter()
        yield
        self.seconds[part] = self.seconds.get(part, 0.0) + time.perf_counter() - began
        self.pages[part] = self.pages.get(part, 0) + pages


def measure_parts(paths: list[Path], settings: IntakeSettings) -> Parts:
    """Every part alone, a few pages at a time, so that memory stays small."""
    parts = Parts()
    encoder = load_encoder("text")
    batch: list[PageContent] = []

    def encode() -> None:
        with parts.time("encode", len(batch)):
            found = encoder.encode_pages(batch)
        with parts.time("pool", len(batch)):
            for page in found:
                pool_page(page.vectors, page.boxes, _VECTORS)
        batch.clear()

    for path in paths:
        try:
            document = describe_file(path, settings, {})
        except FolioscopeError as error:
            print(f"left out: {error}")
            continue
        with open_document(path, document.media_type, settings) as opened:
            for page in _pages(opened, document, settings, parts):
                batch.append(page)
                if len(batch) == _PAGES_AT_ONCE:
                    encode()
    if batch:
        encode()
    return parts


def _pages(
    opened: OpenDocument, document: DocumentInfo, settings: IntakeSettings, parts: Parts
) -> Iterator[PageContent]:
    """The pages as the product reads them, untimed; what it takes to read them is timed apart."""
    for number in range(document.pages):
        with parts.time("words", 1):
            opened.words(number)
        with parts.time("render", 1):
            image = opened.render(number, settings.ocr_dpi, settings.max_pixels)
        read = read_page(
            opened,
            Path(document.source),
            document.media_type,
            number,
            settings,
            want_image=False,
        )
        if settings.ocr != "off" and read.content.text_source.startswith("ocr"):
            with parts.time("OCR", 1):
                read_words(image, settings.ocr)
        yield read.content


def measure_build(sources: Sequence[str], *, parts: bool = True) -> Benchmark:
    """The build first, then each part: pages, seconds, rate and its share of the parts' sum.

    A part's rate is of the pages that it handled; only a page without text is rendered, so
    that rendering's share is of these.
    """
    paths = expand_sources(sources)
    with tempfile.TemporaryDirectory(prefix="folioscope-bench-") as folder:
        report = Index.create(Path(folder) / "index").add(paths)
        disk = sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())
    peak = max(
        resource.getrusage(who).ru_maxrss
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    pages = report.pages_added
    if not pages:
        raise InputError("none of the sources has a page that could be indexed")
    rows = [_row(f"build, {cores()} cores", pages, report.seconds, None)]
    if parts:
        rows += _rows(measure_parts(paths, IntakeSettings()), pages)
    facts = {
        "documents": report.documents_added,
        "skipped": len(report.skipped),
        "largest_process_mb": peak / 1024,
        "index_kb_a_page": disk / pages / 1000,
    }
    return Benchmark("build", rows, facts)


def _rows(parts: Parts, pages: int) -> list[dict[str, Any]]:
    needed = {name: value for name, value in parts.seconds.items() if name != "render"}
    needed["render"] = parts.seconds["render"] * parts.pages.get("OCR", 0) / pages
    total = sum(needed.values())
    rows = [
        _row(name, parts.pages[name], seconds, needed[name] / total)
        for name, seconds in parts.seconds.items()
    ]
    return [*rows, _row("sum of what is needed, one thread", pages, total, 1.0)]


def _row(part: str, pages: int, seconds: float, share: float | None) -> dict[str, Any]:
    rate = pages / max(seconds, 1e-9)
    return {"part": part, "pages": pages, "seconds": seconds, "pages_a_s": rate, "share": share}
