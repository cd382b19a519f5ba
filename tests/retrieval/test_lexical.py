"""BM25 finds words as people write them, keeps to its filter, and takes any text as a query."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retrieval.store import Store, StoreWriter
from tests.retrieval.store_samples import SPEC, add, build


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    root = tmp_path_factory.mktemp("lexical")
    build(root)
    with Store.open(root) as store:
        yield store


@pytest.mark.parametrize(
    ("query", "offsets"),
    [
        ("cat", [0, 2]),
        ("CATS!", [0, 2]),
        ("running", [0]),
        ("sleeping dog", [1]),
        ("economie naive", [4]),
        ("ÉCONOMIE", [4]),
        ("birds", []),
        ("the and of", []),
        ("", []),
        (" \n", []),
        ("?!", []),
    ],
)
def test_words_match_by_stem_and_without_accents(
    sample: Store, query: str, offsets: list[int]
) -> None:
    found, scores = sample.bm25_pages(query, 10)
    assert sorted(found.tolist()) == offsets
    assert len(scores) == len(offsets) and (scores > 0).all()


def test_best_first_and_cut_after_the_filter(sample: Store) -> None:
    assert sample.bm25_pages("dogs sleeping with a cat", 10)[0][0] == 1
    assert sample.bm25_pages("dogs sleeping with a cat", 1)[0].tolist() == [1]
    assert sample.bm25_pages("dogs sleeping cat", 1, np.array([2]))[0].tolist() == [2]
    assert sample.bm25_pages("cat", 10, np.array([], np.int64))[0].tolist() == []
    assert sample.bm25_pages("cat", 0)[0].tolist() == []


def test_document_context(sample: Store) -> None:
    doc_ids, scores = sample.bm25_documents("what is beta about", 5)
    assert doc_ids.tolist() == [2] and scores[0] > 0
    assert sample.bm25_documents("beta", 5, np.array([0]))[0].tolist() == []
    assert sample.bm25_documents("gone", 5)[0].tolist() == []


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(query=st.text(max_size=60) | st.from_regex(r'[-+"*~^():\\/\[\]{}a-z ]{1,20}'))
def test_any_text_is_a_query(sample: Store, query: str) -> None:
    offsets, scores = sample.bm25_pages(query, 5)
    assert len(offsets) == len(scores) == len(set(offsets.tolist()))
    assert (np.diff(scores) <= 0).all()


def test_a_filter_of_many_documents(tmp_path: Path) -> None:
    with StoreWriter.open(tmp_path, create=SPEC) as writer:
        for i in range(60):
            add(writer, f"d{i}", [f"common word{i}"], seed=i)
        writer.commit()
    allowed = np.array([5, 6, 7, 8, 20, 22, 24, 59, 1000])
    with Store.open(tmp_path) as store:
        offsets, _ = store.bm25_pages("common", 100, allowed)
        assert sorted(store.pages.doc_ids[offsets].tolist()) == [5, 6, 7, 8, 20, 22, 24, 59]
        assert len(store.bm25_pages("common", 3, allowed)[0]) == 3


def test_scores_do_not_depend_on_how_the_index_grew(tmp_path: Path) -> None:
    texts = [f"cats and w{i} {'filler ' * (i % 7)}" + ("dogs" if i % 3 else "") for i in range(40)]
    at_once, in_steps = tmp_path / "a", tmp_path / "b"
    with StoreWriter.open(at_once, create=SPEC) as writer:
        add(writer, "all", texts)
        writer.commit()
    with StoreWriter.open(in_steps, create=SPEC) as writer:
        for i in range(0, 40, 10):
            add(writer, f"part{i}", texts[i : i + 10])
            writer.commit()
    with Store.open(at_once) as one, Store.open(in_steps) as many:
        for query in ("cats", "dogs filler", "w3 w17 cats"):
            found, expected = many.bm25_pages(query, 40), one.bm25_pages(query, 40)
            assert found[0].tolist() == expected[0].tolist()
            np.testing.assert_allclose(found[1], expected[1], rtol=1e-5)


def test_compaction_forgets_the_words_of_deleted_pages(tmp_path: Path) -> None:
    def scores(root: Path) -> list[float]:
        with Store.open(root) as store:
            return [float(score) for score in store.bm25_pages("cat", 5)[1]]

    clean, grown = tmp_path / "clean", tmp_path / "grown"
    with StoreWriter.open(clean, create=SPEC) as writer:
        add(writer, "kept", ["a cat here", "nothing there"])
        writer.commit()
    with StoreWriter.open(grown, create=SPEC) as writer:
        add(writer, "kept", ["a cat here", "nothing there"])
        doomed = add(writer, "doomed", ["cat cat cat"] * 20)
        writer.commit()
        writer.remove_document(doomed)
        writer.compact()
        writer.commit()
    assert scores(grown) == pytest.approx(scores(clean))
