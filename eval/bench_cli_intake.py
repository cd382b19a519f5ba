"""The commands of ``folioscope bench`` about intake: legibility, detail, throughput."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from eval.bench_cli import JsonOption, OutOption, show_benchmark
from indexing.cli_common import notes

if TYPE_CHECKING:
    from indexing.ocr_engines import Engine

SourcesArgument = Annotated[list[str], typer.Argument(help="Files, folders or patterns.")]
EngineOption = Annotated[str, typer.Option(help="rapidocr or tesseract.")]


def legibility(
    sources: SourcesArgument,
    pages: Annotated[int, typer.Option(min=1, help="Pages of running text to draw.")] = 6,
    plot: Annotated[Path | None, typer.Option(help="Draw the curve into this .svg file.")] = None,
    out: OutOption = None,
    as_json: JsonOption = False,
) -> None:
    """How many pixels a letter needs: words that OCR reads against x-height.

    Example:  folioscope bench legibility reports/ --plot legibility.svg
    """
    from eval.bench_legibility import measure_legibility, plotted

    with notes.status("measuring") as status:
        found = measure_legibility(sources, pages, show=status.update)
    if plot is not None:
        plot.write_text(plotted(found), "utf-8")
    show_benchmark(found, out, as_json)


def detail(
    data: Annotated[Path, typer.Argument(help="Folder with docs/receipts, ocr_gt, questions.")],
    pages: Annotated[int, typer.Option(min=1, help="Receipts to read.")] = 10,
    engine: EngineOption = "rapidocr",
    resume: Annotated[
        Path | None, typer.Option(help="Keep readings in this .jsonl file, and go on from it.")
    ] = None,
    out: OutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Totals of receipts as they are, on huge canvases, and shrunk: read, lost, flagged."""
    from eval.bench_detail import measure_receipts

    with notes.status("measuring") as status:
        found = measure_receipts(data, pages, _engine(engine), resume, status.update)
    show_benchmark(found, out, as_json)


def posters(
    sources: SourcesArgument,
    height: Annotated[
        list[float] | None, typer.Option(help="x-height in pixels; several times.")
    ] = None,
    engine: EngineOption = "rapidocr",
    questions: Annotated[
        Path | None,
        typer.Option(help="Ask these (JSONL) of posters made of the pages that answer them."),
    ] = None,
    count: Annotated[int, typer.Option(min=2, help="Posters, for --questions.")] = 10,
    out: OutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Posters of 24 megapixels and more, made of real pages: read in tiles, and shrunk.

    With --questions SOURCES is the folder of the questions' documents, and posters are to be found.

    Example:  folioscope bench posters documents/ --questions questions.jsonl --engine tesseract
    """
    from eval.bench_detail import measure_posters
    from eval.bench_poster_search import measure_poster_search
    from retrieval.errors import InputError

    if questions is not None and len(sources) != 1:
        raise InputError("with --questions, name the one folder that their documents are in")
    with notes.status("measuring") as status:
        if questions is None:
            heights = height or [5.0, 8.0, 12.0]
            found = measure_posters(sources, heights, _engine(engine), status.update)
        else:
            found = measure_poster_search(
                Path(sources[0]), questions, count, _engine(engine), status.update
            )
    show_benchmark(found, out, as_json)


def scans(
    data: Annotated[Path, typer.Argument(help="Folder with docs/receipts and ocr_gt.")],
    count: Annotated[int, typer.Option(min=1, help="Scans for each tone of the lid.")] = 40,
    single: Annotated[
        list[str] | None,
        typer.Option(help="More pictures of one paper or none: files, folders, patterns."),
    ] = None,
    out: OutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Scans of several receipts: how many are taken apart rightly, and wrongly."""
    from eval.bench_detail import measure_scans

    with notes.status("measuring"):
        found = measure_scans(data, count, single=single or ())
    show_benchmark(found, out, as_json)


def intake(
    sources: SourcesArgument,
    ocr: Annotated[str, typer.Option(help="auto, tesseract, rapidocr or off.")] = "off",
    out: OutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Pages a second and peak memory of intake alone, with text layers checked and not."""
    from eval.bench_intake import measure_intake
    from retrieval.errors import InputError

    if ocr not in ("auto", "tesseract", "rapidocr", "off"):
        raise InputError(f"--ocr is auto, tesseract, rapidocr or off, not '{ocr}'")
    with notes.status("measuring") as status:
        found = measure_intake(sources, ocr, status.update)  # type: ignore[arg-type]
    show_benchmark(found, out, as_json)


def _engine(name: str) -> Engine:
    """Raises ``InputError`` for an engine that there is not."""
    from indexing.ocr_engines import ENGINES
    from retrieval.errors import InputError

    for engine in ENGINES:
        if engine == name:
            return engine
    raise InputError(f"--engine is {' or '.join(ENGINES)}, not '{name}'")


def held(
    questions: Annotated[Path, typer.Argument(help="Questions: JSONL.")],
    index: Annotated[Path, typer.Option("--index", "-i", help="Index folder.")],
    kind: Annotated[
        list[str] | None, typer.Option(help="Kinds of question; several times.")
    ] = None,
    out: OutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Whether answers that are words of a page, as totals are, are in the index at all.

    Example:  folioscope bench held questions.jsonl --index my-index --kind receipts
    """
    from eval.bench_held import measure_held

    show_benchmark(measure_held(questions, index, kind or ["receipts", "invoices"]), out, as_json)


def register(app: typer.Typer) -> None:
    """Add the commands to ``folioscope bench``."""
    for command in (legibility, detail, posters, scans, intake, held):
        app.command()(command)
