"""What an index holds already, by content: what a build need not read again.

A file is known by its bytes. If it moved, or is given new metadata, the index learns that
without reading it: its path is where pictures of its pages come from, and path and metadata
are part of what the document says about itself.
"""

from __future__ import annotations

from pathlib import Path

from indexing.pipeline import COVER_PAGES, cover_words
from retrieval.context import document_context
from retrieval.store import StoreWriter
from retrieval.store_rows import DocumentRow
from retrieval.store_schema import clean_metadata, clean_text
from retrieval.types import DocumentInfo, MetadataValue


class KnownDocuments:
    """The documents of an index that is being written."""

    def __init__(self, writer: StoreWriter, copies: bool) -> None:
        """With ``copies``, the same content at another place is another document."""
        self._writer = writer
        self._copies = copies
        self._held: dict[str, list[int]] = {}
        for doc_id, row in writer.documents.items():
            self._held.setdefault(row.sha256, []).append(doc_id)
        self._coming: set[tuple[str, str]] = set()

    def expect(self, found: DocumentInfo) -> None:
        """Note that ``found`` will be added."""
        self._coming.add(self._name(found))

    def holds(self, found: DocumentInfo) -> bool:
        """Whether ``found`` need not be read; what is known of it is brought up to date."""
        row = self._row(found)
        if row is None:
            return self._name(found) in self._coming
        moved = clean_text(found.source) != row.source and not Path(row.source).exists()
        # Metadata that are not said again stay: `index build` without --metadata takes nothing.
        metadata = {**row.metadata, **clean_metadata(found.metadata)}
        if moved or metadata != dict(row.metadata):
            self._update(row, found.source if moved else row.source, metadata)
        return True

    def _name(self, found: DocumentInfo) -> tuple[str, str]:
        return (found.sha256, found.source if self._copies else "")

    def _row(self, found: DocumentInfo) -> DocumentRow | None:
        """The document with this content: at this place, else one whose file is gone, else,
        unless copies count, any."""
        documents = self._writer.documents
        rows = [documents[i] for i in self._held.get(found.sha256, ()) if i in documents]
        here = [row for row in rows if row.source == clean_text(found.source)]
        gone = [row for row in rows if not Path(row.source).exists()]
        others = [] if self._copies else rows
        return next(iter((*here, *gone, *others)), None)

    def _update(self, row: DocumentRow, source: str, metadata: dict[str, MetadataValue]) -> None:
        pages = self._writer.first_pages(row.doc_id, COVER_PAGES)
        words = cover_words(page.words for page in pages)
        context = document_context(source, row.title, metadata, words)
        self._writer.update_document(row.doc_id, source=source, metadata=metadata, context=context)
