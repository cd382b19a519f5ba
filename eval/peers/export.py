"""Writes a workload: pages made up with real statistics, or those of an index, and the truth.

The truth is the ten best pages by MaxSim over the vectors as written (float16), computed here
by matrix products and nothing of any engine.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np

from eval.datasets import read_questions
from eval.peers.workload import ABOUT, ARRAYS, TEXTS, VECTORS, FloatArray, Workload
from eval.synthetic.build import CollectionSpec
from eval.synthetic.pages import Collection, page_counts
from eval.synthetic.questions import make_questions
from eval.synthetic.statistics import Statistics
from indexing.index import Index
from retrieval.errors import InputError
from retrieval.store import Store

TOP = 10
_BLOCK_ROWS, _SCAN_PAGES = 16_384, 256


@dataclass(frozen=True, slots=True, eq=False)
class _Asked:
    """A question before the truth is known."""

    text: str
    vectors: FloatArray
    target: tuple[int, ...]


class _Writer:
    """Pages one after another into a folder; empty ones, which no engine could find, are left
    out."""

    def __init__(self, folder: Path, dim: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.dim = folder, dim
        self.lengths: list[int] = []
        self.documents: list[int] = []
        self.texts: list[str] = []
        self._file: BinaryIO = (folder / VECTORS).open("wb")

    def __enter__(self) -> _Writer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def add(self, document: int, vectors: FloatArray, text: str) -> int | None:
        """The number that the page got."""
        if not len(vectors):
            return None
        self._file.write(vectors.astype(np.float16).tobytes())
        self.lengths.append(len(vectors))
        self.documents.append(document)
        self.texts.append(" ".join(text.split()))
        return len(self.lengths) - 1

    def finish(self, asked: Sequence[_Asked], source: str) -> Workload:
        """Add the questions, and what exhaustive scoring finds for each."""
        self._file.close()
        starts = np.concatenate(([0], np.cumsum(self.lengths))).astype(np.int64)
        question_starts = np.cumsum([0, *(len(q.vectors) for q in asked)]).astype(np.int64)
        questions = np.concatenate([q.vectors for q in asked]).astype(np.float32)
        vectors = np.memmap(
            self.folder / VECTORS, np.float16, "r", shape=(int(starts[-1]), self.dim)
        )
        scores = exact_scores(vectors, starts, questions, question_starts)
        np.savez(
            self.folder / ARRAYS,
            starts=starts,
            documents=np.array(self.documents, np.int64),
            questions=questions,
            question_starts=question_starts,
            exact=np.argsort(-scores, axis=1, kind="stable")[:, :TOP],
        )
        (self.folder / TEXTS).write_text("".join(f"{text}\n" for text in self.texts), "utf-8")
        about = {
            "source": source,
            "pages": len(self.lengths),
            "vectors": int(starts[-1]),
            "dim": self.dim,
            "documents": len(set(self.documents)),
            "questions": [q.text for q in asked],
            "targets": [list(q.target) for q in asked],
            "text": any(self.texts) and all(q.text for q in asked),
        }
        (self.folder / ABOUT).write_text(json.dumps(about) + "\n", "utf-8")
        return Workload.open(self.folder)


def exact_scores(
    vectors: np.ndarray[tuple[int, int], np.dtype[np.float16]],
    starts: np.ndarray[tuple[int], np.dtype[np.int64]],
    questions: FloatArray,
    question_starts: np.ndarray[tuple[int], np.dtype[np.int64]],
) -> FloatArray:
    """MaxSim of every question with every page, ``[questions, pages] float32``.

    The sum over a question's vectors of their largest product with a vector of the page.
    """
    pages = len(starts) - 1
    scores = np.empty((len(question_starts) - 1, pages), np.float32)
    begin = 0
    while begin < pages:
        end = int(np.searchsorted(starts, starts[begin] + _BLOCK_ROWS, side="right")) - 1
        end = min(pages, max(end, begin + 1))
        rows = vectors[starts[begin] : starts[end]].astype(np.float32)
        best = np.maximum.reduceat(questions @ rows.T, starts[begin:end] - starts[begin], axis=1)
        scores[:, begin:end] = np.add.reduceat(best, question_starts[:-1], axis=0)
        begin = end
    return scores


def export_synthetic(
    folder: Path, pages: int, questions: int, spec: CollectionSpec | None = None
) -> Workload:
    """``pages`` pages of the made-up collection that ``folioscope bench scale`` builds."""
    spec = spec or CollectionSpec()
    collection = Collection(Statistics.read(), spec.patches, spec.seed)
    sizes = page_counts(collection.statistics, pages, spec.seed)
    numbers: dict[tuple[int, int], int] = {}
    with _Writer(folder, collection.statistics.dim) as writer:
        for document, size in enumerate(sizes.tolist()):
            for page in collection.document(document, size):
                text = " ".join(collection.vocabulary.texts[i] for i in page.words.tolist())
                number = writer.add(document, page.vectors, text)
                if number is not None:
                    numbers[document, page.number] = number
                if len(numbers) == pages:
                    break
            if len(numbers) == pages:
                break
        asked = [
            _Asked(q.text, q.embedding.vectors, (numbers[q.document, q.number],))
            for q in make_questions(collection, pages, questions, spec.seed)
            if (q.document, q.number) in numbers
        ]
        return writer.finish(asked, f"made up, {spec.patches:g} patches a page, seed {spec.seed}")


def export_index(
    folder: Path, index_folder: Path, questions_file: Path, questions: int
) -> Workload:
    """The pages of an index as its codes have them, and questions of scope ``corpus``.

    Raises ``InputError`` if no question is about a page of the index.
    """
    with Index.open(index_folder) as index, Store.open(index_folder) as store:
        numbers: dict[tuple[int, int], int] = {}
        directory = store.pages
        order = np.lexsort((directory.numbers, directory.doc_ids))
        with _Writer(folder, index.encoder.dim) as writer:
            for begin in range(0, len(order), _SCAN_PAGES):
                offsets = order[begin : begin + _SCAN_PAGES].astype(np.int64)
                for offset, vectors, text in _stored(store, offsets):
                    doc_id = int(directory.doc_ids[offset])
                    number = writer.add(doc_id, vectors, text)
                    if number is not None:
                        numbers[doc_id, int(directory.numbers[offset])] = number
            asked = list(_asked(index, questions_file, numbers))[:questions]
            if not asked:
                raise InputError(
                    f"{questions_file}: no question of scope corpus is about a page of "
                    f"{index_folder}; name the questions that belong to it"
                )
            return writer.finish(asked, f"index {index_folder.name}")


def _stored(
    store: Store, offsets: np.ndarray[tuple[int], np.dtype[np.int64]]
) -> Iterator[tuple[int, FloatArray, str]]:
    patches = store.fetch_patches(offsets)
    for i, record in enumerate(store.fetch_boxes_and_words(offsets)):
        vectors = patches.vectors(i, store.manifest.dim)
        yield int(offsets[i]), vectors, record.words.text()


def _asked(
    index: Index, questions_file: Path, numbers: dict[tuple[int, int], int]
) -> Iterator[_Asked]:
    for question in read_questions(questions_file):
        if question.scope != "corpus" or question.suspect:
            continue
        doc_id = index.find(question.doc)
        target = tuple(numbers[doc_id, p] for p in sorted(question.pages) if (doc_id, p) in numbers)
        vectors = index.encoder.encode_queries([question.text])[0].vectors
        if target and len(vectors):
            yield _Asked(question.text, vectors, target)
