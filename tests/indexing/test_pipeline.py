"""Reading, encoding and writing at once: order, errors, and how far ahead readers may run."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest

from indexing.pipeline import Ended, Event, PoolSettings, Started, encode, read_ahead, rows_of
from retrieval.errors import EncoderError, FolioscopeError, InputError
from retrieval.maxsim import SCALED, as_floats
from retrieval.store import PageRow
from retrieval.types import DocumentInfo, PageContent, PageEmbedding, PageWords
from tests.retrieval.search_samples import TopicEncoder

Pages = Callable[[DocumentInfo], Iterator[PageContent]]
POOLING = PoolSettings("kmeans", 4)


def document(name: str, pages: int = 1) -> DocumentInfo:
    return DocumentInfo(f"/files/{name}.pdf", f"sha-{name}", "application/pdf", name, pages, 10)


def page(number: int, text: str = "heron otter badger curlew salmon") -> PageContent:
    words = tuple(text.split())
    boxes = np.random.default_rng(number).random((len(words), 4)).astype(np.float32)
    lines = np.zeros(len(words), np.int32)
    image = np.zeros((4, 4, 3), np.uint8)
    return PageContent(
        number, str(number + 1), 612.0, 792.0, PageWords(words, boxes, lines), image=image
    )


def plain(info: DocumentInfo) -> Iterator[PageContent]:
    return (page(number) for number in range(info.pages))


def outline(events: Iterator[Event]) -> list[tuple[str, object]]:
    """Each event as its kind and the document or page it is about."""
    seen: list[tuple[str, object]] = []
    for event in events:
        if isinstance(event, PageContent):
            seen.append(("page", event.number))
        else:
            seen.append((type(event).__name__, event.document.title))
    return seen


@pytest.mark.parametrize("readers", [1, 2, 5])
def test_events_come_document_by_document_in_order(readers: int) -> None:
    documents = [document("a", 3), document("b", 0), document("c", 70), document("d", 1)]
    expected: list[tuple[str, object]] = []
    for info in documents:
        numbers = [("page", number) for number in range(info.pages)]
        expected += [("Started", info.title), *numbers, ("Ended", info.title)]
    assert outline(read_ahead(documents, plain, readers)) == expected


def test_documents_are_read_at_the_same_time() -> None:
    """The first waits for the second to be under way: one after the other would never end."""
    second_began = threading.Event()

    def read(info: DocumentInfo) -> Iterator[PageContent]:
        if info.title == "b":
            second_began.set()
        else:
            assert second_began.wait(30)
        yield from plain(info)

    seen = outline(read_ahead([document("a", 2), document("b", 2)], read, 2))
    assert [what for what, _ in seen] == ["Started", "page", "page", "Ended"] * 2


def test_readers_stay_within_their_number_and_not_far_ahead() -> None:
    lock = threading.Lock()
    reading: set[str] = set()
    most: list[int] = []
    pulled: dict[str, int] = {}

    def read(info: DocumentInfo) -> Iterator[PageContent]:
        for number in range(info.pages):
            with lock:
                reading.add(info.title)
                most.append(len(reading))
                pulled[info.title] = number + 1
            yield page(number)
        with lock:
            reading.discard(info.title)

    documents = [document(str(i), 120) for i in range(6)]
    taken = 0
    for event in read_ahead(documents, read, 2):
        if isinstance(event, PageContent):
            taken += 1
        with lock:
            # 32 wait in each document's queue, one is in the reader's hand, one in ours.
            assert sum(pulled.values()) - taken <= 2 * 34
    assert taken == 720 and max(most) == 2


def test_closing_the_events_ends_the_readers() -> None:
    ended = [threading.Event(), threading.Event()]

    def read(info: DocumentInfo) -> Iterator[PageContent]:
        try:
            yield from (page(number) for number in range(100_000))
        finally:
            ended[int(info.title)].set()

    events = read_ahead([document("0"), document("1"), document("2")], read, 2)
    for _ in range(50):
        next(events)
    events.close()
    assert all(event.wait(30) for event in ended)


@pytest.mark.parametrize("after", [0, 1, 40])
def test_a_document_that_fails_ends_with_its_error_and_the_next_goes_on(after: int) -> None:
    def read(info: DocumentInfo) -> Iterator[PageContent]:
        if info.title == "good":
            yield from plain(info)
            return
        yield from (page(number) for number in range(after))
        raise InputError("the file is broken there")

    events = list(read_ahead([document("bad", 50), document("good")], read, 2))
    kinds = [type(event).__name__ for event in events]
    # Nothing starts that did not have a first page.
    start = ["Started"] if after else []
    good = ["Started", "PageContent", "Ended"]
    assert kinds == [*start, *["PageContent"] * after, "Ended", *good]
    error = events[len(start) + after]
    assert isinstance(error, Ended) and isinstance(error.error, InputError)
    assert isinstance(events[-1], Ended) and events[-1].error is None


def test_a_bug_in_a_reader_costs_one_document_and_names_it() -> None:
    def read(info: DocumentInfo) -> Iterator[PageContent]:
        yield page(0)
        raise ZeroDivisionError("oh")

    *_, last = read_ahead([document("a")], read, 1)
    assert isinstance(last, Ended) and isinstance(last.error, FolioscopeError)
    assert "/files/a.pdf" in str(last.error) and "please report" in str(last.error)
    assert isinstance(last.error.__cause__, ZeroDivisionError)


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["The cover of it all", "second page of text"], "The cover of it all"),
        (["", "Behind a blank page lies"], "Behind a blank page lies"),
        (["x", "y", "", "far behind three empty pages"], ""),
    ],
)
def test_the_context_has_the_words_of_the_cover(texts: list[str], expected: str) -> None:
    def read(info: DocumentInfo) -> Iterator[PageContent]:
        return (page(number, text) for number, text in enumerate(texts))

    started = next(read_ahead([document("BeeKeeping2021", len(texts))], read, 1))
    assert isinstance(started, Started)
    assert "Bee Keeping 2021" in started.context
    assert started.context.endswith(expected or "BeeKeeping2021")


@pytest.mark.parametrize("threads", [1, 3])
def test_encoded_rows_keep_their_places_among_the_events(threads: int) -> None:
    documents = [document("a", 20), document("b", 1), document("c", 35)]
    events = list(encode(read_ahead(documents, plain, 2), TopicEncoder(), POOLING, threads))
    starts = [event.document.title for event in events if isinstance(event, Started)]
    ends = [event.document.title for event in events if isinstance(event, Ended)]
    rows = [event for event in events if isinstance(event, PageRow)]
    assert starts == ends == ["a", "b", "c"]
    assert [row.content.number for row in rows] == [*range(20), 0, *range(35)]
    for row in rows:
        (embedding,) = TopicEncoder().encode_pages([row.content])
        found = as_floats(row.codes, embedding.vectors.shape[1]) * row.scale
        np.testing.assert_allclose(found, embedding.vectors, atol=row.scale)
        np.testing.assert_array_equal(row.patch_boxes, embedding.boxes)
        assert row.codes.dtype == SCALED and row.page_vectors.shape == (4, 16)
        assert row.content.image is None, "pictures must not wait in queues or reach the store"
        assert row.bm25_text == "heron otter badger curlew salmon"


def test_a_blank_page_becomes_an_empty_row() -> None:
    row = next(encode([page(0, "")], TopicEncoder(), POOLING, 1))
    assert isinstance(row, PageRow)
    assert row.codes.shape == (0, 18) and row.page_vectors.shape == (0, 16)
    assert row.bm25_text == ""


class _Broken(TopicEncoder):
    """Fails on pages that say so, as a GPU does that ran out of memory."""

    def encode_pages(self, pages: Sequence[PageContent]) -> list[PageEmbedding]:
        if any("copper" in page.words.texts for page in pages):
            raise EncoderError("out of memory")
        return super().encode_pages(pages)


def test_an_encoder_that_fails_ends_the_stream() -> None:
    texts = ["heron"] * 40 + ["copper"]
    pages = (page(number, text) for number, text in enumerate(texts))
    seen = []
    with pytest.raises(EncoderError, match="out of memory"):
        for event in encode(pages, _Broken(), POOLING, 2):
            seen.append(event)
    assert len(seen) == 32


def test_rows_of_one_document_stop_at_its_end() -> None:
    events = encode(
        read_ahead([document("a", 3), document("b", 2)], plain, 1), TopicEncoder(), POOLING, 1
    )
    counted: list[int] = []
    assert isinstance(next(events), Started)
    rows = list(rows_of(events, lambda _: counted.append(1)))
    assert len(rows) == len(counted) == 3
    following = next(events)
    assert isinstance(following, Started) and following.document.title == "b"


def test_rows_of_a_document_that_failed_raise_its_error() -> None:
    events = iter([*encode([page(0)], TopicEncoder(), POOLING, 1)])
    failed = Ended(document("a"), InputError("broken"))
    rows = rows_of(iter([*events, failed]), lambda _: None)
    assert isinstance(next(rows), PageRow)
    with pytest.raises(InputError, match="broken"):
        next(rows)
