"""Word pieces as the model was trained on them, and which word each belongs to."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.encoders import wordpiece
from retrieval.encoders.wordpiece import VOCABULARY, WordPieces, rarity
from retrieval.errors import EncoderError

VOCABULARY_LINES = gzip.decompress(VOCABULARY.read_bytes()).decode().splitlines()


@pytest.fixture(scope="module")
def pieces() -> WordPieces:
    return WordPieces()


def spelled(ids: np.ndarray) -> list[str]:
    return [VOCABULARY_LINES[i] for i in ids]


def test_pieces_are_those_of_the_published_tokenizer(pieces: WordPieces) -> None:
    """Ids as in bert-base-uncased: hello 7592, world 2088, ``##ability`` and so on."""
    ids, tokens = pieces.of_question("Hello, World!")
    assert ids.tolist() == [7592, 1010, 2088, 999]
    assert tokens == ("hello", ",", "world", "!")
    ids, tokens = pieces.of_question("Embeddings Café")
    assert tokens == ("em", "##bed", "##ding", "##s", "cafe")
    assert ids.tolist() == [7861, 8270, 4667, 2015, 7668]


def test_every_piece_knows_its_word(pieces: WordPieces) -> None:
    found = pieces.of_words(("Embeddings", "--", "of", "U.S.", "\u2022", "cafés"))
    assert spelled(found.ids) == ["em", "##bed", "##ding", "##s", "of", "u", ".", "s", ".", "cafes"]
    assert found.word.tolist() == [0, 0, 0, 0, 2, 3, 3, 3, 3, 5]


@pytest.mark.parametrize("words", [(), ("",), ("--", "\u2022", "...", "_", " ")])
def test_punctuation_alone_has_no_pieces(pieces: WordPieces, words: tuple[str, ...]) -> None:
    found = pieces.of_words(words)
    assert found.ids.shape == found.word.shape == (0,)


@given(st.lists(st.text(max_size=12), max_size=20))
def test_a_word_has_pieces_if_and_only_if_it_has_a_letter_or_digit(words: list[str]) -> None:
    found = shared().of_words(tuple(words))
    spoken = [i for i, word in enumerate(words) if any(c.isalnum() for c in word)]
    assert sorted(set(found.word.tolist())) == spoken
    assert (np.diff(found.word) >= 0).all()
    assert len(found.ids) == len(found.word)


_SHARED: list[WordPieces] = []


def shared() -> WordPieces:
    """One tokenizer for all examples: hypothesis takes no module fixture."""
    if not _SHARED:
        _SHARED.append(WordPieces())
    return _SHARED[0]


def test_a_word_that_no_vocabulary_spells_is_one_unknown_piece(pieces: WordPieces) -> None:
    found = pieces.of_words(("x" * 500, "end"))
    assert spelled(found.ids) == ["[UNK]", "end"]


def test_rare_pieces_weigh_more(pieces: WordPieces) -> None:
    ids, _ = pieces.of_question("the revenue nectar")
    weights = rarity(ids)
    assert weights.dtype == np.float32
    assert 0 < weights[0] < weights[1] < weights[2]


def test_a_damaged_vocabulary_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    damaged = tmp_path / VOCABULARY.name
    monkeypatch.setattr(wordpiece, "VOCABULARY", damaged)
    with pytest.raises(EncoderError, match=r"cannot read the vocabulary.*reinstall"):
        WordPieces()
    whole = VOCABULARY.read_bytes()
    damaged.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(EncoderError, match=r"cannot read the vocabulary.*reinstall"):
        WordPieces()
    swapped = [*VOCABULARY_LINES]
    swapped[2000], swapped[2001] = swapped[2001], swapped[2000]
    damaged.write_bytes(gzip.compress("\n".join(swapped).encode()))
    with pytest.raises(EncoderError, match="was altered; reinstall"):
        WordPieces()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0x10
    damaged.write_bytes(flipped)
    with pytest.raises(EncoderError, match="reinstall"):
        WordPieces()
