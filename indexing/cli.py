"""``folioscope index``: build, add, remove, status, verify, repair, compact."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from indexing.cli_common import (
    build_progress,
    console,
    counted,
    counted_progress,
    lacking,
    notes,
    print_json,
    print_skipped,
    size,
    were_there,
)

if TYPE_CHECKING:
    from indexing.index import Index, IndexStatus
    from indexing.metadata import MetadataTable
    from indexing.settings import IntakeSettings
    from retrieval.types import MetadataValue

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

IndexOption = Annotated[Path, typer.Option("--index", "-i", help="The index folder.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document, for machines.")]
SourcesArgument = Annotated[
    list[str], typer.Argument(help="Files, folders or patterns ('reports/**/*.pdf').")
]
MetadataOption = Annotated[
    Path | None, typer.Option(help="CSV or JSONL with a column 'source' and one per key.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", help="key=value for every source; may be given several times."),
]
OcrOption = Annotated[str, typer.Option(help="auto, tesseract, rapidocr or off.")]
RendererOption = Annotated[str, typer.Option(help="mupdf (AGPL) or pdfium (permissive).")]
PasswordOption = Annotated[str | None, typer.Option(help="Opens locked PDFs.")]
LimitOption = Annotated[
    list[str] | None,
    typer.Option("--limit", help="name=value, such as max_pages=50000; several times if need be."),
]
WorkersOption = Annotated[int | None, typer.Option(min=1, help="Reading processes; all cores.")]


@app.callback()
def _index() -> None:
    """Build an index and look after it.

    Example:  folioscope index build reports/ --index my-index --set year=2021
    """


@app.command()
def build(
    sources: SourcesArgument,
    index: IndexOption,
    metadata: MetadataOption = None,
    pairs: SetOption = None,
    encoders: Annotated[
        list[str] | None,
        typer.Option(
            "--encoder",
            help="Which encoder makes the vectors: text, colpali:MODEL, http:URL. Given again "
            "(alone or as NAME=ENCODER), one more reads the same pages. Default: text.",
        ),
    ] = None,
    ocr: OcrOption = "auto",
    renderer: RendererOption = "mupdf",
    password: PasswordOption = None,
    workers: WorkersOption = None,
    limits: LimitOption = None,
    pooling: Annotated[
        str | None, typer.Option(hidden=True, help="kmeans, strips or mean, beside a number.")
    ] = None,
    page_vectors: Annotated[
        str | None,
        typer.Option(
            help="What finds pages: kmeans, rows, cols or grid with how many vectors a page "
            "(kmeans16), or mean. First time: kmeans16."
        ),
    ] = None,
    coarse: Annotated[
        str | None,
        typer.Option(help="auto, flat, sq8, hnsw, ivf_sq8, ivf_pq4fs. First time: auto."),
    ] = None,
    compression: Annotated[
        str | None,
        typer.Option(
            help="int8, fp16, fp32 or binary, also with +pool2 to +pool5; fixed for an index's "
            "life. First time: int8."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Index SOURCES. Run it again after an interruption: it goes on where it stopped.

    Examples:

    folioscope index build reports/ scans/*.tif --index my-index

    folioscope index build reports/ -i my-index --metadata reports.csv --set team=finance
    """
    given = _given(sources, metadata, pairs)
    from indexing.build import BuildSettings
    from indexing.index import Index
    from indexing.pipeline import PoolSettings
    from retrieval.coarse_kinds import KINDS
    from retrieval.errors import InputError
    from retrieval.pooling import parse_page_vectors

    if pooling not in (None, "kmeans", "strips", "mean"):
        raise InputError(f"--pooling is kmeans, strips or mean, not '{pooling}'")
    if coarse not in (None, "auto", *KINDS):
        raise InputError(f"--coarse is auto, {' or '.join(KINDS)}, not '{coarse}'")
    pool = None
    if page_vectors and not page_vectors.isdecimal():
        pool = PoolSettings(*parse_page_vectors(page_vectors))
    elif pooling or page_vectors:
        count = page_vectors or "16"
        named = "mean" if pooling == "mean" else f"{pooling or 'kmeans'}{count}"
        pool = PoolSettings(*parse_page_vectors(named))
    settings = BuildSettings(
        intake=intake_settings(ocr, renderer, password, workers, limits),
        pooling=pool,
        coarse=coarse,
        compression=compression,
    )
    encoder, others = _named_encoders(encoders or ["text"])
    opened = Index.create(index, encoder=encoder, others=others, settings=settings)
    _add(opened, given, as_json)


@app.command()
def add(
    sources: SourcesArgument,
    index: IndexOption,
    metadata: MetadataOption = None,
    pairs: SetOption = None,
    ocr: OcrOption = "auto",
    renderer: RendererOption = "mupdf",
    password: PasswordOption = None,
    workers: WorkersOption = None,
    limits: LimitOption = None,
    as_json: JsonOption = False,
) -> None:
    """Add SOURCES to an existing index.

    Example:  folioscope index add new-report.pdf --index my-index
    """
    given = _given(sources, metadata, pairs)
    from indexing.build import BuildSettings
    from indexing.index import Index

    settings = BuildSettings(intake=intake_settings(ocr, renderer, password, workers, limits))
    _add(Index.open(index, settings=settings), given, as_json)


def _encoders(found: IndexStatus) -> str:
    others = [f"{name}: {encoder}" for name, encoder in found.lanes.items()]
    return ", ".join((f"encoder {found.encoder}", *others))


@app.command("add-encoder")
def add_encoder(
    encoder: Annotated[str, typer.Argument(help="ENCODER or NAME=ENCODER.")],
    index: IndexOption,
    as_json: JsonOption = False,
) -> None:
    """Have one more encoder read every page; a search then fuses what all of them find.

    Example:  folioscope index add-encoder colpali:vidore/colSmol-256M --index my-index
    """
    name, encoder = _lane_name(encoder)
    with counted_progress("reading pages again") as progress:
        pages = _open(index).add_encoder(name, encoder, progress=progress)
    if as_json:
        print_json({"lane": name, "encoder": encoder, "pages": pages})
    else:
        console.print(f"{counted(pages, 'page')} read by {encoder}, as lane '{name}'")


@app.command("remove-encoder")
def remove_encoder(
    name: Annotated[str, typer.Argument(help="The lane's name, as status shows it.")],
    index: IndexOption,
    as_json: JsonOption = False,
) -> None:
    """Take an encoder's vectors out again. The first encoder stays.

    Example:  folioscope index remove-encoder colpali --index my-index
    """
    _open(index).remove_encoder(name)
    if as_json:
        print_json({"lane": name, "removed": True})
        return
    console.print(f"lane '{name}' is out")


def _lane_name(said: str) -> tuple[str, str]:
    """The name of a lane and its encoder from "NAME=ENCODER", or from the encoder's family."""
    name, equals, encoder = said.partition("=")
    # A model's own name may have "=" in it, behind the family's colon.
    if equals and ":" not in name:
        return name, encoder
    return said.partition(":")[0], said


def _named_encoders(said: list[str]) -> tuple[str, dict[str, str]]:
    """The first encoder, and the others by the names of their lanes."""
    from retrieval.errors import InputError

    others: dict[str, str] = {}
    for name, encoder in map(_lane_name, said[1:]):
        if name in others:
            raise InputError(f"two encoders are called '{name}'; name them: NAME=ENCODER")
        others[name] = encoder
    return said[0], others


@app.command()
def remove(
    documents: Annotated[list[str], typer.Argument(help="Ids, paths or file names.")],
    index: IndexOption,
    as_json: JsonOption = False,
) -> None:
    """Take documents out.

    Example:  folioscope index remove old-report.pdf --index my-index
    """
    opened = _open(index)
    # All are looked up first: a misspelt name must not leave half of the work done.
    ids = [opened.find(name) for name in documents]
    names = dict(zip(ids, documents, strict=True))
    removed = [(name, opened.remove(doc_id)) for doc_id, name in names.items()]
    if as_json:
        print_json({"removed": [{"document": name, "pages": pages} for name, pages in removed]})
        return
    for name, pages in removed:
        console.print(f"removed {name} ({counted(pages, 'page')})", markup=False, soft_wrap=True)


@app.command()
def status(
    index: IndexOption,
    documents: Annotated[bool, typer.Option(help="List every document.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Say what the index holds, what it takes, and what was skipped.

    Example:  folioscope index status --index my-index --documents
    """
    from dataclasses import asdict

    from indexing.flags import in_sentence

    opened = _open(index)
    found = opened.status()
    rows = opened.documents() if documents else []
    if as_json:
        print_json({**asdict(found), **({"document_list": rows} if documents else {})})
        return
    console.print(f"{found.path}, generation {found.generation}", style="bold", markup=False)
    console.print(
        f"{counted(found.documents, 'document')}, {counted(found.pages, 'page')}, "
        f"{counted(found.patches, 'patch vector')} "
        f"({found.compression}, {_encoders(found)})"
    )
    console.print(
        f"coarse index: {found.coarse_kind}, {found.page_vectors} vectors, "
        f"{size(found.coarse_memory_bytes)} of memory; {size(found.disk_bytes)} on disk"
    )
    for kind, flags in (("document", found.flags), ("page", found.page_flags)):
        for flag, count in sorted(flags.items()):
            line = f"{count} {kind}{'s' * (count != 1)}: {flag}, {in_sentence(flag)}"
            console.print(line, markup=False, soft_wrap=True)
    for row in rows:
        line = f"{row['doc_id']:>6}  {row['pages']:>5} p.  {row['source']}"
        line += f"  [{', '.join(row['flags'])}]" if row["flags"] else ""
        console.print(line, markup=False, soft_wrap=True)
    print_skipped(found.skipped)


@app.command()
def verify(index: IndexOption, as_json: JsonOption = False) -> None:
    """Read and check every byte of the index. Exit code 3 if something is wrong.

    Example:  folioscope index verify --index my-index
    """
    from retrieval.integrity import verify as check

    problems = check(index)
    if as_json:
        print_json({"whole": not problems, "problems": problems})
    elif not problems:
        console.print("the index is whole")
    for problem in [] if as_json else problems:
        line = f"{problem.path}: {problem.what}; {problem.remedy}"
        console.print(line, markup=False, soft_wrap=True)
    if problems:
        raise typer.Exit(3)


@app.command()
def repair(index: IndexOption, as_json: JsonOption = False) -> None:
    """Mend what can be mended; what cannot is named, and the next build adds it again.

    Example:  folioscope index repair --index my-index
    """
    from indexing.index import repair_index

    done = repair_index(index)
    if as_json:
        print_json({"actions": done})
        return
    for action in done or ["nothing to repair"]:
        console.print(action, markup=False, soft_wrap=True)


@app.command()
def compact(index: IndexOption, as_json: JsonOption = False) -> None:
    """Give back the space of removed documents.

    Example:  folioscope index compact --index my-index
    """
    done = _open(index).compact()
    if as_json:
        print_json(done)
        return
    console.print(f"{size(done['bytes_before'])} before, {size(done['bytes_after'])} after")


@app.command()
def plan(
    pages: Annotated[int, typer.Option(min=1, help="Pages there will be.")],
    encoder: Annotated[str, typer.Option(help="Which encoder makes the vectors.")] = "text",
    patches: Annotated[
        int | None, typer.Option(min=1, help="Vectors a page, if you know better.")
    ] = None,
    compression: Annotated[
        list[str] | None, typer.Option(help="Only these settings; several times.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Predict disk, memory, build time and latency for every compression.

    Measures this machine for a few seconds. `folioscope tune` tells what a setting finds.

    Example:  folioscope index plan --pages 1000000 --encoder text
    """
    from rich import box
    from rich.table import Table

    from indexing.plan import plan as predict

    with notes.status("measuring"):
        found = predict(pages, encoder, patches=patches, names=compression or ())
    if as_json:
        print_json(found)
        return
    table = Table(box=box.MARKDOWN)
    columns = ("compression", "patch KB a page", "disk GB", "memory MB", "build h", "question ms")
    for column in (*columns, "of it rerank ms"):
        table.add_column(column, justify="left" if column == "compression" else "right")
    for row in found.settings:
        table.add_row(
            row.setting,
            f"{row.patch_bytes_a_page / 1024:,.1f}",
            f"{row.disk_gb:,.2f}",
            f"{row.memory_mb:,.0f}",
            "?" if row.build_hours is None else f"{row.build_hours:,.2f}",
            f"{row.question_ms:.0f}",
            f"{row.rerank_ms:.1f}",
        )
    console.print(table)
    console.print(
        f"{found.pages:,} pages of {found.patches} vectors of {found.dim} ({found.encoder}); "
        f"coarse index {found.coarse_kind}"
        + (f"; {found.encoder_pages_s:.1f} pages/s to encode" if found.encoder_pages_s else ""),
        highlight=False,
        soft_wrap=True,
    )
    if found.note:
        notes.print(found.note, markup=False, highlight=False, soft_wrap=True)


def _open(index: Path) -> Index:
    from indexing.index import Index

    return Index.open(index)


def intake_settings(
    ocr: str,
    renderer: str,
    password: str | None,
    workers: int | None,
    limits: list[str] | None,
) -> IntakeSettings:
    """What the options say. Raises ``InputError`` for a value or a limit that there is not."""
    from pydantic import ValidationError

    from indexing.metadata import parse_pairs
    from indexing.settings import LIMITS, IntakeSettings
    from retrieval.errors import InputError

    values: dict[str, object] = {"ocr": ocr, "renderer": renderer, "password": password}
    if workers:
        values["workers"] = workers
    for name, value in parse_pairs(limits or []).items():
        if name not in LIMITS:
            raise InputError(f"--limit {name}: there is none; the limits are {', '.join(LIMITS)}")
        values[name] = value
    try:
        return IntakeSettings.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        raise InputError(f"--{name} {first['input']!r}: {first['msg']}") from error


@dataclass(frozen=True, slots=True)
class _Given:
    """What a build was given, read and found to be there."""

    sources: list[str]
    table: MetadataTable | None
    metadata: Path | None
    shared: dict[str, MetadataValue]


def _given(sources: list[str], metadata: Path | None, pairs: list[str] | None) -> _Given:
    """Raises ``InputError`` for what cannot be used, before anything loads or is written."""
    from indexing.metadata import MetadataTable, parse_pairs
    from indexing.source_files import find_sources

    find_sources(sources)
    table = MetadataTable.read(metadata) if metadata else None
    return _Given(sources, table, metadata, parse_pairs(pairs or []))


def _add(opened: Index, given: _Given, as_json: bool) -> None:
    table = given.table
    with build_progress(as_json) as progress:
        report = opened.add(
            given.sources, metadata=given.shared, metadata_of=table, progress=progress
        )
    # Nothing that was named could be used.
    code = 2 if report.skipped and not report.documents_added and not report.unchanged else 0
    if as_json:
        print_json(report)
        raise typer.Exit(code)
    console.print(
        f"added {counted(report.documents_added, 'document')}, "
        f"{counted(report.pages_added, 'page')} in "
        f"{report.seconds:.1f} s ({report.pages_per_second:.1f} pages/s)"
        + (f"; {were_there(report.unchanged)}" if report.unchanged else "")
    )
    for note in (*report.notes, *lacking(report)):
        console.print(note, markup=False, highlight=False, soft_wrap=True)
    print_skipped(report.skipped)
    if table is not None and table.unused:
        named = ", ".join(table.unused[:5]) + (" ..." if len(table.unused) > 5 else "")
        rows = "1 row names" if len(table.unused) == 1 else f"{len(table.unused)} rows name"
        notes.print(
            f"{given.metadata}: {rows} no source of this build: {named}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
    raise typer.Exit(code)
