"""Where an index begins: what is fixed for its life, and which folders may become one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from retrieval.compression import Compression
from retrieval.errors import StorageError
from retrieval.lock import LOCK_NAME
from retrieval.manifest import (
    GENERATIONS,
    MANIFEST_NAME,
    SCHEMA_VERSION,
    LaneRecord,
    Manifest,
    read_manifest_file,
    write_manifest,
)
from retrieval.store_lance import COARSE, LANCE
from retrieval.store_schema import (
    stored_compression,
)


@dataclass(frozen=True, slots=True)
class CreateSpec:
    """What is fixed for the life of an index. ``compression`` is a manifest's name of one.

    ``lanes`` are the encoders beside the first, by name; their own ``lanes`` are not read.
    """

    encoder_id: str
    encoder_fingerprint: str
    dim: int
    compression: str = Compression().in_manifest
    settings: Mapping[str, Any] = field(default_factory=dict)
    lanes: Mapping[str, CreateSpec] = field(default_factory=dict)

    def lane(self) -> LaneRecord:
        """This spec as the record of a lane."""
        return LaneRecord(
            encoder_id=self.encoder_id,
            encoder_fingerprint=self.encoder_fingerprint,
            dim=self.dim,
            compression=self.compression,
            settings=dict(self.settings),
        )


def unborn(create: CreateSpec) -> Manifest:
    """Generation 0: what a writer starts from where there is no index yet."""
    return Manifest(
        schema_version=SCHEMA_VERSION,
        generation=0,
        lance_versions={},
        coarse_file=None,
        coarse_sha256=None,
        encoder_id=create.encoder_id,
        encoder_fingerprint=create.encoder_fingerprint,
        dim=create.dim,
        compression=create.compression,
        counts={"documents": 0, "pages": 0, "patches": 0, "page_vectors": 0, "skipped": 0},
        settings=dict(create.settings),
        lanes={name: spec.lane() for name, spec in create.lanes.items()},
    )


def check_same_encoder(root: Path, manifest: Manifest, create: CreateSpec) -> None:
    """Raise ``StorageError`` if the index cannot take vectors of this encoder."""
    if manifest.lanes.keys() != create.lanes.keys():
        raise StorageError(
            f"the index {root} has the further encoders {sorted(manifest.lanes) or 'none'}, not "
            f"{sorted(create.lanes) or 'none'}; name those it has, or run "
            "`folioscope index add-encoder` first"
        )
    pairs: list[tuple[str, Manifest | LaneRecord, CreateSpec]] = [("", manifest, create)]
    pairs += [(f"lane {k}: ", lane, create.lanes[k]) for k, lane in manifest.lanes.items()]
    for where, record, spec in pairs:
        for what in ("encoder_id", "encoder_fingerprint", "dim", "compression"):
            has, wanted = getattr(record, what), getattr(spec, what)
            if has != wanted:
                if what == "compression":
                    has, wanted = (stored_compression(name).name for name in (has, wanted))
                raise StorageError(
                    f"the index {root} was built with {where}{what} {has}, not {wanted}; use the "
                    "encoder and settings it was built with, or build a new index in another "
                    "folder"
                )


def adopt_orphan(root: Path) -> bool:
    """Whether ``root`` has a manifest, after making the newest generation's copy the manifest
    where none is: a first commit died between the two, or somebody deleted it. To begin
    anew instead would sweep away a whole index."""
    if (root / MANIFEST_NAME).exists():
        return True
    copies = sorted((root / GENERATIONS).glob("*.json"), key=lambda path: path.stem.zfill(20))
    for path in reversed(copies):
        write_manifest(root, read_manifest_file(path))
        return True
    return False


def refuse_foreign_folder(root: Path) -> None:
    """Raise ``StorageError`` if ``root`` holds anything but an index or the start of one."""
    if root.exists() and not root.is_dir():
        raise StorageError(f"{root} is a file; name a folder for the index")
    if not root.exists() or (root / MANIFEST_NAME).exists():
        return
    ours = {LOCK_NAME, LANCE, COARSE, GENERATIONS, MANIFEST_NAME + ".tmp"}
    foreign = sorted({path.name for path in root.iterdir()} - ours)
    if foreign:
        raise StorageError(
            f"{root} is not empty and is not an index (it holds {foreign[0]}); "
            "name an empty or new folder"
        )
