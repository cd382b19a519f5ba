"""Several encoders in one index: built at once or one after the other, searched together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from indexing.build import BuildSettings
from indexing.index import Index
from indexing.settings import IntakeSettings
from retrieval.encoders.base import Reads
from retrieval.errors import EncoderError, InputError
from retrieval.ranking import RankingWeights
from retrieval.search import SearchSettings
from retrieval.types import FloatArray, PageContent, PageEmbedding, QueryEmbedding
from tests.indexing.pdfs import write_books
from tests.retrieval.search_samples import TopicEncoder

SETTINGS = BuildSettings(intake=IntakeSettings(ocr="off", workers=1))


class ShadeEncoder:
    """Reads pictures: how dark each cell of a 4 x 3 grid is. A question names a corner."""

    id = "shades"
    fingerprint = "5ade"
    dim = 16
    reads: frozenset[Reads] = frozenset({"image"})

    def encode_pages(self, pages: Sequence[PageContent]) -> list[PageEmbedding]:
        found = []
        for page in pages:
            assert page.image is not None
            grey = 1 - page.image.mean(axis=2) / 255
            rows = [np.array_split(row, 3, axis=1) for row in np.array_split(grey, 4)]
            dark = np.array([cell.mean() for row in rows for cell in row], np.float32)
            vectors = np.eye(12, 16, dtype=np.float32) * dark[:, None] + 0.01
            at = np.stack([np.arange(12) % 3 / 3, np.arange(12) // 3 / 4], axis=1)
            boxes = np.concatenate((at, at + np.array([1 / 3, 1 / 4])), axis=1).astype(np.float32)
            found.append(PageEmbedding(_unit(vectors), boxes))
        return found

    def encode_queries(self, queries: Sequence[str]) -> list[QueryEmbedding]:
        one = np.ones(1, np.float32)
        return [QueryEmbedding(np.eye(16, dtype=np.float32)[:1], ("dark",), one) for _ in queries]


class UnknownEncoder(TopicEncoder):
    """One that no installation can load by its id, whatever other tests have registered."""

    id = "known-to-this-test-only"


def _unit(vectors: FloatArray) -> FloatArray:
    scaled: FloatArray = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return scaled


@pytest.fixture(scope="module")
def books(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_books(tmp_path_factory.mktemp("books"))


def opened(
    root: Path, others: dict[str, ShadeEncoder], search: SearchSettings | None = None
) -> Index:
    return Index.open(root, settings=SETTINGS, encoder=TopicEncoder(), others=others, search=search)


def test_an_encoder_added_later_sees_what_one_there_from_the_start_sees(
    tmp_path: Path, books: Path
) -> None:
    pixels = {"pixels": ShadeEncoder()}
    at_once = Index.create(
        tmp_path / "once", encoder=TopicEncoder(), others=pixels, settings=SETTINGS
    )
    at_once.add([books])
    later = Index.create(tmp_path / "later", encoder=TopicEncoder(), settings=SETTINGS)
    later.add([books])
    alone = later.search("which bird hunts voles").hits
    told: list[tuple[int, int]] = []
    pages = later.add_encoder("pixels", ShadeEncoder(), progress=lambda *at: told.append(at))
    assert told[-1] == (pages, pages) == (len(alone), len(alone))
    for index in (at_once, later):
        assert index.verify() == []
        assert index.status().lanes == {"pixels": "shades"}
    one, two = (index.search("which bird hunts voles").hits for index in (at_once, later))
    assert [(hit.page_id, hit.scores, hit.found_by) for hit in one] == [
        (hit.page_id, hit.scores, hit.found_by) for hit in two
    ]
    assert "late:pixels" in one[0].scores and "late:pixels" in one[0].found_by
    assert sum(one[0].scores.values()) == pytest.approx(one[0].score, abs=1e-5)
    later.remove_encoder("pixels")
    assert later.verify() == []
    again = later.search("which bird hunts voles").hits
    assert [(hit.page_id, hit.score) for hit in again] == [
        (hit.page_id, hit.score) for hit in alone
    ]


def test_weights_are_kept_in_the_index_and_can_be_overruled(tmp_path: Path, books: Path) -> None:
    pixels = {"pixels": ShadeEncoder()}
    index = Index.create(tmp_path / "i", encoder=TopicEncoder(), others=pixels, settings=SETTINGS)
    index.add([books])
    index.set_weights(RankingWeights(0, 0, 0, late=0, others={"pixels": 2.0}))
    for mode in ("two-stage", "exhaustive"):
        hits = opened(tmp_path / "i", pixels).search("voles", mode=mode).hits  # type: ignore[arg-type]
        scores = [hit.score for hit in hits]
        assert scores == sorted(scores, reverse=True)
        assert scores == pytest.approx([hit.scores["late:pixels"] for hit in hits], abs=1e-6)
    mine = SearchSettings(weights=RankingWeights(fusion="ranks"))
    hit = opened(tmp_path / "i", pixels, mine).search("which bird hunts voles").hits[0]
    assert "length" not in hit.scores and 0 < hit.score < 0.1
    assert "voles" in hit.regions[0].text


def test_lanes_must_be_there_and_sources_unchanged(tmp_path: Path) -> None:
    books = write_books(tmp_path / "books")
    index = Index.create(tmp_path / "i", encoder=TopicEncoder(), settings=SETTINGS)
    index.add([books])
    first = sorted(books.iterdir())[0]
    held = first.read_bytes()
    first.write_bytes(held + b"% changed")
    with pytest.raises(InputError, match=rf"{first.name} changed since"):
        index.add_encoder("pixels", ShadeEncoder())
    first.unlink()
    with pytest.raises(InputError, match=rf"{first.name} cannot be read again"):
        index.add_encoder("pixels", ShadeEncoder())
    # Words are in the index.
    assert index.add_encoder("words", UnknownEncoder()) == index.status().pages
    assert index.verify() == []
    with pytest.raises(InputError, match="no lane 'pixels'"):
        index.remove_encoder("pixels")
    with pytest.raises(EncoderError, match="'known-to-this-test-only'"):
        opened(tmp_path / "i", {}).search("voles")


def test_a_reader_goes_on_when_another_process_adds_an_encoder_or_takes_one_out(
    tmp_path: Path, books: Path
) -> None:
    index = Index.create(tmp_path / "i", encoder=TopicEncoder(), settings=SETTINGS)
    index.add([books])
    reader = opened(tmp_path / "i", {})
    assert "late:words" not in reader.search("voles").hits[0].scores
    index.add_encoder("words", "text")
    reader.refresh()
    assert "late:words" in reader.search("voles").hits[0].scores
    # It writes as one that was opened now.
    assert reader.remove(0) > 0
    index.remove_encoder("words")
    reader.refresh()
    assert reader.others == {}
    assert "late:words" not in reader.search("voles").hits[0].scores


def test_an_encoder_added_to_many_documents_leaves_few_fragments(
    tmp_path: Path, books: Path
) -> None:
    index = Index.create(tmp_path / "i", encoder=TopicEncoder(), settings=SETTINGS)
    index.add([books])
    assert index.status().documents > 1
    index.add_encoder("words", TopicEncoder())
    assert len(list((tmp_path / "i/lance/lane-words.lance/data").iterdir())) == 1
