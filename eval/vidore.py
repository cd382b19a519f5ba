"""ViDoRe and other data sets that bring their pages as images, from local folders or the hub.

Two layouts, told apart by what lies in the folder:

**Question-answer rows** (ViDoRe v1): one table with ``query``, ``image`` and
``image_filename``; a page has a row for each of its questions, or one with an empty query. Pages
are the distinct file names, questions the distinct texts, and where a text occurs twice the last
row's page answers: so scores the benchmark itself (``vidore_evaluator_qa.py`` of
https://github.com/illuin-tech/vidore-benchmark). Sources: the cards of
``vidore/docvqa_test_subsampled`` and ``vidore/arxivqa_test_subsampled``.

**Three tables** (ViDoRe v1 in BEIR form, v2, v3, MTEB): ``corpus``, ``queries`` and ``qrels``,
with ``corpus-id``, ``image``; ``query-id``, ``query``; and both ids with ``score``. v2 has
``language`` of a query and ``image_filename``, ``doc-id`` of a page. v3 writes its ids with an
underscore and adds ``doc_id``, ``page_number_in_doc`` and ``markdown`` to a page; ``language``,
``query_types``, ``content_type`` and ``answer`` to a query; and to a judgement
``bounding_boxes``, a list of ``{annotator, x1, y1, x2, y2}`` in pixels of the page's image; a
score of 2 is a page that answers in full, 1 in part. MTEB calls ids ``id`` and texts ``text``.
BEIR's own files have ``_id``. Sources: the cards of ``vidore/docvqa_test_subsampled_beir``,
``vidore/esg_reports_v2`` and ``vidore/vidore_v3_pharmaceuticals``; ``dataset_loader.py`` of
vidore-benchmark; arXiv 2601.08620.

Images are ``{bytes, path}``, as ``datasets`` stores them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eval.datasets import GoldBox, Judged, Question
from eval.tables import Row, columns_of, read_rows, table_files
from retrieval.errors import InputError
from retrieval.types import MetadataValue

_QUERY_ID = ("query-id", "query_id", "id", "_id")
_CORPUS_ID = ("corpus-id", "corpus_id", "id", "_id")
_QUERY = ("query", "text")
_PARTS = ("corpus", "queries", "qrels")
# What an image file begins with, by the suffix that lets the intake recognise it.
_MAGIC = ((b"\x89PNG", ".png"), (b"\xff\xd8\xff", ".jpg"), (b"RIFF", ".webp"), (b"GIF8", ".gif"))
_TIFF = (b"II*\x00", b"MM\x00*")
_LONGEST = 200


@dataclass(frozen=True, slots=True, eq=False)
class CorpusPage:
    """One page of a corpus: its id there, the image file's bytes, and what else is known of it."""

    id: str
    image: bytes
    metadata: dict[str, MetadataValue]

    @property
    def suffix(self) -> str:
        """What the image file should be called, by its first bytes."""
        if self.image.startswith(_TIFF):
            return ".tif"
        return next((end for begin, end in _MAGIC if self.image.startswith(begin)), ".png")


@dataclass(frozen=True, slots=True)
class ImageDataSet:
    """A data set in one of the two layouts, not read yet.

    ``files`` maps ``corpus``, ``queries`` and ``qrels`` to their files; in question-answer layout
    there is ``rows`` alone.
    """

    root: Path
    files: dict[str, list[Path]]

    @property
    def layout(self) -> str:
        """``rows`` or ``tables``."""
        return "rows" if "rows" in self.files else "tables"

    def pages(self) -> Iterator[CorpusPage]:
        """Every page once, a few in memory at a time."""
        if self.layout == "rows":
            yield from self._pages_of_rows()
            return
        files = self.files["corpus"]
        columns = columns_of(files)
        key = _column(columns, _CORPUS_ID, files[0])
        wanted = [name for name in columns if name not in ("markdown", "text", "title")]
        seen: set[str] = set()
        for row in read_rows(files, wanted):
            page = str(row[key])
            if page not in seen:
                seen.add(page)
                yield CorpusPage(page, self._image(row, page), _metadata(row, key))

    def questions(self) -> list[Question]:
        """Every question with a page that answers it; ``doc`` is a page's id, its page 0."""
        found = self._rows_asked() if self.layout == "rows" else self._tables_asked()
        if not found:
            raise InputError(f"{self.root}: holds no question with a page that answers it")
        return found

    def _pages_of_rows(self) -> Iterator[CorpusPage]:
        seen: set[str] = set()
        for row in read_rows(self.files["rows"], ["image", "image_filename", "source"]):
            name = str(row["image_filename"])
            if name not in seen:
                seen.add(name)
                yield CorpusPage(name, self._image(row, name), {"image_filename": name})

    def _rows_asked(self) -> list[Question]:
        answering: dict[str, tuple[str, str]] = {}
        wanted = ["query", "image_filename", "answer"]
        for row in read_rows(self.files["rows"], wanted):
            if row.get("query"):
                answering[str(row["query"])] = (
                    str(row["image_filename"]),
                    str(row.get("answer") or ""),
                )
        return [
            Question(
                f"row-{number}",
                text,
                name,
                frozenset({0}),
                answers=(answer,) if answer else (),
            )
            for number, (text, (name, answer)) in enumerate(answering.items(), 1)
        ]

    def _tables_asked(self) -> list[Question]:
        judged: dict[str, list[Judged]] = {}
        boxes: dict[str, list[GoldBox]] = {}
        files = self.files["qrels"]
        columns = columns_of(files)
        query_key = _column(columns, _QUERY_ID[:2], files[0])
        page_key = _column(columns, _CORPUS_ID[:2], files[0])
        wanted = [query_key, page_key, "score", "bounding_boxes"]
        for row in read_rows(files, wanted):
            score = row.get("score")
            grade = 1 if score is None else int(float(score))
            if grade <= 0:
                continue
            qid, page = str(row[query_key]), str(row[page_key])
            judged.setdefault(qid, []).append(Judged(page, 0, grade))
            boxes.setdefault(qid, []).extend(_boxes(row, page))
        return list(self._asked(judged, boxes))

    def _asked(
        self, judged: dict[str, list[Judged]], boxes: dict[str, list[GoldBox]]
    ) -> Iterator[Question]:
        files = self.files["queries"]
        columns = columns_of(files)
        key, text = _column(columns, _QUERY_ID, files[0]), _column(columns, _QUERY, files[0])
        wanted = [key, text, "language", "query_types", "answer"]
        for row in read_rows(files, wanted):
            qid = str(row[key])
            pages = judged.get(qid)
            if not pages or not row[text]:
                continue
            best = max(pages, key=lambda page: page.grade)
            yield Question(
                qid,
                str(row[text]),
                best.doc,
                frozenset({0}),
                kind=_kind(row),
                boxes=tuple(boxes.get(qid, ())),
                answers=(str(row["answer"]),) if row.get("answer") else (),
                judged=tuple(pages),
                language=str(row.get("language") or ""),
            )

    def _image(self, row: Row, page: str) -> bytes:
        image = row.get("image")
        if isinstance(image, bytes):
            return image
        held: dict[str, Any] = image if isinstance(image, dict) else {"path": image}
        if held.get("bytes"):
            return bytes(held["bytes"])
        path = self.root / str(held.get("path") or "")
        # A path out of the folder would index files that are not the data set's.
        if not path.is_file() or not path.resolve().is_relative_to(self.root.resolve()):
            raise InputError(f"{self.root}: page {page} has neither an image nor a path to one")
        return path.read_bytes()


def find_image_data_set(root: Path, split: str = "test") -> ImageDataSet | None:
    """What lies in the folder ``root``, or None if it is in neither layout."""
    parts = {part: _part(root, part, split) for part in _PARTS}
    if all(parts.values()):
        return ImageDataSet(root, parts)
    rows = table_files(root, split)
    if rows and {"query", "image", "image_filename"} <= set(columns_of(rows)):
        return ImageDataSet(root, {"rows": rows})
    return None


def _part(root: Path, part: str, split: str) -> list[Path]:
    """``corpus/``, or ``corpus.parquet`` beside the others."""
    if (root / part).is_dir():
        return table_files(root / part, split)
    return [
        p for p in table_files(root, part) if p.parent == root and p.name.partition(".")[0] == part
    ] or sorted(p for p in root.glob(f"{part}.*") if p.suffix in (".jsonl", ".tsv", ".parquet"))


def _column(columns: Iterable[str], names: Iterable[str], path: Path) -> str:
    for name in names:
        if name in columns:
            return name
    raise InputError(
        f"{path}: has none of the columns {', '.join(names)}, only {', '.join(columns)}; "
        "see docs/evaluate.md for the layouts that are read"
    )


def _boxes(row: Row, page: str) -> Iterator[GoldBox]:
    for box in row.get("bounding_boxes") or ():
        corners = (float(box["x1"]), float(box["y1"]), float(box["x2"]), float(box["y2"]))
        yield GoldBox(0, corners, "image_px", page, int(box.get("annotator") or 0))


def _kind(row: Row) -> str:
    types = row.get("query_types")
    if isinstance(types, str):
        return types
    return str(types[0]) if types else "all"


def _metadata(row: Row, key: str) -> dict[str, MetadataValue]:
    """The plain values of a corpus row: what a filter can use."""
    return {
        name.replace("-", "_"): value
        for name, value in row.items()
        if name != key and isinstance(value, str | int | float) and len(str(value)) <= _LONGEST
    }
