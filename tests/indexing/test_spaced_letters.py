"""Letters set apart become words again; lists, initials and formulas are left alone."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from indexing.spaced_letters import join_spaced_letters
from retrieval.types import PageWords


def spread(text: str, lines: list[int] | None = None) -> PageWords:
    """Words at steps of 0.02; a blank more between two words is a step more."""
    texts, boxes, x = [], [], 0.01
    for part in text.split(" "):
        if part:
            texts.append(part)
            boxes.append((x, 0.1, x + 0.015 * len(part), 0.12))
            x += 0.015 * len(part) + 0.005
        else:
            x += 0.02
    numbers = np.array(lines or [0] * len(texts), np.int32)
    return PageWords(tuple(texts), np.array(boxes, np.float32).reshape(-1, 4), numbers)


def test_letters_set_apart_become_words() -> None:
    words = join_spaced_letters(spread("from G O D F R E Y  P H I L L I P S on"))
    assert words.texts == ("from", "GODFREY", "PHILLIPS", "on")
    whole = spread("from G O D F R E Y  P H I L L I P S on")
    assert words.boxes[1].tolist() == [*whole.boxes[1, :2], *whole.boxes[7, 2:]]
    assert words.lines.tolist() == [0, 0, 0, 0]


def test_initials_digits_and_short_runs_are_left_alone() -> None:
    for text in ("J R R Tolkien wrote", "1 2 3 4 5 6", "a b c", "no single letters here", ""):
        words = spread(text)
        assert join_spaced_letters(words).texts == words.texts


def test_a_run_ends_with_its_line() -> None:
    words = spread("A B C D E F G H", [0, 0, 0, 0, 1, 1, 1, 1])
    joined = join_spaced_letters(words)
    assert (joined.texts, joined.lines.tolist()) == (("ABCD", "EFGH"), [0, 1])


@given(st.lists(st.sampled_from(["a", "b", "C", "7", "-", "word", " "]), max_size=40))
def test_no_letter_is_lost_and_boxes_cover_what_they_join(parts: list[str]) -> None:
    words = spread(" ".join(parts))
    joined = join_spaced_letters(words)
    assert "".join(joined.texts) == "".join(words.texts)
    assert len(joined.boxes) == len(joined.lines) == len(joined)
    at = 0
    for text, box in zip(joined.texts, joined.boxes, strict=True):
        begin = at
        while "".join(words.texts[begin:at]) != text:
            at += 1
        assert box.tolist() == [
            *words.boxes[begin:at, :2].min(axis=0),
            *words.boxes[begin:at, 2:].max(axis=0),
        ]
