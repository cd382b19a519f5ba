"""Fixed-dimensional encodings: one vector whose inner product stands for late interaction.

MUVERA (Dhulipala, Hadian, Jayaram, Lee, Mirrokni 2024). Random hyperplanes cut the space into
``2 ** planes`` cells; a question's vectors are added up in their cells, a page's are averaged,
and a cell that no patch of the page fell into takes the mean of those that lie nearest to it. Each
cell is projected to a few dimensions by random signs, and all of it is repeated with other planes.

``folioscope bench pooling`` measures them beside the pooled vectors; a build does not offer them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval.types import FloatArray


@dataclass(frozen=True, slots=True)
class FixedEncoding:
    """``repeats * 2 ** planes * kept`` components; ``kept`` up to the vectors' own ``dim``."""

    dim: int
    planes: int = 4
    kept: int = 16
    repeats: int = 8
    seed: int = 0

    @property
    def components(self) -> int:
        """Of the encoding."""
        return self.repeats * (1 << self.planes) * self.kept

    def of_question(self, vectors: FloatArray, weights: FloatArray) -> FloatArray:
        """``[components]`` of a question's ``vectors [q, dim]``, each times its weight."""
        weighed = vectors * weights[:, None]
        parts = []
        for planes, signs in self._random():
            cells = _cells(vectors, planes)
            sums = np.zeros((2**self.planes, self.dim), np.float32)
            np.add.at(sums, cells, weighed)
            parts.append((sums @ signs).ravel())
        encoding: FloatArray = np.concatenate(parts).astype(np.float32)
        return encoding

    def of_page(self, vectors: FloatArray) -> FloatArray:
        """``[components]`` of a page's ``vectors [n, dim]``; zeros for a page without any."""
        if not len(vectors):
            return np.zeros(self.components, np.float32)
        parts = []
        numbers = np.arange(2**self.planes)
        for planes, signs in self._random():
            cells = _cells(vectors, planes)
            counts = np.bincount(cells, minlength=len(numbers))
            sums = np.zeros((len(numbers), self.dim), np.float32)
            np.add.at(sums, cells, vectors)
            means = sums / np.maximum(counts, 1)[:, None]
            empty = np.flatnonzero(counts == 0)
            # How many planes lie between a cell and each patch.
            apart = np.bitwise_count(numbers[empty][:, None] ^ cells[None, :])
            nearest = (apart == apart.min(axis=1, keepdims=True)).astype(np.float32)
            means[empty] = nearest @ vectors / nearest.sum(axis=1, keepdims=True)
            parts.append((means @ signs).ravel())
        encoding: FloatArray = np.concatenate(parts).astype(np.float32)
        return encoding

    def _random(self) -> list[tuple[FloatArray, FloatArray]]:
        """The planes ``[dim, planes]`` and signs ``[dim, kept]`` of each repeat."""
        made = []
        for repeat in range(self.repeats):
            rng = np.random.default_rng([self.seed, repeat])
            planes = rng.standard_normal((self.dim, self.planes), np.float32)
            if self.kept == self.dim:
                signs = np.eye(self.dim, dtype=np.float32)
            else:
                signs = rng.choice(np.array([-1, 1], np.float32), (self.dim, self.kept))
                signs /= np.float32(self.kept**0.5)
            made.append((planes, signs / np.float32(self.repeats**0.5)))
        # Each half of a product carries the root of 1 / repeats: the product is a mean.
        return made


def _cells(vectors: FloatArray, planes: FloatArray) -> NDArray[np.int64]:
    sides = (vectors @ planes > 0).astype(np.int64)
    return sides @ (1 << np.arange(planes.shape[1], dtype=np.int64))
