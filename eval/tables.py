"""Rows of a data set's table, a few at a time: parquet, Arrow, JSON lines, CSV and TSV.

Data sets of page images are gigabytes: a batch of rows is read, handed on and forgotten. The
``datasets`` package is not needed for it: its ``save_to_disk`` writes Arrow files, and the hub
serves parquet. Columns that are not asked for are not read at all.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from retrieval.errors import InputError

SUFFIXES = (".parquet", ".arrow", ".jsonl", ".tsv", ".csv")
# A page at 300 dpi is a few megabytes.
_ROWS_AT_ONCE = 16

Row = Mapping[str, Any]


def table_files(folder: Path, split: str) -> list[Path]:
    """The files of one table under ``folder``: of ``split`` where files or folders say so.

    ``test-00000-of-00002.parquet``, ``test/data-00000-of-00001.arrow`` and ``test.tsv`` are of
    the split ``test``; where nothing is named after a split, every file is taken.
    """
    found = sorted(p for p in folder.rglob("*") if p.suffix in SUFFIXES and p.is_file())
    # What save_to_disk's transformations cached is no part of the data.
    found = [p for p in found if not p.name.startswith(("cache-", "."))]
    named = [p for p in found if _of_split(p.relative_to(folder), split)]
    kinds = {p.suffix for p in named or found}
    best = next((suffix for suffix in SUFFIXES if suffix in kinds), "")
    return [p for p in named or found if p.suffix == best]


def _of_split(path: Path, split: str) -> bool:
    return split in path.parts[:-1] or path.stem == split or path.name.startswith(f"{split}-")


def columns_of(files: Sequence[Path]) -> list[str]:
    """The names of the columns, from the first file. Raises ``InputError`` if it is damaged."""
    first = files[0]
    try:
        if first.suffix == ".parquet":
            return list(pq.read_schema(first).names)
        if first.suffix == ".arrow":
            with pa.memory_map(str(first)) as source:
                return list(_arrow_reader(source).schema.names)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(first, error) from error
    row: Row = next(read_rows(files), {})
    return list(row)


def read_rows(files: Sequence[Path], columns: Sequence[str] | None = None) -> Iterator[Row]:
    """Every row as ``{column: value}``; ``columns`` None reads all of them.

    Raises ``InputError`` that names the file where it is damaged.
    """
    for path in files:
        try:
            if path.suffix == ".parquet":
                yield from _parquet(path, columns)
            elif path.suffix == ".arrow":
                yield from _arrow(path, columns)
            else:
                yield from _text(path, columns)
        except (pa.ArrowException, OSError, ValueError, csv.Error) as error:
            raise _damaged(path, error) from error


def _parquet(path: Path, columns: Sequence[str] | None) -> Iterator[Row]:
    with pq.ParquetFile(path) as file:
        kept = None if columns is None else [c for c in columns if c in file.schema_arrow.names]
        for batch in file.iter_batches(_ROWS_AT_ONCE, columns=kept):
            yield from batch.to_pylist()


def _arrow(path: Path, columns: Sequence[str] | None) -> Iterator[Row]:
    # Mapped, so that a batch of a thousand images takes memory for the rows in use only.
    with pa.memory_map(str(path)) as source:
        for batch in _arrow_reader(source):
            kept = batch
            if columns is not None:
                kept = batch.select([c for c in columns if c in batch.schema.names])
            for begin in range(0, kept.num_rows, _ROWS_AT_ONCE):
                yield from kept.slice(begin, _ROWS_AT_ONCE).to_pylist()


def _arrow_reader(source: Any) -> Any:
    """``save_to_disk`` writes streams; a file with a footer is read as well."""
    try:
        return pa.ipc.open_stream(source)
    except pa.ArrowInvalid:
        source.seek(0)
        reader = pa.ipc.open_file(source)
        return pa.RecordBatchReader.from_batches(
            reader.schema, (reader.get_batch(i) for i in range(reader.num_record_batches))
        )


def _text(path: Path, columns: Sequence[str] | None) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        if path.suffix == ".jsonl":
            rows: Iterator[Any] = (json.loads(line) for line in file if line.strip())
        else:
            rows = csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ",")
        for row in rows:
            if not isinstance(row, dict):
                raise ValueError("a line is not an object")
            yield row if columns is None else {c: row[c] for c in columns if c in row}


def _damaged(path: Path, error: Exception) -> InputError:
    said = str(error).splitlines()[0] if str(error) else type(error).__name__
    return InputError(f"{path}: cannot be read as a table ({said}); fetch the file again")
