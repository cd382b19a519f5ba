"""The steps of a commit, shared by the writer and by repair."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.faults import fault_point
from retrieval.manifest import (
    MANIFEST_NAME,
    FileRecord,
    Manifest,
    fsync_folder,
    read_manifest,
    retire_generations,
    write_manifest,
)
from retrieval.store_files import hash_durably, record_files
from retrieval.store_lance import COARSE, LANCE, REMEDY, lance_errors, sweep
from retrieval.store_reader import read_directory
from retrieval.store_schema import DocumentRow, documents_crc
from retrieval.types import FloatArray

# Starts the iteration anew at each call: a million pages' vectors are 8 GB, so what needs them
# twice (to learn codes, then to add) reads them twice.
VectorBatches = Callable[[], Iterator[tuple[NDArray[np.int64], FloatArray]]]
CoarseBuilder = Callable[[VectorBatches, Path], None]


def write_coarse(
    root: Path, generation: int, build: CoarseBuilder, vectors: VectorBatches
) -> tuple[str, FileRecord]:
    """Have ``build`` write the coarse file of a generation; its name and record.

    It gets its final name only when it is complete and on disk.
    """
    folder = root / COARSE
    folder.mkdir(exist_ok=True)
    final = folder / f"{generation}.faiss"
    temporary = folder / f"{generation}.faiss.tmp"
    build(vectors, temporary)
    fault_point("coarse-unfinished")
    record = hash_durably(temporary)
    fault_point("coarse-written")
    temporary.replace(final)
    fsync_folder(folder)
    fault_point("coarse-renamed")
    return final.relative_to(root).as_posix(), record


def publish(
    root: Path,
    manifest: Manifest,
    tables: Mapping[str, Any],
    documents: Mapping[int, DocumentRow],
    coarse_file: str | None,
    coarse_record: FileRecord | None,
) -> Manifest:
    """Make the tables as they stand the generation that ``manifest`` says.

    ``manifest`` supplies what the tables cannot: its generation, encoder, settings, next ids
    and skipped sources; the rest is read off the tables and files here.
    """
    with lance_errors(root / LANCE, REMEDY):
        versions = {name: int(table.version) for name, table in tables.items()}
        directory = read_directory(tables["pages"])
    files = record_files(root, tables, manifest.files)
    if coarse_file is not None and coarse_record is not None:
        files[coarse_file] = coarse_record
    fault_point("files-hashed")
    return write_manifest(
        root,
        replace(
            manifest,
            lance_versions=versions,
            coarse_file=coarse_file,
            coarse_sha256=coarse_record.sha256 if coarse_record else None,
            counts={
                "documents": len(documents),
                "pages": len(directory),
                "patches": int(directory.n_patches.sum(dtype=np.int64)),
                "page_vectors": int(directory.n_vectors.sum(dtype=np.int64)),
                "skipped": len(manifest.skipped),
            },
            directory_crc=directory.crc(),
            documents_crc=documents_crc(documents),
            files=dict(sorted(files.items())),
        ),
    )


def sweep_unused(root: Path) -> None:
    """Remove what neither the manifest, the generation before, nor a living reader needs.

    What is on disk decides, not what a writer believes: a commit that raised after its rename
    has happened all the same. Only the holder of the writer's lock may call this.
    """
    keep: set[str] = set()
    generation = 0
    if (root / MANIFEST_NAME).exists():
        current = read_manifest(root)
        generation = current.generation
        keep.update(current.files)
    for manifest in retire_generations(root, frozenset({generation, generation - 1})):
        if manifest.generation <= generation:
            keep.update(manifest.files)
    sweep(root, keep)
