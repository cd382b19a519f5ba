"""Orders hidden among a page's sentences: what the head that marks them is trained and measured on.

Kinds of attacks, carriers and documents are dealt to the parts whole, so that what is measured is
how the head does on kinds of orders and documents that it has not seen.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import InputError
from retrieval.types import PageWords
from serving.safety.heads import Head
from serving.safety.labelled import Labelled, Part
from serving.safety.passages import passages_of_text
from serving.safety.training import train_grams

_DEAL: tuple[Part, ...] = ("train", "calibrate", "train", "test")
# An attack in so many of the carriers of its part, and so often alone, is one of many pages.
_STEP, _ALONE = 5, 3


@dataclass(frozen=True, slots=True)
class Attack:
    """An order of one kind."""

    category: str
    text: str


@dataclass(frozen=True, slots=True)
class HonestPage:
    """A page's words as text; ``document`` names its document within one index."""

    document: str
    text: str


def read_attacks(path: Path) -> list[Attack]:
    """Rows of a CSV file with the columns ``category`` and ``attack_text``. Raises
    ``InputError``."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [Attack(row["category"], row["attack_text"]) for row in csv.DictReader(file)]
    except (OSError, KeyError, csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"cannot read attacks from {path}: {error!r}") from error


def read_carriers(path: Path) -> list[str]:
    """The ``context`` of each line of a JSONL file. Raises ``InputError``."""
    try:
        lines = path.read_text("utf-8").splitlines()
        return [str(json.loads(line)["context"]) for line in lines if line.strip()]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"cannot read carriers from {path}: {error!r}") from error


def parts_of_attacks(attacks: Sequence[Attack]) -> Mapping[str, Part]:
    """The part of each category: half for training, a quarter each to calibrate and to test."""
    names = sorted({attack.category for attack in attacks})
    return {name: _DEAL[at % len(_DEAL)] for at, name in enumerate(names)}


def carriers_of(carriers: Sequence[str], part: Part) -> list[str]:
    """The carriers of a part, dealt in the file's order."""
    return [text for at, text in enumerate(carriers) if _DEAL[at % len(_DEAL)] == part]


def part_of_document(source: str) -> Part:
    """The part of a document, by its file's name."""
    name = Path(source).name.encode("utf-8", "surrogatepass")
    return _DEAL[hashlib.sha256(name).digest()[0] % len(_DEAL)]


def page_text(words: PageWords) -> str:
    """A page's words in reading order."""
    return " ".join(words.texts)


def train_orders(
    attacks: Sequence[Attack], carriers: Sequence[str], honest: Sequence[HonestPage]
) -> tuple[Head, float, int]:
    """The head trained on the training part, its AUROC over passages in cross-validation by kind
    and document, and the count of passages. Raises ``InputError``."""
    parts = parts_of_attacks(attacks)
    names = sorted(parts)
    ours = carriers_of(carriers, "train")
    rows: list[Labelled] = []
    groups: list[int] = []

    def add(texts: Sequence[str], harmful: bool, group: int) -> None:
        rows.extend(Labelled("", text, harmful) for text in texts)
        groups.extend([group] * len(texts))

    for at, attack in enumerate(a for a in attacks if parts[a.category] == "train"):
        group = names.index(attack.category) // 2
        add([attack.text] * _ALONE, True, group)
        for carrier in ours[at % _STEP :: _STEP]:
            clean = passages_of_text(carrier)
            with_it = passages_of_text(f"{carrier}\n{attack.text}")
            attacked = [passage for passage in with_it if passage not in set(clean)][-2:]
            add(attacked, True, group)
            # As often without it, or the carriers' own last words pass for signs of an order.
            add(clean[-1:] * len(attacked), False, ours.index(carrier))
    for at, carrier in enumerate(ours):
        add(passages_of_text(carrier), False, at)
    documents = sorted({page.document for page in honest})
    for page in honest:
        if part_of_document(page.document) == "train":
            add(passages_of_text(page.text), False, documents.index(page.document))
    head, area = train_grams(rows, np.array(groups, np.int64))
    return head, area, len(rows)


def calibration_pages(
    attacks: Sequence[Attack], carriers: Sequence[str], honest: Sequence[HonestPage]
) -> list[Labelled]:
    """Whole pages of the calibration part: attacked carriers, clean ones, pages of documents."""
    parts = parts_of_attacks(attacks)
    ours = carriers_of(carriers, "calibrate")
    clean = [*ours, *(p.text for p in honest if part_of_document(p.document) == "calibrate")]
    return [
        *(
            Labelled("", f"{carrier}\n{attack.text}", True, place="page")
            for attack in attacks
            if parts[attack.category] == "calibrate"
            for carrier in ours
        ),
        *(Labelled("", text, False, place="page") for text in clean if text.strip()),
    ]


def drawn(count: int, most: int, seed: int = 0) -> NDArray[np.int64]:
    """At most ``most`` of ``count`` places, at random, the same ones every time."""
    found: NDArray[np.int64] = np.sort(np.random.default_rng(seed).permutation(count)[:most])
    return found
