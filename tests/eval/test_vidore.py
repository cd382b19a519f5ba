"""Data sets with pages of their own: read as they lie, indexed by the product's build."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from eval import collections
from eval.collections import DataSet, build_collection, open_data_set
from eval.config import read_config
from eval.harness import run_config
from eval.runs import read_run
from indexing.build import BuildSettings
from indexing.index import Index
from indexing.settings import IntakeSettings
from retrieval.errors import InputError
from tests.eval import samples  # noqa: F401  (registers the encoder of made-up pages)
from tests.eval.vidore_samples import (
    PAGES,
    QUERIES,
    SENTENCE,
    picture,
    write_beir,
    write_v1,
    write_v1_to_disk,
    write_v2,
    write_v3,
)

Writer = Callable[[Path], Path]
WRITERS = (write_v1, write_v1_to_disk, write_v2, write_v3, write_beir)
# Built by an encoder that needs no OCR: these tests are about what is indexed, not what is read.
FAST = BuildSettings(intake=IntakeSettings(ocr="off", workers=1))


@pytest.mark.parametrize("write", WRITERS)
def test_every_layout_gives_the_same_questions_and_pages(tmp_path: Path, write: Writer) -> None:
    data = open_data_set(str(write(tmp_path / "set")))
    assert data.images is not None
    pages = list(data.images.pages())
    assert [page.image for page in pages] == [picture(n) for n in range(len(PAGES))]
    number = {page.id: n for n, page in enumerate(pages)}
    assert {(q.text, number[q.doc]) for q in data.questions} == set(QUERIES)
    assert len({q.qid for q in data.questions}) == len(QUERIES)
    assert all(q.relevant[q.doc, 0] >= 1 for q in data.questions)


def test_what_v3_adds(tmp_path: Path) -> None:
    data = open_data_set(f"vidore:{write_v3(tmp_path / 'set')}")
    first = data.questions[0]
    # A judgement of 0 is none; the page that answers in full is the question's own.
    assert first.relevant == {("0", 0): 2, ("3", 0): 1} and first.doc == "0"
    assert (first.kind, first.language, first.answers) == ("numerical", "english", ("nine crowns",))
    tight, loose = first.boxes_on("0", 0)
    assert (tight.box, tight.unit, tight.annotator) == (SENTENCE, "image_px", 0)
    assert loose.annotator == 1 and first.boxes_on("3", 0) == []
    assert data.images is not None
    page = next(iter(data.images.pages()))
    assert page.metadata == {"doc_id": "isle-almanac", "page_number_in_doc": 0}


def test_pages_are_read_as_they_are_asked_for(tmp_path: Path) -> None:
    """A page is there before the next file has been opened: nothing is read ahead."""
    root = write_v3(tmp_path / "set")
    (root / "corpus" / "test-00001-of-00002.parquet").write_bytes(b"PAR1 not a table PAR1")
    images = open_data_set(str(root)).images
    assert images is not None
    pages = images.pages()
    assert [next(pages).id, next(pages).id] == ["0", "1"]
    with pytest.raises(InputError, match="test-00001-of-00002"):
        next(pages)


def test_a_data_set_by_its_hub_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    root = write_v2(tmp_path / "set")
    asked: list[str] = []

    def fetch(name: str, **_: object) -> str:
        asked.append(name)
        return str(root)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    assert len(open_data_set("vidore:vidore/esg_reports_v2").questions) == len(QUERIES)
    assert asked == ["vidore/esg_reports_v2"]

    def fail(name: str, **_: object) -> str:
        raise OSError("no route to host")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(InputError, match=r"cannot be fetched from the hub \(no route to host\)"):
        open_data_set("vidore:vidore/esg_reports_v2")


def test_languages_and_the_split(tmp_path: Path) -> None:
    v2 = open_data_set(str(write_v2(tmp_path / "v2")))
    assert [q.language for q in v2.questions] == ["english", "french", "english"]
    train = open_data_set(str(write_v1(tmp_path / "v1")), split="train")
    assert [q.text for q in train.questions] == ["training"]


def test_the_fingerprint_follows_the_content(tmp_path: Path) -> None:
    root = write_v3(tmp_path / "set")
    before = open_data_set(str(root)).fingerprint
    assert open_data_set(str(root)).fingerprint == before
    write_v3(tmp_path / "other")
    assert open_data_set(str(tmp_path / "other")).fingerprint == before
    (root / "qrels" / "test-00000-of-00001.parquet").write_bytes(
        (write_v2(tmp_path / "v2") / "qrels" / "test-00000-of-00001.parquet").read_bytes()
    )
    assert open_data_set(str(root)).fingerprint != before


def built(data: DataSet, cache: Path, **more: Any) -> collections.Collection:
    return build_collection(data, encoder="topics", settings=FAST, cache=cache, **more)


def test_a_collection_is_built_once(tmp_path: Path) -> None:
    data = open_data_set(str(write_v3(tmp_path / "set")))
    first = built(data, tmp_path / "cache")
    assert not first.reused and first.built["pages"] == len(PAGES)
    again = built(data, tmp_path / "cache")
    assert again.reused and (again.index, again.built) == (first.index, first.built)
    with Index.open(first.index) as index:
        rows = {Path(row["source"]).name: row for row in index.documents()}
        assert set(rows) == set(first.files.values())
        assert rows[first.files["2"]]["metadata"]["page_number_in_doc"] == 2
    mine = built(data, tmp_path / "cache", index=tmp_path / "mine")
    assert not mine.reused and mine.index == tmp_path / "mine"


def test_a_build_that_was_stopped_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped while pages are written, then while they are indexed."""
    data = open_data_set(str(write_v2(tmp_path / "set")))

    def stop(written: int) -> None:
        if written == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        built(data, tmp_path / "cache", writing=stop)
    (home,) = (tmp_path / "cache" / "eval").iterdir()
    assert len(list((home / "pages").iterdir())) == 2

    def fail(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Index, "add", fail)
        with pytest.raises(KeyboardInterrupt):
            built(data, tmp_path / "cache")
    assert built(data, tmp_path / "cache").built["pages"] == len(PAGES)


def test_a_damaged_page_costs_itself(tmp_path: Path) -> None:
    root = write_beir(tmp_path / "set")
    (root / "1.png").write_bytes(picture(1)[:60])
    data = open_data_set(str(root))
    made = built(data, tmp_path / "cache")
    questions = made.named(data.questions)
    assert made.absent(questions) == {made.files["page 1"]}
    assert len(made.indexed) == len(PAGES) - 1
    assert [skipped["source"] for skipped in made.built["skipped"]]


@pytest.mark.slow
def test_asked_from_beginning_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The embedded encoder reads the pictures by OCR and finds every answer first."""
    monkeypatch.setenv("FOLIOSCOPE_CACHE", str(tmp_path / "cache"))
    write_v3(tmp_path / "set")
    file = tmp_path / "run.toml"
    file.write_text('dataset = "vidore:set"\n[build.intake]\nocr = "tesseract"\n')
    out = tmp_path / "run.jsonl"
    results = run_config(read_config(file, {}), out)
    everything = results["groups"][-1]
    assert everything["questions"] == 3 and everything["Success@1"] == 1.0
    # One question has a second page, of half the worth.
    assert 0.8 < everything["nDCG@5"] <= 1.0
    assert results["efficiency"]["build"]["pages"] == len(PAGES)
    places = results["places"]
    assert (places["questions"], places["region@1"]) == (3, 1.0)
    # The sentence was marked with some white around it; regions keep to the words.
    assert places["F1@5"] > 0.4 and places["area@5"] < 0.2
    kept = json.loads((tmp_path / "run.results.json").read_text())
    assert kept["header"]["collection"]["encoder"].startswith("text")
    # A run stands on its own: questions and judgements are in it.
    run = read_run(out)
    assert {q.text for q in run.questions.values()} == {text for text, _ in QUERIES}
    assert run.questions["0"].relevant[run.questions["0"].doc, 0] == 2


def test_a_page_that_is_absent_counts_as_not_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOLIOSCOPE_CACHE", str(tmp_path / "cache"))
    root = write_beir(tmp_path / "set")
    (root / "1.png").write_bytes(b"not a picture at all")
    options = {"dataset": str(root), "encoder": "topics"}
    build = read_config(None, options)
    config = build.model_copy(
        update={"build": build.build.model_copy(update={"intake": FAST.intake})}
    )
    results = run_config(config, tmp_path / "run.jsonl")
    assert len(results["header"]["absent"]) == 1
    run = read_run(tmp_path / "run.jsonl")
    assert set(run.answered) == {"q0", "q1", "q2"}


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda root: (root / "qrels").rename(root / "judgements"), "holds neither"),
        (
            lambda root: (root / "corpus" / "test-00000-of-00002.parquet").write_bytes(b"PAR1?"),
            "test-00000-of-00002.parquet: cannot be read as a table",
        ),
        (
            lambda root: (root / "queries" / "test-00000-of-00001.parquet").write_bytes(
                (root / "qrels" / "test-00000-of-00001.parquet").read_bytes()
            ),
            "none of the columns query, text",
        ),
    ],
)
def test_what_is_wrong_with_a_data_set_is_said(
    tmp_path: Path, spoil: Callable[[Path], object], said: str
) -> None:
    root = write_v3(tmp_path / "set")
    spoil(root)
    with pytest.raises(InputError, match=said):
        data = open_data_set(str(root))
        assert data.images is not None
        list(data.images.pages())


def test_a_path_out_of_the_data_set_is_refused(tmp_path: Path) -> None:
    root = write_beir(tmp_path / "set")
    (tmp_path / "secret.png").write_bytes(picture(0))
    (root / "corpus.jsonl").write_text(json.dumps({"_id": "a", "image": "../secret.png"}) + "\n")
    images = open_data_set(str(root)).images
    assert images is not None
    with pytest.raises(InputError, match="page a has neither an image nor a path"):
        list(images.pages())


@pytest.mark.parametrize("spec", ["nowhere.csv", "vidore:/nowhere", "mteb:a/b/c"])
def test_nothing_there(spec: str) -> None:
    with pytest.raises(InputError, match="no such file or folder"):
        open_data_set(spec)


def test_questions_alone_need_an_index(tmp_path: Path) -> None:
    path = tmp_path / "q.csv"
    path.write_text("question,document,page\nowls?,a.pdf,1\n")
    with pytest.raises(InputError, match="name an --index"):
        run_config(read_config(None, {"dataset": str(path)}), tmp_path / "run.jsonl")
    with pytest.raises(InputError, match="no pages of its own"):
        build_collection(open_data_set(str(path)))
