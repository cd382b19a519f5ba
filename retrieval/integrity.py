"""Finding damage in an index, and mending what can be mended.

``verify`` reads every byte. ``repair`` keeps every document that is provably whole and drops
the others by name, so that the next build adds them again; it never keeps a page whose
checksum does not match.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from retrieval.errors import StorageError
from retrieval.lock import WriterLock
from retrieval.manifest import (
    GENERATIONS,
    MANIFEST_NAME,
    Manifest,
    generation_path,
    pin_current,
    read_manifest,
    read_manifest_file,
    write_manifest,
)
from retrieval.salvage import mend_tables
from retrieval.store_commit import CoarseBuilder, sweep_unused
from retrieval.store_files import same_bytes
from retrieval.store_reader import Store
from retrieval.store_writer import StoreWriter

_REPAIR = "run `folioscope index repair`"
_BATCH = 512


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: where (``path``), ``what`` it is, and the ``remedy``."""

    path: str
    what: str
    remedy: str


def verify(root: Path) -> list[Problem]:
    """Check everything a search could rest on; empty means the index is whole.

    Reads every file once to hash it and every page once to decode it. Safe beside a running
    writer and beside readers. Raises ``StorageError`` only if there is no index at all.
    """
    try:
        manifest, lease = pin_current(root)
    except StorageError as error:
        if not _copies(root):
            raise
        return [Problem(str(root / MANIFEST_NAME), str(error), _REPAIR)]
    # Hashing takes minutes: without a lease, two commits meanwhile would look like lost files.
    with lease or contextlib.nullcontext():
        problems = _check_copy(root, manifest) + damaged_files(root, manifest)
    return problems or list(_check_rows(root))


def _check_copy(root: Path, manifest: Manifest) -> list[Problem]:
    copy = generation_path(root, manifest.generation)
    try:
        if read_manifest_file(copy) == manifest:
            return []
        what = "differs from the manifest"
    except StorageError as error:
        what = str(error)
    return [Problem(str(copy), what, _REPAIR)]


def damaged_files(root: Path, manifest: Manifest) -> list[Problem]:
    """The files of a generation that are missing or not as they were committed."""
    problems = []
    for name, record in manifest.files.items():
        path = root / name
        try:
            size = path.stat().st_size
            if size != record.bytes:
                what = f"has {size} bytes, {record.bytes} were written"
            elif not same_bytes(path, record):
                what = "was altered: its SHA-256 is not the recorded one"
            else:
                continue
        except OSError as error:
            what = f"cannot be read: {error.strerror}"
        problems.append(Problem(str(path), what, _REPAIR))
    return problems


def _check_rows(root: Path) -> Iterator[Problem]:
    """Whether the rows agree with each other: what hashes of files cannot tell."""
    try:
        with Store.open(root) as store:
            pages = store.pages
            for start in range(0, len(pages), _BATCH):
                offsets = np.arange(start, min(start + _BATCH, len(pages)), dtype=np.int64)
                store.fetch_patches(offsets)
                store.fetch_boxes_and_words(offsets)
                for lane in store.lanes.values():
                    lane.fetch_patches(offsets)
                    lane.fetch_places(offsets)
            vectors = sum(len(page_ids) for page_ids, _ in store.page_vectors())
            for lane in store.lanes.values():
                held = sum(len(page_ids) for page_ids, _ in lane.page_vectors())
                if held != lane.record.counts["page_vectors"]:
                    what = f"lane '{lane.name}' holds {held} page vectors, not as many as counted"
                    yield Problem(str(root / MANIFEST_NAME), what, _REPAIR)
            found = {
                "documents": len(store.documents),
                "pages": len(pages),
                "patches": int(pages.n_patches.sum(dtype=np.int64)),
                "page_vectors": vectors,
            }
            for what, count in found.items():
                if count != store.manifest.counts[what]:
                    yield Problem(
                        str(root / MANIFEST_NAME),
                        f"counts {store.manifest.counts[what]} {what}, the tables hold {count}",
                        _REPAIR,
                    )
            stored = dict(zip(*np.unique(pages.doc_ids, return_counts=True), strict=True))
            for doc_id, document in store.documents.items():
                if stored.pop(doc_id, 0) != document.pages:
                    yield Problem(document.source, "does not have all its pages", _REPAIR)
            for doc_id in stored:
                yield Problem(f"document {doc_id}", "has pages but no document row", _REPAIR)
    except StorageError as error:
        yield Problem(str(root), str(error), _REPAIR)


def repair(root: Path, rebuild_coarse: CoarseBuilder | None = None) -> list[str]:
    """Make the index whole again; returns what was done, empty if nothing was wrong.

    Documents that lost a page are dropped and named: the next build adds them again.
    ``rebuild_coarse`` writes the coarse index (see ``StoreWriter.commit``); without it a lost
    coarse file leaves the generation without one. Raises ``StorageError`` if another writer is
    at work, or if no manifest survives: then only a new build helps.
    """
    if not (root / MANIFEST_NAME).exists() and not _copies(root):
        read_manifest(root)
    actions: list[str] = []
    with WriterLock(root).acquire():
        manifest = _mend_manifest(root, actions)
        sweep_unused(root)
        damaged = [Path(p.path).relative_to(root) for p in damaged_files(root, manifest)]
        if not damaged:
            damaged = [Path("lance/pages.lance/data")] if list(_check_rows(root)) else []
        if damaged:
            names = [path.as_posix() for path in damaged]
            actions += mend_tables(root, manifest, names)
        sweep_unused(root)
    mended = read_manifest(root)
    coarse = [mended.coarse_file, *(lane.coarse_file for lane in mended.lanes.values())]
    signs_lost = any(path.suffix == ".signs" for path in damaged)
    if rebuild_coarse is not None and (None in coarse or signs_lost):
        with StoreWriter.open(root) as writer:
            writer.commit(rebuild_coarse)
        actions.append("rebuilt the coarse index from the page vectors")
    return actions


def _mend_manifest(root: Path, actions: list[str]) -> Manifest:
    """The current manifest, restored from the newest readable copy if it is damaged."""
    try:
        manifest = read_manifest(root)
    except StorageError:
        for path in _copies(root):
            with contextlib.suppress(StorageError):
                manifest = write_manifest(root, read_manifest_file(path))
                actions.append(f"restored {MANIFEST_NAME} from generations/{path.name}")
                return manifest
        raise
    copy = generation_path(root, manifest.generation)
    try:
        whole = read_manifest_file(copy) == manifest
    except StorageError:
        whole = False
    if not whole:
        write_manifest(root, manifest)
        actions.append(f"wrote generations/{copy.name} anew")
    return manifest


def _copies(root: Path) -> list[Path]:
    """The kept copies of manifests, newest first."""
    found = [p for p in (root / GENERATIONS).glob("*.json") if p.stem.isdigit()]
    return sorted(found, key=lambda path: int(path.stem), reverse=True)
