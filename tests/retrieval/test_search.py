"""The searcher: two stages against all pages, single lanes, filters, and what it refuses."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.candidates import CandidateSettings
from retrieval.errors import InputError, StorageError
from retrieval.passages import best_passage
from retrieval.search import MODES, Searcher, SearchMode, SearchSettings
from retrieval.store import CreateSpec, StoreWriter
from retrieval.types import QueryEmbedding, SearchResult
from tests.retrieval.search_samples import (
    DIM,
    WORDS,
    TopicEncoder,
    add,
    build,
    open_searcher,
    write_coarse,
)

questions = st.one_of(
    st.lists(st.sampled_from([*WORDS, "report", "2003", "brant"]), min_size=1, max_size=6).map(
        " ".join
    ),
    st.text(min_size=1, max_size=20).filter(lambda text: bool(re.search(r"\w", text))),
)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Searcher]:
    """84 pages: fewer than the candidates that are reranked."""
    root = tmp_path_factory.mktemp("small") / "index"
    build(root, documents=12, pages=7, seed=1)
    searcher = open_searcher(root)
    yield searcher
    searcher.store.close()


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Searcher]:
    """720 pages of which 60 are reranked."""
    root = tmp_path_factory.mktemp("large") / "index"
    build(root, documents=30, pages=24, seed=2)
    limits = CandidateSettings(candidates=60, coarse_pool=120, best_documents=1)
    searcher = open_searcher(root, SearchSettings(candidates=limits))
    yield searcher
    searcher.store.close()


def shown(result: SearchResult) -> list[tuple[object, ...]]:
    return [
        (hit.rank, hit.page_id, round(hit.score, 5), hit.source, hit.page, hit.regions)
        for hit in result.hits
    ]


@settings(max_examples=40)
@given(questions, st.integers(1, 30), st.sampled_from([None, "year >= 2006", "firm = 'Arlo'"]))
def test_two_stages_find_what_scoring_every_page_finds(
    small: Searcher, question: str, k: int, condition: str | None
) -> None:
    quick = small.search(question, k, filter=condition)
    slow = small.search(question, k, filter=condition, mode="exhaustive")
    assert [hit.page_id for hit in quick.hits] == [hit.page_id for hit in slow.hits]
    scores = [hit.score for hit in quick.hits]
    np.testing.assert_allclose(scores, [hit.score for hit in slow.hits], atol=1e-5)


def offset(searcher: Searcher, page_id: int) -> int:
    return int(searcher.store.pages.offsets_of(np.array([page_id]))[0])


def test_a_page_scores_the_same_whoever_else_was_found(large: Searcher) -> None:
    rng = random.Random(4)
    shared = 0
    for _ in range(8):
        question = " ".join(rng.sample(WORDS, 3))
        every = large.search(question, 100, mode="exhaustive")
        scores = {hit.page_id: hit.score for hit in every.hits}
        found = large.search(question, 10).hits
        for hit in found:
            if hit.page_id in scores:
                assert hit.score == pytest.approx(scores[hit.page_id], abs=1e-5)
        shared += len({hit.page_id for hit in found} & {hit.page_id for hit in every.hits[:10]})
    assert shared > 0.9 * 80


def test_exhaustive_scores_are_the_lanes_of_every_page(small: Searcher) -> None:
    store = small.store
    every = np.flatnonzero(store.pages.n_patches > 0)
    query, patches = small.encode("copper and heron"), store.fetch_patches(every)
    late = best_passage(query.vectors, query.weights, patches.codes, patches.starts, patches.scales)
    by_page = dict(zip(store.pages.page_ids[every].tolist(), late.tolist(), strict=True))
    result = small.search("copper and heron", 1000, mode="exhaustive")
    assert len(result.hits) == len(every)
    for hit in result.hits:
        assert hit.score == pytest.approx(sum(hit.scores.values()), abs=1e-5)
        assert hit.scores["late"] == pytest.approx(by_page[hit.page_id], abs=1e-5)


@settings(max_examples=60)
@given(questions, st.sampled_from(MODES), st.integers(1, 1000))
def test_hits_are_well_formed_in_every_mode(
    small: Searcher, question: str, mode: SearchMode, k: int
) -> None:
    result = small.search(question, k, mode=mode)
    assert result.query == question.strip()
    assert set(result.timing_ms) == {"encode", "coarse", "fetch", "rerank", "total"}
    assert [hit.rank for hit in result.hits] == list(range(1, len(result.hits) + 1))
    assert len(result.hits) <= min(k, len(small.store.pages))
    scores = [hit.score for hit in result.hits]
    assert np.isfinite(scores).all() and scores == sorted(scores, reverse=True)
    assert len({hit.page_id for hit in result.hits}) == len(result.hits)
    for hit in result.hits:
        document = small.store.documents[hit.doc_id]
        assert (hit.source, hit.title) == (document.source, document.title)
        assert hit.metadata == document.metadata and hit.label == f"p{hit.page}"
        assert len(hit.snippet) <= 240
        for region in hit.regions:
            x0, y0, x1, y1 = region.box
            assert 0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1 and 0 <= region.score <= 1
    json.dumps([hit.scores for hit in result.hits], allow_nan=False)


@pytest.mark.parametrize("mode", ["two-stage", "exhaustive", "coarse"])
def test_more_pages_asked_for_than_there_are(small: Searcher, mode: SearchMode) -> None:
    """Every page comes back but the blank ones, which answer nothing."""
    filled = small.store.pages.n_patches > 0
    assert not filled.all()
    hits = small.search("heron", 1000, mode=mode).hits
    expected = small.store.pages.page_ids[filled]
    assert sorted(hit.page_id for hit in hits) == expected.tolist()


def test_more_hits_asked_for_than_candidates_are_usual(large: Searcher) -> None:
    assert len(large.search("heron", 300).hits) == 300


def test_single_lanes_are_what_their_index_says(small: Searcher) -> None:
    question = "thistle nickel"
    query = small.encode(question)
    ids, scores = small.coarse.candidates(query.vectors, query.weights, 9)
    hits = small.search(question, 9, mode="coarse").hits
    assert [hit.page_id for hit in hits] == ids.tolist()
    assert [hit.scores for hit in hits] == [{"coarse": pytest.approx(s)} for s in scores]
    offsets, scores = small.store.bm25_pages(question, 9)
    hits = small.search(question, 9, mode="bm25").hits
    assert [offset(small, hit.page_id) for hit in hits] == offsets.tolist()
    assert [hit.scores for hit in hits] == [{"bm25": pytest.approx(s)} for s in scores]


@pytest.mark.parametrize("mode", MODES)
def test_filters_leave_only_their_documents_and_as_many_pages_as_asked(
    large: Searcher, mode: SearchMode
) -> None:
    """The 24 pages of the least likely document all come back: nothing was cut before."""
    last = large.search("heron anchor", 720, mode="exhaustive").hits[-1]
    year = last.metadata["year"]
    hits = large.search("heron anchor", 24, filter=f"year = {year}", mode=mode).hits
    assert {hit.doc_id for hit in hits} == {last.doc_id}
    pages = large.store.pages.offsets_of_documents(np.array([last.doc_id]))
    readable = {int(large.store.pages.page_ids[i]) for i in pages if large.store.pages.n_patches[i]}
    found = {hit.page_id for hit in hits}
    if mode == "bm25":
        assert found < readable
    else:
        assert found >= readable
    assert shown(large.search("heron anchor", 24, doc=last.doc_id, mode=mode)) == shown(
        large.search("heron anchor", 24, filter=f"year = {year}", mode=mode)
    )


@pytest.mark.parametrize("mode", MODES)
def test_a_filter_that_nothing_meets_finds_nothing(small: Searcher, mode: SearchMode) -> None:
    assert small.search("heron", filter="year > 3000", mode=mode).hits == ()
    assert small.search("heron", filter="year = 2003", doc="report-4.pdf", mode=mode).hits == ()


@pytest.mark.parametrize(
    "name", [4, "4", "/files/report-4.pdf", "report-4.pdf", "files/report-4.pdf"]
)
def test_a_document_is_named_by_id_path_or_file_name(small: Searcher, name: str | int) -> None:
    assert small.find_document(name) == 4
    hits = small.search("heron", 5, doc=name).hits
    assert hits and {hit.source for hit in hits} == {"/files/report-4.pdf"}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (99, r"there is no document 99 in the index"),
        (-1, r"there is no document -1 in the index"),
        ("99", r"no document '99' in the index .*index status"),
        ("report-44.pdf", r"no document 'report-44.pdf' .*did you mean .*report-4\.pdf"),
        ("zzz", r"no document 'zzz' .*index status"),
        ("", r"no document '' "),
        ("\u00b2", r"no document '\u00b2' "),
        ("9" * 5000, r"no document '9999"),
        ("eport-4.pdf", r"no document 'eport-4\.pdf'"),
    ],
)
def test_an_unknown_document_is_refused(small: Searcher, name: str | int, said: str) -> None:
    with pytest.raises(InputError, match=said):
        small.search("heron", doc=name)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"question": ""}, "the question is empty"),
        ({"question": " \n\t"}, "the question is empty"),
        ({"question": "\u200b?!"}, "has no words; ask in words"),
        ({"k": 0}, "k must be between 1 and 1000, not 0"),
        ({"k": 1001}, "k must be between 1 and 1000, not 1001"),
        ({"mode": "fast"}, "unknown mode 'fast'; known: two-stage, coarse, exhaustive, bm25"),
        ({"filter": "price > 3"}, r"no such column: price; known columns: .*firm.*year.*example"),
        ({"filter": "year >"}, r"cannot use the filter 'year >'"),
        ({"filter": " "}, r"the filter is empty; known columns: "),
        ({"filter": "1) UNION SELECT 1 --"}, "cannot use the filter"),
    ],
)
def test_what_cannot_be_searched_is_refused_in_words(
    small: Searcher, arguments: dict[str, object], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        small.search(**{"question": "heron", **arguments})  # type: ignore[arg-type]


def test_a_name_that_several_documents_have_is_refused(tmp_path: Path) -> None:
    with new_index(tmp_path) as writer:
        add(writer, "2021/report", ["heron"])
        add(writer, "2022/report", ["otter"])
        writer.commit(write_coarse)
    searcher = open_searcher(tmp_path)
    with pytest.raises(InputError, match=r"names 2 documents: 0 \(.*2021.*1 \(.*2022.*use an id"):
        searcher.search("heron", doc="report.pdf")
    assert searcher.find_document("2022/report.pdf") == 1
    searcher.store.close()


def new_index(root: Path) -> StoreWriter:
    spec = CreateSpec(TopicEncoder.id, TopicEncoder.fingerprint, DIM)
    return StoreWriter.open(root, create=spec)


@pytest.mark.parametrize("texts", [None, [], ["", ""]])
def test_an_index_of_nothing_answers_with_nothing(tmp_path: Path, texts: list[str] | None) -> None:
    with new_index(tmp_path) as writer:
        if texts is not None:
            add(writer, "blank", texts)
        writer.commit(write_coarse)
    searcher = open_searcher(tmp_path)
    for mode in MODES:
        assert searcher.search("heron", mode=mode, explain=True).hits == ()
    searcher.store.close()


def test_removed_pages_are_not_found_even_by_the_old_coarse_file(tmp_path: Path) -> None:
    with new_index(tmp_path) as writer:
        gone = add(writer, "gone", ["heron heron", "heron"])
        add(writer, "kept", ["heron copper", "otter", "salmon granite"])
        writer.commit(write_coarse)
        writer.remove_document(gone)
        writer.commit(keep_coarse=True)
    searcher = open_searcher(tmp_path)
    assert searcher.coarse.n_pages == 5
    for mode in MODES:
        hits = searcher.search("heron", 5, mode=mode).hits
        assert {hit.source for hit in hits} == {"/files/kept.pdf"}
        assert len(hits) == (1 if mode == "bm25" else 3), mode
    searcher.store.close()


def test_evidence_is_that_of_the_last_search_and_is_not_encoded_again(
    small: Searcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    encode = TopicEncoder.encode_queries

    def counted(self: TopicEncoder, queries: Sequence[str]) -> list[QueryEmbedding]:
        asked.extend(queries)
        return encode(self, queries)

    monkeypatch.setattr(TopicEncoder, "encode_queries", counted)
    question = "copper under heather"
    best = small.search(question).hits[0]
    seen = small.evidence(question, best.page_id)
    assert small.hit(best.page_id, question).regions == best.regions
    assert asked == [question]
    # Many questions later it is encoded anew, and nothing differs.
    for number in range(300):
        small.encode(f"copper {number}")
    again = small.evidence(question, best.page_id)
    assert asked[-1] == question
    assert np.array_equal(seen.similarities, again.similarities)
    small.search(question)
    assert asked[-2:] == [question, question]


def test_an_index_of_another_encoder_is_refused(small: Searcher) -> None:
    other = TopicEncoder()
    other.fingerprint = "fedcba9876543210"  # type: ignore[misc]
    with pytest.raises(
        StorageError, match=r"built by encoder 'topics' \(0123456789ab\).*build anew"
    ):
        Searcher(small.store, small.coarse, other)


def test_explain_says_what_each_lane_and_token_gave(small: Searcher) -> None:
    plain = small.search("heron copper", 3)
    result = small.search("heron copper", 3, explain=True, filter="firm = 'Brant'")
    assert plain.explain is None and result.explain is not None
    assert result.explain["lanes"] == ["bm25", "document", "late", "length"]
    assert result.explain["tokens"] == [
        {"token": "heron", "weight": 0.5},
        {"token": "copper", "weight": 0.5},
    ]
    assert result.explain["weights"]["late"] == 1.0
    assert result.explain["documents_allowed"] == 4 and result.explain["pages"] == 84
    assert set(result.hits[0].scores) == set(result.explain["lanes"])
    json.dumps(dict(result.explain), allow_nan=False)


def test_lane_weights_are_settings(small: Searcher) -> None:
    weights = replace(small.settings.weights, bm25=0.0, document=0.0, length=0.0)
    late = Searcher(
        small.store, small.coarse, TopicEncoder(), SearchSettings(weights=weights, regions=1)
    )
    hits = late.search("heron copper", 20).hits
    assert all(hit.score == pytest.approx(hit.scores["late"]) for hit in hits)
    assert all(len(hit.regions) <= 1 for hit in hits)
    assert shown(late.search("heron copper", 20)) != shown(small.search("heron copper", 20))


def test_fiscal_shorthand_in_a_question_meets_the_year(small: Searcher) -> None:
    short = small.search("heron in FY03", 5)
    assert {hit.page_id for hit in short.hits} == {
        hit.page_id for hit in small.search("heron in FY 2003", 5).hits
    }
    assert max(short.hits, key=lambda hit: hit.scores["document"]).metadata["year"] == 2003


def test_evidence_is_the_similarity_of_every_word_to_the_question(small: Searcher) -> None:
    hit = small.search("heron copper", 1).hits[0]
    evidence = small.evidence("heron copper", hit.page_id)
    words = small.store.fetch_boxes_and_words(np.array([offset(small, hit.page_id)]))[0]
    assert evidence.similarities.shape == (2, len(words.words))
    assert evidence.boxes.shape == (len(words.words), 4)
    assert np.abs(evidence.similarities).max() <= 1.01
    with pytest.raises(InputError, match="page 123456 is not in the index"):
        small.evidence("heron", 123456)


def test_threads_get_the_answers_they_asked_for(large: Searcher) -> None:
    rng = random.Random(6)
    asked = [" ".join(rng.sample(WORDS, 3)) for _ in range(24)]
    expected = [shown(large.search(question, 5)) for question in asked]
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(lambda question: shown(large.search(question, 5)), asked)) == expected
