"""The index on disk: ``StoreWriter`` adds to it, ``Store`` reads one generation of it."""

from retrieval.store_reader import Store
from retrieval.store_schema import (
    DocumentRow,
    PageDirectory,
    PageRecord,
    PageRow,
    RaggedPatches,
)
from retrieval.store_writer import CoarseBuilder, CreateSpec, StoreWriter, VectorBatches

__all__ = [
    "CoarseBuilder",
    "CreateSpec",
    "DocumentRow",
    "PageDirectory",
    "PageRecord",
    "PageRow",
    "RaggedPatches",
    "Store",
    "StoreWriter",
    "VectorBatches",
]
