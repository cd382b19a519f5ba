"""The vectors and questions that every engine gets, as plain files that any process can map.

This module, ``protocol``, ``child`` and the engines run inside the peers' environments, so they
import nothing but numpy and the engine.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
Ints = NDArray[np.int64]

# Pages of a document in a part of a workload.
PART_DOCUMENT = 10
ABOUT, VECTORS, TEXTS, ARRAYS = "workload.json", "vectors.f16", "texts.txt", "arrays.npz"


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """``vectors [q, d] float32`` unit rows, each counting alike; ``text`` is empty where there
    is none. ``exact`` are the ids of the best pages by exhaustive MaxSim, ``target`` those of
    the pages that answer."""

    number: int
    text: str
    vectors: FloatArray
    exact: tuple[int, ...]
    target: frozenset[int]


@dataclass(frozen=True, slots=True, eq=False)
class Pages:
    """Pages by number, none of them empty.

    ``vectors [n, d] float16`` is mapped from disk, page i is rows ``starts[i]:starts[i + 1]``,
    ``documents[i]`` the number of its document (ascending), ``texts[i]`` its words on one line.
    """

    vectors: NDArray[np.float16]
    starts: Ints
    documents: Ints
    texts: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def dim(self) -> int:
        """Components a vector."""
        return int(self.vectors.shape[1])

    def page(self, i: int) -> FloatArray:
        """The vectors of one page, ``[n, d] float32``."""
        return self.vectors[self.starts[i] : self.starts[i + 1]].astype(np.float32)

    def bounds(self) -> list[tuple[int, int]]:
        """The first row of every page, and the one behind its last."""
        return list(pairwise(self.starts.tolist()))

    def batches(self, size: int) -> Iterator[tuple[int, list[FloatArray]]]:
        """``size`` pages at a time: the number of the first, and each one's vectors."""
        for first in range(0, len(self), size):
            yield first, [self.page(i) for i in range(first, min(first + size, len(self)))]

    def part(self, first: int, last: int) -> Pages:
        """Pages ``first`` up to ``last``, renumbered from 0, as documents of ten pages: a few
        hundred pages may be of one document, and checks need several."""
        low, high = self.starts[first], self.starts[last]
        return Pages(
            self.vectors[low:high],
            self.starts[first : last + 1] - low,
            np.arange(first, last) // PART_DOCUMENT,
            self.texts[first:last],
        )


@dataclass(frozen=True, slots=True, eq=False)
class Workload:
    """A folder that ``export`` wrote."""

    folder: Path
    about: Mapping[str, Any]

    @staticmethod
    def open(folder: Path) -> Workload:
        """The workload in ``folder``."""
        return Workload(folder, json.loads((folder / ABOUT).read_text("utf-8")))

    def pages(self) -> Pages:
        """All pages; their vectors stay on disk."""
        with np.load(self.folder / ARRAYS) as arrays:
            starts, documents = arrays["starts"], arrays["documents"]
        dim = int(self.about["dim"])
        shape = (int(starts[-1]), dim)
        vectors = np.memmap(self.folder / VECTORS, np.float16, "r", shape=shape)
        texts = (self.folder / TEXTS).read_text("utf-8").split("\n")[: len(documents)]
        return Pages(vectors, starts, documents, tuple(texts))

    def questions(self) -> list[Question]:
        """All questions."""
        with np.load(self.folder / ARRAYS) as arrays:
            vectors, starts = arrays["questions"], arrays["question_starts"]
            exact = arrays["exact"]
        return [
            Question(
                number=i,
                text=text,
                vectors=vectors[starts[i] : starts[i + 1]],
                exact=tuple(exact[i].tolist()),
                target=frozenset(target),
            )
            for i, (text, target) in enumerate(
                zip(self.about["questions"], self.about["targets"], strict=True)
            )
        ]


def keep_documents(folder: Path, pages: Pages, before: Ints | None = None) -> None:
    """For engines that know nothing of a page but its vectors: the document of every page."""
    here = pages.documents if before is None else np.concatenate((before, pages.documents))
    np.save(folder / "documents.npy", here)


def kept_documents(folder: Path) -> Ints:
    """What ``keep_documents`` wrote."""
    documents: Ints = np.load(folder / "documents.npy")
    return documents
