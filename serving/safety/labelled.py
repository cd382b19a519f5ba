"""Labelled texts: to train on, to calibrate on, to measure on, and never the same twice.

Public sets of prompts copy from each other. Near-duplicates are put together first, and the parts
are dealt by group, so that no part knows another's texts in other words.
"""

from __future__ import annotations

import csv
import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import InputError

Part = Literal["train", "calibrate", "test"]
PARTS: tuple[Part, ...] = ("train", "calibrate", "test")
# Half to train on, a quarter each to calibrate on and to measure on.
_DEAL: tuple[Part, ...] = ("train", "calibrate", "train", "test")
_LABELS = {"harmful": True, "benign": False}
_PLACES = ("question", "page", "answer")
_SHINGLE = 5
ALIKE = 0.5
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Labelled:
    """One text. ``category`` and ``source`` are the file's own words; ``place`` is where such a
    text is met."""

    id: str
    text: str
    harmful: bool
    category: str = ""
    source: str = ""
    place: Literal["question", "page", "answer"] = "question"


def read_labelled(path: Path) -> list[Labelled]:
    """Rows of a CSV file with the columns ``text`` and ``label`` (harmful, benign), and perhaps
    ``id``, ``category``, ``source``, ``place``. Raises ``InputError`` with the line."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            missing = {"text", "label"} - set(reader.fieldnames or ())
            if missing:
                raise InputError(f"{path} has no column {' and '.join(sorted(missing))}")
            rows = [_row(path, reader.line_num, row) for row in reader]
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not a CSV file in UTF-8: {error}") from error
    if not rows:
        raise InputError(f"{path} has no rows")
    return rows


def _row(path: Path, line: int, row: dict[str, str | None]) -> Labelled:
    label, text = (row.get("label") or "").strip().lower(), (row.get("text") or "").strip()
    place = (row.get("place") or "question").strip()
    if label not in _LABELS:
        raise InputError(f"{path}, line {line}: the label is '{label}'; use harmful or benign")
    if place not in _PLACES:
        raise InputError(f"{path}, line {line}: the place is '{place}'; use {', '.join(_PLACES)}")
    if not text:
        raise InputError(f"{path}, line {line}: the text is empty")
    return Labelled(
        row.get("id") or str(line),
        text,
        _LABELS[label],
        row.get("category") or "",
        row.get("source") or "",
        place,  # type: ignore[arg-type]
    )


def groups_of(texts: Sequence[str], alike: float = ALIKE) -> NDArray[np.int64]:
    """A group's number for each text ``[n]``: texts that share at least ``alike`` of their groups
    of five letters (Jaccard), and what is joined through others."""
    shingles = [_shingles(text) for text in texts]
    parent = list(range(len(texts)))

    def root(at: int) -> int:
        while parent[at] != at:
            parent[at] = parent[parent[at]]
            at = parent[at]
        return at

    having: dict[str, list[int]] = defaultdict(list)
    for at, own in enumerate(shingles):
        shared: Counter[int] = Counter()
        for shingle in own:
            shared.update(having[shingle])
            having[shingle].append(at)
        for other, count in shared.items():
            if count >= alike * (len(own) + len(shingles[other]) - count):
                parent[root(at)] = root(other)
    return np.array([root(at) for at in range(len(texts))], np.int64)


def parts_of(rows: Sequence[Labelled], groups: NDArray[np.int64]) -> list[Part]:
    """The part of each row. Within a source and label, groups are ordered by a hash of their first
    text and dealt in turn, so that the parts do not depend on the file's order."""
    members: dict[int, list[Labelled]] = defaultdict(list)
    for row, group in zip(rows, groups.tolist(), strict=True):
        members[group].append(row)
    strata: dict[tuple[str, bool], list[tuple[str, int]]] = defaultdict(list)
    for group, own in members.items():
        first = min(own, key=lambda row: (_plain(row.text), row.source, row.harmful))
        key = hashlib.sha256(_plain(first.text).encode("utf-8", "surrogatepass")).hexdigest()
        strata[first.source, first.harmful].append((key, group))
    dealt = {
        group: _DEAL[place % len(_DEAL)]
        for stratum in strata.values()
        for place, (_, group) in enumerate(sorted(stratum))
    }
    return [dealt[group] for group in groups.tolist()]


def part_of(rows: Sequence[Labelled], part: str) -> list[Labelled]:
    """The rows of a part, or ``all``. Raises ``InputError``."""
    if part == "all":
        return list(rows)
    if part not in PARTS:
        raise InputError(f"unknown part '{part}'; use {', '.join(PARTS)} or all")
    dealt = parts_of(rows, groups_of([row.text for row in rows]))
    return [row for row, of in zip(rows, dealt, strict=True) if of == part]


def _plain(text: str) -> str:
    return " ".join(_WORD.findall(text.lower()))


def _shingles(text: str) -> frozenset[str]:
    said = _plain(text)
    return frozenset(said[at : at + _SHINGLE] for at in range(max(1, len(said) - _SHINGLE + 1)))
