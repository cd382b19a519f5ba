"""One module an engine; ``load`` imports the engine only in the process that measures it."""

from __future__ import annotations

from importlib import import_module

from eval.peers.protocol import Engine

# Name on the command line -> module and class.
ENGINES: dict[str, tuple[str, str]] = {
    "folioscope": ("folioscope_store", "Folioscope"),
    "folioscope-fp16": ("folioscope_store", "FolioscopeHalf"),
    "fast-plaid": ("fast_plaid_index", "FastPlaid"),
    "xtr-warp": ("xtr_warp_index", "XtrWarp"),
    "lancedb": ("lancedb_multivector", "LanceMultivector"),
    "qdrant": ("qdrant_local", "QdrantLocal"),
    "qdrant-edge": ("qdrant_edge_shard", "QdrantEdge"),
    "visual-rag-toolkit": ("visual_rag", "VisualRag"),
    "colpali-engine": ("colpali_scoring", "ColpaliScoring"),
    "bm25s": ("bm25s_words", "Bm25sWords"),
}


def load(name: str) -> Engine:
    """The engine called ``name``. Raises ``ImportError`` where it is not installed."""
    module, cls = ENGINES[name]
    engine: Engine = getattr(import_module(f"eval.peers.engines.{module}"), cls)()
    return engine
