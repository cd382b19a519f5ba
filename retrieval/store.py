"""The index on disk: ``StoreWriter`` adds to it, ``Store`` reads one generation of it."""

from retrieval.store_commit import CoarseBuilder, VectorBatches
from retrieval.store_create import CreateSpec
from retrieval.store_lanes import LaneStore
from retrieval.store_reader import Store
from retrieval.store_rows import (
    DocumentRow,
    LaneRow,
    PageDirectory,
    PageRecord,
    PageRow,
    RaggedPatches,
)
from retrieval.store_writer import StoreWriter

__all__ = [
    "CoarseBuilder",
    "CreateSpec",
    "DocumentRow",
    "LaneRow",
    "LaneStore",
    "PageDirectory",
    "PageRecord",
    "PageRow",
    "RaggedPatches",
    "Store",
    "StoreWriter",
    "VectorBatches",
]
