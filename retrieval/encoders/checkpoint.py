"""A checkpoint as files on this machine: found by path or hub name, pinned, fingerprinted.

A hub name without a revision is resolved once and the commit becomes part of the encoder's id:
an index stays with the weights that built it, whatever is pushed to the hub later. Both an
adapter and the model it belongs to are pinned so. ``HF_HUB_OFFLINE`` and ``HF_HOME`` are the
hub library's own and are respected by it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retrieval.errors import EncoderError

_WANTED = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja")
_WEIGHTS = ("*.safetensors", "*.bin")
_HASH = re.compile(r"[0-9a-f]{64}")
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """``model`` holds the weights, ``adapter`` those on top of them if there are any; both are
    folders. ``name`` is what the user may write to get just this again."""

    name: str
    model: Path
    adapter: Path | None

    @property
    def processor(self) -> Path:
        """The folder with the tokenizer and the image settings."""
        names = ("processor_config.json", "preprocessor_config.json")
        if self.adapter is not None and any((self.adapter / name).exists() for name in names):
            return self.adapter
        return self.model

    def config(self) -> dict[str, Any]:
        """``config.json`` of the model."""
        return _read_json(self.model / "config.json")

    def fingerprint(self) -> str:
        """SHA-256 over every file that decides what comes out, by name and content."""
        digest = hashlib.sha256()
        for folder in (self.model, self.adapter):
            for path in sorted(_files(folder)) if folder is not None else ():
                digest.update(f"{path.name}:{_sha256(path)}\n".encode())
            digest.update(b"--\n")
        return digest.hexdigest()


def resolve(target: str, revision: str) -> Checkpoint:
    """The files of ``target``: a folder, or a name on the hub at ``revision``.

    Raises ``EncoderError`` that says where it looked and what to do.
    """
    folder, name = _folder(target, revision)
    adapter = folder / "adapter_config.json"
    if not adapter.exists():
        _check(folder, target)
        return Checkpoint(name, folder, None)
    config = _read_json(adapter)
    base = str(config.get("base_model_name_or_path") or "")
    if not base:
        raise EncoderError(f"{adapter} does not say which model it belongs to; name a merged model")
    model, _ = _folder(base, str(config.get("revision") or ""))
    _check(model, base)
    return Checkpoint(name, model, folder)


def _folder(target: str, revision: str) -> tuple[Path, str]:
    path = Path(target).expanduser()
    if path.is_dir():
        if revision:
            raise EncoderError(f"{target} is a folder: it has no revision '{revision}'")
        return path.resolve(), str(path.resolve())
    if path.is_absolute() or target.startswith((".", "~")) or target.count("/") != 1:
        raise EncoderError(
            f"there is no folder {target}; name a folder with a checkpoint, or a model on the "
            "hub as owner/name"
        )
    return _from_hub(target, revision)


def _from_hub(name: str, revision: str) -> tuple[Path, str]:
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
    except ImportError as error:
        raise missing_extra() from error

    try:
        found = snapshot_download(name, revision=revision or None, allow_patterns=list(_WANTED))
    except LocalEntryNotFoundError as error:
        raise EncoderError(
            f"the model {name} is not in the hub's cache on this machine and cannot be "
            "downloaded (no connection, or HF_HUB_OFFLINE is set); download it where there is "
            "one, or name a folder"
        ) from error
    except (HfHubHTTPError, OSError, ValueError) as error:
        said = " ".join(str(error).split())[:200]
        raise EncoderError(
            f"the model {name}{'@' + revision if revision else ''} cannot be had from the hub "
            f"({said}); check its name, or name a folder"
        ) from error
    folder = Path(found)
    pinned = folder.name if _COMMIT.fullmatch(folder.name) else revision
    return folder, f"{name}@{pinned}" if pinned else name


def _check(folder: Path, target: str) -> None:
    """Refuse a folder that lacks what every checkpoint has, by name."""
    if not (folder / "config.json").exists():
        raise EncoderError(f"{target} has no config.json: it is not a model's folder")
    if not any(path for pattern in _WEIGHTS for path in folder.glob(pattern)):
        raise EncoderError(
            f"{target} has no weights (*.safetensors in {folder}); download the model whole"
        )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise EncoderError(f"cannot read {path} ({error}); download the model again") from error
    if not isinstance(content, dict):
        raise EncoderError(f"{path} is not a JSON object; download the model again")
    return content


def _files(folder: Path) -> Iterator[Path]:
    patterns = (*_WANTED, *_WEIGHTS)
    return (path for path in folder.iterdir() if any(path.match(p) for p in patterns))


def _sha256(path: Path) -> str:
    """The hub's cache names large files by their SHA-256; reading 5 GB again says no more."""
    blob = path.resolve()
    if blob.parent.name == "blobs" and _HASH.fullmatch(blob.name):
        return blob.name
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise EncoderError(f"cannot read {path}: {error.strerror}; download it again") from error


def missing_extra() -> EncoderError:
    """What to say where the packages of the visual encoders are not installed."""
    return EncoderError(
        "visual encoders need colpali-engine, transformers and torch; "
        "run `pip install 'folioscope[colpali]'`"
    )
