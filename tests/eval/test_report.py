"""The report as its reader meets it: one file, complete, with nothing fetched from elsewhere."""

from __future__ import annotations

import base64
import io
import json
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from eval.cli import app
from eval.config import read_config
from eval.harness import compare_runs, run_config
from eval.plots import Bars, Line, bar_plot, line_plot, standing_alone
from eval.report import write_report
from eval.report_pages import first_rank, worst_questions
from eval.runs import Answered, Run, read_run
from indexing.index import Index
from retrieval.errors import InputError
from tests.eval.samples import QUESTIONS, row, write_jsonl
from tests.eval.vidore_samples import PAGES, SIZE, write_beir


class _Links(HTMLParser):
    """Everything that a browser would fetch, and what is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.tags: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "xlink:href", "data") and value:
                self.fetched.append(value)

    def handle_data(self, data: str) -> None:
        self.text += data


def read(path: Path) -> _Links:
    found = _Links()
    found.feed(path.read_text("utf-8"))
    return found


def ran(collection: Path, dataset: Path, out: Path, **options: object) -> Path:
    run_config(read_config(None, {"dataset": str(dataset), "index": collection, **options}), out)
    return out


def test_one_file_that_fetches_nothing(collection: Path, dataset: Path, tmp_path: Path) -> None:
    first = ran(collection, dataset, tmp_path / "two-stage.jsonl")
    second = ran(collection, dataset, tmp_path / "words.jsonl", mode="bm25")
    out = tmp_path / "made" / "report.html"
    size = write_report([first, second], out)
    assert size == out.stat().st_size
    page = read(out)
    assert all(link.startswith(("data:", "#")) for link in page.fetched)
    assert "script" not in page.tags and "link" not in page.tags
    assert "@import" not in page.text and not re.search(r"url\((?!#)", out.read_text())
    for said in ("two-stage", "words against two-stage", "nDCG@5", "recall@100", "table (corpus)"):
        assert said in page.text
    # Five plots, or four where there is one kind only.
    assert page.tags.count("svg") == 4
    assert read_run(first).header["machine"]["cpu"] in page.text


def test_what_was_asked_cannot_write_the_page(collection: Path, tmp_path: Path) -> None:
    """Questions come from files of others."""
    bad = "<script>alert(1)</script> heron"
    dataset = write_jsonl(tmp_path / "q.jsonl", [row("q<i>1", bad, "report-0.pdf", [7])])
    out = tmp_path / "report.html"
    write_report([ran(collection, dataset, tmp_path / "run.jsonl")], out)
    assert "script" not in read(out).tags
    assert bad in read(out).text


def test_the_worst_come_first_with_what_was_expected_and_found(
    collection: Path, dataset: Path, tmp_path: Path
) -> None:
    run = read_run(ran(collection, dataset, tmp_path / "run.jsonl"))
    missed = worst_questions(run, 5, None)
    assert [each.score for each in missed] == sorted(each.score for each in missed)
    for each in missed:
        question, answered = each.question, run.answered[each.question.qid]
        assert each.rank == first_rank(question, answered)
        if each.rank:
            assert answered.ranked[each.rank - 1] in question.relevant or question.ignored
        # The made-up sources do not exist: pages are named, and the reason said.
        assert each.expected.image == "" and "is gone since it was indexed" in each.expected.why
        assert each.found is None or each.found.title not in each.expected.title
    assert worst_questions(run, 0, None) == []


def test_without_its_index_a_run_is_still_shown(
    collection: Path, dataset: Path, tmp_path: Path
) -> None:
    run = ran(collection, dataset, tmp_path / "run.jsonl")
    out = tmp_path / "report.html"
    write_report([run], out, index=tmp_path / "moved")
    assert "there is no index" in read(out).text


def test_pages_are_pictured_with_their_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOLIOSCOPE_CACHE", str(tmp_path / "cache"))
    root = write_beir(tmp_path / "set")
    options = {"dataset": str(root), "encoder": "topics"}
    config = read_config(None, options)
    intake = config.build.intake.model_copy(update={"ocr": "off", "workers": 1})
    config = config.model_copy(update={"build": config.build.model_copy(update={"intake": intake})})
    run_config(config, tmp_path / "run.jsonl")
    run = read_run(tmp_path / "run.jsonl")
    missed = worst_questions(run, 3, None)
    assert len(missed) == 3 and all(each.rank == 0 for each in missed)
    for each in missed:
        head, _, data = each.expected.image.partition(",")
        assert head == "data:image/webp;base64"
        image = Image.open(io.BytesIO(base64.b64decode(data)))
        assert image.height / image.width == pytest.approx(SIZE[1] / SIZE[0], rel=0.02)
    out = tmp_path / "report.html"
    write_report([tmp_path / "run.jsonl"], out)
    assert read(out).tags.count("img") == 3
    with Index.open(run.header["index"]["path"]) as index:
        assert len(index.documents()) == len(PAGES)


def test_a_page_that_says_it_too_is_no_rank() -> None:
    from eval.datasets import Question

    question = Question("q", "?", "a", frozenset({3}), ignored=frozenset({1}))
    ranked = (("a", 1), ("b", 1), ("a", 3))
    assert first_rank(question, Answered("q", ranked, (), {}, {})) == 2
    assert first_rank(question, Answered("q", ranked[:2], (), {}, {})) == 0


def test_runs_of_different_questions_are_not_reported_together(
    collection: Path, dataset: Path, tmp_path: Path
) -> None:
    one = ran(collection, dataset, tmp_path / "one.jsonl")
    others = [{**q, "question": "otter"} for q in QUESTIONS]
    two = ran(collection, write_jsonl(tmp_path / "o.jsonl", others), tmp_path / "two.jsonl")
    with pytest.raises(InputError, match="different questions"):
        write_report([one, two], tmp_path / "report.html")
    moved = [{**q, "pages": [0, 1]} for q in QUESTIONS]
    two = ran(collection, write_jsonl(tmp_path / "m.jsonl", moved), tmp_path / "moved.jsonl")
    with pytest.raises(InputError, match="different questions"):
        write_report([one, two], tmp_path / "report.html")
    stopped = tmp_path / "stopped.jsonl"
    stopped.write_text("".join(one.read_text("utf-8").splitlines(keepends=True)[:4]), "utf-8")
    write_report([one, stopped], tmp_path / "report.html")
    assert "3 questions that every run answered, of 5," in (tmp_path / "report.html").read_text()
    with pytest.raises(InputError, match="holds no answered question"):
        (tmp_path / "none.jsonl").write_text(one.read_text("utf-8").split("\n")[0] + "\n")
        write_report([tmp_path / "none.jsonl"], tmp_path / "report.html")


def test_runs_that_differ_in_scope_or_have_questions_without_answer_are_reported_together(
    collection: Path, tmp_path: Path
) -> None:
    rows = [*QUESTIONS, row("q6", "otter in the sea", "report-0.pdf", [], answerable=False)]
    asked = write_jsonl(tmp_path / "asked.jsonl", rows)
    one = ran(collection, asked, tmp_path / "one.jsonl", answers=True)
    two = ran(collection, asked, tmp_path / "two.jsonl", answers=True, scope="doc")
    first, second = read_run(one), read_run(two)
    assert "q6" in first.questions and first.questions["q1"].scope != second.questions["q1"].scope
    assert compare_runs(first, second)["questions"] == 5
    assert write_report([one, two], tmp_path / "report.html") > 0


def test_the_command(collection: Path, dataset: Path, tmp_path: Path) -> None:
    run = ran(collection, dataset, tmp_path / "run.jsonl")
    out = tmp_path / "report.html"
    done = CliRunner().invoke(app, ["report", str(run), "-o", str(out), "--worst", "1", "--json"])
    assert done.exit_code == 0, done.exception
    assert json.loads(done.stdout) == {"report": str(out), "bytes": out.stat().st_size}


def test_runs_compare_without_their_data_set(
    collection: Path, dataset: Path, tmp_path: Path
) -> None:
    run = ran(collection, dataset, tmp_path / "run.jsonl")
    dataset.unlink()
    found = read_run(run)
    assert isinstance(found, Run) and found.questions["q5"].ignored == {1, 2}
    write_report([run], tmp_path / "report.html")


@pytest.mark.parametrize(
    "svg",
    [
        line_plot([Line("a <b>", [1, 10], [0.1, 0.9], [0, 0.8], [0.2, 1], ["x", "y"])], "k", "r"),
        line_plot([Line("a", [1, 2], [1, 2]), Line("b", [1, 2], [2, 1])], "k", "r", x_log=True),
        bar_plot(["x", "y"], [Bars("a", [0.1, 0.2], [0, 0.1], [0.2, 0.3])], "v"),
        bar_plot(["x"], [Bars("a", [1]), Bars("b", [2])], "v", x_range=None, stacked=True),
    ],
)
def test_plots_are_drawings_in_the_colours_of_the_page(svg: str) -> None:
    ET.fromstring(svg)
    assert "var(--ink" in svg and "var(--series-1" in svg
    # No stand-in is left, and no name stands that nothing refers to.
    assert not re.search(r"#0[0-9a-f]0[0-9]0[0-9]\b", svg)
    assert all(f"#{name}" in svg for name in re.findall(r' id="([^"]*)"', svg))
    alone = ET.fromstring(standing_alone(svg).encode())
    assert alone.get("width") and "prefers-color-scheme:dark" in standing_alone(svg)
