"""Documents of everyday work: what the reader answers of them, and what it leaves unanswered."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from eval.bench_answers import is_right, measure_answers
from eval.workplace.draw import write_collection
from indexing.index import Index


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("workplace")
    assert write_collection(folder) == 19
    Index.create(folder / "index").add([folder / "documents"])
    return folder


def test_values_are_read_and_near_misses_are_not_answered(collection: Path) -> None:
    """A part of the development half: the other one is for measuring."""
    lines = (collection / "questions.jsonl").read_text("utf-8").splitlines(keepends=True)
    (collection / "some.jsonl").write_text("".join(lines[::2]), "utf-8")
    row = measure_answers(collection / "some.jsonl", collection / "index", "dev").rows[-1]
    assert row["n"] >= 20 and row["unanswerable"] >= 15
    assert row["answered"] >= row["n"] - 2 and row["of_these_answered"] == 0
    assert row["right_of_these"] == row["cites_an_answering_page"] == 1
    assert row["citation_checks"] == 1


def test_every_expected_answer_stands_in_its_document(collection: Path) -> None:
    index = Index.open(collection / "index")
    for row in map(json.loads, (collection / "questions.jsonl").read_text().splitlines()):
        if row["answerable"]:
            page_id = index.page_id(index.find(row["doc"]), row["pages"][0])
            assert page_id is not None
            said = " ".join(index.page(page_id).words.texts)
            assert row["answers"][0] in said, row


@pytest.mark.parametrize(
    ("said", "expected", "right"),
    [
        ("12:48", "12:40", False),
        ("at 12:48", "12:48", True),
        ("1 May 2024", "1 June 2024", False),
        ("01/05/2024", "1 May 2024", True),
        ("9.5 bar", "9.5", True),
    ],
)
def test_dates_and_times_are_right_only_if_the_same(said: str, expected: str, right: bool) -> None:
    assert is_right(said, [expected]) == right
