"""Hashed words and letter groups of texts, without a vocabulary: a model made from them holds
numbers only, and none of the texts it was trained on can be read from it.

All texts of a call are hashed together, as arrays of bytes: a page's passages cost less than a
millisecond.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from serving.safety.text import plain

BUCKETS_LOG2 = 14
BUCKETS = 1 << BUCKETS_LOG2
_LETTERS = (3, 4, 5)
_GAP, _END = 0x20, 0x0A
_BASE = np.uint64(0x9E3779B97F4A7C15)
_MIX = np.uint64(0xD6E8FEB86659FD93)
# Positions in a word beyond this share their factor: no word is so long.
_LONGEST = 64
_POWERS = np.cumprod(np.full(_LONGEST, _BASE, np.uint64))
_DIGITS = str.maketrans("123456789", "000000000")
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True, eq=False)
class Grams:
    """Which buckets each text has: pairs ``texts[i]`` and ``buckets[i]``, each pair once,
    ordered; ``count`` texts."""

    texts: NDArray[np.int64]
    buckets: NDArray[np.int64]
    count: int


def grams_of(texts: Sequence[str]) -> Grams:
    """Words, pairs of words and groups of three to five letters; case, digits, punctuation and
    whatever hides words are levelled first."""
    joined = "\n".join(f" {folded(text)} " for text in texts) + "\n"
    raw = np.frombuffer(joined.encode("utf-8", "replace"), np.uint8)
    values = raw.astype(np.uint64) + np.uint64(1)
    text = np.cumsum(raw == _END) - (raw == _END)
    rows, hashes = [], []
    rolling = values
    for length in range(2, max(_LETTERS) + 1):
        rolling = rolling[:-1] * _BASE + values[length - 1 :]
        if length in _LETTERS:
            whole = text[: len(rolling)] == text[length - 1 :]
            whole &= raw[length - 1 :] != _END
            rows.append(text[: len(rolling)][whole])
            hashes.append((rolling[whole] + np.uint64(length)) * _MIX)
    inside = (raw != _GAP) & (raw != _END)
    first = np.flatnonzero(inside & ~np.concatenate([[False], inside[:-1]]))
    if len(first):
        at = np.arange(len(raw)) - first[np.maximum(np.cumsum(_starts(first, len(raw))) - 1, 0)]
        weighed = np.where(inside, values * _POWERS[np.clip(at, 0, _LONGEST - 1)], np.uint64(0))
        words = np.add.reduceat(weighed, first)
        of = text[first]
        rows.append(of)
        hashes.append(words * _MIX)
        beside = of[:-1] == of[1:]
        rows.append(of[:-1][beside])
        hashes.append(((words[:-1] * _BASE + words[1:]) * _MIX)[beside])
    shift = np.uint64(64 - BUCKETS_LOG2)
    buckets = (np.concatenate(hashes) >> shift).astype(np.int64)
    pairs = np.unique(np.concatenate(rows).astype(np.int64) * BUCKETS + buckets)
    return Grams(pairs // BUCKETS, pairs % BUCKETS, len(texts))


def folded(text: str) -> str:
    """Lower-case words with single spaces, digits as zeros."""
    return " ".join(_WORD.findall(plain(text).text.lower())).translate(_DIGITS)


def _starts(first: NDArray[np.intp], length: int) -> NDArray[np.int64]:
    marks = np.zeros(length, np.int64)
    marks[first] = 1
    return marks
