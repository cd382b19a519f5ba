"""The sample collection is what its script draws, and its questions point where they say."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pymupdf
import pytest
from PIL import Image


@pytest.fixture(scope="module")
def drawn(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The collection, drawn anew."""
    out = tmp_path_factory.mktemp("samples")
    script = repository / "data" / "make_samples.py"
    subprocess.run([sys.executable, str(script), "--out", str(out)], check=True, timeout=100)
    return out


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def squeezed(text: str) -> str:
    return re.sub(r"\s+", " ", text)


def test_the_shipped_collection_is_what_the_script_draws(
    drawn: Path, sample_documents: Path
) -> None:
    shipped = sorted(p.name for p in sample_documents.iterdir())
    assert shipped == sorted(p.name for p in (drawn / "documents").iterdir())
    for name in shipped:
        old, new = sample_documents / name, drawn / "documents" / name
        if name.endswith(".pdf"):
            # Another release of MuPDF may write other bytes, but not other pages.
            with pymupdf.open(old) as a, pymupdf.open(new) as b:
                assert a.get_toc() == b.get_toc()
                assert [p.get_label() for p in a] == [p.get_label() for p in b]
                assert [p.get_text() for p in a] == [p.get_text() for p in b]
        else:
            with Image.open(old) as c, Image.open(new) as d:
                assert c.size == d.size


def test_drawing_twice_gives_the_same_bytes(drawn: Path, repository: Path, tmp_path: Path) -> None:
    script = repository / "data" / "make_samples.py"
    subprocess.run([sys.executable, str(script), "--out", str(tmp_path)], check=True, timeout=100)
    for path in sorted((drawn / "documents").iterdir()):
        assert path.read_bytes() == (tmp_path / "documents" / path.name).read_bytes(), path.name
    first, second = drawn / "questions.jsonl", tmp_path / "questions.jsonl"
    assert first.read_text("utf-8") == second.read_text("utf-8")


def test_evidence_is_on_the_pages_that_the_questions_name(
    sample_documents: Path, repository: Path
) -> None:
    questions = read(repository / "data" / "questions.jsonl")
    assert len({q["qid"] for q in questions}) == len(questions) >= 24
    for question in questions:
        assert (sample_documents / question["doc"]).is_file()
        if not question["answerable"]:
            assert question["answers"] == question["pages"] == question["evidence"] == []
            continue
        assert question["answers"] and question["pages"]
        if not question["doc"].endswith(".pdf"):
            assert question["pages"] == [0]
            continue
        with pymupdf.open(sample_documents / question["doc"]) as doc:
            for evidence in question["evidence"]:
                assert evidence["page"] in question["pages"]
                text = squeezed(doc[evidence["page"]].get_text())
                for part in evidence["text"].split(" | "):
                    assert part in text, (question["qid"], part)


def test_boxes_lie_on_their_page(sample_documents: Path, repository: Path) -> None:
    for question in read(repository / "data" / "questions.jsonl"):
        path = sample_documents / question["doc"]
        for box in question["boxes"]:
            if box["unit"] == "pdf_pt":
                with pymupdf.open(path) as doc:
                    width, height = doc[box["page"]].rect.width, doc[box["page"]].rect.height
            else:
                with Image.open(path) as image:
                    width, height = image.size
            x0, y0, x1, y1 = box["bbox"]
            assert 0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height, question["qid"]


def test_boxes_in_the_turned_receipt_hold_ink(sample_documents: Path, repository: Path) -> None:
    with Image.open(sample_documents / "receipt-pilcrow-coffee.jpg") as image:
        grey = image.convert("L")
    boxes = [
        box
        for question in read(repository / "data" / "questions.jsonl")
        if question["kind"] == "receipt"
        for box in question["boxes"]
    ]
    assert boxes
    for box in boxes:
        darkest, brightest = grey.crop(tuple(round(v) for v in box["bbox"])).getextrema()
        assert darkest < 110 < 170 < brightest, box["text"]


def test_pictures_have_no_text_layer_and_the_collection_is_small(sample_documents: Path) -> None:
    sizes = {p.suffix: 0 for p in sample_documents.iterdir()}
    for path in sample_documents.iterdir():
        sizes[path.suffix] += path.stat().st_size
    assert {".pdf", ".jpg", ".png"} <= sizes.keys()
    assert sum(sizes.values()) < 1_500_000
