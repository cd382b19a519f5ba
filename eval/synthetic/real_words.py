"""The words of an index of real pages, one by one, with the vectors they have there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import InputError
from retrieval.store import Store
from retrieval.types import FloatArray

Ints = NDArray[np.int64]
# The most frequent words hold sentences together; the others are what pages are about.
FUNCTION_WORDS = 150
# A word's mean vector is trusted from so many occurrences on.
RARE = 20
_FEWEST_WORDS = 200_000


@dataclass(frozen=True, slots=True, eq=False)
class Words:
    """Every patch of an index that is a word: vectors ``[n, d]``, and for each its word's
    number (0 is the most frequent), page, document and place within the page.
    ``numbers`` is each word's number by its text.
    """

    vectors: FloatArray
    word: Ints
    page: Ints
    doc: Ints
    place: Ints
    numbers: Mapping[str, int]

    @property
    def counts(self) -> Ints:
        """How often each word occurs."""
        return np.bincount(self.word)

    def means(self) -> FloatArray:
        """Each word's mean vector ``[words, d]``."""
        sums = np.zeros((len(self.counts), self.vectors.shape[1]), np.float32)
        np.add.at(sums, self.word, self.vectors)
        means: FloatArray = (sums / self.counts[:, None]).astype(np.float32)
        return means


def read_words(store: Store) -> Words:
    """The words of an index. Raises ``InputError`` if its patches are not words."""
    numbers: dict[str, int] = {}
    vectors: list[FloatArray] = []
    word: list[int] = []
    page: list[int] = []
    place: list[int] = []
    for offsets, patches in store.scan_patches():
        for i, record in enumerate(store.fetch_boxes_and_words(offsets)):
            codes = patches.codes[patches.starts[i] : patches.starts[i + 1]]
            texts = [t.lower().strip(".,;:()[]\"'") for t in record.words.texts if _spoken(t)]
            if len(texts) != len(codes):
                raise InputError(
                    f"page {record.page_id} of {store.root} has {len(codes)} patches and "
                    f"{len(texts)} words; statistics can be taken of the text encoder's indexes"
                )
            vectors.append(patches.vectors(i, store.manifest.dim))
            word += [numbers.setdefault(text, len(numbers)) for text in texts]
            page += [int(offsets[i])] * len(texts)
            place += range(len(texts))
    if len(word) < _FEWEST_WORDS:
        raise InputError(
            f"{store.root} holds {len(word):,} words; statistics need {_FEWEST_WORDS:,}"
        )
    found, pages = np.array(word, np.int64), np.array(page, np.int64)
    by_count = np.argsort(-np.bincount(found), kind="stable")
    rank = np.empty_like(by_count)
    rank[by_count] = np.arange(len(rank))
    return Words(
        np.concatenate(vectors),
        rank[found],
        pages,
        store.pages.doc_ids[pages].astype(np.int64),
        np.array(place, np.int64),
        {text: int(rank[number]) for text, number in numbers.items()},
    )


def _spoken(text: str) -> bool:
    return any(character.isalnum() for character in text)
