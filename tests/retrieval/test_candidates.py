"""Stage one: who is proposed, that filters come before every cut, and how they are ranked."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.candidates import CandidateSettings, LexicalEvidence, find_candidates, lookup
from retrieval.ranking import LATE, RankingWeights
from retrieval.search import Searcher
from tests.retrieval.search_samples import WORDS, build, open_searcher

NARROW = CandidateSettings(candidates=5, coarse_pool=8, bm25_pool=8, documents=4, best_documents=0)
questions = st.lists(st.sampled_from([*WORDS, "report", "the", "2003"]), min_size=1, max_size=5)


@pytest.fixture(scope="module")
def searcher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Searcher]:
    root = tmp_path_factory.mktemp("candidates") / "index"
    build(root, documents=20, pages=8)
    searcher = open_searcher(root)
    yield searcher
    searcher.store.close()


def candidates(
    searcher: Searcher,
    question: str,
    docs: np.ndarray | None,
    settings: CandidateSettings,
    weights: RankingWeights | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    store = searcher.store
    lexical = LexicalEvidence.find(store, question, docs, settings)
    allowed = None if docs is None else store.pages.offsets_of_documents(docs)
    ranked = weights or RankingWeights()
    asked = searcher.asked(question)
    found = find_candidates(store, asked, lambda: lexical, allowed, ranked, settings)
    return found.offsets, found.scores


@given(
    st.dictionaries(st.integers(0, 30), st.floats(-5, 5, width=32)),
    st.lists(st.integers(0, 30)),
    st.floats(-5, 5, width=32),
)
def test_lookup_is_a_dictionary(table: dict[int, float], wanted: list[int], default: float) -> None:
    keys = np.array(sorted(table), np.int64)
    values = np.array([table[key] for key in sorted(table)], np.float32)
    found = lookup(keys, values, np.array(wanted, np.int64), default)
    assert found.tolist() == [table.get(key, default) for key in wanted]


@given(questions, st.sets(st.integers(0, 19), min_size=1, max_size=6))
def test_a_filter_narrows_before_every_cut(
    searcher: Searcher, words: list[str], docs: set[int]
) -> None:
    """However badly the allowed pages do, as many come back as the cut has room for."""
    ids = np.array(sorted(docs), np.int64)
    store = searcher.store
    found, scores = candidates(searcher, " ".join(words), ids, NARROW)
    assert set(store.pages.doc_ids[found].tolist()) <= docs
    with_vectors = store.pages.n_vectors[store.pages.offsets_of_documents(ids)] > 0
    assert len(found) == min(NARROW.candidates, int(with_vectors.sum()))
    assert len(set(found.tolist())) == len(found)
    assert (np.diff(scores) <= 0).all()


@given(questions)
def test_with_room_for_all_the_order_is_that_of_the_fused_lanes(
    searcher: Searcher, words: list[str]
) -> None:
    question = " ".join(words)
    settings, weights = CandidateSettings(signed_patches=0), RankingWeights()
    store = searcher.store
    query = searcher.encode(question)
    ids, coarse = searcher.coarse.candidates(query.vectors, query.weights, 1000)
    known = dict(zip(store.pages.offsets_of(ids).tolist(), coarse.tolist(), strict=True))
    lexical = LexicalEvidence.find(store, question, None, settings)
    pool = sorted({*known, *lexical.offsets.tolist()})
    late = np.array([known.get(offset, coarse.min()) for offset in pool], np.float32)
    fused = lexical.lanes(store, np.array(pool), {LATE: late}).fused(weights)
    by_score = sorted(zip(-fused, store.pages.page_ids[pool], pool, strict=True))
    found, scores = candidates(searcher, question, None, settings)
    assert found.tolist() == [offset for *_, offset in by_score[:100]]
    np.testing.assert_allclose(scores, [-score for score, *_ in by_score[:100]], atol=1e-6)


def test_no_document_allowed_means_no_candidates(searcher: Searcher) -> None:
    found, scores = candidates(searcher, "heron", np.zeros(0, np.int64), CandidateSettings())
    assert found.shape == scores.shape == (0,)


def test_pages_of_the_documents_that_the_question_names_are_proposed(searcher: Searcher) -> None:
    """A page may match a question only through what its document is."""
    store = searcher.store
    tiny = replace(NARROW, coarse_pool=1, bm25_pool=1, candidates=100)
    (theirs,) = [i for i, row in store.documents.items() if row.source.endswith("report-13.pdf")]
    without, _ = candidates(searcher, "heron in report 13", None, tiny)
    named = replace(tiny, best_documents=1, pages_of_best_documents=50)
    found, _ = candidates(searcher, "heron in report 13", None, named)
    pages = store.pages.offsets_of_documents(np.array([theirs]))
    readable = pages[store.pages.n_vectors[pages] > 0]
    assert len(readable) > 2
    assert not set(readable.tolist()) <= set(without.tolist())
    assert set(readable.tolist()) <= set(found.tolist())


def test_lexical_evidence_is_sorted_and_filtered(searcher: Searcher) -> None:
    store = searcher.store
    question = "heron copper anchor"
    everywhere = LexicalEvidence.find(store, question, None, CandidateSettings())
    assert (np.diff(everywhere.offsets) > 0).all() and (np.diff(everywhere.doc_ids) > 0).all()
    assert everywhere.words == 3 and everywhere.page_floor == 0.0
    texts = [
        record.words.texts for record in store.fetch_boxes_and_words(np.arange(len(store.pages)))
    ]
    matching = [i for i, words in enumerate(texts) if {"heron", "copper", "anchor"} & set(words)]
    assert everywhere.offsets.tolist() == matching
    some = np.array([2, 3, 11])
    filtered = LexicalEvidence.find(store, question, some, CandidateSettings())
    inside = [i for i in matching if store.pages.doc_ids[i] in some]
    assert filtered.offsets.tolist() == inside
    assert set(filtered.doc_ids.tolist()) <= set(some.tolist())


def test_pages_beyond_a_cut_list_count_as_its_last(searcher: Searcher) -> None:
    """Otherwise the page after the cut would lose its whole lexical share to an accident."""
    store = searcher.store
    cut = LexicalEvidence.find(store, "heron copper", None, replace(NARROW, bm25_pool=3))
    assert len(cut.offsets) == 3
    assert cut.page_floor == pytest.approx(float(cut.page_scores.min()))
    every = np.arange(len(store.pages))
    lanes = cut.lanes(store, every, {LATE: np.full(len(every), -np.inf, np.float32)})
    outside = ~np.isin(every, cut.offsets)
    assert np.unique(lanes.bm25[outside]).tolist() == [lanes.bm25.min()]
    assert lanes.bm25.min() > 0
    assert (lanes.late == 0).all(), "a page without patches counts late interaction as 0"


def test_the_best_documents_first(searcher: Searcher) -> None:
    lexical = LexicalEvidence.find(searcher.store, "report 7", None, CandidateSettings())
    (first,) = lexical.best_documents(1)
    assert searcher.store.documents[first].source == "/files/report-7.pdf"
    scores = dict(zip(lexical.doc_ids.tolist(), lexical.doc_scores.tolist(), strict=True))
    ranked = [scores[doc] for doc in lexical.best_documents(20).tolist()]
    assert ranked == sorted(ranked, reverse=True)


def test_the_same_question_has_the_same_candidates(searcher: Searcher) -> None:
    rng = random.Random(1)
    for _ in range(10):
        question = " ".join(rng.sample(WORDS, 4))
        first, scores = candidates(searcher, question, None, NARROW)
        again, same = candidates(searcher, question, None, NARROW)
        assert first.tolist() == again.tolist() and scores.tolist() == same.tolist()
