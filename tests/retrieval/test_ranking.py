"""Lanes on scales of their own: what a page scores does not depend on its neighbours."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from retrieval.errors import InputError
from retrieval.ranking import (
    FUSIONS,
    Lanes,
    RankingWeights,
    length_lane,
    lexical_lane,
    order,
    question_words,
    weights_as_dict,
)

unit = st.floats(-3, 3, width=32)


@st.composite
def lanes(draw: st.DrawFn) -> Lanes:
    n = draw(st.integers(0, 30))
    values = [draw(arrays(np.float32, n, elements=unit)) for _ in range(4)]
    return Lanes(*values)


weights = st.builds(RankingWeights, *(st.floats(0, 2) for _ in range(3)))


@given(lanes(), weights)
def test_the_score_is_the_sum_of_the_shares_shown(given_lanes: Lanes, chosen: Any) -> None:
    shares = given_lanes.shares(chosen)
    assert set(shares) == {"late", "bm25", "document", "length"}
    fused = given_lanes.fused(chosen)
    assert fused.dtype == np.float32
    expected = [
        given_lanes.late[i]
        + chosen.bm25 * given_lanes.bm25[i]
        + chosen.document * given_lanes.document[i]
        - chosen.length * given_lanes.length[i]
        for i in range(len(fused))
    ]
    np.testing.assert_allclose(fused, expected, atol=1e-5)
    np.testing.assert_allclose(sum(shares.values()), fused, atol=1e-5)


@given(lanes(), weights, st.data())
def test_a_page_scores_the_same_among_fewer(
    given_lanes: Lanes, chosen: RankingWeights, data: st.DataObject
) -> None:
    n = len(given_lanes.late)
    kept = np.array(data.draw(st.lists(st.integers(0, max(n - 1, 0)), max_size=n)), np.intp)
    plain = ("late", "bm25", "document", "length")
    fewer = Lanes(*(getattr(given_lanes, name)[kept] for name in plain))
    np.testing.assert_array_equal(fewer.fused(chosen), given_lanes.fused(chosen)[kept])


@given(
    st.lists(st.tuples(st.integers(-4, 4), st.integers(0, 10**6)), unique_by=lambda x: x[1]),
    st.integers(0, 12),
)
def test_best_first_and_ties_by_page_id(pages: list[tuple[int, int]], k: int) -> None:
    """Halves, so that ties are common."""
    scores = np.array([score / 2 for score, _ in pages], np.float32)
    ids = np.array([page_id for _, page_id in pages], np.int64)
    found = order(scores, ids, k)
    expected = sorted(pages, key=lambda page: (-page[0], page[1]))[:k]
    assert [pages[i] for i in found] == expected


@given(st.lists(st.floats(0, 40, width=32), min_size=1, max_size=20), st.integers(1, 12))
def test_the_lexical_scale(values: list[float], words: int) -> None:
    scores = np.array(values, np.float32)
    best = float(scores.max())
    lane = lexical_lane(scores, best, words, 6.0)
    expected = [value / math.sqrt(max(best, 1e-9) * words * 6.0) for value in values]
    np.testing.assert_allclose(lane, expected, rtol=1e-4, atol=1e-6)
    assert np.isfinite(lane).all() and (lane >= 0).all()


def test_the_lexical_lane_is_1_where_every_word_matches_as_well_as_words_can() -> None:
    full = np.array([24.0, 12.0, 0.0], np.float32)
    assert lexical_lane(full, 24.0, 4, 6.0).tolist() == [1.0, 0.5, 0.0]
    # Only one word of four matched anywhere: even the best page gets half, not everything.
    assert lexical_lane(np.array([6.0], np.float32), 6.0, 4, 6.0).tolist() == [0.5]
    assert lexical_lane(np.zeros(2, np.float32), 0.0, 4, 6.0).tolist() == [0.0, 0.0]


def test_long_pages_pay_and_nearly_empty_ones_do_not_profit() -> None:
    lane = length_lane(np.array([0, 1, 10, 200, 400, 800], np.int32), 400.0)
    assert lane[0] == lane[1] == lane[2]
    np.testing.assert_allclose(lane[2:], np.log([10 / 400, 0.5, 1, 2]), rtol=1e-6)
    assert np.isfinite(length_lane(np.array([0], np.int32), 0.0)).all()


@pytest.mark.parametrize(
    ("question", "words"),
    [
        ("What was the revenue of AMD in 2022?", 3),
        ("revenue revenue REVENUE", 1),
        ("what is it", 1),
        ("", 1),
        ("?!", 1),
        ("version 3.14 or 1,000", 3),
        ("naïve café", 2),
    ],
)
def test_words_that_carry_meaning(question: str, words: int) -> None:
    assert question_words(question) == words


def test_what_explain_shows_of_the_weights() -> None:
    shown = weights_as_dict(RankingWeights(bm25=0.3, document=0.2, length=0.1))
    plain = {"late": 1.0, "bm25": 0.3, "document": 0.2, "length": 0.1}
    assert shown == {**plain, "others": {}, "fusion": "sum"}


@given(
    st.builds(
        RankingWeights,
        *(st.floats(0, 2) for _ in range(4)),
        others=st.dictionaries(st.sampled_from(["pixels", "scans"]), st.floats(0, 2)),
        fusion=st.sampled_from(FUSIONS),
    )
)
def test_weights_are_read_back_as_they_were_shown(chosen: RankingWeights) -> None:
    assert RankingWeights.read(json.loads(json.dumps(weights_as_dict(chosen)))) == chosen


@pytest.mark.parametrize(
    "said",
    [{"bm26": 1}, {"late": "much"}, {"fusion": "magic"}, {"others": {"x": None}}, {"late": np.nan}],
)
def test_other_weights_are_refused(said: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="not ranking weights"):
        RankingWeights.read(said)


def test_reciprocal_ranks_count_places_not_scores() -> None:
    near = np.array([0.9, 0.5, 0.5, 0.1], np.float32)
    far = np.array([9.0, 1.0, 8.0, 0.0], np.float32)
    none = np.zeros(4, np.float32)
    given = Lanes(near, none, none, none, {"late:pixels": far})
    chosen = RankingWeights(bm25=0, document=0, others={"pixels": 0.5}, fusion="ranks")
    shares = given.shares(chosen)
    np.testing.assert_allclose(shares["late"], 1 / (60 + np.array([1, 2.5, 2.5, 4])), rtol=1e-5)
    expected = 0.5 / (60 + np.array([1, 3, 2, 4]))
    np.testing.assert_allclose(shares["late:pixels"], expected, rtol=1e-5)
    assert given.summed(chosen)[0] == pytest.approx(0.9 + 4.5)
