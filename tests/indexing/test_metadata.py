"""Metadata from CSV, JSONL and the command line, typed, and matched to its sources."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexing.metadata import MetadataTable, parse_pairs, parse_value
from retrieval.errors import InputError


def table(tmp_path: Path, content: str, name: str = "facts.csv") -> MetadataTable:
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    return MetadataTable.read(path)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2021", 2021),
        ("-7", -7),
        ("2.5", 2.5),
        ("1e3", 1000.0),
        ("0", 0),
        ("0.5", 0.5),
        ("true", True),
        ("Yes", True),
        ("no", False),
        ("AMD", "AMD"),
        (" spaced out ", "spaced out"),
        ("007", "007"),
        ("+4930123", "+4930123"),
        ("1_000", "1_000"),
        ("2021-03-01", "2021-03-01"),
        ("nan", "nan"),
        ("inf", "inf"),
        ("", ""),
    ],
)
def test_values_get_the_type_they_look_like(text: str, value: object) -> None:
    found = parse_value(text)
    assert found == value and type(found) is type(value)


@given(st.integers(-(10**12), 10**12))
def test_whole_numbers_stay_whole(number: int) -> None:
    assert parse_value(str(number)) == number


def test_pairs_from_the_command_line() -> None:
    found = parse_pairs(["year=2021", "company = AMD", "formula=a=b", "empty="])
    assert found == {"year": 2021, "company": "AMD", "formula": "a=b", "empty": ""}
    for wrong in ("year", "=2021", " =x"):
        with pytest.raises(InputError, match="key=value"):
            parse_pairs([wrong])


def test_a_row_is_found_by_the_end_of_the_path(tmp_path: Path) -> None:
    facts = table(
        tmp_path,
        "source,year\nreport.pdf,2021\nold/report.pdf,1999\n./new/memo.pdf,2024\n",
    )
    assert len(facts) == 3
    assert facts(Path("/a/report.pdf")) == {"year": 2021}
    assert facts(Path("/a/old/report.pdf")) == {"year": 1999}
    assert facts(Path("/a/new/memo.pdf")) == {"year": 2024}
    assert facts(Path("/a/memo.pdf")) == {}
    assert facts(Path("/a/xreport.pdf")) == {}


def test_csv_as_spreadsheets_write_it(tmp_path: Path) -> None:
    content = '\ufefffile,title,paid\r\n"a,b.pdf","Tides, ""new""",yes\r\nc.pdf,,no\r\n'
    path = tmp_path / "facts.csv"
    path.write_bytes(content.encode())
    facts = MetadataTable.read(path)
    assert facts(Path("a,b.pdf")) == {"title": 'Tides, "new"', "paid": True}
    assert facts(Path("c.pdf")) == {"paid": False}


def test_a_quoted_value_may_run_over_lines(tmp_path: Path) -> None:
    facts = table(tmp_path, 'source,note\na.pdf,"first\nsecond"\nb.pdf,x\n')
    assert facts(Path("a.pdf")) == {"note": "first\nsecond"}


def test_jsonl_keeps_its_types(tmp_path: Path) -> None:
    rows = [
        {"path": "a.pdf", "year": 2021, "zip": "01234", "rate": 1.5, "open": True, "gone": None},
        {"path": "b.pdf", "place": "Köln"},
    ]
    content = "\n\n".join(json.dumps(row) for row in rows)
    facts = table(tmp_path, content, "facts.jsonl")
    assert facts(Path("a.pdf")) == {"year": 2021, "zip": "01234", "rate": 1.5, "open": True}
    assert facts(Path("b.pdf")) == {"place": "Köln"}


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", "name,year\nx,1\n", "line 2: no source"),
        ("a.csv", "source,year\na.pdf,1,2\n", "line 2: not as many fields"),
        ("a.csv", "source,year\na.pdf\n", "line 2: not as many fields"),
        ("a.csv", "source,year\na.pdf,1\na.pdf,2\n", "line 3: a second row for 'a.pdf'"),
        ("a.csv", 'source,year\na.pdf,"1"x\n', "not valid CSV"),
        ("a.jsonl", '{"source": "a.pdf"}\n{oops}\n', "line 2: not valid JSON"),
        ("a.jsonl", "[1]\n", "line 1: not a JSON object"),
        ("a.jsonl", '{"source": "a.pdf", "tags": ["x"]}\n', "'tags' is list"),
    ],
)
def test_mistakes_are_said_with_file_and_line(
    tmp_path: Path, name: str, content: str, said: str
) -> None:
    with pytest.raises(InputError) as mistake:
        table(tmp_path, content, name)
    assert str(tmp_path / name) in str(mistake.value) and said in str(mistake.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read the metadata file"):
        MetadataTable.read(tmp_path / "gone.csv")
    (tmp_path / "latin.csv").write_bytes("source,ort\na.pdf,Köln\n".encode("latin-1"))
    with pytest.raises(InputError, match=r"latin\.csv"):
        MetadataTable.read(tmp_path / "latin.csv")


@given(
    st.dictionaries(
        st.text("abcxyz", min_size=1, max_size=5),
        st.text(st.characters(codec="utf-8", categories=["L", "P", "Zs"]), max_size=12),
        max_size=5,
    )
)
def test_what_was_written_as_csv_is_what_is_read(
    tmp_path_factory: pytest.TempPathFactory, row: dict[str, str]
) -> None:
    path = tmp_path_factory.mktemp("csv") / "facts.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["source", *row])
        writer.writeheader()
        writer.writerow({"source": "a.pdf", **row})
    expected = {key: parse_value(value) for key, value in row.items() if value.strip()}
    assert MetadataTable.read(path)(Path("a.pdf")) == expected
