"""How fast an index is built, next to the sum of its parts: ``python -m eval.bench_build PATH``.

Every part is timed alone, on one thread, page by page: the words of the text layer, rendering,
OCR (only on the pages for which the product chooses it), encoding, pooling. Then the product
builds an index of the same files with every core. Prints a Markdown table, and the peak memory
of the build's largest process.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from eval.one_thread import restart_on_one_thread
from indexing.index import Index
from indexing.intake import expand_sources
from indexing.ocr import read_words
from indexing.reading import describe_file, read_page
from indexing.renderers import OpenDocument, open_document
from indexing.settings import IntakeSettings, cores
from retrieval.encoders import load_encoder
from retrieval.errors import FolioscopeError
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


def _table(parts: Parts, pages: int, built: float) -> str:
    """``pages a second`` is of the pages that the part handled; shares are of their sum."""
    needed = {name: value for name, value in parts.seconds.items() if name != "render"}
    # Only a page without text is rendered.
    share = parts.pages.get("OCR", 0) / max(1, pages)
    needed["render"] = parts.seconds["render"] * share
    total = sum(needed.values())
    lines = ["| part | pages | s | pages/s | share |", "|---|---|---|---|---|"]
    for name, seconds in parts.seconds.items():
        count = parts.pages[name]
        lines.append(
            f"| {name} | {count} | {seconds:.1f} | {count / seconds:.1f} "
            f"| {needed[name] / total:.2f} |"
        )
    lines.append(
        f"| sum of what is needed, one thread | {pages} | {total:.1f} | {pages / total:.1f} | 1 |"
    )
    lines.append(f"| build, {cores()} cores | {pages} | {built:.1f} | {pages / built:.1f} | |")
    return "\n".join(lines)


def main() -> None:
    """Measure the parts, then the build, and print both."""
    restart_on_one_thread()
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("sources", nargs="+", help="files or folders")
    parser.add_argument("--only-build", action="store_true", help="leave the parts out")
    arguments = parser.parse_args()
    paths = expand_sources(arguments.sources)
    with tempfile.TemporaryDirectory(prefix="folioscope-bench-") as folder:
        report = Index.create(Path(folder) / "index").add(paths)
        disk = sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())
    peak = max(
        resource.getrusage(who).ru_maxrss
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    print(
        f"{report.documents_added} documents, {report.pages_added} pages in "
        f"{report.seconds:.1f} s: {report.pages_per_second:.1f} pages/s; largest process "
        f"{peak / 1024:.0f} MB; {disk / max(1, report.pages_added) / 1000:.1f} KB a page on disk"
    )
    if not arguments.only_build:
        parts = measure_parts(paths, IntakeSettings())
        print(_table(parts, report.pages_added, report.seconds))


if __name__ == "__main__":
    main()
