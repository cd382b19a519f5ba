"""colpali-engine's scoring of every page, as byaldi does it: no index, all vectors in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from colpali_engine.utils.processing_utils import BaseVisualRetrieverProcessor

from eval.peers.protocol import Engine, Setting
from eval.peers.workload import Pages, Question, keep_documents

_FILE = "pages.pt"


class ColpaliScoring(Engine):
    """``score_multi_vector`` over float32 tensors, kept as byaldi keeps them: in one torch file."""

    package = "colpali-engine"

    def build(self, folder: Path, pages: Pages) -> None:
        keep_documents(folder, pages)
        torch.save([torch.from_numpy(pages.page(i)) for i in range(len(pages))], folder / _FILE)

    def open(self, folder: Path) -> None:
        self._pages = torch.load(folder / _FILE)

    def settings(self, pages: int, text: bool) -> Sequence[Setting]:
        return [Setting("scan")]

    def search(self, question: Question, k: int, knobs: Mapping[str, Any]) -> Sequence[int]:
        scores = BaseVisualRetrieverProcessor.score_multi_vector(
            [torch.from_numpy(question.vectors)], self._pages, device="cpu"
        )
        found: list[int] = scores[0].topk(min(k, len(self._pages))).indices.tolist()
        return found
