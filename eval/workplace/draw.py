"""Draws ``documents.txt`` as PDFs and writes ``questions.txt`` as the benchmarks read them.

A document is a head (``=== name | font and size | how fields or tables look``) and lines: ``# ``
title, ``## `` heading, ``@ label = value`` field, ``| a | b`` row of a table, ``>>>`` next page,
anything else a paragraph.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import pymupdf

_HERE = Path(__file__).parent
_LEFT, _RIGHT, _TOP = 62.0, 540.0, 70.0


@dataclass(slots=True)
class _Writer:
    """Where the next line goes, and in which type."""

    font: str
    size: float
    look: str
    document: pymupdf.Document = field(default_factory=pymupdf.open)
    y: float = _TOP
    page: pymupdf.Page = field(init=False)

    def __post_init__(self) -> None:
        self.page = self.document.new_page()

    def line(self, text: str) -> None:
        if text == ">>>":
            self.page, self.y = self.document.new_page(), _TOP
        elif text.startswith("# "):
            self._paragraph(text[2:], 1.6, 1.4)
        elif text.startswith("## "):
            self.y += 0.6 * self.size
            self._paragraph(text[3:], 1.2, 0.5)
        elif text.startswith("@ "):
            label, _, value = text[2:].partition(" = ")
            self._field(label, value)
        else:
            self._paragraph(text, 1.0, 0.5)

    def table(self, rows: list[list[str]]) -> None:
        """The first column to the left, the others flush right if they hold numbers."""
        columns = max(map(len, rows))
        step = (_RIGHT - _LEFT) / (columns + 0.6)
        for row in rows:
            self.y += 1.7 * self.size
            for i, cell in enumerate(row):
                x = _LEFT + (i + 0.6 * (i > 0)) * step
                if i and all(c in "0123456789.,:" for c in cell):
                    x += 0.7 * step - self._wide(cell, self.size)
                self._put(x, cell, self.size)
            if self.look == "lines":
                below = self.y + 0.4 * self.size
                self.page.draw_line((_LEFT, below), (_RIGHT, below), width=0.5)
        self.y += self.size

    def _field(self, label: str, value: str) -> None:
        self.y += 1.6 * self.size
        if self.look == "gap":
            self._put(_LEFT, label, self.size)
            self._put(_LEFT + 190, value, self.size)
        elif self.look == "dots":
            self._put(_LEFT, f"{label} {'.' * (34 - len(label))} {value}", self.size)
        else:
            self._put(_LEFT, f"{label}: {value}", self.size)

    def _paragraph(self, text: str, scale: float, after: float) -> None:
        size, said = self.size * scale, ""
        self.y += 0.4 * size
        for word in [*text.split(), ""]:
            longer = f"{said} {word}".strip()
            if word and self._wide(longer, size) <= _RIGHT - _LEFT:
                said = longer
                continue
            self.y += 1.3 * size
            self._put(_LEFT, said, size)
            said = word
        self.y += after * self.size

    def _put(self, x: float, text: str, size: float) -> None:
        self.page.insert_text((x, self.y), text, fontname=self.font, fontsize=size)

    def _wide(self, text: str, size: float) -> float:
        return float(pymupdf.get_text_length(text, fontname=self.font, fontsize=size))


def write_collection(folder: Path) -> int:
    """PDFs into ``folder/documents``, questions into ``folder/questions.jsonl``; how many
    documents."""
    documents = folder / "documents"
    documents.mkdir(parents=True, exist_ok=True)
    parts = (_HERE / "documents.txt").read_text("utf-8").split("=== ")[1:]
    for part in parts:
        head, *lines = part.strip().splitlines()
        name, font, look = (cell.strip() for cell in head.split("|"))
        writer = _Writer(font.split()[1], float(font.split()[2]), look.split()[1])
        rows: list[list[str]] = []
        for line in [*lines, ""]:
            if line.startswith("|"):
                rows.append([cell.strip() for cell in line[1:].split("|")])
                continue
            if rows:
                writer.table(rows)
                rows = []
            if line:
                writer.line(line)
        with writer.document as document:
            document.save(documents / name, no_new_id=True)
    said = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in _questions())
    (folder / "questions.jsonl").write_text(said, "utf-8")
    return len(parts)


def _questions() -> list[dict[str, object]]:
    rows = []
    for number, line in enumerate((_HERE / "questions.txt").read_text("utf-8").splitlines()):
        doc, page, question, answer = (cell.strip() for cell in line.split("|"))
        rows.append(
            {
                "qid": f"workplace-{number}",
                "question": question,
                "answers": [answer] if answer else [],
                "answerable": bool(answer),
                "doc": doc,
                "pages": [int(page)] if page else [],
                "kind": "workplace",
                "scope": "corpus",
            }
        )
    return rows
