"""fast-plaid: PLAID in Rust over torch; residual codes around centroids, scored approximately."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fast_plaid.search import FastPlaid as Index

from eval.peers.protocol import Engine, Setting
from eval.peers.workload import Pages, Question, keep_documents, kept_documents

_PROBES, _SCORES = (2, 8, 32), (128, 512, 2048)


class FastPlaid(Engine):
    """Its defaults for building (4 bits); the knobs are lists probed and pages scored in full."""

    package = "fast-plaid"

    def build(self, folder: Path, pages: Pages) -> None:
        keep_documents(folder, pages)
        _open(folder).create(documents_embeddings=_tensors(pages))

    def open(self, folder: Path) -> None:
        self._index, self._documents = _open(folder), kept_documents(folder)

    def settings(self, pages: int, text: bool) -> Sequence[Setting]:
        return [
            Setting("PLAID", {"n_ivf_probe": probes, "n_full_scores": scores})
            for probes in _PROBES
            for scores in _SCORES
        ]

    def search(self, question: Question, k: int, knobs: Mapping[str, Any]) -> Sequence[int]:
        return self._found(question, k, **knobs)

    def add(self, folder: Path, pages: Pages) -> None:
        keep_documents(folder, pages, kept_documents(folder))
        _open(folder).update(documents_embeddings=_tensors(pages))

    def delete(self, folder: Path, ids: Sequence[int]) -> None:
        """Later pages move up, so ids change: the array beside the index follows."""
        _open(folder).delete(subset=list(ids))

    def search_documents(
        self, question: Question, k: int, documents: Sequence[int]
    ) -> Sequence[int]:
        allowed = np.flatnonzero(np.isin(self._documents, documents)).tolist()
        return self._found(question, k, subset=allowed)

    def _found(self, question: Question, k: int, **options: Any) -> list[int]:
        vectors = torch.from_numpy(question.vectors).unsqueeze(0)
        found = self._index.search(vectors, top_k=k, show_progress=False, **options)
        return [int(number) for number, _ in found[0]]


def _open(folder: Path) -> Index:
    return Index(index=str(folder / "index"), device="cpu")


def _tensors(pages: Pages) -> list[torch.Tensor]:
    return [torch.from_numpy(np.array(pages.vectors[a:b])) for a, b in pages.bounds()]
