"""LanceDB's own multivector search: IVF_PQ over every patch, cosine, and the scan without it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import lancedb
import pyarrow as pa

from eval.peers.protocol import Engine, Setting
from eval.peers.workload import Pages, Question

_PROBES, _REFINE = (5, 20, 80), (5, 20, 80)
_BATCH_PAGES = 512
# A scan of every vector takes seconds at more.
_SCAN_UP_TO = 10_000


class LanceMultivector(Engine):
    """Product codes of a byte for four components. The knobs are partitions probed, and how many
    times k pages are scored again with their full vectors."""

    package = "lancedb"

    def build(self, folder: Path, pages: Pages) -> None:
        table = lancedb.connect(folder).create_table(
            "pages", _batches(pages, 0), schema=_schema(pages.dim), mode="overwrite"
        )
        table.create_index(
            metric="cosine",
            vector_column_name="patches",
            index_type="IVF_PQ",
            num_sub_vectors=pages.dim // 4,
        )

    def open(self, folder: Path) -> None:
        self._table = lancedb.connect(folder).open_table("pages")

    def settings(self, pages: int, text: bool) -> Sequence[Setting]:
        curve = [
            Setting("IVF_PQ", {"nprobes": probes, "refine": refine})
            for probes in _PROBES
            for refine in _REFINE
        ]
        return [*curve, Setting("scan", {})] if pages <= _SCAN_UP_TO else curve

    def search(self, question: Question, k: int, knobs: Mapping[str, Any]) -> Sequence[int]:
        return self._found(question, k, knobs)

    def add(self, folder: Path, pages: Pages) -> None:
        table = lancedb.connect(folder).open_table("pages")
        table.add(
            pa.RecordBatchReader.from_batches(
                _schema(pages.dim), _batches(pages, table.count_rows())
            )
        )
        table.optimize()

    def delete(self, folder: Path, ids: Sequence[int]) -> None:
        table = lancedb.connect(folder).open_table("pages")
        table.delete(f"id IN ({', '.join(map(str, ids))})")

    def search_documents(
        self, question: Question, k: int, documents: Sequence[int]
    ) -> Sequence[int]:
        where = f"document IN ({', '.join(map(str, documents))})"
        return self._found(question, k, {"nprobes": 80, "refine": 20}, where)

    def _found(
        self, question: Question, k: int, knobs: Mapping[str, Any], where: str = ""
    ) -> list[int]:
        query: Any = self._table.search(question.vectors, vector_column_name="patches")
        query = query.distance_type("cosine").select(["id"]).limit(k)
        if where:
            query = query.where(where, prefilter=True)
        if "nprobes" in knobs:
            query = query.nprobes(knobs["nprobes"]).refine_factor(knobs["refine"])
        else:
            query = query.bypass_vector_index()
        found: list[int] = query.to_arrow()["id"].to_pylist()
        return found


def _schema(dim: int) -> pa.Schema:
    patches = pa.list_(pa.list_(pa.float16(), dim))
    return pa.schema([("id", pa.int64()), ("document", pa.int64()), ("patches", patches)])


def _batches(pages: Pages, before: int) -> Iterator[pa.RecordBatch]:
    """The pages, numbered on from ``before``."""
    schema = _schema(pages.dim)
    for first in range(0, len(pages), _BATCH_PAGES):
        last = min(first + _BATCH_PAGES, len(pages))
        starts = pages.starts[first : last + 1]
        vectors = pages.vectors[starts[0] : starts[-1]]
        rows = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), pages.dim)
        yield pa.RecordBatch.from_arrays(
            [
                pa.array(range(before + first, before + last), pa.int64()),
                pa.array(pages.documents[first:last], pa.int64()),
                pa.ListArray.from_arrays(pa.array(starts - starts[0], pa.int32()), rows),
            ],
            schema=schema,
        )
