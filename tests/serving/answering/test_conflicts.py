"""Two versions of a document: the best one's answer, and what the other says, marked as such."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pymupdf
import pytest
from typer.testing import CliRunner

from folioscope import app as command
from indexing.index import Index
from serving.answering.conflicts import same_value
from serving.answering.pipeline import Answerer
from serving.answering.receipts import receipt_of, verify_receipt
from serving.http.schemas import AnswerOut
from serving.safety.types import Evidence, Verdict

QUESTION = "How many days of paid leave do employees of Brandmoor have?"
_POLICY = (
    "Leave policy of Brandmoor",
    "Employees have {days} days of paid leave a year.",
    "Parental leave is 16 weeks.",
    "The deposit for a key is 40.00, to be paid in the office.",
    "A break lasts {rest}.",
)


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> Index:
    """A policy and its revised copy, in which one number is another."""
    folder = tmp_path_factory.mktemp("versions")
    said = (("leave-policy", 27, "30 minutes"), ("leave-policy-revised", 25, "30 min"))
    for name, days, rest in said:
        with pymupdf.open() as document:
            page = document.new_page()
            for number, line in enumerate(_POLICY):
                page.insert_text(
                    (60, 120 + 40 * number), line.format(days=days, rest=rest), fontsize=11
                )
            document.save(folder / f"{name}.pdf")
    index = Index.create(folder / "index")
    index.add([folder])
    return index


def test_the_other_version_is_told_of_as_a_conflict(versions: Index) -> None:
    answer = Answerer(versions).ask(QUESTION)
    assert answer.status == "answered" and answer.verdict == "supported"
    (other,) = answer.conflicts
    assert {answer.text, other.text} == {"27 days", "25 days"}
    assert other.verdict == "supported"
    cited, against = answer.claims[0].citations[0], other.citations[0]
    assert {cited.name, against.name} == {"leave-policy.pdf", "leave-policy-revised.pdf"}
    assert other.text in against.quote and against.page_id in {h.page_id for h in answer.hits}


@pytest.mark.parametrize(
    "question",
    [
        "How long is parental leave of Brandmoor?",
        "How much is the deposit for a key?",
        "How long does a break last?",
    ],
)
def test_what_both_versions_say_is_no_conflict(versions: Index, question: str) -> None:
    answer = Answerer(versions).ask(question)
    assert answer.status == "answered" and answer.conflicts == ()


def test_within_one_document_there_is_no_other(versions: Index) -> None:
    doc = versions.find("leave-policy-revised.pdf")
    answer = Answerer(versions).ask(QUESTION, doc=doc)
    assert answer.text == "25 days" and answer.conflicts == ()


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("RM 6.00", "6", True),
        ("$ 1,355.00", "1,355 USD", True),
        ("2-4 h", "2 to 4 hours", True),
        ("9:30", "09:30", True),
        ("2024-05-03", "03/05/2024", True),
        ("3 May 2024", "03/05/2024", True),
        ("3 April 2018", "4 March 2018", False),
        ("03/04/2018", "04/03/2018", False),
        ("2 to 4 h", "2 to 5 h", False),
        ("-5 \u00b0C", "5 \u00b0C", False),
        ("90 \u00b0F", "90 \u00b0C", False),
        ("40 EUR", "40 USD", False),
        ("1 million", "1", False),
    ],
)
def test_one_value_written_in_two_ways_is_no_conflict(one: str, other: str, same: bool) -> None:
    assert same_value(one, other) == same_value(other, one) == same


def test_conflicts_reach_whoever_asks(versions: Index, tmp_path: Path) -> None:
    asked = ["ask", QUESTION, "--index", str(versions.path), "--safety", "off"]
    shown = CliRunner().invoke(command, asked)
    assert shown.exit_code == 0 and "other documents say otherwise" in shown.stdout
    document = json.loads(CliRunner().invoke(command, [*asked, "--json"]).stdout)
    assert document["conflicts"][0]["citations"][0]["quote"]
    answer = Answerer(versions).ask(QUESTION)
    sent = AnswerOut.of(answer, "default")
    assert [claim.citations[0].number for claim in (*sent.claims, *sent.conflicts)] == [1, 2]
    receipt = tmp_path / "receipt.json"
    receipt.write_text(json.dumps(receipt_of(answer, versions)))
    assert verify_receipt(receipt, versions) == []


def test_the_gate_sees_conflicts_too(versions: Index) -> None:
    class Gate:
        said = ""

        def before(self, question: str, evidence: Sequence[Evidence]) -> Verdict:
            return Verdict("fast", "allow")

        def after(self, question: str, evidence: Sequence[Evidence], answer: str) -> Verdict:
            self.said = answer
            return Verdict("heavy", "block")

    gate = Gate()
    answer = Answerer(versions, gate=gate).ask(QUESTION)
    assert answer.status == "blocked" and not answer.conflicts
    assert "25 days" in gate.said and "27 days" in gate.said
