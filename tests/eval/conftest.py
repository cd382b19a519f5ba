"""An index of made-up pages that every test of a run may read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from eval.datasets import Question, read_questions
from indexing.index import Index
from tests.eval.samples import QUESTIONS, write_jsonl
from tests.retrieval.search_samples import TopicEncoder, build


@pytest.fixture(scope="session")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an index: six documents of eight pages."""
    root = tmp_path_factory.mktemp("eval") / "index"
    build(root, documents=6, pages=8)
    return root


@pytest.fixture
def index(collection: Path) -> Iterator[Index]:
    with Index.open(collection, encoder=TopicEncoder()) as opened:
        yield opened


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return write_jsonl(tmp_path / "questions.jsonl", QUESTIONS)


@pytest.fixture
def questions(dataset: Path) -> list[Question]:
    return read_questions(dataset)
