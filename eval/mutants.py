"""Damaged copies of good files: bits flipped, ends cut off, streams spliced, blocks zeroed.

The same seed makes the same mutants, so that one that is read badly can be made again by its
name.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

KINDS = ("flip", "cut", "splice", "zero", "swap", "repeat")
_HEADER = 512


@dataclass(frozen=True, slots=True)
class Mutant:
    """``name`` says how it was made: origin, kind, number, and the origin's ending."""

    name: str
    kind: str
    content: bytes


def mutants(origins: Sequence[Path], count: int, seed: int = 0) -> Iterator[Mutant]:
    """``count`` mutants of ``origins`` (none of them empty), of each origin and kind in turn."""
    whole = {path: path.read_bytes() for path in origins}
    for number in range(count):
        path = origins[number % len(origins)]
        kind = KINDS[number // len(origins) % len(KINDS)]
        chance = random.Random(f"{seed} {number} {path.name} {kind}")
        other = whole[chance.choice(origins)]
        content = mutate(whole[path], other, kind, chance)
        yield Mutant(f"{path.stem}-{kind}-{number}{path.suffix}", kind, content)


def mutate(content: bytes, other: bytes, kind: str, chance: random.Random) -> bytes:
    """One damaged copy of ``content``; ``splice`` takes a stretch of ``other``."""
    data = bytearray(content)
    if kind == "flip":
        # Half of them near the beginning, where formats keep what sizes and counts follow from.
        for _ in range(chance.choice((1, 4, 16, 64))):
            within = min(len(data), _HEADER) if chance.random() < 0.5 else len(data)
            data[chance.randrange(within)] ^= 1 << chance.randrange(8)
    elif kind == "cut":
        del data[chance.randrange(1, max(2, len(data))) :]
    elif kind == "splice":
        start, end = _stretch(len(data), chance)
        begin, finish = _stretch(len(other), chance)
        data[start:end] = other[begin:finish]
    elif kind == "zero":
        start, end = _stretch(len(data), chance)
        data[start:end] = bytes(end - start)
    elif kind == "swap":
        middle = chance.randrange(len(data))
        start, end = _stretch(middle + 1, chance)
        data[start : middle + 1] = data[end : middle + 1] + data[start:end]
    else:
        start, end = _stretch(len(data), chance)
        data[start:start] = data[start:end]
    return bytes(data)


def _stretch(length: int, chance: random.Random) -> tuple[int, int]:
    """From and to, at most a quarter of ``length`` apart."""
    start = chance.randrange(length)
    return start, min(length, start + 1 + chance.randrange(max(1, length // 4)))
