"""``folioscope`` as a process: its JSON, its words, its exit codes, its pictures."""

from __future__ import annotations

import os
import pty
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.main import get_command

from folioscope import app
from retrieval.manifest import read_manifest
from retrieval.store import StoreWriter
from tests.e2e.command import ENVIRONMENT, QUICK, SCRIPT, folioscope, worked
from tests.indexing.pdfs import OWLS, SWARM, write_books, write_pdf

COMMANDS = (
    ("search",),
    ("demo",),
    *(
        ("index", name)
        for name in ("build", "add", "remove", "status", "verify", "repair", "compact")
    ),
)
BUILT = {
    "generation",
    "documents_added",
    "pages_added",
    "skipped",
    "unchanged",
    "seconds",
    "pages_per_second",
}
STATUS = {
    "path",
    "generation",
    "documents",
    "pages",
    "patches",
    "page_vectors",
    "encoder",
    "compression",
    "coarse_kind",
    "coarse_memory_bytes",
    "disk_bytes",
    "flags",
    "skipped",
}
HIT = {"rank", "score", "scores", "doc_id", "source", "page", "label", "metadata", "regions"}


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``books``, one of them broken, and the ``index`` that a build made of them."""
    root = tmp_path_factory.mktemp("library")
    books = write_books(root / "books")
    (books / "broken.pdf").write_bytes(b"")
    (root / "about.csv").write_text("source,year\nowls.pdf,1999\nbees.pdf,2004\n")
    options = ("--metadata", root / "about.csv", "--set", "shelf=A", *QUICK, "--json")
    built = worked("index", "build", books, "--index", root / "index", *options).document()
    assert built.keys() >= BUILT
    assert (built["documents_added"], built["pages_added"], built["unchanged"]) == (2, 3, 0)
    assert built["skipped"] == [
        {"source": str(books / "broken.pdf"), "reason": built["skipped"][0]["reason"]}
    ]
    assert "the file is empty" in built["skipped"][0]["reason"]
    return root


@pytest.fixture
def copy(library: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(library / "index", tmp_path / "index"))


@pytest.mark.parametrize("command", [(), ("index",), *COMMANDS], ids=" ".join)
def test_every_command_explains_itself(command: tuple[str, ...]) -> None:
    said = worked(*command, "--help").out
    assert f"Usage: folioscope.py {' '.join(command)}".rstrip() in said
    assert command in ((), ("index",)) or re.search(r"Examples?:", said)
    if not command:
        assert {"index", "search", "demo"} <= set(said.split())


def test_every_command_gives_json_but_those_that_the_readme_names() -> None:
    def leaves(command: Any, name: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
        below = getattr(command, "commands", {})
        for part, inside in below.items():
            yield from leaves(inside, (*name, part))
        if not below:
            yield " ".join(name), command

    without = {
        name
        for name, command in leaves(get_command(app), ())
        if not any("--json" in option.opts for option in command.params)
    }
    csv = {"review export", "safety injection-pages"}
    assert without == {"demo", "serve", "mcp"} | csv


def test_the_version() -> None:
    assert re.fullmatch(r"folioscope (\d+\.\d+\.\d+\S*|unknown)\n", worked("--version").out)


def check_search(found: Any) -> None:
    """The document as it is documented."""
    assert found.keys() >= {"query", "index_generation", "timing_ms", "hits"}
    assert found["timing_ms"].keys() == {"encode", "coarse", "fetch", "rerank", "total"}
    for rank, hit in enumerate(found["hits"], 1):
        assert hit.keys() >= HIT and hit["rank"] == rank
        for region in hit["regions"]:
            assert region.keys() == {"box", "score", "text"}
            x0, y0, x1, y1 = region["box"]
            assert 0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1


def test_search_as_json_with_pictures(library: Path, tmp_path: Path) -> None:
    found = worked(
        "search", "Which bird hunts voles?", "--index", library / "index", "-k", "2", "--json",
        "--explain", "--images", tmp_path / "pictures",
    ).document()  # fmt: skip
    check_search(found)
    assert found["query"] == "Which bird hunts voles?" and found["index_generation"] == 2
    assert len(found["hits"]) == 2
    first = found["hits"][0]
    assert (first["source"], first["page"]) == (str(library / "books" / "owls.pdf"), 0)
    assert first["metadata"] == {"shelf": "A", "year": 1999} and first["label"] == "1"
    assert "voles" in first["regions"][0]["text"]
    assert found["explain"]["lanes"] == sorted(first["scores"])
    assert first["score"] == pytest.approx(sum(first["scores"].values()), abs=1e-4)
    for hit in found["hits"]:
        check_picture(Path(hit["image"]))
    assert len(list((tmp_path / "pictures").iterdir())) == 2


def check_picture(path: Path) -> None:
    """An A4 page at 110 dpi with words, and with marks in colour."""
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        assert picture.size == pytest.approx((595 / 72 * 110, 842 / 72 * 110), abs=2)
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    assert (pixels.max(axis=2) < 90).any(), "no ink"
    assert (pixels.max(axis=2) - pixels.min(axis=2) > 60).any(), "no colour"


def test_search_for_people(library: Path, tmp_path: Path) -> None:
    done = worked(
        "search", "Where do [bold] bees [/x] store nectar?", "-i", library / "index", "-k", "1",
        "--images", tmp_path / "[red]pictures", "--explain",
    )  # fmt: skip
    assert re.search(r"^ 1\. bees\.pdf, page 1  \d\.\d{3}$", done.out, re.MULTILINE)
    assert re.search(r"x \d+-\d+ %, y \d+-\d+ %, [01]\.\d\d  .*nectar", done.out)
    assert re.search(r"late \+\d\.\d{3}  bm25 \+\d\.\d{3}", done.out)
    assert re.search(r"^generation 2; ms: encode \d+", done.out, re.MULTILINE)
    (picture,) = (tmp_path / "[red]pictures").iterdir()
    assert str(picture) in done.out


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (("--filter", "year >= 2000 AND shelf = 'A'"), ["bees.pdf", "bees.pdf"]),
        (("--doc", "owls.pdf", "--mode", "exhaustive"), ["owls.pdf"]),
        (("--mode", "bm25"), ["bees.pdf"]),
        (("--mode", "coarse", "-k", "1"), ["bees.pdf"]),
        (("--filter", "year > 3000"), []),
    ],
)
def test_search_narrowed(library: Path, options: tuple[str, ...], names: list[str]) -> None:
    found = worked("search", "nectar", "-i", library / "index", *options, "--json").document()
    check_search(found)
    assert [Path(hit["source"]).name for hit in found["hits"]] == names


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ("search owls -i nowhere", 3, "no index at nowhere"),
        ("index status -i nowhere", 3, "no index at nowhere"),
        ("index verify -i nowhere", 3, "no index at nowhere"),
        ("index repair -i nowhere", 3, "no index at nowhere"),
        ("index compact -i nowhere", 3, "no index at nowhere"),
        ("index remove x.pdf -i nowhere", 3, "no index at nowhere"),
        ("index add books -i nowhere", 3, "no index at nowhere"),
        ("search owls -i about.csv", 3, "cannot read about.csv"),
        ("index build books -i about.csv", 3, "about.csv is a file"),
        ("index build books -i about.csv/index", 3, "cannot make a folder"),
        ("index build books -i books", 3, "books is not empty and is not an index"),
        ("index build books -i new --encoder clip", 4, "unknown encoder 'clip'"),
        ("index build books -i new --ocr slow", 2, "--ocr 'slow'"),
        ("index build books -i new --renderer word", 2, "--renderer 'word'"),
        ("index build books -i new --pooling max", 2, "--pooling is kmeans, strips or mean"),
        ("index build books -i new --coarse x", 2, "--coarse is auto, flat"),
        ("index build absent.pdf -i index", 2, "absent.pdf: no such file or folder"),
        ("index build books -i index --metadata absent.csv", 2, "cannot read the metadata file"),
        ("index build books -i index --set year", 2, "'year' is not of the form key=value"),
        ("index remove owls.pdf absent.pdf -i index", 2, "no document 'absent.pdf'"),
        ("search owls -i index --filter colour=1", 2, "no such column: colour; known columns"),
        ("search owls -i index --doc absent.pdf", 2, "no document 'absent.pdf'"),
        ("search owls -i index --mode quick", 2, "unknown mode 'quick'"),
        ("search owls -i index --images about.csv", 2, "cannot write pictures into about.csv"),
    ],
)
def test_errors_are_one_line_and_a_code(
    library: Path, arguments: str, code: int, said: str
) -> None:
    done = folioscope(*arguments.split(), cwd=library)
    assert done.code == code, done
    assert done.out == ""
    assert re.fullmatch(r"error: .+\n", done.err) and said in done.err, done.err
    assert not (library / "new" / "MANIFEST.json").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "kind", "said"),
    [
        (("search", "owls", "-i", "nowhere"), 3, "StorageError", "no index at nowhere"),
        (("search", " ", "-i", "index"), 2, "InputError", "the question is empty"),
        (("index", "build", "absent/*.pdf", "-i", "index"), 2, "InputError", "absent/*.pdf"),
    ],
)
def test_errors_for_machines(
    library: Path, arguments: tuple[str, ...], code: int, kind: str, said: str
) -> None:
    done = folioscope(*arguments, "--json", cwd=library)
    assert (done.code, done.err) == (code, "")
    error = done.document()["error"]
    assert error["kind"] == kind and said in error["message"]


@pytest.mark.parametrize(
    "arguments",
    [
        "search",
        "search owls",
        "search owls -i index -k 0",
        "index",
        "index fly",
        "index build -i x",
    ],
)
def test_misuse_is_explained_on_stderr(library: Path, arguments: str) -> None:
    done = folioscope(*arguments.split(), cwd=library)
    assert done.code == 2 and "Usage: folioscope.py" in done.err + done.out
    assert "Traceback" not in done.err


def test_status(library: Path) -> None:
    found = worked("index", "status", "-i", library / "index", "--documents", "--json").document()
    assert found.keys() >= STATUS
    assert (found["documents"], found["pages"], found["generation"]) == (2, 3, 2)
    assert [Path(item["source"]).name for item in found["skipped"]] == ["broken.pdf"]
    listed = {Path(row["source"]).name: row for row in found["document_list"]}
    assert listed["bees.pdf"]["pages"] == 2 and listed["bees.pdf"]["metadata"]["year"] == 2004
    said = worked("index", "status", "-i", library / "index", "--documents").out
    assert "2 documents, 3 pages" in said and "encoder text" in said
    assert str(library / "books" / "owls.pdf") in said
    assert re.search(r"broken\.pdf .*the file is empty", said)


def test_what_an_added_document_lacks_and_what_was_passed_over_is_said(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    Image.new("RGB", (300, 200), (200, 10, 10)).save(docs / "red.png")
    picture = docs / "half.jpg"
    Image.effect_noise((400, 300), 60).save(picture)
    picture.write_bytes(picture.read_bytes()[: picture.stat().st_size // 2])
    (docs / "notes.txt").write_text("Owls.")
    # The index lies within: its own files are not counted.
    options = ("-i", docs / "index", *QUICK)
    said = worked("index", "build", docs / ".." / "docs", *options).out
    assert "added 2 documents, 2 pages" in said
    assert "1 document with flags: half.jpg (cut-off)\n" in said
    assert "2 documents without readable words: half.jpg, red.png\n" in said
    assert "1 file of another kind passed over: notes.txt\n" in said
    (docs / "more.png").write_bytes((docs / "red.png").read_bytes() + b" ")
    found = worked("index", "add", docs, *options, "--json").document()
    assert found["wordless"] == [str(docs / "more.png")] and found["flagged"] == []
    assert found["passed_over"] == [str(docs / "notes.txt")] and found["unchanged"] == 2
    inspected = worked("inspect", docs, "--ocr", "off", "--json").document()
    assert inspected["passed_over"] == [str(docs / "notes.txt")]


@pytest.mark.parametrize(
    "arguments",
    [
        "index build absent.pdf -i new",
        "index build books -i new --set year",
        "index build books -i new --metadata absent.csv",
        "search owls -i index --mode fuzzy",
        "search owls -i index --images about.csv",
    ],
)
def test_cheap_mistakes_are_told_before_anything_loads(library: Path, arguments: str) -> None:
    code = (
        "import sys, folioscope\n"
        "try: folioscope.main()\n"
        "except SystemExit as end: "
        "sys.exit(str(end.code) + str(sorted({'faiss', 'lancedb', 'tokenizers', 'torch'} "
        "& sys.modules.keys())))"
    )
    command = [sys.executable, "-c", code, *arguments.split()]
    environment = {**ENVIRONMENT, "PYTHONPATH": str(SCRIPT.parent)}
    done = subprocess.run(command, cwd=library, env=environment, capture_output=True, text=True)
    assert done.stderr.startswith("error: ") and done.stderr.endswith("\n2[]\n"), done.stderr
    assert not (library / "new").exists()


def test_a_second_build_says_what_it_left(library: Path, copy: Path) -> None:
    again = worked("index", "build", library / "books", "-i", copy, *QUICK).out
    assert re.search(r"added 0 documents, 0 pages .*; 2 were there already", again)
    assert "1 skipped" in again and re.search(r"broken\.pdf .*the file is empty", again)
    assert ".pdf: " not in again, "the name stands in its own column"


@pytest.mark.slow
def test_add_remove_compact(library: Path, copy: Path, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    write_pdf(tmp_path / "new" / "swarm [draft].pdf", [SWARM])
    added = worked("index", "add", tmp_path / "new", "-i", copy, *QUICK, "--json").document()
    assert added.keys() >= BUILT and added["documents_added"] == 1
    listed = worked("index", "status", "-i", copy, "--documents").out
    assert "swarm [draft].pdf" in listed
    names = ("swarm [draft].pdf", "owls.pdf", "0")
    removed = worked("index", "remove", *names, "-i", copy, "--json").document()
    assert removed == {
        "removed": [
            {"document": "swarm [draft].pdf", "pages": 1},
            {"document": "owls.pdf", "pages": 1},
            {"document": "0", "pages": 2},
        ]
    }
    done = worked("index", "compact", "-i", copy, "--json").document()
    assert done.keys() == {"generation", "bytes_before", "bytes_after"}
    whole = worked("index", "verify", "-i", copy, "--json").document()
    assert whole == {"whole": True, "problems": []}
    assert worked("search", "owls", "-i", copy, "--json").document()["hits"] == []
    nothing = folioscope("search", "owls", "-i", copy)
    assert nothing.code == 0 and nothing.out.startswith("nothing found\n")
    assert "the index is empty" in nothing.err


def test_a_misspelt_name_removes_nothing(library: Path, copy: Path) -> None:
    done = folioscope("index", "remove", "owls.pdf", "bee.pdf", "-i", copy)
    assert done.code == 2 and "did you mean bees.pdf" in done.err
    assert worked("index", "status", "-i", copy, "--json").document()["documents"] == 2


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x08
    path.write_bytes(data)


def one_of_each_kind(index: Path) -> list[Path]:
    """The files that differ in what is lost with them: one of each table and folder."""
    manifest = read_manifest(index)
    names = [*manifest.files, f"generations/{manifest.generation}.json"]
    kinds = {PurePath(name).parts[:-1][:3]: index / name for name in names}
    return list(kinds.values())


def test_verify_names_every_damaged_file(copy: Path) -> None:
    assert worked("index", "verify", "-i", copy).out == "the index is whole\n"
    damaged = one_of_each_kind(copy)
    assert len(damaged) >= 10
    for path in damaged:
        flip(path)
    done = folioscope("index", "verify", "-i", copy, "--json")
    assert done.code == 3 and done.err == ""
    found = done.document()
    assert found["whole"] is False
    assert {problem["path"] for problem in found["problems"]} == set(map(str, damaged))
    assert all("repair" in problem["remedy"] for problem in found["problems"])
    done = folioscope("index", "verify", "-i", copy)
    assert done.code == 3 and all(str(path) in done.out for path in damaged)
    refused = folioscope("search", "owls", "-i", copy)
    assert refused.code == 3 and "repair" in refused.err


@pytest.mark.slow
@pytest.mark.parametrize(
    "pattern",
    [
        "MANIFEST.json",
        "coarse/2.faiss",
        "lance/texts.lance/_indices/*/*invert*",
        "lance/documents.lance/data/*",
        "lance/pages.lance/data/*",
    ],
)
def test_repair_mends_or_names_what_is_lost(library: Path, copy: Path, pattern: str) -> None:
    (damaged, *_) = sorted(copy.glob(pattern))
    flip(damaged)
    actions = worked("index", "repair", "-i", copy, "--json").document()["actions"]
    assert actions
    assert worked("index", "verify", "-i", copy).out == "the index is whole\n"
    built = worked("index", "build", library / "books", "-i", copy, *QUICK, "--json").document()
    # What was lost was named, and nothing is lost but with the tables themselves.
    named = [action for action in actions if "build it again" in action or "lost" in action]
    assert bool(built["documents_added"]) == bool(named), actions
    assert "/data/" in pattern or not named
    hits = worked("search", "Which bird hunts voles?", "-i", copy, "--json").document()["hits"]
    assert Path(hits[0]["source"]).name == "owls.pdf" and len(hits) == 3


def test_a_second_writer_is_refused(library: Path, copy: Path) -> None:
    with StoreWriter.open(copy):
        done = folioscope("index", "build", library / "books", "-i", copy, *QUICK)
        assert done.code == 3 and "another writer has the index" in done.err
        assert str(os.getpid()) in done.err
        assert worked("search", "owls", "-i", copy, "--json").document()["hits"]


@pytest.mark.slow
def test_an_interrupted_build_says_so_and_goes_on_next_time(copy: Path, tmp_path: Path) -> None:
    """On a terminal, where it shows how far it is."""
    # So long that it cannot be through before the signal comes, however busy the machine is.
    long = write_pdf(tmp_path / "long.pdf", [f"{n} {OWLS} {SWARM}" * 8 for n in range(600)])
    ours, theirs = pty.openpty()
    command = [sys.executable, str(SCRIPT), "index", "add", str(long), "-i", str(copy), *QUICK]
    environment = {**ENVIRONMENT, "TERM": "xterm"}
    # What runs in the background of a shell without job control inherits that it ignores SIGINT.
    heeds = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(
        command, stderr=theirs, stdout=theirs, env=environment, preexec_fn=heeds
    ) as child:
        os.close(theirs)
        shown = b""
        while b"pages/s" not in shown:
            shown += os.read(ours, 4096)
        child.send_signal(signal.SIGINT)
        while True:
            try:
                shown += os.read(ours, 4096)
            except OSError:  # what a terminal says whose other end is closed
                break
        assert child.wait(60) == 130
    os.close(ours)
    assert b"interrupted; what was committed is kept" in shown and b"Traceback" not in shown
    assert worked("index", "status", "-i", copy, "--json").document()["documents"] == 2
    assert worked("index", "verify", "-i", copy).out == "the index is whole\n"


@pytest.mark.slow
def test_a_file_name_that_is_not_text(tmp_path: Path) -> None:
    """Names are bytes on Linux: an old one must neither end the build nor break the JSON."""
    books = write_books(tmp_path / "books", {"owls": [OWLS]})
    (books / os.fsdecode(b"broken-\xe9.pdf")).write_bytes(b"")
    options = ("-i", tmp_path / "index", *QUICK)
    built = worked("index", "build", books, *options, "--json").document()
    assert built["documents_added"] == 1
    assert [Path(item["source"]).name for item in built["skipped"]] == ["broken-?.pdf"]
    assert "broken-?.pdf" in worked("index", "build", books, *options).out
