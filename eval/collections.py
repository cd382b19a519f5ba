"""A data set that brings its own pages, as an index made by the product's own build.

The pages are written as image files into a cache folder, one at a time, and indexed from there,
so that pictures of them can be shown later. The folder is named after a fingerprint of the data
set: the same data set is never indexed twice, a changed one never mistaken for the old.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from eval.datasets import Question, read_questions
from eval.tables import SUFFIXES
from eval.vidore import ImageDataSet, find_image_data_set
from indexing.build import BuildReport, BuildSettings, Progress
from indexing.derived import cache_folder
from indexing.index import Index
from retrieval.encoders import PageEncoder, load_encoder
from retrieval.errors import InputError

SCHEMES = ("vidore", "mteb")
_PEEK = 1 << 16
_BUILT = "built.json"
_FIRST_OF_NAME = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True, slots=True)
class DataSet:
    """Questions, and the pages they are asked of where the data set has them.

    ``spec`` is what the user wrote; ``fingerprint`` changes when the content does.
    """

    spec: str
    name: str
    fingerprint: str
    questions: Sequence[Question]
    images: ImageDataSet | None = None


@dataclass(frozen=True, slots=True)
class Collection:
    """The index of a data set's own pages.

    ``files`` maps page ids to file names; ``absent`` are the names that are not in the index,
    because a page was damaged or a judgement is about a page that the corpus lacks. ``built`` is
    what building it took; ``reused`` says that it was there already.
    """

    index: Path
    files: Mapping[str, str]
    indexed: frozenset[str]
    built: Mapping[str, Any]
    reused: bool

    def named(self, questions: Sequence[Question]) -> list[Question]:
        """The questions with documents called as the index calls them."""
        return [self._named(question) for question in questions]

    def absent(self, questions: Sequence[Question]) -> frozenset[str]:
        """Of named questions, the documents that are not in the index."""
        wanted = {doc for question in questions for doc, _ in question.relevant}
        return frozenset(wanted - self.indexed)

    def _named(self, question: Question) -> Question:
        def name(page: str) -> str:
            return self.files.get(page, page)

        return replace(
            question,
            doc=name(question.doc),
            judged=tuple(replace(page, doc=name(page.doc)) for page in question.judged),
            boxes=tuple(replace(b, doc=name(b.doc)) if b.doc else b for b in question.boxes),
        )


def open_data_set(spec: str, *, split: str = "test", unanswerable: bool = False) -> DataSet:
    """Read ``spec``: a CSV or JSONL file; or a folder, ``vidore:FOLDER``, ``mteb:FOLDER`` or
    ``vidore:OWNER/NAME`` on the Hugging Face hub.

    Raises ``InputError`` where there is nothing, or nothing that is known.
    """
    scheme, _, rest = spec.partition(":")
    path = Path(rest if scheme in SCHEMES else spec).expanduser()
    if path.is_file():
        questions = read_questions(path, unanswerable=unanswerable)
        return DataSet(spec, path.name, _of_files([path]), questions)
    if not path.is_dir():
        if scheme not in SCHEMES or path.is_absolute() or len(path.parts) != 2:
            raise InputError(
                f"{path}: there is no such file or folder; name a CSV or JSONL of questions, "
                "a folder in ViDoRe's format, or vidore:OWNER/NAME on the hub"
            )
        path = _from_hub(rest)
    images = find_image_data_set(path, split)
    if images is None:
        raise InputError(
            f"{path}: holds neither corpus, queries and qrels nor rows with query, image and "
            f"image_filename (split {split}); see docs/evaluate.md for the layouts that are read"
        )
    files = [file for part in images.files.values() for file in part]
    return DataSet(spec, path.name, _of_files(files), images.questions(), images)


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        tables = [f"*{suffix}" for suffix in SUFFIXES]
        return Path(snapshot_download(name, repo_type="dataset", allow_patterns=tables))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        said = str(error).splitlines()[0]
        raise InputError(
            f"the data set {name} cannot be fetched from the hub ({said}); "
            "fetch it where there is a connection and name its folder"
        ) from error


def _of_files(files: Sequence[Path]) -> str:
    """A hash of names, sizes, and both ends of every file: a parquet file's end describes all
    of it, and to read gigabytes for their hash would take minutes."""
    digest = hashlib.sha256()
    for path in sorted(files):
        size = path.stat().st_size
        digest.update(f"{path.name}\0{size}\0".encode())
        with path.open("rb") as file:
            digest.update(file.read(_PEEK))
            file.seek(max(0, size - _PEEK))
            digest.update(file.read(_PEEK))
    return digest.hexdigest()


def file_stem(page: str) -> str:
    """A file name without suffix for a page id, whatever it holds, and never for two of them."""
    plain = _FIRST_OF_NAME.sub("_", page)[-80:].strip("._") or "page"
    if plain == page:
        return f"page-{plain}" if plain.isdecimal() else plain
    return f"{plain}-{hashlib.sha256(page.encode()).hexdigest()[:8]}"


def build_collection(
    data: DataSet,
    *,
    encoder: str | PageEncoder = "text",
    settings: BuildSettings | None = None,
    index: Path | None = None,
    cache: Path | None = None,
    progress: Progress | None = None,
    writing: Callable[[int], None] | None = None,
) -> Collection:
    """The index of a data set's pages: built now, or the one that was built from the same pages
    with the same encoder and settings.

    ``index`` says where it goes (default: beside the pages in the cache). A build that was
    stopped goes on. ``writing`` hears how many pages have been written as files.
    Raises ``InputError`` if the data set has no pages of its own.
    """
    if data.images is None:
        raise InputError(
            f"{data.spec} has questions but no pages of its own: build an index of its "
            "documents with `folioscope index build` and name it with --index"
        )
    loaded = load_encoder(encoder) if isinstance(encoder, str) else encoder
    settings = settings or BuildSettings()
    home = (cache or cache_folder()) / "eval" / f"{file_stem(data.name)}-{data.fingerprint[:12]}"
    pages = home / "pages"
    about = _write_pages(data.images, pages, writing)
    choices = {
        "encoder": loaded.fingerprint,
        "intake": settings.intake.model_dump(mode="json", exclude={"workers"}),
        "pooling": None if settings.pooling is None else asdict(settings.pooling),
        "coarse": settings.coarse,
        "compression": settings.compression,
    }
    key = hashlib.sha256(json.dumps(choices, sort_keys=True).encode()).hexdigest()[:12]
    where = index or home / f"index-{file_stem(loaded.id)}-{key}"
    note = home / f"{file_stem(str(where.absolute()))}.{_BUILT}"
    files = {page: str(known["file"]) for page, known in about.items()}
    done = _known(note, where, key)
    if done is not None:
        return Collection(where, files, frozenset(done["indexed"]), done["built"], reused=True)
    metadata = {str(known["file"]): known["metadata"] for known in about.values()}
    with Index.create(where, encoder=loaded, settings=settings) as opened:
        report = opened.add(
            [pages],
            metadata_of=lambda path: metadata.get(path.name, {}),
            copies=True,
            progress=progress,
        )
        indexed = sorted(Path(row["source"]).name for row in opened.documents())
    built = _figures(report)
    note.write_text(
        json.dumps({"key": key, "built": built, "indexed": indexed, "choices": choices}), "utf-8"
    )
    return Collection(where, files, frozenset(indexed), built, reused=False)


def _figures(report: BuildReport) -> dict[str, Any]:
    return {
        "pages": report.pages_added,
        "seconds": round(report.seconds, 2),
        "pages_per_second": round(report.pages_per_second, 2),
        "skipped": [asdict(source) for source in report.skipped],
    }


def _known(note: Path, where: Path, key: str) -> dict[str, Any] | None:
    """What was written down when this index was built to the end, if it was."""
    try:
        found: dict[str, Any] = json.loads(note.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return found if found.get("key") == key and (where / "MANIFEST.json").exists() else None


def _write_pages(
    images: ImageDataSet, folder: Path, writing: Callable[[int], None] | None
) -> dict[str, dict[str, Any]]:
    """Every page as a file; by page id, the ``file``'s name and its ``metadata``. Written once."""
    listed = folder.parent / "pages.json"
    if listed.exists():
        found: dict[str, dict[str, Any]] = json.loads(listed.read_text("utf-8"))
        return found
    folder.mkdir(parents=True, exist_ok=True)
    about: dict[str, dict[str, Any]] = {}
    for number, page in enumerate(images.pages(), 1):
        path = folder / f"{file_stem(page.id)}{page.suffix}"
        about[page.id] = {"file": path.name, "metadata": page.metadata}
        if not path.exists() or path.stat().st_size != len(page.image):
            _write_whole(path, page.image)
        if writing is not None:
            writing(number)
    if not about:
        raise InputError(f"{images.root}: its corpus has no page")
    _write_whole(listed, json.dumps(about).encode())
    return about


def _write_whole(path: Path, content: bytes) -> None:
    """A process that is killed here leaves no half of a file under its name."""
    half = path.with_name(f".{path.name}.part")
    half.write_bytes(content)
    half.replace(path)
