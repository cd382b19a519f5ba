"""Retrievers of other frameworks over a real index; skipped where a framework is absent."""

from __future__ import annotations

from pathlib import Path

import pytest

from indexing.index import Index
from serving.integrations.found import passages

QUESTION = "What is the total of invoice FF-2025-0318?"


@pytest.fixture(scope="module")
def index(built: Path) -> Index:
    return Index.open(built)


def test_a_hit_is_its_whole_page_with_its_places(index: Index) -> None:
    text, score, metadata = passages(index, QUESTION, 3, None)[0]
    assert "6,722.58" in text and "\n" in text and score > 0
    assert metadata["source"] == "invoice-ff-2025-0318.pdf" and metadata["page"] == 1
    assert metadata["regions"] and metadata["team"] == "birds"
    assert passages(index, QUESTION, 3, "team = 'nobody'") == []


def test_langchain(index: Index) -> None:
    pytest.importorskip("langchain_core")
    from serving.integrations.langchain import FolioscopeRetriever

    found = FolioscopeRetriever(source=index, k=2).invoke(QUESTION)
    assert len(found) == 2 and "6,722.58" in found[0].page_content
    assert found[0].metadata["source"] == "invoice-ff-2025-0318.pdf"


def test_llama_index(index: Index) -> None:
    pytest.importorskip("llama_index.core")
    from serving.integrations.llama_index import FolioscopeRetriever

    found = FolioscopeRetriever(index, k=2).retrieve(QUESTION)
    assert len(found) == 2 and "6,722.58" in found[0].node.get_content()
