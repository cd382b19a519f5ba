"""Where on the page the question is answered: from similarities to a few boxes with text.

The answer is often *beside* the words that match: a table's row label matches, its value is
what was asked for. So evidence is looked for in rows (everything at one height that belongs
together) and in short runs of rows below each other, never in single words. A run is worth
what late interaction gives it on its own: for every query token its best similarity inside
the run, above what that token finds anywhere on the page.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

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
# Which rows of a chain of MAX_ROWS belong to its run of i + 1 rows.
_UP_TO = np.tri(MAX_ROWS, dtype=bool)


@dataclass(frozen=True, slots=True, eq=False)
class _Rows:
    """Units gathered into rows.

    ``order [m]`` is every unit that has a row, row by row and each from left to right, whatever
    order the file keeps them in; row i's start at ``starts[i]``, ``starts`` is ``[r + 1]``.
    ``boxes [r, 4]``; ``below [r]`` is the next row or -1.
    """

    order: _Index
    starts: _Index
    boxes: FloatArray
    below: _Index

    def units(self, row: int) -> _Index:
        return self.order[self.starts[row] : self.starts[row + 1]]


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
    above = sims - _usual(sims) if sims.shape[1] > 1 else sims
    above = np.maximum(above, 0) * np.maximum(weights, 0)[:, None]
    return np.asarray(above, np.float32)


def on_words(
    sims: FloatArray, weights: FloatArray, patches: FloatArray, words: FloatArray
) -> FloatArray:
    """``[q, words] float32``: ``evidence_of`` the words in boxes ``words``, so scaled that a page
    which says every token exactly has 1 in all."""
    if not sims.size or not len(words):
        return np.zeros((len(weights), len(words)), np.float32)
    mapped = onto(sims, patches, words)
    ideal = evidence_of(np.column_stack((mapped, np.ones(len(mapped), np.float32))), weights)
    return np.asarray(ideal[:, :-1] / max(float(ideal[:, -1].sum()), 1e-9), np.float32)


def _usual(sims: FloatArray) -> FloatArray:
    """``[q, 1]``: the .9 quantile, as ``np.quantile`` has it at several times the cost."""
    at = 0.9 * (sims.shape[1] - 1)
    low = min(int(at), sims.shape[1] - 2)
    part = np.float32(at - low)
    two = np.partition(sims, (low, low + 1), axis=1)[:, low : low + 2]
    below, above = two[:, :1], two[:, 1:]
    step = above - below
    return above - step * (1 - part) if part >= 0.5 else below + step * part


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
    known = set(_hashed(patches).tolist())  # of a page's few hundred, quicker than np.isin
    has = np.fromiter(map(known.__contains__, _hashed(units).tolist()), bool, len(units))
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
    changes = np.flatnonzero(words.lines[1:] != words.lines[:-1]) + 1
    first = np.concatenate(([0], changes))
    lengths = np.concatenate((changes, [len(words)])) - first
    segments = _hulls(words.boxes, first)
    short = lengths <= _CELL_WORDS
    # A paragraph's short first or last line is no cell, or it would pull in the next column.
    joined = _continues(segments)
    cell = short.copy()
    cell[1:] &= ~(joined & ~short[:-1])
    cell[:-1] &= ~(joined & ~short[1:])
    may_join = cell[:, None] | cell
    np.fill_diagonal(may_join[:, 1:], True)  # one after the other in reading order
    np.fill_diagonal(may_join[1:], True)
    row_of_segment = _components(_same_height(segments) & may_join)
    rows = _gathered(np.repeat(row_of_segment, lengths), words.boxes)
    return replace(rows, below=_next_below(rows.boxes))


def _gathered(row_of: _Index, boxes: FloatArray) -> _Rows:
    """Rows by each unit's number, -1 for none; no row stands below another yet."""
    order = np.lexsort((boxes[:, 0], row_of))
    order = order[np.count_nonzero(row_of < 0) :]
    sizes = np.bincount(row_of[order])
    starts = np.concatenate(([0], np.cumsum(sizes)))
    return _Rows(order, starts, _hulls(boxes[order], starts[:-1]), np.full(len(sizes), -1))


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
    return _gathered(row_of, boxes)


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
    # one row more, of nothing, stands for "no row"
    best = np.zeros((len(rows.boxes) + 1, len(evidence)), np.float32)
    best[:-1] = np.maximum.reduceat(evidence.T[rows.order], rows.starts[:-1], axis=0)
    runs, price, held = _runs(best, rows.below)
    covered = np.zeros(len(evidence), np.float32)
    free = np.ones(len(best), bool)
    regions: list[Region] = []
    top = 0.0
    while len(regions) < limit:
        fresh = held - _COVERED * np.minimum(held, covered)
        value = np.where(free[runs].all(axis=1), fresh.sum(axis=1) / price, -1)
        chosen = int(value.argmax())
        worth = float(value[chosen])
        top = max(top, worth)
        if worth <= 0 or worth < _KEEP * top:
            break
        members = [row for row in runs[chosen].tolist() if row >= 0]
        if words is not None:
            members = _with_neighbours(members, rows, free)
        free[members] = False
        own = best[members].max(axis=0)
        covered = np.maximum(covered, own)
        score = min(1.0, float(own.sum()) / total * worth / top)
        regions.append(_region(members, score, rows, words))
    return tuple(sorted(regions, key=lambda region: -region.score))


def _runs(best: FloatArray, below: _Index) -> tuple[_Index, NDArray[np.float64], FloatArray]:
    """Every run of up to MAX_ROWS rows below each other, shorter runs first.

    ``best`` is ``[r + 1, q]``, its last row zero. Returns the rows of each run,
    ``[m, MAX_ROWS]`` padded with -1, what each run's length costs, ``[m]``, and the evidence
    that each holds a token, ``[m, q]``.
    """
    step = np.append(below, -1)
    # chain[i] is the row i below each row; held[i] what the i + 1 rows down to it hold
    chain, held = [np.arange(len(below))], [best[:-1]]
    for _ in range(1, MAX_ROWS):
        chain.append(step[chain[-1]])
        held.append(np.maximum(held[-1], best[chain[-1]]))
    exists = np.array(chain) >= 0
    runs = np.where(_UP_TO[:, None], np.array(chain).T, -1)
    price = np.asarray(1 + _ROW_PRICE * np.nonzero(exists)[0], np.float64)
    return runs[exists], price, np.array(held)[exists]


def _with_neighbours(members: list[int], rows: _Rows, free: NDArray[np.bool_]) -> list[int]:
    """A label standing alone, with the rows above and below it, one of which is its value."""
    if len(members) > 1 or len(rows.units(members[0])) > _CELL_WORDS:
        return members
    above = np.flatnonzero(rows.below == members[0])[:1].tolist()
    under = int(rows.below[members[0]])
    return [row for row in (*above, *members, under) if row >= 0 and free[row]]


def _region(members: list[int], score: float, rows: _Rows, words: PageWords | None) -> Region:
    x0, y0, x1, y1 = zip(*rows.boxes[members].tolist(), strict=True)
    box = (_clipped(min(x0)), _clipped(min(y0)), _clipped(max(x1)), _clipped(max(y1)))
    if words is None:
        return Region(box, score)
    texts = words.texts
    lines = (" ".join([texts[i] for i in rows.units(row).tolist()]) for row in members)
    return Region(box, score, "\n".join(lines))


def _clipped(fraction: float) -> float:
    return min(max(fraction, 0.0), 1.0)


def _centres(boxes: FloatArray) -> tuple[FloatArray, FloatArray]:
    half = np.float32(0.5)
    return (boxes[:, 0] + boxes[:, 2]) * half, (boxes[:, 1] + boxes[:, 3]) * half


def _hulls(boxes: FloatArray, starts: _Index) -> FloatArray:
    """The box around each group of boxes that follow each other from a start, ``[r, 4]``."""
    hulls: FloatArray = np.minimum.reduceat(boxes, starts, axis=0)
    hulls[:, 2:] = np.maximum.reduceat(boxes[:, 2:], starts, axis=0)
    return hulls


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
    number = np.cumsum(label == np.arange(len(label))) - 1
    return number[label]


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
