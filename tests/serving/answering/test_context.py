"""What a model is shown: legible pictures, words with boxes, never more than the budget."""

from __future__ import annotations

import doctest
import io
import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from indexing.index import Index
from retrieval.errors import InputError
from retrieval.legibility import COMFORTABLE, MINIMUM, X_HEIGHT_SHARE, ReaderInput
from retrieval.store import PageRecord
from retrieval.types import Hit, PageWords, Region, TimeRange
from serving.answering import context, views
from serving.answering.context import ContextSettings, build_context, estimate_tokens, usage_of
from serving.answering.local_vlm import reader_of
from serving.answering.prompt import messages_of
from serving.answering.types import EvidencePage
from serving.answering.views import ViewSettings

HEIGHT, WIDTH = 396.0, 306.0


class _Pages:
    """Stands where an index renders pages: white pages of the size that a dpi gives."""

    def __init__(self) -> None:
        self.dpi: list[int] = []

    def page_image(self, hit: Hit, *, dpi: int) -> np.ndarray:
        self.dpi.append(dpi)
        return np.full((round(HEIGHT * dpi / 72), round(WIDTH * dpi / 72), 3), 255, np.uint8)


class _Gone(_Pages):
    def page_image(self, hit: Hit, *, dpi: int) -> np.ndarray:
        raise InputError("the file is gone")


def page(lines: int, tall: float, *, number: int = 0, region: float = 0.5) -> EvidencePage:
    """A page of ``lines`` lines of six words each, ``tall`` of the page high."""
    texts, boxes, rows = [], [], []
    for row in range(lines):
        for column in range(6):
            y = 0.02 + 0.96 * row / lines
            texts.append(f"word{row}" if column else "1,234.5")
            boxes.append((0.1 + column * 0.13, y, 0.2 + column * 0.13, y + tall))
            rows.append(row)
    words = PageWords(
        tuple(texts), np.array(boxes, np.float32).reshape(-1, 4), np.array(rows, np.int32)
    )
    evidence = np.zeros((3, len(texts)), np.float32)
    if len(texts):
        evidence[:, int(region * len(texts)) % len(texts)] = 0.9
    record = PageRecord(number, 1, number, "1", WIDTH, HEIGHT, words, words.boxes, "layer", "", ())
    box = (0.1, region, 0.9, min(1.0, region + 0.05))
    hit = Hit(
        number + 1,
        0.9,
        {},
        number,
        1,
        "a.pdf",
        "A",
        number,
        "1",
        {},
        (),
        (Region(box, 0.9, ""),),
        "",
        (WIDTH, HEIGHT),
    )
    return EvidencePage(hit, record, evidence, evidence)


def test_examples() -> None:
    assert doctest.testmod(context).failed == 0


@settings(max_examples=20, deadline=None)
@given(
    pages=st.lists(
        st.tuples(st.integers(0, 60), st.floats(0.004, 0.05), st.floats(0, 0.95)),
        min_size=1,
        max_size=4,
    ),
    tokens=st.integers(600, 16_000),
)
def test_the_budget_holds(pages: list[tuple[int, float, float]], tokens: int) -> None:
    found = [page(n, t, number=i, region=r) for i, (n, t, r) in enumerate(pages)]
    wanted = ContextSettings(tokens=tokens)
    shown = build_context(found, _Pages(), wanted, question="How much?")  # type: ignore[arg-type]
    usage = usage_of(shown, wanted, len(found))
    assert shown and usage["context_tokens"] <= tokens
    assert usage["pages"] + usage["pages_left_out"] == len(found)
    for part in shown:
        pictures = sum(-(-p.size[0] * p.size[1] // 784) for p in part.pictures)
        assert estimate_tokens(part.words) + pictures <= part.tokens


@settings(max_examples=12, deadline=None)
@given(
    tall=st.floats(0.004, 0.03),
    region=st.floats(0, 0.9),
    reader=st.sampled_from(
        [ReaderInput(max_side=1536), ReaderInput(max_pixels=400_000), ReaderInput(fixed=(448, 448))]
    ),
)
def test_the_place_found_is_legible_or_said_not_to_be(
    tall: float, region: float, reader: ReaderInput
) -> None:
    wanted = ViewSettings(reader=reader)
    shown = views.views(page(30, tall, region=region), _Pages(), wanted)  # type: ignore[arg-type]
    tiles = [picture for picture in shown if picture.box is not None]
    assert tiles and shown[-1].box is None and max(shown[-1].size) <= 640
    for picture in tiles:
        assert picture.box is not None and reader.scale(*picture.size) > 0.99
        rows = picture.size[1] / (picture.box[3] - picture.box[1])
        seen = rows * tall * X_HEIGHT_SHARE["layer"]
        # As large as print needs it, unless paper, or a dozen tiles, have no more.
        most = rows >= 0.98 * HEIGHT * 300 / 72 or len(tiles) >= 9
        assert seen >= 0.95 * COMFORTABLE or most
        assert picture.legible or seen < 1.05 * MINIMUM
        assert Image.open(io.BytesIO(picture.data)).size == picture.size
    middle = region + 0.025
    assert any(p.box[1] <= middle <= p.box[3] for p in tiles if p.box is not None)


def test_tiles_cover_what_they_divide() -> None:
    small = ViewSettings(reader=ReaderInput(max_side=400))
    shown = views.views(page(60, 0.004), _Pages(), small)  # type: ignore[arg-type]
    tiles = [picture.box for picture in shown if picture.box is not None]
    assert len(tiles) > 2
    for x in np.linspace(0.01, 0.99, 25):
        assert any(box[0] <= x <= box[2] for box in tiles)


def test_print_that_no_picture_can_show_is_said_with_its_page() -> None:
    wanted = ContextSettings(views=ViewSettings(reader=ReaderInput(fixed=(64, 64))))
    shown = build_context([page(60, 0.004)], _Pages(), wanted)  # type: ignore[arg-type]
    assert usage_of(shown, wanted, 1)["illegible_pictures"] > 0
    said = messages_of("How much?", shown)[1].parts[0]
    assert isinstance(said, str) and "too small in the pictures" in said
    shown = build_context([page(10, 0.03)], _Pages(), ContextSettings())  # type: ignore[arg-type]
    assert "too small" not in str(messages_of("How much?", shown)[1].parts[0])


def test_a_page_of_a_recording_comes_with_its_time() -> None:
    found = page(5, 0.02)
    timed = replace(found, hit=replace(found.hit, times=TimeRange(61.04, 75.5, 61.2)))
    shown = build_context([found, timed], _Pages(), ContextSettings())  # type: ignore[arg-type]
    heads = [p for p in messages_of("When?", shown)[1].parts if isinstance(p, str) and "{" in p]
    assert [json.loads(head.splitlines()[1]).get("shown_in_seconds") for head in heads] == [
        None,
        [61.0, 75.5],
    ]


@pytest.mark.parametrize(
    ("images", "reader"),
    [
        ({"size": {"shortest_edge": 56, "longest_edge": 64 * 784}, "merge_size": 2}, (64 * 784,)),
        ({"size": {"longest_edge": 1092}}, (1092,)),
        ({"size": {"longest_edge": 9000}}, (1536,)),
        ({"size": {"height": 384, "width": 448}}, (448, 384)),
        (
            {
                "size": {"shortest_edge": 336},
                "crop_size": {"height": 336, "width": 336},
                "do_center_crop": True,
            },
            (336, 336),
        ),
        ({}, (1536,)),
    ],
)
def test_a_processor_says_how_it_shrinks_pictures(
    images: dict[str, object], reader: tuple[int, ...]
) -> None:
    processor = SimpleNamespace(image_processor=SimpleNamespace(**images))
    found = reader_of(processor, ReaderInput(max_side=1536))
    if len(reader) == 2:
        assert found.fixed == reader
    elif "merge_size" in images:
        assert found.max_pixels == reader[0]
    else:
        assert found.max_side == reader[0] and found.fixed is None


def test_large_print_is_not_enlarged() -> None:
    pages = _Pages()
    views.views(page(10, 0.06), pages, ViewSettings())  # type: ignore[arg-type]
    assert pages.dpi == [72]


def test_a_page_that_cannot_be_pictured_has_its_words() -> None:
    (shown,) = build_context([page(5, 0.02)], _Gone(), ContextSettings())  # type: ignore[arg-type]
    assert "1,234.5" in shown.words and not shown.pictures


def test_lines_that_answer_are_kept_when_not_all_fit() -> None:
    found = page(60, 0.01, region=0.5)
    (shown,) = build_context([found], _Pages(), ContextSettings(tokens=900, pictures=False))  # type: ignore[arg-type]
    assert "word30" in shown.words and len(shown.words.splitlines()) < 60


@pytest.mark.parametrize("pictures", [True, False])
def test_two_hundred_pages_do_not_break_the_budget(pictures: bool) -> None:
    found = [page(40, 0.012, number=i) for i in range(200)]
    wanted = ContextSettings(tokens=8_000, pictures=pictures)
    usage = usage_of(build_context(found, _Pages(), wanted), wanted, 200)  # type: ignore[arg-type]
    assert usage["context_tokens"] <= 8_000
    assert usage["pages"] > 3 and usage["pages_left_out"] == 200 - usage["pages"]


def test_the_model_of_an_index_gets_all_of_it(index: Index) -> None:
    question = "What is the total of invoice FF-2025-0318?"
    hit = index.search(question, 1).hits[0]
    record, evidence = index.word_evidence(question, hit.page_id)
    (shown,) = build_context(
        [EvidencePage(hit, record, evidence, evidence)], index, ContextSettings()
    )
    assert len(shown.pictures) >= 2 and "6,722.58" in shown.words
