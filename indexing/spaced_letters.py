"""Words whose letters were set apart ("G O D F R E Y   P H I L L I P S"), put together.

Single letters match every question a little; as words they can be found.
"""

from __future__ import annotations

import numpy as np

from retrieval.types import FloatArray, PageWords

# Fewer single letters in a row than this are initials or list marks.
_SPACED_LETTERS = 4
# Between letter-spaced words the step is wider than between letters by this factor.
_WORD_GAP = 1.7


def join_spaced_letters(words: PageWords) -> PageWords:
    """``words`` with runs of four or more single letters on a line joined; a wider gap ends a
    word. The box of a joined word covers its letters."""
    alone = np.array([len(text) == 1 and text.isalpha() for text in words.texts], bool)
    if alone.sum() < _SPACED_LETTERS:
        return words
    groups: list[list[int]] = []
    i = 0
    while i < len(words):
        j = i
        while j < len(words) and alone[j] and words.lines[j] == words.lines[i]:
            j += 1
        if j - i < _SPACED_LETTERS:
            groups += [[k] for k in range(i, max(j, i + 1))]
        else:
            groups += _cut_at_wide_gaps(words.boxes, list(range(i, j)))
        i = max(j, i + 1)
    if len(groups) == len(words):
        return words
    boxes = np.array(
        [(*words.boxes[g, :2].min(axis=0), *words.boxes[g, 2:].max(axis=0)) for g in groups],
        np.float32,
    )
    texts = tuple("".join(words.texts[k] for k in g) for g in groups)
    return PageWords(texts, boxes, words.lines[[g[0] for g in groups]])


def _cut_at_wide_gaps(boxes: FloatArray, letters: list[int]) -> list[list[int]]:
    steps = boxes[letters[1:], 0] - boxes[letters[:-1], 0]
    usual = float(np.median(steps))
    groups = [[letters[0]]]
    for letter, step in zip(letters[1:], steps, strict=True):
        if step > _WORD_GAP * usual:
            groups.append([])
        groups[-1].append(letter)
    return groups
