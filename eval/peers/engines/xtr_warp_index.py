"""xtr-warp-rs: WARP in Rust over torch; scores from codes alone, missing similarities estimated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from xtr_warp.search import XTRWarp as Index

from eval.peers.protocol import Engine, Setting
from eval.peers.workload import Pages, Question, keep_documents, kept_documents

_PROBES = (4, 8, 16, 32, 64, 128)


class XtrWarp(Engine):
    """Its defaults for building (4 bits); the knob is lists probed a token. Pages are not scored
    again with their vectors, so recall ends where the estimate does."""

    package = "xtr-warp-rs"

    def build(self, folder: Path, pages: Pages) -> None:
        keep_documents(folder, pages)
        _index(folder).create(_tensors(pages), device="cpu", show_progress=False)

    def open(self, folder: Path) -> None:
        self._index, self._documents = _index(folder), kept_documents(folder)
        self._index.load(device="cpu")

    def settings(self, pages: int, text: bool) -> Sequence[Setting]:
        return [Setting("WARP", {"nprobe": probes}) for probes in _PROBES]

    def search(self, question: Question, k: int, knobs: Mapping[str, Any]) -> Sequence[int]:
        return self._found(question, k, **knobs)

    def add(self, folder: Path, pages: Pages) -> None:
        keep_documents(folder, pages, kept_documents(folder))
        index = _index(folder)
        index.load(device="cpu")
        index.add(_tensors(pages), show_progress=False)

    def delete(self, folder: Path, ids: Sequence[int]) -> None:
        index = _index(folder)
        index.load(device="cpu")
        index.delete(list(ids))

    def search_documents(
        self, question: Question, k: int, documents: Sequence[int]
    ) -> Sequence[int]:
        allowed = np.flatnonzero(np.isin(self._documents, documents)).tolist()
        return self._found(question, k, subset=allowed, nprobe=_PROBES[-1])

    def _found(self, question: Question, k: int, **options: Any) -> list[int]:
        vectors = torch.from_numpy(question.vectors).unsqueeze(0)
        threads = torch.get_num_threads()
        found = self._index.search(
            vectors, top_k=k, num_threads=threads, show_progress=False, **options
        )
        return [int(number) for number, _ in found[0]]


def _index(folder: Path) -> Index:
    return Index(str(folder / "index"), device="cpu")


def _tensors(pages: Pages) -> list[torch.Tensor]:
    return [torch.from_numpy(np.array(pages.vectors[a:b])) for a, b in pages.bounds()]
