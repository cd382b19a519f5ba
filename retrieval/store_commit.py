"""The steps of a commit, shared by the writer and by repair."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import StorageError
from retrieval.faults import fault_point
from retrieval.manifest import (
    MANIFEST_NAME,
    SCHEMA_VERSION,
    FileRecord,
    Manifest,
    fsync_folder,
    read_manifest,
    retire_generations,
    write_manifest,
)
from retrieval.store_files import hash_durably, record_files
from retrieval.store_lance import COARSE, LANCE, REMEDY, lance_errors, sweep
from retrieval.store_multivectors import read_directory
from retrieval.store_rows import DocumentRow, PageDirectory
from retrieval.store_schema import LANE_PREFIX, documents_crc
from retrieval.types import FloatArray

# Starts the iteration anew at each call: a million pages' vectors are 8 GB, so what needs them
# twice (to learn codes, then to add) reads them twice.
VectorBatches = Callable[[], Iterator[tuple[NDArray[np.int64], FloatArray]]]
CoarseBuilder = Callable[[VectorBatches, Path], None]


# The coarse file of the first encoder goes by this name among those of the lanes.
FIRST = ""


def write_coarse(
    root: Path, generation: int, lane: str, build: CoarseBuilder, vectors: VectorBatches
) -> tuple[str, FileRecord]:
    """Have ``build`` write the coarse file of a generation and lane; its name and record.

    It gets its final name only when it is complete and on disk.
    """
    folder = root / COARSE
    folder.mkdir(exist_ok=True)
    name = f"{generation}.{lane}.faiss" if lane else f"{generation}.faiss"
    final, temporary = folder / name, folder / f"{name}.tmp"
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
    coarse: Mapping[str, tuple[str, FileRecord]],
    signs: Mapping[str, Mapping[str, FileRecord]],
) -> Manifest:
    """Make the tables as they stand the generation that ``manifest`` says.

    ``manifest`` supplies what the tables cannot: its generation, encoders, settings, next ids
    and skipped sources; the rest is read off the tables and files here. ``coarse`` holds the
    coarse files by lane, the first encoder's under ``FIRST``; ``signs`` the files of signs.
    """
    with lance_errors(root / LANCE, REMEDY):
        versions = {name: int(table.version) for name, table in tables.items()}
        directory = read_directory(tables["pages"])
        lanes = {name: read_directory(tables[LANE_PREFIX + name]) for name in manifest.lanes}
    for name, lane in lanes.items():
        if not np.array_equal(lane.page_ids, directory.page_ids):
            raise StorageError(
                f"lane '{name}' of {root} does not have a row for every page; nothing was committed"
            )
    files = record_files(root, tables, manifest.files)
    files.update(coarse.values())
    for mine in signs.values():
        files.update(mine)
    fault_point("files-hashed")
    coarse_file, coarse_record = coarse.get(FIRST, (None, None))
    return write_manifest(
        root,
        replace(
            manifest,
            schema_version=SCHEMA_VERSION,
            lance_versions=versions,
            coarse_file=coarse_file,
            coarse_sha256=coarse_record.sha256 if coarse_record else None,
            signs_files=tuple(signs.get(FIRST, ())),
            counts={
                "documents": len(documents),
                "pages": len(directory),
                **_vector_counts(directory),
                "skipped": len(manifest.skipped),
            },
            lanes={
                name: replace(
                    record,
                    counts=_vector_counts(lanes[name]),
                    directory_crc=lanes[name].crc(),
                    coarse_file=coarse[name][0] if name in coarse else None,
                    signs_files=tuple(signs.get(name, ())),
                )
                for name, record in manifest.lanes.items()
            },
            directory_crc=directory.crc(),
            documents_crc=documents_crc(documents),
            files=dict(sorted(files.items())),
        ),
    )


def _vector_counts(directory: PageDirectory) -> dict[str, int]:
    return {
        "patches": int(directory.n_patches.sum(dtype=np.int64)),
        "page_vectors": int(directory.n_vectors.sum(dtype=np.int64)),
    }


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
