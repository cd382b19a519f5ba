"""Opening documents: one interface, one file a library."""

from indexing.renderers.base import OpenDocument, open_document

__all__ = ["OpenDocument", "open_document"]
