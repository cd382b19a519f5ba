"""Regions: whole rows, never overlapping words, the same for words and for patch grids."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from retrieval.regions import find_regions
from retrieval.types import PageWords


def page(*lines: list[tuple[str, float]], top: float = 0.1, pitch: float = 0.03) -> PageWords:
    """A page of lines; each word is its text and the x where it starts, 0.01 a letter.

    A jump to the right by more than 0.05 starts a new line, as PDF readers report table cells.
    """
    texts: list[str] = []
    boxes: list[list[float]] = []
    numbers: list[int] = []
    number = -1
    for i, words in enumerate(lines):
        y, end = top + i * pitch, -1.0
        for text, x in words:
            number += x - end > 0.05 or end < 0
            texts.append(text)
            numbers.append(number)
            end = x + 0.01 * len(text)
            boxes.append([x, y, end, y + 0.02])
    return PageWords(tuple(texts), np.array(boxes, np.float32), np.array(numbers, np.int32))


def match(words: PageWords, *wanted: str) -> Any:
    """Similarities of a question of the wanted words: 0.9 where they stand, else 0.1."""
    return np.array(
        [[0.9 if text == word else 0.1 for text in words.texts] for word in wanted], np.float32
    )


def sentence(text: str, x: float = 0.1) -> list[tuple[str, float]]:
    out = []
    for word in text.split():
        out.append((word, x))
        x += 0.01 * len(word) + 0.01
    return out


TABLE = page(
    sentence("Balance sheet of the company at the end of the year"),
    [("Cash", 0.1), ("120", 0.6), ("110", 0.8)],
    [("Inventories", 0.1), ("540", 0.6), ("520", 0.8)],
    [("Receivables", 0.1), ("70", 0.6), ("75", 0.8)],
    [("Goodwill", 0.1), ("915", 0.6), ("425", 0.8)],
    [("Property", 0.1), ("33", 0.6), ("44", 0.8)],
    [("Leases", 0.1), ("1", 0.6), ("2", 0.8)],
)


def test_a_label_brings_the_values_of_its_row() -> None:
    (first, *_) = find_regions(match(TABLE, "Inventories"), np.ones(1), TABLE.boxes, TABLE)
    assert "Inventories 540 520" in first.text
    assert first.box[0] < 0.11 and first.box[2] >= 0.82
    assert "Goodwill" not in first.text


def test_columns_of_running_text_are_not_joined() -> None:
    left, right = "alpha beta gamma delta epsilon zeta", "one two three four five six seven"
    lines = [sentence(left, 0.05) for _ in range(6)]
    words = page(*lines, *[[(w, x) for w, x in sentence(right, 0.55)] for _ in range(6)])
    boxes = words.boxes.copy()
    boxes[len(lines) * 6 :, [1, 3]] -= 6 * 0.03  # the right column stands beside the left one
    words = PageWords(words.texts, boxes, words.lines)
    sims = match(words, "three")
    sims[0, words.texts.index("three")] = 1.0
    regions = find_regions(sims, np.ones(1), boxes, words)
    assert regions
    assert all(region.box[0] >= 0.5 for region in regions)


def test_the_best_region_is_where_most_of_the_question_is() -> None:
    words = page(
        sentence("total revenue is discussed in another chapter of this report"),
        sentence("nothing to see in this line of many words either"),
        sentence("nothing to see in this line of many words either"),
        sentence("the total number of employees in Norway was forty two"),
        sentence("nothing to see in this line of many words either"),
    )
    sims = match(words, "total", "employees", "Norway")
    first, *others = find_regions(sims, np.ones(3), words.boxes, words)
    assert "employees in Norway" in first.text
    assert first.score > 0.99
    assert all(region.score < first.score for region in others)


def test_tokens_without_weight_do_not_decide() -> None:
    sims = match(TABLE, "Leases", "Cash")
    weights = np.array([0.0, 1.0], np.float32)
    (first, *_) = find_regions(sims, weights, TABLE.boxes, TABLE)
    assert "Cash 120 110" in first.text


def test_a_grid_of_patches_takes_its_text_from_the_words_beneath() -> None:
    n = 32
    ys, xs = np.divmod(np.arange(n * n), n)
    grid = np.stack([xs, ys, xs + 1, ys + 1], axis=1).astype(np.float32) / n
    centre = (TABLE.boxes[:, :2] + TABLE.boxes[:, 2:]) / 2
    at = TABLE.texts.index("Goodwill")
    sims = np.full((1, n * n), 0.1, np.float32)
    sims[0, int(centre[at, 1] * n) * n + int(centre[at, 0] * n)] = 0.9
    (first, *_) = find_regions(sims, np.ones(1), grid, TABLE)
    assert "Goodwill 915 425" in first.text


def test_a_grid_without_words_gives_the_connected_spots() -> None:
    n = 16
    ys, xs = np.divmod(np.arange(n * n), n)
    grid = np.stack([xs, ys, xs + 1, ys + 1], axis=1).astype(np.float32) / n
    sims = np.full((2, n, n), 0.1, np.float32)
    sims[0, 3, 4:8] = 0.9
    sims[1, 12:14, 2] = 0.8
    regions = find_regions(sims.reshape(2, -1), np.ones(2), grid)
    assert {region.box for region in regions} == {
        (4 / n, 3 / n, 8 / n, 4 / n),
        (2 / n, 12 / n, 3 / n, 14 / n),
    }
    assert all(region.text == "" for region in regions)


def test_nothing_to_find() -> None:
    none = np.zeros((0, 4), np.float32)
    assert find_regions(np.zeros((3, 0), np.float32), np.ones(3), none) == ()
    assert find_regions(np.zeros((0, 5), np.float32), np.zeros(0), np.ones((5, 4))) == ()
    flat = np.full((2, len(TABLE)), 0.5, np.float32)
    assert find_regions(flat, np.ones(2), TABLE.boxes, TABLE) == ()
    assert find_regions(match(TABLE, "Cash"), np.ones(1), TABLE.boxes, TABLE, limit=0) == ()


@st.composite
def scattered(draw: st.DrawFn) -> Any:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n, q = draw(st.integers(1, 60)), draw(st.integers(1, 6))
    low = rng.random((n, 2)) * 0.9
    boxes = np.concatenate([low, low + rng.random((n, 2)) * 0.1], axis=1).astype(np.float32)
    lines = np.sort(rng.integers(0, draw(st.integers(1, 20)), n)).astype(np.int32)
    words = PageWords(tuple(f"w{i}" for i in range(n)), boxes, lines)
    sims = rng.uniform(-1, 1, (q, n)).astype(np.float32)
    return sims, rng.uniform(0, 2, q).astype(np.float32), words, draw(st.integers(1, 6))


@given(scattered())
def test_regions_are_boxes_around_their_own_words(problem: Any) -> None:
    sims, weights, words, limit = problem
    regions = find_regions(sims, weights, words.boxes, words, limit=limit)
    assert len(regions) <= limit
    assert [r.score for r in regions] == sorted((r.score for r in regions), reverse=True)
    seen: set[str] = set()
    for region in regions:
        assert 0 <= region.score <= 1
        assert 0 <= region.box[0] <= region.box[2] <= 1
        assert 0 <= region.box[1] <= region.box[3] <= 1
        inside = region.text.split()
        assert inside and seen.isdisjoint(inside)
        seen.update(inside)
        own = words.boxes[[int(word[1:]) for word in inside]]
        around = [*own[:, :2].min(axis=0), *own[:, 2:].max(axis=0)]
        np.testing.assert_allclose(region.box, around, atol=1e-6)


@given(scattered())
def test_the_order_of_tokens_and_the_size_of_weights_do_not_matter(problem: Any) -> None:
    sims, weights, words, limit = problem
    expected = find_regions(sims, weights, words.boxes, words, limit=limit)
    got = find_regions(sims[::-1], weights[::-1] * 4, words.boxes, words, limit=limit)
    assert [r.text for r in got] == [r.text for r in expected]
    np.testing.assert_allclose([r.score for r in got], [r.score for r in expected], atol=1e-4)


@given(scattered())
def test_patches_of_another_geometry_never_fail(problem: Any) -> None:
    sims, weights, words, limit = problem
    patches = words.boxes[::-1] * np.float32(0.7)
    for region in find_regions(sims, weights, patches, words, limit=limit):
        assert region.text
    for region in find_regions(sims, weights, patches, None, limit=limit):
        assert region.text == ""
