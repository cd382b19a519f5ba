"""Where on the page the question is answered: from similarities to a few boxes with text.

The answer is often *beside* the words that match: a table's row label matches, its value is
what was asked for. So evidence is looked for in rows (everything at one height that belongs
together) and in short runs of rows below each other, never in single words. A run is worth
what late interaction gives it on its own: for every query token its best similarity inside
the run, above what that token finds anywhere on the page.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval.types import FloatArray, PageWords, Region

MAX_ROWS = 4
# A row more must raise a run's evidence by at least this share, or the shorter run wins.
_ROW_PRICE = 0.12
# A region whose fresh evidence is below this share of the best one's is noise to a reader.
_KEEP = 0.25
# How much less a token counts once a better region holds it.
_COVERED = 0.5
# A segment of more words than this is running text, not a table's cell or a form's field.
_CELL_WORDS = 4
_Index = NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class _Rows:
    """``row_of [n]`` of every unit and ``boxes [r, 4]``; ``below [r]`` is the next row or -1."""

    row_of: _Index
    boxes: FloatArray
    below: _Index


def find_regions(
    similarities: FloatArray,
    weights: FloatArray,
    boxes: FloatArray,
    words: PageWords | None = None,
    *,
    limit: int = 5,
) -> tuple[Region, ...]:
    """The places of one page that match, best first.

    Parameters
    ----------
    similarities
        ``[q, n] float32`` of query tokens to patches, see ``retrieval.maxsim.similarities``.
    weights
        ``[q] float32``, the tokens' shares in the page's score.
    boxes
        ``[n, 4] float32``, the patches' boxes in page fractions. They may be words or a grid.
    words
        The page's words, if it has any: they give the regions their lines and their text.
    limit
        At most so many regions; fewer when the rest is far behind the best.

    Returns
    -------
    Regions that share no words. ``score`` is the share of the page's evidence that the region
    holds by itself, times what it adds to the better regions: 1 when everything that speaks
    for the page is inside. On real questions with known boxes, regions scored above 0.8 held
    the answer in three of four cases, those below 0.4 in one of seven.
    """
    sims = np.asarray(similarities, np.float32)
    boxes = np.asarray(boxes, np.float32)
    if not sims.size or limit < 1:
        return ()
    if words is not None and len(words):
        units = words.boxes
        if not (len(units) == len(boxes) and np.array_equal(units, boxes)):
            sims = onto(sims, boxes, units)
        rows = _text_rows(words)
    else:
        words, units = None, boxes
        rows = _grid_rows(boxes, evidence_of(sims, weights).sum(axis=0))
    if not len(units):
        return ()
    return _pick(evidence_of(sims, weights), rows, words, limit)


def evidence_of(sims: FloatArray, weights: FloatArray) -> FloatArray:
    """``[q, n]`` weighted similarity above what the token finds on most of the page.

    Without the subtraction every region would look alike: a token has a middling similarity
    to everything, and only its peaks say where.
    """
    usual = np.quantile(sims, 0.9, axis=1, keepdims=True) if sims.shape[1] > 1 else 0.0
    above = np.maximum(sims - usual, 0) * np.maximum(weights, 0)[:, None]
    return np.asarray(above, np.float32)


def onto(sims: FloatArray, patches: FloatArray, units: FloatArray) -> FloatArray:
    """Similarities of units (words) that lie on patches of another geometry, ``[q, m]``."""
    own = _own_patch(patches, units)
    if own is not None:
        mapped: FloatArray = np.asarray(sims[:, own])
        return mapped
    x, y = _centres(units)
    inside = (
        (patches[:, 0] <= x[:, None])
        & (x[:, None] <= patches[:, 2])
        & (patches[:, 1] <= y[:, None])
        & (y[:, None] <= patches[:, 3])
    )
    px, py = _centres(patches)
    distance = (px - x[:, None]) ** 2 + (py - y[:, None]) ** 2
    inside[np.arange(len(units)), distance.argmin(axis=1)] |= ~inside.any(axis=1)
    unit, patch = np.nonzero(inside)
    first = np.flatnonzero(np.diff(unit, prepend=-1))
    mapped = np.maximum.reduceat(sims[:, patch], first, axis=1)
    return mapped


def _own_patch(patches: FloatArray, units: FloatArray) -> _Index | None:
    """The patch of each unit ``[m]`` where the patches are some of the units, in their order;
    units that have none of their own (punctuation) get the nearest. None where that is not so.

    This is how the text encoder's patches lie on words; the general case compares every unit
    with every patch, a third of a search's time.
    """
    has = np.isin(_hashed(units), _hashed(patches))
    if has.sum() != len(patches) or not np.array_equal(units[has], patches):
        return None
    own = np.cumsum(has) - 1
    (lone,) = np.nonzero(~has)
    if len(lone):
        x, y = _centres(units[lone])
        px, py = _centres(patches)
        distance = (px - x[:, None]) ** 2 + (py - y[:, None]) ** 2
        own[lone] = distance.argmin(axis=1)
    return own.astype(np.intp)


def _hashed(boxes: FloatArray) -> NDArray[np.uint64]:
    """``[n]``: a number for each box, equal for equal boxes."""
    halves = np.ascontiguousarray(boxes, np.float32).view(np.uint64)
    return (halves[:, 0] * np.uint64(0x9E3779B97F4A7C15)) ^ halves[:, 1]


def _text_rows(words: PageWords) -> _Rows:
    """Rows of words: lines, joined with what stands beside them in a table or form."""
    first = np.flatnonzero(np.diff(words.lines, prepend=words.lines[0] - 1))
    segment_of = np.repeat(np.arange(len(first)), np.diff(np.append(first, len(words))))
    segments = _unions(words.boxes, segment_of, len(first))
    short = np.diff(np.append(first, len(words))) <= _CELL_WORDS
    # A paragraph's short first or last line is no cell, or it would pull in the next column.
    joined = _continues(segments)
    cell = short.copy()
    cell[1:] &= ~(joined & ~short[:-1])
    cell[:-1] &= ~(joined & ~short[1:])
    beside = _same_height(segments) & (cell[:, None] | cell)
    order = np.arange(len(first))
    beside |= _same_height(segments) & (np.abs(order[:, None] - order) == 1)
    row_of_segment = _components(beside)
    row_of = row_of_segment[segment_of]
    row_boxes = _unions(words.boxes, row_of, int(row_of.max()) + 1)
    return _Rows(row_of, row_boxes, _next_below(row_boxes))


def _grid_rows(boxes: FloatArray, evidence: FloatArray) -> _Rows:
    """Without words, rows are the connected spots of strong patches; weak patches join none."""
    strong = evidence >= 0.5 * evidence.max(initial=0.0)
    strong &= evidence > 0
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    reach_x, reach_y = np.median(width) * 0.25, np.median(height) * 0.25
    row_of = np.full(len(boxes), -1, np.intp)
    spots = np.flatnonzero(strong)
    b = boxes[spots]
    touching = (
        (b[:, None, 0] <= b[:, 2] + reach_x)
        & (b[:, 0] <= b[:, None, 2] + reach_x)
        & (b[:, None, 1] <= b[:, 3] + reach_y)
        & (b[:, 1] <= b[:, None, 3] + reach_y)
    )
    row_of[spots] = _components(touching)
    count = int(row_of.max(initial=-1)) + 1
    return _Rows(row_of, _unions(b, row_of[spots], count), np.full(count, -1, np.intp))


def _pick(
    evidence: FloatArray, rows: _Rows, words: PageWords | None, limit: int
) -> tuple[Region, ...]:
    """Greedy: the run of rows with most evidence for its size, then the best apart from it.

    A token that a chosen region already speaks for counts less in the next: otherwise every
    line that repeats the title would come before the row that has the rest of the question.
    """
    total = float(evidence.max(axis=1).sum())
    if total <= 0 or not len(rows.boxes):
        return ()
    best = np.zeros((len(rows.boxes), len(evidence)), np.float32)
    placed = rows.row_of >= 0
    np.maximum.at(best, rows.row_of[placed], evidence.T[placed])
    runs, held = _runs(best, rows.below)
    price = 1 + _ROW_PRICE * ((runs >= 0).sum(axis=1) - 1)
    covered = np.zeros(len(evidence), np.float32)
    free = np.ones(len(rows.boxes) + 1, bool)  # the last stands for "no row"
    regions: list[Region] = []
    top = 0.0
    while len(regions) < limit:
        fresh = held - _COVERED * np.minimum(held, covered)
        value = np.where(free[runs].all(axis=1), fresh.sum(axis=1) / price, -1)
        chosen = int(value.argmax())
        top = max(top, float(value[chosen]))
        if value[chosen] <= 0 or value[chosen] < _KEEP * top:
            break
        members = runs[chosen][runs[chosen] >= 0]
        if words is not None:
            members = _with_neighbours(members, rows, free)
        free[members] = False
        covered = np.maximum(covered, best[members].max(axis=0))
        share = float(best[members].max(axis=0).sum()) / total
        score = min(1.0, share * float(value[chosen]) / top)
        regions.append(_region(members, score, rows, words))
    return tuple(sorted(regions, key=lambda region: -region.score))


def _runs(best: FloatArray, below: _Index) -> tuple[_Index, FloatArray]:
    """Every run of up to MAX_ROWS rows below each other.

    Returns the rows of each run, ``[m, MAX_ROWS]`` padded with -1, shorter runs first, and the
    evidence each holds a token, ``[m, q]``.
    """
    members = np.arange(len(best), dtype=np.intp)[:, None]
    held = best
    runs, evidence = [], []
    for size in range(1, MAX_ROWS + 1):
        padded = np.full((len(members), MAX_ROWS), -1, np.intp)
        padded[:, :size] = members
        runs.append(padded)
        evidence.append(held)
        following = below[members[:, -1]]
        grown = following >= 0
        members = np.column_stack((members[grown], following[grown]))
        held = np.maximum(held[grown], best[following[grown]])
    return np.concatenate(runs), np.concatenate(evidence)


def _with_neighbours(members: _Index, rows: _Rows, free: NDArray[np.bool_]) -> _Index:
    """A label standing alone, with the rows above and below it, one of which is its value."""
    if len(members) > 1 or (rows.row_of == members[0]).sum() > _CELL_WORDS:
        return members
    above = np.flatnonzero(rows.below == members[0])[:1]
    under = rows.below[members]
    near = np.concatenate((above, members, under[under >= 0]))
    return near[free[near]]


def _region(members: _Index, score: float, rows: _Rows, words: PageWords | None) -> Region:
    box = rows.boxes[members]
    x0, y0 = np.clip(box[:, :2].min(axis=0), 0, 1).tolist()
    x1, y1 = np.clip(box[:, 2:].max(axis=0), 0, 1).tolist()
    text = ""
    if words is not None:
        parts = []
        for row in members:
            inside = np.flatnonzero(rows.row_of == row)
            # cells of a row from left to right, whatever order the file keeps them in
            left = inside[np.argsort(words.boxes[inside, 0], kind="stable")]
            parts.append(" ".join(words.texts[i] for i in left))
        text = "\n".join(parts)
    return Region((x0, y0, x1, y1), score, text)


def _centres(boxes: FloatArray) -> tuple[FloatArray, FloatArray]:
    half = np.float32(0.5)
    return (boxes[:, 0] + boxes[:, 2]) * half, (boxes[:, 1] + boxes[:, 3]) * half


def _unions(boxes: FloatArray, group: _Index, count: int) -> FloatArray:
    """The box around each group's boxes, ``[count, 4]``."""
    out = np.full((count, 4), np.inf, np.float32)
    out[:, 2:] = -np.inf
    np.minimum.at(out[:, :2], group, boxes[:, :2])
    np.maximum.at(out[:, 2:], group, boxes[:, 2:])
    return out


def _same_height(boxes: FloatArray) -> NDArray[np.bool_]:
    """``[n, n]``: two boxes share at least half the height of the taller one."""
    overlap = np.minimum(boxes[:, None, 3], boxes[:, 3]) - np.maximum(
        boxes[:, None, 1], boxes[:, 1]
    )
    height = boxes[:, 3] - boxes[:, 1]
    shared: NDArray[np.bool_] = overlap >= 0.5 * np.maximum(height[:, None], height)
    return shared & (overlap > 0)


def _continues(segments: FloatArray) -> NDArray[np.bool_]:
    """``[n - 1]``: segment i + 1 runs on from segment i: directly below, mostly under it."""
    upper, lower = segments[:-1], segments[1:]
    height = upper[:, 3] - upper[:, 1]
    shared = np.minimum(upper[:, 2], lower[:, 2]) - np.maximum(upper[:, 0], lower[:, 0])
    width = np.minimum(upper[:, 2] - upper[:, 0], lower[:, 2] - lower[:, 0])
    under: NDArray[np.bool_] = shared >= 0.7 * width
    return under & (lower[:, 1] > upper[:, 1]) & (lower[:, 1] - upper[:, 3] < 0.6 * height)


def _components(linked: NDArray[np.bool_]) -> _Index:
    """Connected components of a symmetric relation, numbered from 0 in order of appearance."""
    label = np.arange(len(linked), dtype=np.intp)
    pair_a, pair_b = np.nonzero(linked)
    while True:
        lower = label.copy()
        np.minimum.at(lower, pair_a, label[pair_b])
        lower = lower[lower]
        if np.array_equal(lower, label):
            break
        label = lower
    return np.unique(label, return_inverse=True)[1].astype(np.intp)


def _next_below(rows: FloatArray) -> _Index:
    """The nearest row under each row that shares half its width, within a line's height."""
    height = rows[:, 3] - rows[:, 1]
    width = np.maximum(rows[:, 2] - rows[:, 0], 1e-6)
    _, y = _centres(rows)
    shared = np.minimum(rows[:, None, 2], rows[:, 2]) - np.maximum(rows[:, None, 0], rows[:, 0])
    gap = rows[:, 1] - rows[:, None, 3]
    follows = (
        (shared >= 0.5 * np.minimum(width[:, None], width))
        & (y > y[:, None])
        & (gap <= np.minimum(height[:, None], height))
        & (gap >= -0.5 * height[:, None])
    )
    distance = np.where(follows, y - y[:, None], np.inf)
    nearest = distance.argmin(axis=1)
    found = follows[np.arange(len(rows)), nearest]
    return np.where(found, nearest, -1).astype(np.intp)
