"""Questions from files that people write by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from eval.datasets import only_documents, read_questions
from retrieval.errors import InputError
from tests.eval.samples import QUESTIONS, row, write_jsonl


def test_every_field_of_a_jsonl_row(tmp_path: Path) -> None:
    questions = read_questions(write_jsonl(tmp_path / "q.jsonl", QUESTIONS))
    assert [q.qid for q in questions] == ["q1", "q2", "q3", "q4", "q5"]
    assert questions[1].pages == {1, 3} and questions[1].kind == "table"
    assert (questions[0].scope, questions[2].scope) == ("corpus", "doc")
    (box,) = questions[3].boxes
    assert (box.page, box.box, box.unit) == (4, (0, 0, 612, 792), "pdf_pt")
    assert questions[4].ignored == {1, 2}


def test_answers_and_questions_without_any(tmp_path: Path) -> None:
    rows = [
        row("said", "owls?", "a.pdf", [0], answers=["two", 2]),
        row("not said", "owls?", "a.pdf", [0], answers=None),
        row("none", "owls?", "a.pdf", [], answerable=False),
    ]
    path = write_jsonl(tmp_path / "q.jsonl", rows)
    assert [q.answers for q in read_questions(path)] == [("two", "2"), ()]
    every = read_questions(path, unanswerable=True)
    assert [(q.qid, q.answerable) for q in every][-1] == ("none", False)
    assert every[-1].relevant == {} and every[0].relevant == {("a.pdf", 0): 1}


def test_a_page_that_answers_is_never_ignored(tmp_path: Path) -> None:
    rows = [row("q", "owls?", "a.pdf", [1], meta={"also_on_pages": [1, 2]})]
    (question,) = read_questions(write_jsonl(tmp_path / "q.jsonl", rows))
    assert (question.pages, question.ignored) == ({1}, {2})


def test_what_cannot_be_measured_is_left_out(tmp_path: Path) -> None:
    rows = [
        row("kept", "owls?", "a.pdf", [0]),
        row("no answer", "owls?", "a.pdf", [1], answerable=False),
        row("no page", "owls?", "a.pdf", []),
        row("clip", "owls?", "a.mp4", [1], scope="video"),
        row("doubtful", "owls?", "a.pdf", [1], meta={"page_check": "suspect"}),
    ]
    assert [q.qid for q in read_questions(write_jsonl(tmp_path / "q.jsonl", rows))] == ["kept"]
    with pytest.raises(InputError, match="no question with a page"):
        read_questions(write_jsonl(tmp_path / "none.jsonl", rows[1:]))


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[1, 2]",
        "null",
        '"text"',
        json.dumps({"qid": "q", "question": "owls?", "doc": "a.pdf"}),
        json.dumps(row("q", "owls?", "a.pdf", [0]) | {"pages": "12"}),
        json.dumps(row("q", "owls?", "a.pdf", [0]) | {"pages": 3}),
        json.dumps(row("q", "owls?", "a.pdf", [-1])),
        json.dumps(row("q", "owls?", "a.pdf", [0]) | {"pages": [0.5]}),
        json.dumps(row("q", " ", "a.pdf", [0])),
        json.dumps(row("q", "owls?", "a.pdf", [0], boxes=[{"page": 0, "bbox": [1, 2]}])),
        json.dumps(row("q", "owls?", "a.pdf", [0], meta=[1])),
        json.dumps(row("q", "owls?", "a.pdf", [0], meta={"also_on_pages": "two"})),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "q.jsonl"
    path.write_text(json.dumps(QUESTIONS[0]) + "\n\n" + line + "\n", "utf-8")
    with pytest.raises(InputError, match=r"q\.jsonl, line 3: "):
        read_questions(path)


def test_two_questions_of_one_id_are_refused(tmp_path: Path) -> None:
    """Their rankings would overwrite each other."""
    with pytest.raises(InputError, match=r"line 6.*'q2'.*line 2"):
        read_questions(write_jsonl(tmp_path / "q.jsonl", [*QUESTIONS, QUESTIONS[1]]))


def test_a_csv_as_a_spreadsheet_writes_it(tmp_path: Path) -> None:
    """With a byte order mark, extra columns, a line break in a cell, two pages of a question."""
    path = tmp_path / "q.csv"
    path.write_bytes(
        "\ufeffpage,question,document,note\r\n"
        '3,"Which owl, of two\r\nowls?",birds/a.pdf,x\r\n'
        '5,"Which owl, of two\r\nowls?",birds/a.pdf,\r\n'
        "1,économie?,b.pdf,\r\n".encode()
    )
    owls, economy = read_questions(path)
    assert (owls.doc, owls.pages) == ("birds/a.pdf", {2, 4})
    assert owls.text.split() == ["Which", "owl,", "of", "two", "owls?"]
    assert (economy.text, economy.pages, economy.scope) == ("économie?", {0}, "corpus")


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_csv_as_people_write_it(tmp_path: Path, separator: str) -> None:
    """Of any country's spreadsheet, with capitals, spaces, emptied rows and doubled ones."""
    path = tmp_path / "q.csv"
    rows = [
        ("Question", " Document ", "Page"),
        ("", "", ""),
        ("owls?", " b.pdf", "2"),
        ("otters?", "a.pdf", "3.0"),
        ("owls? ", "b.pdf", " 2 "),
        ("owls?", "c.pdf", "1"),
    ]
    path.write_text("\n\n".join(separator.join(row) for row in rows), "utf-8")
    owls, otters = read_questions(path)
    assert (owls.qid, otters.qid) == ("row-3", "row-4")
    assert owls.relevant == {("b.pdf", 1): 1, ("c.pdf", 0): 1}
    assert otters.relevant == {("a.pdf", 2): 1}
    assert replace(owls, scope="doc").relevant == {("b.pdf", 1): 1}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "must name the columns"),
        ("question,page\nowls?,1\n", "must name the columns"),
        ("question,document,page\nowls?,a.pdf,0\n", "row 2: .* not '0': pages count from 1"),
        ("question,document,page\nowls, two?,a.pdf,1\n", "row 2: has more cells"),
        ("question,document,page\nowls?,a.pdf,1\nowls?,a.pdf,one\n", "row 3"),
        ("question,document,page\nowls?,a.pdf\n", "row 2"),
        ("question,document,page\n,a.pdf,1\n", "row 2"),
        ("question,document,page\n", "no question"),
        ("question,document,page\n" + "o" * 200_000 + ",a.pdf,1\n", "line 2: not CSV"),
    ],
)
def test_a_bad_csv_is_refused_with_its_row(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "q.csv"
    path.write_text(text, "utf-8")
    with pytest.raises(InputError, match=said):
        read_questions(path)


def test_what_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "q.xlsx").write_bytes(b"PK")
    with pytest.raises(InputError, match="is a workbook; save its sheet as CSV"):
        read_questions(tmp_path / "q.xlsx")
    (tmp_path / "q.jsonl").write_bytes(b"\xff\xfe\x00")
    for name in ("q.jsonl", "absent.jsonl", "."):
        with pytest.raises(InputError, match=r"cannot be read|is not UTF-8"):
            read_questions(tmp_path / name)


def test_halves_split_by_document(tmp_path: Path) -> None:
    rows = [row(f"{d}-{n}", "owls?", f"{d}.pdf", [n]) for d in range(40) for n in range(3)]
    questions = read_questions(write_jsonl(tmp_path / "q.jsonl", rows))
    halves = {half: {q.doc for q in questions if q.half == half} for half in ("dev", "test")}
    assert not halves["dev"] & halves["test"]
    assert all(10 <= len(docs) <= 30 for docs in halves.values())


def test_only_the_listed_documents(tmp_path: Path) -> None:
    questions = read_questions(write_jsonl(tmp_path / "q.jsonl", QUESTIONS))
    listed = tmp_path / "list.txt"
    listed.write_text("report-1.pdf\n\n  report-9.pdf \n", "utf-8")
    kept, names = only_documents(questions, listed)
    assert [q.qid for q in kept] == ["q2"] and names == ["report-1.pdf", "report-9.pdf"]
    with pytest.raises(InputError, match=r"cannot be read|is not UTF-8"):
        only_documents(questions, tmp_path / "absent.txt")
