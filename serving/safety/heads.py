"""Small linear classifiers over texts: hashed grams, and pooled encoder states where they pay.

Scores are probabilities on the mix of texts that a head was trained on, not in use: what they mean
there is what calibration measures.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import InputError
from retrieval.types import FloatArray
from serving.safety.grams import BUCKETS, grams_of

_SCHEMA = 1
_FOLDER = Path(__file__).parent
# What is shipped, by name: SHA-256 of `NAME.npz`, as `folioscope safety train` prints it.
SHIPPED = {
    "harm": "ec3cb71297e8b2915bc1d3f093c37849b66231f2fb0256e0953a710fd3007dbf",
    "order": "cefe0e37d193ecbd4629608c06b6881cff7a740f8c7385c4fb5f0aed5a43366c",
}


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """``rarity`` and ``grams`` ``[16384] float32``: what a bucket weighs, and says; ``states``
    ``[768] float32`` over mean and maximum of MiniLM states, or empty. ``slope`` and ``offset``
    turn the sum into a probability (Platt 1999)."""

    rarity: FloatArray
    grams: FloatArray
    states: FloatArray
    bias: float
    slope: float
    offset: float
    digest: str = ""

    @property
    def needs_states(self) -> bool:
        """Whether ``scores`` wants encoder states."""
        return len(self.states) > 0

    def margins(
        self, texts: Sequence[str], states: FloatArray | None = None
    ) -> NDArray[np.float64]:
        """The sums ``[n]`` before Platt's scaling."""
        found = grams_of(texts)
        weight = self.rarity[found.buckets].astype(np.float64)
        length = np.bincount(found.texts, weight**2, len(texts))
        said = np.bincount(found.texts, weight * self.grams[found.buckets], len(texts))
        total = said / np.sqrt(np.maximum(length, 1e-12)) + self.bias
        if self.needs_states:
            if states is None or states.shape != (len(texts), len(self.states)):
                raise ValueError(f"this head needs states [{len(texts)}, {len(self.states)}]")
            total = total + states.astype(np.float64) @ self.states.astype(np.float64)
        return total

    def scores(self, texts: Sequence[str], states: FloatArray | None = None) -> NDArray[np.float64]:
        """Probabilities ``[n]``."""
        total = self.slope * self.margins(texts, states) + self.offset
        found: NDArray[np.float64] = 1 / (1 + np.exp(-np.clip(total, -60, 60)))
        return found

    def write(self, path: Path) -> str:
        """Write it as float16; returns the file's SHA-256. The same head gives the same bytes.
        Raises ``InputError``."""
        made = BytesIO()
        np.savez_compressed(
            made,
            schema=np.int64(_SCHEMA),
            rarity=self.rarity.astype(np.float16),
            grams=self.grams.astype(np.float16),
            states=self.states.astype(np.float16),
            scalars=np.array([self.bias, self.slope, self.offset]),
        )
        try:
            path.write_bytes(made.getvalue())
        except OSError as error:
            raise InputError(f"cannot write {path}: {error.strerror}") from error
        return hashlib.sha256(made.getvalue()).hexdigest()


def shipped_head(name: str) -> Head:
    """The head of this name that the package brings."""
    return read_head(_FOLDER / f"{name}.npz", SHIPPED[name])


def read_head(path: Path, sha256: str) -> Head:
    """A head from a file whose SHA-256 is known. Raises ``InputError`` if it is another file."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read the classifier {path}: {error.strerror}") from error
    digest = hashlib.sha256(raw).hexdigest()
    if digest != sha256:
        raise InputError(
            f"the classifier {path} is not the one that was measured (SHA-256 {digest[:12]} "
            f"instead of {sha256[:12]}); reinstall folioscope, or name the file's own SHA-256"
        )
    try:
        with np.load(BytesIO(raw), allow_pickle=False) as file:
            if int(file["schema"]) != _SCHEMA:
                raise ValueError(f"schema {int(file['schema'])}")
            rarity, grams, states = (
                file[name].astype(np.float32) for name in ("rarity", "grams", "states")
            )
            bias, slope, offset = file["scalars"].tolist()
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} is not a classifier of this version: {error}") from error
    if rarity.shape != (BUCKETS,) or grams.shape != (BUCKETS,):
        raise InputError(f"{path} is not a classifier of this version: wrong shapes")
    return Head(rarity, grams, states, bias, slope, offset, digest)
