"""Metadata as people write it: types, tables, and what filters and JSON could not hold."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexing.metadata import MetadataTable, parse_pairs, parse_value
from retrieval.errors import InputError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2021", 2021),
        (" -3 ", -3),
        ("0", 0),
        ("2.5", 2.5),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("true", True),
        ("No", False),
        ("AMD", "AMD"),
        ("", ""),
        ("007", "007"),
        ("+4930123", "+4930123"),
        ("1_000", "1_000"),
        ("1e999", "1e999"),
        ("nan", "nan"),
        ("inf", "inf"),
        ("9223372036854775807", 2**63 - 1),
        ("9223372036854775808", "9223372036854775808"),
        ("9" * 5000, "9" * 5000),
        ("1.2.3", "1.2.3"),
        ("\u00b2", "\u00b2"),
    ],
)
def test_values_have_the_type_they_look_like(text: str, value: object) -> None:
    found = parse_value(text)
    assert found == value and type(found) is type(value)


@given(st.text(max_size=30))
def test_any_value_can_be_written_as_json(text: str) -> None:
    json.dumps(parse_value(text), allow_nan=False)


def test_pairs() -> None:
    assert parse_pairs(["year=2021", " a = b=c "]) == {"year": 2021, "a": "b=c"}
    for bad in ("year", "=2021", " =x"):
        with pytest.raises(InputError, match="is not of the form key=value"):
            parse_pairs([bad])


def test_a_csv_table(tmp_path: Path) -> None:
    table = tmp_path / "about.csv"
    table.write_text(
        '\ufeffsource,year,note\nb/x.pdf,2021,"two\nlines, here"\nx.pdf,1999,\n"y, z.pdf",,ok\n',
        encoding="utf-8",
    )
    read = MetadataTable.read(table)
    assert len(read) == 3
    assert read(Path("/a/b/x.pdf")) == {"year": 2021, "note": "two\nlines, here"}
    assert read(Path("/a/c/x.pdf")) == {"year": 1999}
    assert read(Path("/q/y, z.pdf")) == {"note": "ok"}
    assert read(Path("/q/other.pdf")) == {}


def test_a_jsonl_table(tmp_path: Path) -> None:
    table = tmp_path / "about.jsonl"
    rows = [
        {"path": "./x.pdf", "year": 2021, "note": "a\u2028b", "none": None},
        {"file": "y.pdf", "ok": True, "part": 0.5},
    ]
    table.write_text("\n\n".join(json.dumps(row, ensure_ascii=False) for row in rows))
    read = MetadataTable.read(table)
    assert read(Path("/a/x.pdf")) == {"year": 2021, "note": "a\u2028b"}
    assert read(Path("/a/y.pdf")) == {"ok": True, "part": 0.5}


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.csv", "year\n2021\n", r"a\.csv, line 2: no source"),
        ("a.csv", "source,year\nx.pdf\n", r"a\.csv, line 2: not as many fields"),
        ("a.csv", "source,year\nx.pdf,1,2\n", r"a\.csv, line 2: not as many fields"),
        ("a.csv", 'source\n"x.pdf\n', r"a\.csv, line \d: not valid CSV"),
        ("a.csv", "source\nx.pdf\nx.pdf\n", r"a\.csv, line 3: a second row for 'x\.pdf'"),
        ("a.jsonl", '{"source": "x.pdf"}\n{', r"a\.jsonl, line 2: not valid JSON"),
        ("a.jsonl", "[1]", r"a\.jsonl, line 1: not a JSON object"),
        ("a.jsonl", '{"source": "x", "tags": []}', r"'tags' is list"),
        ("a.jsonl", '{"source": "x", "n": NaN}', r"'n' is nan, which no filter can compare"),
        ("a.jsonl", '{"source": "x", "n": 9223372036854775808}', r"'n' is 9223372036854775808"),
    ],
)
def test_mistakes_are_named_by_file_and_line(
    tmp_path: Path, name: str, text: str, said: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=said):
        MetadataTable.read(tmp_path / name)


def test_a_table_that_is_absent_or_no_text(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read the metadata file .*absent\.csv"):
        MetadataTable.read(tmp_path / "absent.csv")
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"cannot read the metadata file .*bytes\.csv"):
        MetadataTable.read(tmp_path / "bytes.csv")
