"""Pages flow through reading, encoding and writing at the same time.

Reader threads take documents from sandboxed workers and run a few pages ahead; encoder
threads turn batches of pages, across documents, into rows; the caller writes the rows in
order. Every queue is bounded, so memory does not depend on the size of a document.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Protocol

from retrieval.compression import Compression
from retrieval.context import document_context
from retrieval.encoders import PageEncoder
from retrieval.encoders.tiled import shrinks_print
from retrieval.errors import FolioscopeError
from retrieval.pooling import PoolMethod, pool_page
from retrieval.store import LaneRow, PageRow
from retrieval.token_pooling import TEXT_RUN
from retrieval.types import DocumentInfo, PageContent, PageWords

# Pages a reader may be ahead of the encoder, for each document being read.
_PAGES_AHEAD = 32
_PAGES_A_BATCH = 16
# The cover is usually page 1, sometimes behind a blank or a scanner's separator.
COVER_PAGES = 3
_COVER_WORDS = 4


class ReadsPages(Protocol):
    """Where pages come from; ``IntakeWorkers.read_pages`` with its options bound."""

    def __call__(self, document: DocumentInfo) -> Iterator[PageContent]: ...


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """How a page's patches become the vectors of the coarse stage."""

    method: PoolMethod = "kmeans"
    vectors: int = 16


@dataclass(frozen=True, slots=True)
class Encoding:
    """One encoder, and what becomes of its vectors."""

    encoder: PageEncoder
    pooling: PoolSettings
    compression: Compression


@dataclass(frozen=True, slots=True)
class Started:
    """A document begins; ``context`` is what it says about itself."""

    document: DocumentInfo
    context: str


@dataclass(frozen=True, slots=True)
class Ended:
    """A document ends: whole, or with the error that ended it."""

    document: DocumentInfo
    error: FolioscopeError | None = None


Event = Started | PageContent | Ended
EncodedEvent = Started | PageRow | Ended


def read_ahead(
    documents: Sequence[DocumentInfo], read: ReadsPages, readers: int
) -> Generator[Event, None, None]:
    """The events of all documents, in order, with ``readers`` documents being read at once.

    Closing the iterator stops the readers.
    """
    stop = threading.Event()
    streams: deque[queue.Queue[Event]] = deque()
    pool = ThreadPoolExecutor(readers, "reader")

    def begin(document: DocumentInfo) -> queue.Queue[Event]:
        events: queue.Queue[Event] = queue.Queue(_PAGES_AHEAD)
        pool.submit(_read, document, read, events, stop)
        return events

    waiting = iter(documents)
    try:
        streams.extend(begin(document) for document in islice(waiting, readers))
        while streams:
            events = streams[0]
            while True:
                event = events.get()
                yield event
                if isinstance(event, Ended):
                    break
            streams.popleft()
            streams.extend(begin(document) for document in islice(waiting, 1))
    finally:
        stop.set()
        # A reader may be waiting for a slow page; it ends when its worker is ended.
        pool.shutdown(wait=False, cancel_futures=True)


def _read(
    document: DocumentInfo, read: ReadsPages, events: queue.Queue[Event], stop: threading.Event
) -> None:
    """Put one document's events into its queue; every way out ends with ``Ended``."""
    error: FolioscopeError | None = None
    try:
        pages = read(document)
        cover: list[PageContent] = []
        for page in islice(pages, COVER_PAGES):
            cover.append(page)
            if len(page.words) >= _COVER_WORDS:
                break
        words = cover_words(page.words for page in cover)
        context = document_context(document.source, document.title, document.metadata, words)
        _put(events, Started(document, context), stop)
        for page in chain(cover, pages):
            if not _put(events, page, stop):
                return
    except FolioscopeError as failure:
        error = failure
    except Exception as failure:  # the boundary of a reader thread: a bug costs one document
        error = FolioscopeError(f"{document.source}: unexpected {failure!r}; please report it")
        error.__cause__ = failure
    _put(events, Ended(document, error), stop)


def cover_words(pages: Iterable[PageWords]) -> tuple[str, ...]:
    """The words of the first page that says something, of a document's first pages."""
    words: tuple[str, ...] = ()
    for page in pages:
        words = page.texts
        if len(words) >= _COVER_WORDS:
            break
    return words


def _put(events: queue.Queue[Event], event: Event, stop: threading.Event) -> bool:
    """Whether the event went in before everything was stopped."""
    while not stop.is_set():
        with suppress(queue.Full):
            events.put(event, timeout=0.2)
            return True
    return False


def encode(
    events: Iterable[Event],
    encoder: PageEncoder,
    pooling: PoolSettings,
    threads: int,
    compression: Compression | None = None,
    others: Mapping[str, Encoding] | None = None,
) -> Generator[EncodedEvent, None, None]:
    """The same events in the same order, with every page encoded, by ``others`` (lanes) too.

    ``threads`` batches are encoded at once, so the encoder itself should use one thread.
    """
    first, lanes = Encoding(encoder, pooling, compression or Compression()), dict(others or {})
    pending: deque[Future[list[EncodedEvent]]] = deque()
    with ThreadPoolExecutor(threads, "encoder") as pool:
        try:
            for batch in _batches(events):
                pending.append(pool.submit(_encode_batch, batch, first, lanes))
                while len(pending) > threads + 1 or (pending and pending[0].done()):
                    yield from pending.popleft().result()
            while pending:
                yield from pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def _batches(events: Iterable[Event]) -> Iterator[list[Event]]:
    batch: list[Event] = []
    pages = 0
    for event in events:
        batch.append(event)
        pages += isinstance(event, PageContent)
        if pages >= _PAGES_A_BATCH:
            yield batch
            batch, pages = [], 0
    if batch:
        yield batch


def _encode_batch(
    batch: list[Event], first: Encoding, others: Mapping[str, Encoding]
) -> list[EncodedEvent]:
    encoders = [first.encoder, *(one.encoder for one in others.values())]
    batch = [_told(event, encoders) for event in batch]
    pages = [event for event in batch if isinstance(event, PageContent)]
    lanes = {name: iter(lane_rows(pages, one)) for name, one in others.items()}
    rows = iter(lane_rows(pages, first))
    return [
        _row(event, next(rows), {name: next(row) for name, row in lanes.items()})
        if isinstance(event, PageContent)
        else event
        for event in batch
    ]


def _told(event: Event, encoders: Sequence[PageEncoder]) -> Event:
    """A page whose print an encoder shrinks away says so."""
    if isinstance(event, PageContent) and any(shrinks_print(one, event) for one in encoders):
        return replace(event, flags=(*event.flags, "shrunk-by-encoder"))
    return event


def lane_rows(pages: Sequence[PageContent], encoding: Encoding) -> list[LaneRow]:
    """What one encoder makes of each page."""
    if not pages:
        return []
    run = 0 if "image" in encoding.encoder.reads else TEXT_RUN
    pooling = encoding.pooling
    rows = []
    for embedding in encoding.encoder.encode_pages(pages):
        kept = encoding.compression.compress(embedding.vectors, run)
        vectors = pool_page(embedding.vectors, embedding.boxes, pooling.vectors, pooling.method)
        rows.append(LaneRow(kept.codes, kept.scale, embedding.boxes, vectors, kept.member_of))
    return rows


def _row(page: PageContent, first: LaneRow, others: Mapping[str, LaneRow]) -> PageRow:
    return PageRow(
        content=replace(page, image=None),
        codes=first.codes,
        scale=first.scale,
        member_of=first.member_of,
        patch_boxes=first.patch_boxes,
        page_vectors=first.page_vectors,
        bm25_text=page.words.text(),
        lanes=others,
    )


def rows_of(
    events: Iterator[EncodedEvent], on_page: Callable[[PageRow], None]
) -> Iterator[PageRow]:
    """The rows up to the document's end. Raises the error that ended it, if one did."""
    for event in events:
        if isinstance(event, PageRow):
            on_page(event)
            yield event
        elif isinstance(event, Ended):
            if event.error is not None:
                raise event.error
            return
