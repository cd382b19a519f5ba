"""What one more encoder makes of pages that an index holds already.

Words are in the index, so an encoder that reads words needs no source again. One that reads
pictures does, and the source must still be what was indexed: a page that is not the one whose
words and boxes are stored would be found for what it no longer says.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path

from indexing.build import encoding_of
from indexing.intake import IntakeWorkers
from indexing.pipeline import lane_rows
from indexing.settings import IntakeSettings
from retrieval.encoders import PageEncoder
from retrieval.errors import InputError
from retrieval.manifest import LaneRecord
from retrieval.store import LaneRow, PageRecord, StoreWriter
from retrieval.store_rows import DocumentRow
from retrieval.types import PageContent

_BATCH = 16


def encoded_anew(
    writer: StoreWriter,
    encoder: PageEncoder,
    record: LaneRecord,
    settings: IntakeSettings,
    progress: Callable[[int, int], None],
) -> Iterator[tuple[int, LaneRow]]:
    """Page ids with their rows, document by document.

    Raises ``InputError`` naming the first source that is gone or has changed.
    """
    encoding = encoding_of(encoder, record)
    documents = list(writer.documents.values())
    pictures = "image" in encoder.reads
    if pictures:
        # All are looked at before the first is read: a missing one costs seconds, not hours.
        for document in documents:
            _check_source(document)
    total = sum(document.pages for document in documents)
    done = 0
    with IntakeWorkers(settings.model_copy(update={"ocr": "off"})) as workers:
        for document in documents:
            records = writer.first_pages(document.doc_id, document.pages)
            stored = {found.number: found for found in records}
            pages = _drawn(workers, document) if pictures else map(_words, records)
            with closing(_closable(pages)) as opened:
                while batch := list(islice(opened, _BATCH)):
                    rows = lane_rows(batch, encoding)
                    for page, row in zip(batch, rows, strict=True):
                        yield stored[page.number].page_id, row
                    done += len(batch)
                    progress(done, total)


def _closable(pages: Iterator[PageContent]) -> Generator[PageContent, None, None]:
    """``pages``, to be ended in the middle if need be: a worker is held until then."""
    yield from pages


def _drawn(workers: IntakeWorkers, document: DocumentRow) -> Iterator[PageContent]:
    return workers.read_pages(Path(document.source), want_image=True, pages=range(document.pages))


def _words(record: PageRecord) -> PageContent:
    return PageContent(record.number, record.label, record.width, record.height, record.words)


def _check_source(document: DocumentRow) -> None:
    path = Path(document.source)
    remedy = "put it back as it was, or build the index again and add the encoder then"
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path} cannot be read again ({error.strerror}); {remedy}") from error
    if found != document.sha256:
        raise InputError(f"{path} changed since it was indexed; {remedy}")
