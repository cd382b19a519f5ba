"""A small data set in each of ViDoRe's layouts, written as the hub and ``datasets`` write them."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageDraw, ImageFont

PAGES = (
    ("Harbour dues", "Every vessel that anchors at Skerry pays nine crowns a night."),
    ("Barley harvest", "The barley harvest of the valley came to forty wagons."),
    ("Lighthouse oil", "The lighthouse burns two barrels of whale oil a month."),
    ("Granite quarry", "The granite quarry employs sixty masons and four smiths."),
)
QUERIES = (
    ("What does a vessel at anchor pay a night?", 0),
    ("How many wagons of barley were harvested?", 1),
    ("How much oil does the lighthouse burn?", 2),
)
SIZE = (900, 420)
# Where the sentence stands on each page, in pixels.
SENTENCE = (40, 190, 880, 250)


def picture(number: int) -> bytes:
    """A page as a PNG: a title and a sentence in print that OCR reads without fault."""
    title, sentence = PAGES[number]
    image = Image.new("RGB", SIZE, "white")
    draw = ImageDraw.Draw(image)
    draw.text((40, 60), title, "black", ImageFont.load_default(52))
    draw.text((SENTENCE[0], 200), sentence, "black", ImageFont.load_default(28))
    held = io.BytesIO()
    image.save(held, "PNG")
    return held.getvalue()


def _table(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist([dict(row) for row in rows]), path)


def _image(number: int) -> dict[str, Any]:
    return {"bytes": picture(number), "path": None}


def rows_v1() -> list[dict[str, Any]]:
    """A row a question, one for a page that none is about, and one question twice."""
    asked = [*QUERIES, (None, 3), QUERIES[0]]
    return [
        {
            "questionId": str(n),
            "query": query,
            "image": _image(page),
            "image_filename": f"pages/{page}.png",
            "answer": None if query is None else f"answer {page}",
        }
        for n, (query, page) in enumerate(asked)
    ]


def write_v1(root: Path) -> Path:
    """Question-answer rows in two parquet files of the split ``test``, and one of ``train``."""
    rows = rows_v1()
    _table(root / "data" / "test-00000-of-00002.parquet", rows[:2])
    _table(root / "data" / "test-00001-of-00002.parquet", rows[2:])
    _table(root / "data" / "train-00000-of-00001.parquet", [{**rows[0], "query": "training"}])
    return root


def write_v1_to_disk(root: Path) -> Path:
    """The same as ``DatasetDict.save_to_disk`` leaves it: Arrow streams in a folder a split."""
    folder = root / "test"
    folder.mkdir(parents=True)
    table = pa.Table.from_pylist(rows_v1())
    with pa.ipc.new_stream(str(folder / "data-00000-of-00001.arrow"), table.schema) as writer:
        writer.write_table(table)
    (root / "dataset_dict.json").write_text(json.dumps({"splits": ["test"]}))
    (folder / "state.json").write_text("{}")
    return root


def write_v2(root: Path) -> Path:
    """Three tables with hyphens in the ids, a language a question."""
    _table(
        root / "corpus" / "test-00000-of-00001.parquet",
        [
            {"corpus-id": n, "image": _image(n), "image_filename": f"{n}.png", "doc-id": "isle"}
            for n in range(len(PAGES))
        ],
    )
    _table(
        root / "queries" / "test-00000-of-00001.parquet",
        [
            {"query-id": n, "query": text, "language": ("english", "french")[n % 2]}
            for n, (text, _) in enumerate(QUERIES)
        ],
    )
    _table(
        root / "qrels" / "test-00000-of-00001.parquet",
        [
            {"query-id": n, "corpus-id": page, "score": 1, "answer": ""}
            for n, (_, page) in enumerate(QUERIES)
        ],
    )
    return root


def write_v3(root: Path) -> Path:
    """Underscored ids, graded judgements, boxes by two annotators, metadata of a page."""
    x0, y0, x1, y1 = SENTENCE
    corpus = [
        {
            "corpus_id": n,
            "image": _image(n),
            "doc_id": "isle-almanac",
            "markdown": " ".join(PAGES[n]),
            "page_number_in_doc": n,
        }
        for n in range(len(PAGES))
    ]
    _table(root / "corpus" / "test-00000-of-00002.parquet", corpus[:2])
    _table(root / "corpus" / "test-00001-of-00002.parquet", corpus[2:])
    _table(
        root / "queries" / "test-00000-of-00001.parquet",
        [
            {
                "query_id": n,
                "query": text,
                "language": "english",
                "query_types": ["numerical", "extractive"],
                "answer": "nine crowns" if n == 0 else "",
            }
            for n, (text, _) in enumerate(QUERIES)
        ],
    )
    judged: list[dict[str, Any]] = [
        {
            "query_id": n,
            "corpus_id": page,
            "score": 2,
            "content_type": ["Text"],
            "bounding_boxes": [
                {"annotator": 0, "x1": x0, "x2": x1, "y1": y0, "y2": y1},
                {"annotator": 1, "x1": 0, "x2": SIZE[0], "y1": 0, "y2": SIZE[1]},
            ],
        }
        for n, (_, page) in enumerate(QUERIES)
    ]
    other = {"query_id": 0, "content_type": ["Text"], "bounding_boxes": []}
    judged += [{**other, "corpus_id": 3, "score": 1}, {**other, "corpus_id": 1, "score": 0}]
    _table(root / "qrels" / "test-00000-of-00001.parquet", judged)
    _table(root / "documents_metadata" / "test-00000-of-00001.parquet", [{"doc_id": "isle"}])
    return root


def write_beir(root: Path) -> Path:
    """BEIR's text files, with pages beside them."""
    (root / "qrels").mkdir(parents=True)
    for n in range(len(PAGES)):
        (root / f"{n}.png").write_bytes(picture(n))
    corpus = [{"_id": f"page {n}", "image": f"{n}.png"} for n in range(len(PAGES))]
    queries = [{"_id": f"q{n}", "text": text} for n, (text, _) in enumerate(QUERIES)]
    for name, rows in (("corpus", corpus), ("queries", queries)):
        (root / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    lines = [f"q{n}\tpage {page}\t1\n" for n, (_, page) in enumerate(QUERIES)]
    (root / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(lines))
    return root
