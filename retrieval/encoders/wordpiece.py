"""The uncased BERT WordPiece tokenizer of all-MiniLM-L6-v2, from the vocabulary we carry.

The weights' package has no tokenizer, and the packages that carry one are 90 MB for what is
a list of 30,522 word pieces, so the list is here and ``tokenizers`` does the work.
"""

from __future__ import annotations

import gzip
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import EncoderError
from retrieval.types import FloatArray

CLS, SEP = 101, 102
VOCABULARY = Path(__file__).with_name("uncased_vocabulary.txt.gz")
VOCABULARY_SHA256 = "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"
# The vocabulary is ordered by how common a piece is: among the first thousand are the letters
# and punctuation marks, then "the", "of" ... A piece's place is thus a corpus-free stand-in
# for its document frequency.
_COMMON = 1000.0
_LETTER_OR_DIGIT = re.compile(r"[^\W_]")


@dataclass(frozen=True, slots=True, eq=False)
class Pieces:
    """Word pieces of a list of words: ``ids [m] int64`` and the word of each ``[m] int64``."""

    ids: NDArray[np.int64]
    word: NDArray[np.int64]


class WordPieces:
    """Cuts words and questions into word pieces. Safe to share between threads."""

    def __init__(self) -> None:
        from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

        try:
            raw = gzip.decompress(VOCABULARY.read_bytes())
        except (OSError, EOFError) as error:
            raise EncoderError(
                f"cannot read the vocabulary {VOCABULARY} ({error}); reinstall folioscope"
            ) from error
        if hashlib.sha256(raw).hexdigest() != VOCABULARY_SHA256:
            raise EncoderError(f"the vocabulary {VOCABULARY} was altered; reinstall folioscope")
        vocabulary = {piece: i for i, piece in enumerate(raw.decode("utf-8").splitlines())}
        tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        self._tokenizer: Any = tokenizer

    def of_words(self, words: tuple[str, ...]) -> Pieces:
        """Pieces of a page's words; words of punctuation alone have none of their own."""
        spoken = [i for i, word in enumerate(words) if _LETTER_OR_DIGIT.search(word)]
        if not spoken:
            return Pieces(np.zeros(0, np.int64), np.zeros(0, np.int64))
        encoding = self._tokenizer.encode(
            [words[i] for i in spoken], is_pretokenized=True, add_special_tokens=False
        )
        ids = np.array(encoding.ids, np.int64)
        word = np.array(spoken, np.int64)[np.array(encoding.word_ids, np.int64)]
        return Pieces(ids, word)

    def of_question(self, question: str) -> tuple[NDArray[np.int64], tuple[str, ...]]:
        """Piece ids ``[q] int64`` of a question, and the pieces themselves."""
        encoding = self._tokenizer.encode(question, add_special_tokens=False)
        return np.array(encoding.ids, np.int64), tuple(encoding.tokens)


def rarity(ids: NDArray[np.int64]) -> FloatArray:
    """Weight of each piece ``[q] float32``: common pieces say little about a page."""
    weights: FloatArray = np.log1p(ids / _COMMON).astype(np.float32)
    return weights
