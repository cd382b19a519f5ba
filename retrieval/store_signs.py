"""Writing sign files at a commit: those of new pages, or all anew where files have piled up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retrieval.faults import fault_point
from retrieval.manifest import FileRecord, fsync_folder
from retrieval.signs import Pages, Signs, scale_of, signs_of, write_signs
from retrieval.store_files import hash_durably, same_bytes
from retrieval.store_lance import COARSE
from retrieval.store_multivectors import Multivectors

# A search reads from every file: beyond so many they are written into one.
_MOST_FILES = 12
_BATCH = 512


def update_signs(
    root: Path,
    generation: int,
    lane: str,
    vectors: Multivectors,
    held: Mapping[str, FileRecord],
    anew: bool,
) -> dict[str, FileRecord]:
    """The sign files that cover every page of ``vectors``: those of ``held`` that stay, new ones.

    ``anew`` writes all pages into one file, as does having too many. Pages whose signs are in
    ``held`` are copied from there: the patches of a page never change. A file that is not what
    was committed is not copied, or its damage would get a checksum that matches.
    """
    old = Signs.open([root / name for name in held], vectors.dim)
    page_ids = vectors.pages.page_ids
    missing = np.setdiff1d(page_ids, old.page_ids)
    if not len(missing) and not anew:
        return dict(held)
    whole = anew or len(held) >= _MOST_FILES
    wanted = page_ids if whole else missing
    if whole:
        sound = [root / name for name, record in held.items() if same_bytes(root / name, record)]
        old = Signs.open(sound, vectors.dim)
    folder = root / COARSE
    folder.mkdir(exist_ok=True)
    name = f"{generation}.{lane}.signs" if lane else f"{generation}.signs"
    final, temporary = folder / name, folder / f"{name}.tmp"
    write_signs(temporary, vectors.dim, wanted, _pages(old, vectors, wanted))
    record = hash_durably(temporary)
    fault_point("signs-written")
    temporary.replace(final)
    fsync_folder(folder)
    new = {final.relative_to(root).as_posix(): record}
    return new if whole else {**held, **new}


def _pages(old: Signs, vectors: Multivectors, page_ids: NDArray[np.int64]) -> Iterator[Pages]:
    """The signs of these pages, in order: copied where they are known, else from the patches."""
    known = np.isin(page_ids, old.page_ids)
    for part in np.split(page_ids, np.flatnonzero(np.diff(known)) + 1):
        copied = bool(len(part)) and bool(np.isin(part[:1], old.page_ids)[0])
        for start in range(0, len(part), _BATCH):
            ids = part[start : start + _BATCH]
            yield _copied(old, ids) if copied else _made(vectors, ids)


def _made(vectors: Multivectors, page_ids: NDArray[np.int64]) -> Pages:
    patches = vectors.fetch(vectors.pages.offsets_of(page_ids))
    scales = scale_of(patches.codes, patches.starts, patches.scales)
    return page_ids, signs_of(patches.codes), patches.starts, scales


def _copied(old: Signs, page_ids: NDArray[np.int64]) -> Pages:
    """These pages from all files, in the order of their ids."""
    found: dict[int, tuple[NDArray[np.uint8], np.float32]] = {}
    for ids, bits, starts, scales in old.fetch(page_ids):
        for i, page_id in enumerate(ids.tolist()):
            found[page_id] = (bits[starts[i] : starts[i + 1]], scales[i])
    rows = [found[page_id] for page_id in page_ids.tolist()]
    starts = np.concatenate(([0], np.cumsum([len(bits) for bits, _ in rows]))).astype(np.int64)
    scales = np.array([scale for _, scale in rows], np.float32)
    return page_ids, np.concatenate([bits for bits, _ in rows]), starts, scales
