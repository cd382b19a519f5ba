"""The questions that an encoder was asked last, with their vectors.

An answer is checked against the words of its pages, and who sees ten hits has ten heatmaps drawn:
all of them need the question's vectors again, and encoding was half of what a heatmap took. A
search encodes its question all the same, so that its time is that of a new question.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

from retrieval.encoders.base import PageEncoder
from retrieval.types import QueryEmbedding

# A question takes some 10 kB, the longest 100.
_MOST = 256


class EncodedQuestions:
    """Questions through one encoder; the last ``most`` are kept. Safe to share by threads."""

    def __init__(self, encoder: PageEncoder, most: int = _MOST) -> None:
        self._encoder = encoder
        self._most = most
        self._kept: OrderedDict[str, QueryEmbedding] = OrderedDict()
        self._guard = threading.Lock()

    def encode(self, question: str) -> QueryEmbedding:
        """What the encoder makes of ``question``, to be recalled later."""
        found = self._encoder.encode_queries([question])[0]
        with self._guard:
            self._kept[question] = found
            self._kept.move_to_end(question)
            if len(self._kept) > self._most:
                self._kept.popitem(last=False)
        return found

    def recall(self, question: str) -> QueryEmbedding:
        """The same, without encoding it again where it was asked lately."""
        with self._guard:
            found = self._kept.get(question)
            if found is not None:
                self._kept.move_to_end(question)
        return found or self.encode(question)
