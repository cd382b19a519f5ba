"""What a build would make of sources, predicted without building: ``folioscope inspect``.

Every file is opened; of long documents a sample of pages is looked at, spread evenly, and speaks
for the rest. Nothing is read by OCR and nothing encoded, but for a few pages of the first
documents, on which the rates of this machine are measured: without that, times would be guesses.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from indexing.flags import Verdict, verdict_of
from indexing.intake import IntakeWorkers
from indexing.messages import PagePlan
from indexing.settings import IntakeSettings, cores
from retrieval.encoders import PageEncoder
from retrieval.errors import FolioscopeError
from retrieval.types import DocumentInfo, PageContent, SourcePart

# Bytes on disk beside a vector's components: its box, and its share of words and tables
# (measured on 4,696 pages: 144 for vectors of 128 bytes).
_BESIDE_A_VECTOR = 16
# Pages on which the rates are measured, of each kind.
_MEASURED = 2
# What a page read by OCR is taken to hold where none was measured.
_WORDS_BY_OCR = 150


@dataclass(frozen=True, slots=True)
class SourcePlan:
    """What would become of a source. Counts of pages, tiles, flags and vectors are projected from
    ``sampled`` pages to all ``pages``. A source that would be refused has its ``reason`` only.

    ``tiles`` is the most parts that OCR would read beside whole pages; ``bytes`` is on disk in
    the index; ``seconds`` is on this machine; ``note`` says what a recording would cost whole;
    ``papers`` is where the pages looked at lie, if that is on scans of several.
    """

    source: str
    verdict: Verdict
    reason: str = ""
    media_type: str = ""
    file_bytes: int = 0
    pages: int = 0
    sampled: int = 0
    layer_pages: int = 0
    ocr_pages: int = 0
    empty_pages: int = 0
    tiles: int = 0
    vectors: int = 0
    bytes: int = 0
    seconds: float = 0.0
    note: str = ""
    flags: Mapping[str, int] = field(default_factory=dict)
    papers: Sequence[SourcePart] = ()


@dataclass(slots=True)
class _Rates:
    """What was measured on this machine so far."""

    encoded: list[tuple[int, int, float]] = field(default_factory=list)
    ocr: list[tuple[int, float]] = field(default_factory=list)

    def vectors(self, words: float, pages: int, reads_images: bool) -> float:
        """Vectors of ``pages`` pages that hold ``words`` words in all."""
        made = sum(vectors for _, vectors, _ in self.encoded)
        if reads_images:
            return pages * made / max(1, len(self.encoded))
        return words * made / max(1, sum(count for count, _, _ in self.encoded))

    def encoding(self, vectors: float) -> float:
        """Seconds on one core."""
        made = sum(count for _, count, _ in self.encoded)
        return vectors * sum(seconds for _, _, seconds in self.encoded) / max(1, made)

    def reading(self, pages: int) -> float:
        """Seconds of OCR on one core."""
        return pages * float(np.mean([seconds for _, seconds in self.ocr])) if self.ocr else 0.0

    def words_by_ocr(self) -> float:
        return float(np.mean([words for words, _ in self.ocr])) if self.ocr else _WORDS_BY_OCR


def plan_sources(
    paths: Sequence[Path],
    settings: IntakeSettings,
    encoder: PageEncoder,
    *,
    sample: int = 12,
    progress: Callable[[Path], None] = lambda path: None,
) -> Iterator[SourcePlan]:
    """One plan a source, in order. ``sample`` pages of each are looked at; 0 looks at all."""
    rates = _Rates()
    with IntakeWorkers(settings.model_copy(update={"workers": 1})) as workers:
        for path in paths:
            progress(path)
            try:
                document = workers.describe(path)
                yield _plan(workers, document, settings, encoder, rates, sample)
            except FolioscopeError as error:
                yield SourcePlan(str(path), "refused", reason=str(error))


def _plan(
    workers: IntakeWorkers,
    document: DocumentInfo,
    settings: IntakeSettings,
    encoder: PageEncoder,
    rates: _Rates,
    sample: int,
) -> SourcePlan:
    path = Path(document.source)
    numbers = spread(document.pages, sample)
    began = time.monotonic()
    looked = workers.plan_pages(path, numbers)
    looking = (time.monotonic() - began) / max(1, len(looked))
    _measure(workers, path, looked, encoder, rates, "image" in encoder.reads)
    share = document.pages / max(1, len(looked))

    def all_pages(count: float) -> int:
        return round(count * share)

    ways = Counter(page.how for page in looked)
    words = sum(page.words for page in looked if page.how == "layer") * share
    words += all_pages(ways["ocr"]) * rates.words_by_ocr()
    vectors = rates.vectors(words, document.pages, "image" in encoder.reads)
    flags = Counter(flag for page in looked for flag in page.flags)
    seconds = document.pages * looking + rates.encoding(vectors)
    seconds += rates.reading(all_pages(ways["ocr"]))
    return SourcePlan(
        source=document.source,
        verdict=verdict_of([*document.flags, *flags]),
        media_type=document.media_type,
        file_bytes=document.bytes,
        pages=document.pages,
        sampled=len(looked),
        layer_pages=all_pages(ways["layer"]),
        ocr_pages=all_pages(ways["ocr"]),
        empty_pages=all_pages(ways["nothing"]),
        tiles=all_pages(sum(page.tiles for page in looked)),
        vectors=round(vectors),
        bytes=round(vectors * (encoder.dim + _BESIDE_A_VECTOR)),
        seconds=seconds / min(cores(), settings.workers),
        note=document.note,
        papers=tuple(page.part for page in looked if page.part and not page.part.whole),
        flags=dict.fromkeys(document.flags, 1)
        | {flag: max(1, all_pages(count)) for flag, count in flags.items()},
    )


def spread(pages: int, sample: int) -> list[int]:
    """``sample`` page numbers spread evenly over ``pages``, the first and the last among them;
    all if ``sample`` is 0 or not less than that."""
    if not sample or sample >= pages:
        return list(range(pages))
    return [int(number) for number in np.unique(np.linspace(0, pages - 1, sample).round())]


def _measure(
    workers: IntakeWorkers,
    path: Path,
    looked: Sequence[PagePlan],
    encoder: PageEncoder,
    rates: _Rates,
    want_image: bool,
) -> None:
    """Read and encode a few pages, the fullest, as long as the rates rest on few."""
    fullest = sorted(looked, key=lambda page: -page.words)
    layer = [page.number for page in fullest if page.how == "layer" and page.words]
    by_ocr = [page.number for page in looked if page.how == "ocr"]
    chosen = layer[len(layer) // 2 :][: max(0, _MEASURED - len(rates.encoded) + len(rates.ocr))]
    chosen += by_ocr[: max(0, _MEASURED - len(rates.ocr))]
    for number in chosen:
        began = time.monotonic()
        try:
            pages: list[PageContent] = list(
                workers.read_pages(path, want_image=want_image, pages=range(number, number + 1))
            )
        except FolioscopeError:
            continue  # it costs a build this page, not the document
        took = time.monotonic() - began
        if number in by_ocr:
            rates.ocr.append((len(pages[0].words), took))
        if not rates.encoded:
            encoder.encode_pages(pages)  # the first time pays for loading
        began = time.monotonic()
        (embedding,) = encoder.encode_pages(pages)
        rates.encoded.append(
            (len(pages[0].words), len(embedding.vectors), time.monotonic() - began)
        )
