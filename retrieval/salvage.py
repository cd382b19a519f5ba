"""Rebuilding damaged Lance tables from the rows that are provably whole.

What can be damaged differs in what is lost with it. The text indexes and the coarse file
hold nothing that the tables do not. A data file costs the rows whose checksums fail. A version
or deletion file says which rows exist at all: without it the table cannot be trusted, and only
the generation before, or an empty index, is an honest answer.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from retrieval import lexical
from retrieval.errors import StorageError
from retrieval.manifest import (
    Manifest,
    generation_path,
    read_manifest_file,
)
from retrieval.store_commit import FIRST, publish
from retrieval.store_files import same_bytes
from retrieval.store_lance import LANCE, connect, lance_errors, table_folder
from retrieval.store_lanes import boxes_crc
from retrieval.store_rows import DocumentRow
from retrieval.store_schema import (
    LANE_PREFIX,
    TABLES,
    content_crc,
    crc,
    document_crc,
    documents_from_arrow,
    schema_of,
    schemas_of,
    text_crc,
)

_BATCH = 256


def mend_tables(root: Path, manifest: Manifest, damaged: list[str]) -> list[str]:
    """Commit a generation without the ``damaged`` files; returns what was done.

    ``damaged`` holds paths relative to ``root``. The caller holds the writer's lock.
    """
    actions = [f"found {name} damaged" for name in damaged]
    coarse = {FIRST: manifest.coarse_file}
    coarse |= {name: lane.coarse_file for name, lane in manifest.lanes.items()}
    if any(file in damaged for file in coarse.values()):
        actions.append("dropped the damaged coarse index")
        coarse = {lane: file for lane, file in coarse.items() if file not in damaged}
    if any(name.endswith(".signs") for name in damaged):
        actions.append("dropped damaged signs")
    lance = [name for name in damaged if name.startswith(f"{LANCE}/")]
    if any("/_versions/" in name or "/_deletions/" in name for name in lance):
        return actions + _step_back(root, manifest)
    rewritten = {name.split("/")[1] for name in lance if "/_indices/" not in name}
    # Lance's transactions and data files of one table are replaced together.
    tables = _open(root, manifest)
    if not rewritten:
        documents = _whole_documents(tables)
        if any("/_indices/" in name for name in lance):
            _index(tables)
            actions.append("rebuilt the text indexes")
    else:
        documents, dropped = _keep_whole(root, tables, manifest)
        actions += dropped
        if dropped:
            coarse = {}
        _index(tables)
        actions.append("wrote the tables anew from the rows that are whole")
    _publish(root, manifest, tables, documents, coarse, damaged)
    return actions


def _publish(
    root: Path,
    manifest: Manifest,
    tables: Mapping[str, Any],
    documents: Mapping[int, DocumentRow],
    coarse: Mapping[str, str | None],
    damaged: list[str],
) -> None:
    """``coarse`` holds the coarse files that still hold, by lane."""
    known = {name: record for name, record in manifest.files.items() if name not in damaged}
    publish(
        root,
        replace(manifest, generation=manifest.generation + 1, files=known),
        tables,
        documents,
        {lane: (file, known[file]) for lane, file in coarse.items() if file in known},
        {
            lane: {file: known[file] for file in files if file in known}
            for lane, files in _signs_files(manifest).items()
        },
    )


def _signs_files(manifest: Manifest) -> dict[str, tuple[str, ...]]:
    lanes = {name: lane.signs_files for name, lane in manifest.lanes.items()}
    return {FIRST: manifest.signs_files, **lanes}


def _open(root: Path, manifest: Manifest) -> dict[str, Any]:
    with lance_errors(root / LANCE, "remove the index and build it anew"):
        db = connect(root)
        tables = {name: db.open_table(name) for name in schemas_of(manifest.lanes)}
    for name, table in tables.items():
        if int(table.version) != manifest.lance_versions[name]:
            raise StorageError(
                f"{table_folder(root, name)} is at version {table.version}, the manifest says "
                f"{manifest.lance_versions[name]}; remove the index and build it anew"
            )
    return tables


def _index(tables: Mapping[str, Any]) -> None:
    lexical.index_text(tables["texts"], "text", anew=True)
    lexical.index_text(tables["documents"], "context", anew=True)


def _step_back(root: Path, manifest: Manifest) -> list[str]:
    """Publish the generation before, if it is whole, or else an empty index."""
    before = _previous(root, manifest)
    if before is not None:
        newer = replace(
            before,
            generation=manifest.generation,
            next_page_id=manifest.next_page_id,
            next_doc_id=manifest.next_doc_id,
            files={},
        )
        with lance_errors(root / LANCE, "remove the index and build it anew"):
            tables = _back_to(root, before)
        documents = _whole_documents(tables)
        _publish(root, replace(newer, files=before.files), tables, documents, {}, [])
        return [
            f"went back to generation {before.generation}: "
            "run the build again to add what came after it"
        ]
    schemas = schemas_of(manifest.lanes)
    for name in schemas:
        shutil.rmtree(table_folder(root, name), ignore_errors=True)
    with lance_errors(root / LANCE, "remove the index and build it anew"):
        db = connect(root)
        tables = {name: db.create_table(name, schema=schema) for name, schema in schemas.items()}
        _index(tables)
    _publish(root, replace(manifest, files={}), tables, {}, {}, [])
    return ["nothing could be saved: the index is empty now; run the build again"]


def _previous(root: Path, manifest: Manifest) -> Manifest | None:
    path = generation_path(root, manifest.generation - 1)
    try:
        before = read_manifest_file(path)
        whole = all(same_bytes(root / name, record) for name, record in before.files.items())
    except (StorageError, OSError):
        return None
    return before if whole else None


def _back_to(root: Path, before: Manifest) -> dict[str, Any]:
    """The tables with the versions of ``before`` made the newest."""
    for name, version in before.lance_versions.items():
        versions = table_folder(root, name) / "_versions"
        for path in versions.glob("*.manifest"):
            # Version files are named so that the newest sorts first.
            if 2**64 - 1 - int(path.stem) > version:
                path.unlink()
        (versions / "latest_version_hint.json").unlink(missing_ok=True)
    db = connect(root)
    return {name: db.open_table(name) for name in schemas_of(before.lanes)}


def _whole_documents(tables: Mapping[str, Any]) -> dict[int, DocumentRow]:
    rows = list(_rows(tables["documents"], "documents"))
    schema = TABLES["documents"]
    return {
        doc_id: document
        for row in rows
        for doc_id, document in documents_from_arrow(pa.Table.from_pylist([row], schema)).items()
    }


def _keep_whole(
    root: Path, tables: dict[str, Any], manifest: Manifest
) -> tuple[dict[int, DocumentRow], list[str]]:
    """Rewrite the tables without any document that lost something."""
    documents = _whole_documents(tables)
    whole: dict[str, Counter[int]] = {}
    for name in tables:
        if name != "documents":
            whole[name] = Counter(row["doc_id"] for row in _rows(tables[name], name))
    lost = {
        doc_id: document
        for doc_id, document in documents.items()
        if any(count[doc_id] != document.pages for count in whole.values())
    }
    actions = [f"dropped {document.source}: build it again" for document in lost.values()]
    nameless = manifest.counts["documents"] - len(documents)
    if nameless:
        actions.append(f"dropped {nameless} documents whose names were lost: build again")
    kept = {doc_id: row for doc_id, row in documents.items() if doc_id not in lost}
    for name in tables:
        old = tables[name]
        frozen = connect(root).open_table(name, version=int(old.version))
        with lance_errors(root / LANCE, "remove the index and build it anew"):
            old.add(schema_of(name).empty_table(), mode="overwrite")
            batch: list[dict[str, Any]] = []
            for row in _rows(frozen, name):
                if row["doc_id"] in kept:
                    batch.append(row)
                if len(batch) >= _BATCH * 4:
                    old.add(pa.Table.from_pylist(batch, schema=schema_of(name)))
                    batch = []
            if batch:
                old.add(pa.Table.from_pylist(batch, schema=schema_of(name)))
    return kept, actions


def _rows(table: Any, name: str) -> Iterator[dict[str, Any]]:
    """The rows that can be read and whose checksums match, a batch at a time."""
    offsets = np.arange(table.count_rows(), dtype=np.int64)
    for start in range(0, len(offsets), _BATCH):
        for row in _read(table, name, offsets[start : start + _BATCH].tolist()):
            if _is_whole(name, row):
                yield row


def _read(table: Any, name: str, offsets: list[int]) -> list[dict[str, Any]]:
    """Rows at ``offsets``; where reading fails, the halves are tried.

    By offset, although it is slow with many deletions: the row ids are in the damaged files.
    """
    try:
        with lance_errors(Path(name), ""):
            taken = table.take_offsets(offsets).select(schema_of(name).names).to_arrow()
            rows: list[dict[str, Any]] = taken.to_pylist()
            return rows
    except (StorageError, UnicodeDecodeError):
        if len(offsets) == 1:
            return []
        half = len(offsets) // 2
        return _read(table, name, offsets[:half]) + _read(table, name, offsets[half:])


def _is_whole(name: str, row: Mapping[str, Any]) -> bool:
    if any(value is None for value in row.values()):
        return False
    page_id = row.get("page_id", -1)
    if name == "pages":
        plain = (row["doc_id"], row["number"], row["n_patches"], row["n_vectors"])
        found = (
            crc(page_id, row["patches"], np.float32(row["scale"]).tobytes()),
            content_crc(page_id, *plain, row["content"]),
            crc(page_id, row["vectors"]),
        )
        return found == (row["patches_crc"], row["content_crc"], row["vectors_crc"])
    if name.startswith(LANE_PREFIX):
        key = (page_id, row["doc_id"], row["number"], row["n_patches"], row["n_vectors"])
        lane = (
            crc(page_id, row["patches"], np.float32(row["scale"]).tobytes()),
            boxes_crc(*key, row["boxes"]),
            crc(page_id, row["vectors"]),
        )
        return lane == (row["patches_crc"], row["boxes_crc"], row["vectors_crc"])
    if name == "texts":
        return bool(text_crc(page_id, row["doc_id"], row["text"]) == row["text_crc"])
    try:
        schema = TABLES["documents"]
        (document,) = documents_from_arrow(pa.Table.from_pylist([dict(row)], schema)).values()
    except (ValueError, TypeError):
        return False
    return bool(document_crc(document) == row["row_crc"])
