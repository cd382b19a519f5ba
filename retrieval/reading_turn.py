"""Pages that lie sideways or upside down: which way their lines run, and boxes as one reads them.

A turned scan keeps its boxes where the words are on the picture, and whatever looks for rows and
columns looks along the picture's sides: it would read each line of such a page backwards, and all
its lines as one. So rows are looked for on the page as it is read, and what is found there is put
back where it lies.
"""

from __future__ import annotations

import numpy as np

from retrieval.types import Box, FloatArray, PageWords

# What marks a page whose words were read turned. Without it lines may run otherwise for good
# reasons: Arabic to the left, Japanese downwards.
TURNED = "turned"


def quarters_to_read(words: PageWords, flags: tuple[str, ...]) -> int:
    """By how many quarters, counter-clockwise, the page has to be turned so that its lines run to
    the right: 0 unless ``flags`` say that it was turned to be read.

    >>> up = np.array([[0.1, 0.8, 0.2, 0.9], [0.1, 0.6, 0.2, 0.7]], np.float32)
    >>> words = PageWords(("runs", "up"), up, np.zeros(2, np.int32))
    >>> quarters_to_read(words, (TURNED,)), quarters_to_read(words, ())
    (3, 0)
    """
    if TURNED not in flags or len(words) < 2:
        return 0
    middle = (words.boxes[:, :2] + words.boxes[:, 2:]) / 2
    dx, dy = np.diff(middle, axis=0)[words.lines[1:] == words.lines[:-1]].T
    along = np.abs(dx) > np.abs(dy)
    # By the direction in which most words follow each other: right, down, left, up.
    runs = [along & (dx > 0), ~along & (dy > 0), along & (dx < 0), ~along & (dy < 0)]
    return int(np.argmax([run.sum() for run in runs]))


def turned(boxes: FloatArray, quarters: int) -> FloatArray:
    """Boxes ``[n, 4]`` in page fractions, as fractions of the page turned by ``quarters``,
    counter-clockwise."""
    x0, y0, x1, y1 = boxes.T
    places = {
        0: (x0, y0, x1, y1),
        1: (y0, 1 - x1, y1, 1 - x0),
        2: (1 - x1, 1 - y1, 1 - x0, 1 - y0),
        3: (1 - y1, x0, 1 - y0, x1),
    }
    return np.stack(places[quarters % 4], axis=1)


def turned_box(box: Box, quarters: int) -> Box:
    """``turned`` of one box."""
    x0, y0, x1, y1 = turned(np.array([box]), quarters)[0].tolist()
    return (x0, y0, x1, y1)


def as_read(words: PageWords, quarters: int) -> PageWords:
    """``words`` with their boxes on the page turned by ``quarters``."""
    return PageWords(words.texts, turned(words.boxes, quarters), words.lines)
