"""The signs of every patch: a closer look at thousands of pages before a hundred are read.

A page's pooled vectors blur it: of the ten pages that exhaustive search would rank first among
a million, many are not among the hundred that pooled vectors rank first. The sign of each
component of each patch, an eighth of the bytes of int8, keeps nearly the whole order, best
passage included (docs/BENCHMARKS.md). These bits lie in plain files beside the coarse index and
only the pages asked for are read, so that they take no memory of the process: LanceDB reads a
hundred rows in the time in which these are read and scored for a thousand pages.

A commit writes one file with the pages that are new; what was written stays. Files are derived
from the stored patches and can be made again from them.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import StorageError
from retrieval.maxsim import PACKED, SCALED, as_floats, split_scaled
from retrieval.passages import best_passage
from retrieval.types import FloatArray

_MAGIC = b"folioscope signs 1\n".ljust(24, b"\0")
# Magic, then dim, pages and patches.
_HEAD = struct.Struct("<24sQQQ")
_REMEDY = "run `folioscope index verify`, then `folioscope index repair`"
# Pages read and scored at a time: their bits stay within a core's cache.
_BLOCK_BYTES = 1 << 20
# What lies so close together is fetched with what lies between: a call costs as much.
_NEAR_BYTES = 1 << 14

Pages = tuple[NDArray[np.int64], NDArray[Any], NDArray[np.int64], FloatArray]


def signs_of(codes: NDArray[Any]) -> NDArray[np.uint8]:
    """Eight signs a byte, the first in the lowest bit, ``[n, ceil(d / 8)]``; 0 counts as minus."""
    if codes.dtype == PACKED:
        return np.ascontiguousarray(codes).view(np.uint8).reshape(codes.shape)
    codes = split_scaled(codes)[0] if codes.dtype == SCALED else codes
    return np.packbits(codes > 0, axis=1, bitorder="little")


def scale_of(codes: NDArray[Any], starts: NDArray[np.int64], scales: FloatArray) -> FloatArray:
    """What a page's signs are multiplied by, ``[k]``, for similarities of the right size.

    For a patch ``v`` and a question in a random direction, ``<q, sign(v)> / sum|v|`` is
    ``<q, v>`` on average (RaBitQ, Gao and Long 2024); a page takes the mean over its patches.
    """
    counts = np.diff(starts)
    factors = np.ones(len(counts), np.float32)
    filled = counts > 0
    if codes.dtype == PACKED or not filled.any():
        return factors * scales
    lengths = np.abs(as_floats(codes, codes.shape[1] - 2 * (codes.dtype == SCALED))).sum(axis=1)
    lengths *= np.repeat(scales, counts)
    inverse = 1 / np.maximum(lengths, 1e-3)
    factors[filled] = np.add.reduceat(inverse, starts[:-1][filled]) / counts[filled]
    return factors


def write_signs(path: Path, dim: int, page_ids: NDArray[np.int64], pages: Iterable[Pages]) -> None:
    """Write the signs of ``page_ids`` (ascending); the caller makes the file durable.

    ``pages`` gives them in this order, some at a time: ids, bits as ``signs_of`` makes them,
    ``starts`` and ``scales``.
    """
    counts = np.zeros(len(page_ids), np.int64)
    scales = np.ones(len(page_ids), np.float32)
    with path.open("wb") as file:
        file.write(_HEAD.pack(_MAGIC, dim, len(page_ids), 0))
        at = _HEAD.size + 20 * len(page_ids)
        file.seek(at)
        done = 0
        for ids, bits, starts, factors in pages:
            here = slice(done, done + len(ids))
            if not np.array_equal(page_ids[here], ids):
                raise ValueError("pages must come in the order of their ids")
            counts[here], scales[here] = np.diff(starts), factors
            file.write(np.ascontiguousarray(bits).tobytes())
            done += len(ids)
        if done != len(page_ids):
            raise ValueError(f"{done} of {len(page_ids)} pages came")
        file.seek(0)
        file.write(_HEAD.pack(_MAGIC, dim, len(page_ids), int(counts.sum())))
        file.write(page_ids.astype("<i8").tobytes())
        file.write(counts.astype("<i8").tobytes())
        file.write(scales.astype("<f4").tobytes())


class _Descriptor:
    """A file descriptor that is given back with the last reader that uses it."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def __del__(self) -> None:
        os.close(self.fd)


@dataclass(frozen=True, slots=True, eq=False)
class SignFile:
    """One file: which pages it holds, and where their bits begin."""

    path: Path
    descriptor: _Descriptor
    page_ids: NDArray[np.int64]
    starts: NDArray[np.int64]
    scales: FloatArray
    width: int

    @staticmethod
    def open(path: Path, dim: int) -> SignFile:
        """Raises ``StorageError`` if the file is not what ``write_signs`` wrote."""
        try:
            with path.open("rb") as file:
                magic, found, pages, patches = _HEAD.unpack(file.read(_HEAD.size))
                page_ids = np.frombuffer(file.read(8 * pages), "<i8").astype(np.int64)
                counts = np.frombuffer(file.read(8 * pages), "<i8").astype(np.int64)
                scales = np.frombuffer(file.read(4 * pages), "<f4").astype(np.float32)
                size = os.fstat(file.fileno()).st_size
                descriptor = _Descriptor(os.dup(file.fileno()))
        except (OSError, ValueError, OverflowError, MemoryError, struct.error) as error:
            raise StorageError(f"{path} cannot be read ({error}); {_REMEDY}") from error
        width = -(-dim // 8)
        starts = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
        right = _HEAD.size + 20 * pages + patches * width
        if (magic, found, size) != (_MAGIC, dim, right) or int(starts[-1]) != patches:
            raise StorageError(f"{path} does not hold the signs of this index; {_REMEDY}")
        return SignFile(path, descriptor, page_ids, starts, scales, width)

    def read(self, places: NDArray[np.int64], into: NDArray[np.uint8]) -> None:
        """The bits of the pages at ``places`` (ascending), one after another, ``[N, width]``."""
        base = _HEAD.size + 20 * len(self.page_ids)
        first, last = self.starts[places] * self.width, self.starts[places + 1] * self.width
        # Pages that lie side by side, as those of one document do, are read at once.
        cuts = np.flatnonzero(first[1:] != last[:-1]) + 1
        begins, ends = first[np.r_[0, cuts]], last[np.r_[cuts - 1, len(places) - 1]]
        view, done = into.reshape(-1).data, 0
        for begin, end in zip(begins.tolist(), ends.tolist(), strict=True):
            while begin < end:
                part = view[done : done + end - begin]
                try:
                    got = os.preadv(self.descriptor.fd, [part], base + begin)
                except OSError as error:
                    raise StorageError(
                        f"{self.path} cannot be read ({error.strerror}); {_REMEDY}"
                    ) from error
                if not got:
                    raise StorageError(f"{self.path} ends too early; {_REMEDY}")
                begin, done = begin + got, done + got

    def will_need(self, places: NDArray[np.int64]) -> None:
        """Let the kernel fetch these pages all at once, where they are not in memory."""
        if hasattr(os, "posix_fadvise"):
            base = _HEAD.size + 20 * len(self.page_ids)
            first, last = self.starts[places] * self.width, self.starts[places + 1] * self.width
            cuts = np.flatnonzero(first[1:] - last[:-1] > _NEAR_BYTES) + 1
            begins, ends = first[np.r_[0, cuts]], last[np.r_[cuts - 1, len(places) - 1]]
            for begin, end in zip(begins.tolist(), ends.tolist(), strict=True):
                os.posix_fadvise(
                    self.descriptor.fd, base + begin, end - begin, os.POSIX_FADV_WILLNEED
                )


class Signs:
    """The sign files of one encoder of an open index. Safe to share between threads."""

    def __init__(self, files: Sequence[SignFile]) -> None:
        """Use ``open``."""
        self._files = tuple(files)
        ids = [file.page_ids for file in self._files]
        all_ids = np.concatenate([np.zeros(0, np.int64), *ids])
        owner = np.repeat(np.arange(len(ids)), [len(part) for part in ids])
        place = np.concatenate([np.zeros(0, np.int64), *(np.arange(len(part)) for part in ids)])
        order = np.argsort(all_ids, kind="stable")
        self._ids, self._owner, self._place = all_ids[order], owner[order], place[order]

    @staticmethod
    def open(paths: Iterable[Path], dim: int) -> Signs:
        """Raises ``StorageError`` if a file is missing or altered."""
        return Signs([SignFile.open(path, dim) for path in paths])

    @property
    def page_ids(self) -> NDArray[np.int64]:
        """The pages whose signs are here, ascending; some may have been removed since."""
        return self._ids

    def _where(self, page_ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Row in the order of ids of each page; -1 for a page that is not here."""
        if not len(self._ids):
            return np.full(len(page_ids), -1, np.int64)
        at = np.minimum(np.searchsorted(self._ids, page_ids), len(self._ids) - 1)
        return np.where(self._ids[at] == page_ids, at, -1).astype(np.int64)

    def fetch(self, page_ids: NDArray[np.int64]) -> Iterator[Pages]:
        """The signs of these pages that are here, file by file, a block at a time."""
        rows = self._where(page_ids)
        rows = rows[rows >= 0]
        plan = []
        for number, file in enumerate(self._files):
            places = np.sort(self._place[rows[self._owner[rows] == number]])
            if len(places):
                file.will_need(places)
                plan.append((file, places))
        for file, places in plan:
            sizes = (file.starts[places + 1] - file.starts[places]) * file.width
            block = np.cumsum(sizes) // _BLOCK_BYTES
            for part in np.split(places, np.flatnonzero(np.diff(block)) + 1):
                counts = file.starts[part + 1] - file.starts[part]
                starts = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
                bits = np.empty((int(starts[-1]), file.width), np.uint8)
                file.read(part, bits)
                yield file.page_ids[part], bits, starts, file.scales[part]

    def score(
        self,
        query: FloatArray,
        weights: FloatArray,
        page_ids: NDArray[np.int64],
        *,
        window: int,
        stride: int,
    ) -> tuple[NDArray[np.int64], FloatArray]:
        """Late interaction with the best passage, by signs, of the pages that are here.

        ``query [q, d]`` and ``weights [q]`` as in ``retrieval.passages``. Returns page ids,
        ascending, and ``[k] float32`` scores; ``-inf`` for a page without patches.
        """
        ids, scores = [np.zeros(0, np.int64)], [np.zeros(0, np.float32)]
        for here, bits, starts, scales in self.fetch(np.unique(page_ids)):
            codes = bits.view(PACKED).reshape(bits.shape)
            found = best_passage(
                query, weights, codes, starts, scales, window=window, stride=stride
            )
            ids.append(here)
            scores.append(found)
        all_ids, all_scores = np.concatenate(ids), np.concatenate(scores)
        order = np.argsort(all_ids)
        return all_ids[order], all_scores[order]
