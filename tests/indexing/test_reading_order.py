"""Reading order: columns are read one after the other, tables and receipts line by line."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from indexing.reading_order import lines_in_order, order_words

HEIGHT = 0.012


def line(text: str, x: float, y: float) -> list[tuple[str, tuple[float, ...]]]:
    """``text`` set from (x, y) on, a letter being half as wide as it is high."""
    placed = []
    for word in text.split():
        width = len(word) * HEIGHT / 2
        placed.append((word, (x, y, x + width, y + HEIGHT)))
        x += width + HEIGHT / 3
    return placed


def column(name: str, lines: int, x: float, y: float) -> list[tuple[str, tuple[float, ...]]]:
    return [
        word
        for i in range(lines)
        for word in line(" ".join(f"{name}{i}{k * 5}" for k in "abcdefg"), x, y + i * 1.5 * HEIGHT)
    ]


def in_order(
    words: list[tuple[str, tuple[float, ...]]], seed: int = 0, aspect: float = 0.77
) -> list[str]:
    """The texts of ``words``, shuffled and then ordered; a line of the page each."""
    shuffled = list(words)
    np.random.default_rng(seed).shuffle(shuffled)  # type: ignore[arg-type]
    texts = [text for text, _ in shuffled]
    found = order_words(texts, np.array([box for _, box in shuffled]), aspect)
    return found.text().split("\n")


@pytest.mark.parametrize("seed", range(3))
def test_two_columns_are_read_one_after_the_other(seed: int) -> None:
    left, right = column("L", 12, 0.08, 0.2), column("R", 12, 0.54, 0.2)
    title = line("A title across both columns of the whole page", 0.2, 0.1)
    found = in_order([*right, *title, *left], seed)
    assert found[0] == "A title across both columns of the whole page"
    expected = [f"{name}{i}" for name in "LR" for i in range(12)]
    assert [text.split()[0].rstrip("a") for text in found[1:]] == expected


def test_a_figure_between_columns_does_not_mix_them() -> None:
    above = [*column("A", 8, 0.08, 0.1), *column("B", 8, 0.54, 0.1)]
    caption = line("Figure one runs over the two columns and says much about it", 0.25, 0.4)
    below = [*column("C", 8, 0.08, 0.5), *column("D", 8, 0.54, 0.5)]
    found = in_order([*above, *caption, *below])
    names = [text[0] for text in found]
    assert "".join(dict.fromkeys(names)) == "ABFCD"
    assert names == sorted(names, key="ABFCD".index)


def test_a_receipts_prices_stay_with_their_goods() -> None:
    goods = ["Bread", "Milk", "Butter", "Cheese", "Apples", "Pears", "Plums", "Total"]
    words = []
    for i, name in enumerate(goods):
        words += line(name, 0.1, 0.1 + i * 1.6 * HEIGHT)
        words += line(f"{i}.50", 0.8, 0.1 + i * 1.6 * HEIGHT)
    assert in_order(words) == [f"{name} {i}.50" for i, name in enumerate(goods)]


def test_a_crooked_line_is_one_line() -> None:
    level = line("every word a little lower", 0.1, 0.5)
    words = [
        (text, (x0, y0 + 0.0004 * k, x1, y1 + 0.0004 * k))
        for k, (text, (x0, y0, x1, y1)) in enumerate(level)
    ]
    assert in_order(words) == ["every word a little lower"]


def test_nothing_is_no_words() -> None:
    words = order_words([], np.zeros((0, 4)))
    assert len(words) == 0 and words.boxes.shape == (0, 4)


def boxes_of(corners: list[tuple[int, int, int, int]]) -> NDArray[np.float64]:
    found = np.array(corners, np.float64).reshape(-1, 4) / 1000
    return np.concatenate((found[:, :2], np.minimum(found[:, :2] + found[:, 2:], 1.0)), axis=1)


corner = st.tuples(
    st.integers(0, 990), st.integers(0, 990), st.integers(0, 400), st.integers(0, 60)
)


@given(st.lists(corner, min_size=1, max_size=60), st.floats(0.2, 5))
def test_every_word_comes_once_and_lines_run_from_left_to_right(
    corners: list[tuple[int, int, int, int]], aspect: float
) -> None:
    boxes = boxes_of(corners)
    lines = lines_in_order(boxes, aspect)
    assert sorted(np.concatenate(lines).tolist()) == list(range(len(boxes)))
    for members in lines:
        assert (np.diff(boxes[members, 0]) >= 0).all()
    words = order_words([str(i) for i in range(len(boxes))], boxes, aspect)
    assert np.array_equal(
        words.boxes, boxes[[int(text) for text in words.texts]].astype(np.float32)
    )
    assert words.lines[0] == 0 and set(np.diff(words.lines).tolist()) <= {0, 1}
    assert ((words.boxes >= 0) & (words.boxes <= 1)).all()


@given(st.lists(corner, min_size=1, max_size=60), st.integers(0, 1000))
def test_the_order_does_not_depend_on_the_order_found(
    corners: list[tuple[int, int, int, int]], seed: int
) -> None:
    boxes = np.unique(boxes_of(corners), axis=0)
    shuffled = np.random.default_rng(seed).permutation(len(boxes))
    there = boxes[np.concatenate(lines_in_order(boxes))]
    again = boxes[shuffled][np.concatenate(lines_in_order(boxes[shuffled]))]
    assert np.array_equal(there, again)
