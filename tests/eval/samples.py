"""Questions about the made-up collection of ``tests.retrieval.search_samples``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from retrieval.encoders.base import register_encoder
from tests.retrieval.search_samples import TopicEncoder

# So that a command, which only has the folder, can open such an index.
register_encoder(TopicEncoder.id, lambda _: TopicEncoder())


def row(qid: str, question: str, doc: str, pages: Sequence[int], **more: Any) -> dict[str, Any]:
    """A question as the JSONL has it."""
    return {"qid": qid, "question": question, "doc": doc, "pages": list(pages), **more}


def write_jsonl(path: Path, rows: Sequence[Any]) -> Path:
    path.write_text("".join(json.dumps(each) + "\n" for each in rows), "utf-8")
    return path


QUESTIONS = [
    row("q1", "heron and otter at the harbour", "report-0.pdf", [0], kind="text"),
    row("q2", "barley turnip harvest", "report-1.pdf", [1, 3], kind="table"),
    row("q3", "anchor rudder", "report-2.pdf", [2], kind="table", scope="doc"),
    row(
        "q4",
        "granite slate basalt",
        "report-3.pdf",
        [4],
        boxes=[{"page": 4, "bbox": [0, 0, 612, 792], "unit": "pdf_pt"}],
    ),
    row("q5", "compass", "report-4.pdf", [0], meta={"also_on_pages": [1, 2]}),
]
