"""bm25s: BM25 over the pages' words. Knows nothing of vectors; the lower bound of effort."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import bm25s
import numpy as np

from eval.peers.protocol import Engine, Setting
from eval.peers.workload import Pages, Question, keep_documents, kept_documents


class Bm25sWords(Engine):
    """Its tokeniser with English stop words, no stemmer, scores computed when indexing."""

    package = "bm25s"
    needs_text = True

    def build(self, folder: Path, pages: Pages) -> None:
        index = bm25s.BM25()
        index.index(self._tokens(pages.texts), show_progress=False)
        index.save(folder / "index")
        keep_documents(folder, pages)

    def open(self, folder: Path) -> None:
        self._index = bm25s.BM25.load(folder / "index", mmap=True)
        self._documents = kept_documents(folder)

    def settings(self, pages: int, text: bool) -> Sequence[Setting]:
        return [Setting("words")] if text else []

    def search(self, question: Question, k: int, knobs: Mapping[str, Any]) -> Sequence[int]:
        return self._found(question, k, None)

    def search_documents(
        self, question: Question, k: int, documents: Sequence[int]
    ) -> Sequence[int]:
        return self._found(question, k, np.isin(self._documents, documents).astype(np.float32))

    def _found(self, question: Question, k: int, mask: Any) -> list[int]:
        tokens = self._tokens([question.text])
        k = min(k, len(self._documents))
        ids, scores = self._index.retrieve(tokens, k=k, show_progress=False, weight_mask=mask)
        return [int(i) for i, score in zip(ids[0], scores[0], strict=True) if score > 0]

    @staticmethod
    def _tokens(texts: Sequence[str]) -> Any:
        return bm25s.tokenize(list(texts), stopwords="en", show_progress=False)
