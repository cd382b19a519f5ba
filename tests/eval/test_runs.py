"""Runs: what was found for every question, on disk, whatever stopped it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from eval.datasets import Question
from eval.measures import per_question
from eval.runs import Run, read_run, run_questions
from indexing.index import Index
from retrieval.errors import InputError
from retrieval.ranking import RankingWeights
from retrieval.search import SearchMode
from tests.retrieval.search_samples import TopicEncoder


def ask(index: Index, questions: list[Question], path: Path, mode: SearchMode = "two-stage") -> Run:
    return run_questions(index, questions, path, mode=mode, depth=20)


def test_a_run_holds_the_ranking_that_search_gives(
    index: Index, questions: list[Question], tmp_path: Path
) -> None:
    run = ask(index, questions, tmp_path / "run.jsonl")
    assert list(run.answered) == [q.qid for q in questions]
    for question in questions:
        doc = question.doc if question.scope == "doc" else None
        hits = index.search(question.text, 20, doc=doc).hits
        found = run.answered[question.qid]
        pages = [(hit.source.rpartition("/")[2], hit.page) for hit in hits]
        named = [(name.rpartition("/")[2], page) for name, page in found.ranked]
        assert named == pages
        assert found.scores == pytest.approx([hit.score for hit in hits], abs=1e-5)
        assert set(found.timing_ms) == {"encode", "coarse", "fetch", "rerank", "total"}
    inside = run.answered["q3"].ranked
    assert inside and {doc for doc, _ in inside} == {"report-2.pdf"}


def test_what_is_on_disk_is_what_was_returned(
    index: Index, questions: list[Question], tmp_path: Path
) -> None:
    path = tmp_path / "run.jsonl"
    run = ask(index, questions, path)
    again = read_run(path)
    assert again.answered == run.answered
    header = again.header
    assert header["mode"] == "two-stage" and header["settings"]["candidates"]["candidates"] == 100
    assert header["machine"]["cores"] and header["machine"]["versions"]["faiss-cpu"]
    assert header["date"] and header["index"]["generation"] == 1


def test_a_page_with_a_marked_answer_keeps_its_regions(
    index: Index, questions: list[Question], tmp_path: Path
) -> None:
    run = run_questions(index, questions, tmp_path / "r", mode="exhaustive", depth=48)
    regions = run.answered["q4"].regions
    found = [page for doc, page in run.answered["q4"].ranked[:10] if doc == "report-3.pdf"]
    if 4 in found:
        assert regions["page"] == 4 and regions["size"] == [612, 792]
        assert all(0 <= x <= 1 for box in regions["boxes"] for x in box)
    assert all(not run.answered[qid].regions for qid in ("q1", "q2", "q3", "q5"))


@pytest.mark.parametrize("cut", [0, 1, 40, -1, -2])
def test_a_stopped_run_goes_on_where_it_ended(
    index: Index, questions: list[Question], tmp_path: Path, cut: int
) -> None:
    """Stopped between two answers, or anywhere within a line."""
    whole = ask(index, questions, tmp_path / "whole.jsonl")
    lines = (tmp_path / "whole.jsonl").read_text("utf-8").splitlines(keepends=True)
    path = tmp_path / "torn.jsonl"
    path.write_text("".join(lines[:3]) + lines[3][:cut], "utf-8")
    kept = "".join(lines[:3])
    told: list[tuple[int, int]] = []
    run = run_questions(
        index,
        questions,
        path,
        mode="two-stage",
        depth=20,
        progress=lambda done, total: told.append((done, total)),
    )
    assert {qid: a.ranked for qid, a in run.answered.items()} == {
        qid: a.ranked for qid, a in whole.answered.items()
    }
    assert path.read_text("utf-8").startswith(kept)
    assert len(read_run(path).answered) == 5
    assert told == [(n + 1, 5) for n in range(5)]


def test_a_run_has_one_writer(index: Index, questions: list[Question], tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"

    def again(done: int, total: int) -> None:
        before = path.read_bytes()
        with pytest.raises(InputError, match="another process is writing"):
            ask(index, questions, path)
        assert path.read_bytes() == before

    run_questions(index, questions, path, mode="two-stage", depth=20, progress=again)
    assert len(read_run(path).answered) == 5
    with pytest.raises(InputError, match="cannot write"):
        ask(index, questions, tmp_path)


def test_a_run_says_which_weights_it_was_ranked_by(
    collection: Path, questions: list[Question], tmp_path: Path
) -> None:
    copied = tmp_path / "index"
    shutil.copytree(collection, copied)
    with Index.open(copied, encoder=TopicEncoder()) as index:
        index.set_weights(RankingWeights(bm25=0.75))
        run = ask(index, questions[:1], tmp_path / "run.jsonl")
    assert run.header["settings"]["weights"]["bm25"] == 0.75


def test_a_torn_line_is_no_answer(index: Index, questions: list[Question], tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    ask(index, questions, path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    assert list(read_run(path).answered) == ["q1", "q2", "q3", "q4"]
    # Torn within a letter: half of one is no text at all.
    path.write_bytes(whole[:-20] + "é".encode()[:1])
    assert list(read_run(path).answered) == ["q1", "q2", "q3", "q4"]
    ask(index, questions, path)
    assert len(read_run(path).answered) == 5


def test_a_run_that_never_got_past_its_first_line(
    index: Index, questions: list[Question], tmp_path: Path
) -> None:
    path = tmp_path / "run.jsonl"
    ask(index, questions, path)
    header = path.read_text("utf-8").split("\n")[0]
    for begun in ("", header[:100], header, header + "\n"):
        path.write_text(begun, "utf-8")
        ask(index, questions, path)
        assert len(read_run(path).answered) == 5


def test_another_configuration_is_refused(
    index: Index, questions: list[Question], tmp_path: Path
) -> None:
    path = tmp_path / "run.jsonl"
    ask(index, questions, path)
    before = path.read_bytes()
    with pytest.raises(InputError, match=r"run\.jsonl holds a run with another mode"):
        ask(index, questions, path, "bm25")
    with pytest.raises(InputError, match="another depth"):
        run_questions(index, questions, path, mode="two-stage", depth=21)
    with pytest.raises(InputError, match="another questions"):
        ask(index, questions[1:], path)
    with pytest.raises(InputError, match="another questions"):
        ask(index, [replace(questions[0], text="something else"), *questions[1:]], path)
    settings = replace(index.search_settings, passage=64)
    other = Index.open(index.path, encoder=index.encoder, search=settings)
    with pytest.raises(InputError, match="another settings"):
        ask(other, questions, path)
    assert path.read_bytes() == before


def test_only_among_the_listed_documents(
    index: Index, questions: list[Question], tmp_path: Path
) -> None:
    names = ["report-0.pdf", "report-1.pdf"]
    run = run_questions(
        index, questions[:2], tmp_path / "run", mode="two-stage", depth=50, documents=names
    )
    docs = {doc.rpartition("/")[2] for a in run.answered.values() for doc, _ in a.ranked}
    assert docs and docs <= set(names)


def test_a_document_that_is_not_indexed_is_named(
    index: Index, questions: list[Question], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="report-77"):
        ask(index, [replace(questions[0], doc="report-77.pdf")], tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_document_may_have_several_names(
    index: Index, questions: list[Question], tmp_path: Path
) -> None:
    """A path in one question and a file name in another: both are found."""
    one = questions[0]
    source = index.document(index.find(one.doc)).source
    assert source != one.doc
    asked = [one, replace(one, qid="by path", doc=source)]
    run = ask(index, asked, tmp_path / "run.jsonl")
    assert len({question.doc for question in run.questions.values()}) == 1
    found = per_question(run.questions.values(), run)["R@10"]
    assert found[one.qid] == found["by path"] == 1


def test_a_page_beyond_the_last_is_named(
    index: Index, questions: list[Question], tmp_path: Path
) -> None:
    wrong = replace(questions[0], pages=frozenset({999}))
    also = replace(questions[1], doc="report-77.pdf")
    said = (
        r"'report-77.pdf'.*names page 1000 of .*which has \d+ in this .* 999 of 0 to \d+ in JSONL"
    )
    with pytest.raises(InputError, match=said):
        ask(index, [wrong, also], tmp_path / "run.jsonl")
    assert not (tmp_path / "run.jsonl").exists()


@pytest.mark.parametrize(
    "text", ["", "{}\n", "[]\n", "hello\n", '{"format": "folioscope-run/0"}\n', "\xff"]
)
def test_what_is_not_a_run_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "run.jsonl"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match="not a run"):
        read_run(path)


def test_a_damaged_line_is_named(index: Index, questions: list[Question], tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    ask(index, questions, path)
    lines = path.read_text("utf-8").splitlines()
    for bad in ("{}", lines[3][:50], json.dumps({**json.loads(lines[3]), "ranked": 7})):
        path.write_text("\n".join([*lines[:3], bad, *lines[4:], ""]), "utf-8")
        with pytest.raises(InputError, match=r"run\.jsonl, line 4"):
            read_run(path)
