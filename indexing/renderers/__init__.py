"""Opening documents: one interface, one file a library."""

from indexing.renderers.base import OpenDocument
from indexing.renderers.opening import open_document, opened

__all__ = ["OpenDocument", "open_document", "opened"]
