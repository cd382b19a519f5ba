"""``folioscope inspect``: what would be indexed and how, without indexing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from indexing.cli import (
    JsonOption,
    LimitOption,
    OcrOption,
    PasswordOption,
    RendererOption,
    SourcesArgument,
    WorkersOption,
    intake_settings,
)
from indexing.cli_common import console, notes, part_in_words, passed_over, print_json, size

if TYPE_CHECKING:
    from indexing.source_plans import SourcePlan


def inspect(
    sources: SourcesArgument,
    sample: Annotated[
        int, typer.Option(min=0, help="Pages looked at in each document; 0 is all.")
    ] = 12,
    encoder: Annotated[str, typer.Option(help="Which encoder would make the vectors.")] = "text",
    ocr: OcrOption = "auto",
    renderer: RendererOption = "mupdf",
    password: PasswordOption = None,
    workers: WorkersOption = None,
    limits: LimitOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what a build would make of SOURCES: verdicts, pages, OCR, flags, vectors, bytes, time.

    Counts and times are projected from the pages looked at (--sample); nothing is written. Exit
    code 2 if every source would be refused.

    Example:  folioscope inspect scans/ report.pdf
    """
    from indexing.source_files import find_sources

    files = find_sources(sources)
    from indexing.source_plans import plan_sources
    from retrieval.encoders import load_encoder

    settings = intake_settings(ocr, renderer, password, workers, limits)
    with notes.status("looking") as status:

        def show(path: Path) -> None:
            status.update(f"looking at {path.name}")

        plans = list(
            plan_sources(files.files, settings, load_encoder(encoder), sample=sample, progress=show)
        )
    refused = all(plan.verdict == "refused" for plan in plans)
    if as_json:
        over = list(map(str, files.passed_over))
        print_json({"sources": plans, "total": _total(plans), "passed_over": over})
    else:
        _print(plans)
        if files.passed_over:
            line = passed_over(list(map(str, files.passed_over)))
            console.print(line, markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(2 if refused else 0)


def _total(plans: list[SourcePlan]) -> dict[str, float]:
    names = ("pages", "sampled", "layer_pages", "ocr_pages", "tiles", "vectors", "bytes", "seconds")
    total: dict[str, float] = {name: sum(getattr(plan, name) for plan in plans) for name in names}
    return {"sources": len(plans), "refused": sum(p.verdict == "refused" for p in plans), **total}


def _print(plans: list[SourcePlan]) -> None:
    from rich import box
    from rich.table import Table

    from indexing.flags import MEANINGS, in_sentence

    table = Table(box=box.MARKDOWN)
    table.add_column("source", overflow="fold")
    table.add_column("verdict")
    for name in ("pages", "by OCR", "tiles", "vectors", "in the index", "time"):
        table.add_column(name, justify="right")
    good = [plan for plan in plans if plan.verdict != "refused"]
    for plan in good:
        table.add_row(
            Path(plan.source).name,
            plan.verdict,
            f"{plan.pages:,}",
            f"{plan.ocr_pages:,}" if plan.ocr_pages else "",
            f"up to {plan.tiles:,}" if plan.tiles else "",
            f"{plan.vectors:,}",
            size(plan.bytes),
            _duration(plan.seconds),
        )
    if len(good) > 1:
        total = _total(good)
        table.add_row(
            f"{len(good)} sources",
            "",
            f"{total['pages']:,}",
            f"{total['ocr_pages']:,}",
            f"up to {total['tiles']:,}" if total["tiles"] else "",
            f"{total['vectors']:,}",
            size(total["bytes"]),
            _duration(total["seconds"]),
        )
    if good:
        console.print(table)
    for plan in plans:
        if plan.note:
            line = f"{Path(plan.source).name}: {plan.note}"
            console.print(line, markup=False, highlight=False, soft_wrap=True)
        for part in plan.papers:
            line = f"{Path(plan.source).name}: a paper {part_in_words(part)}"
            console.print(line, markup=False, highlight=False, soft_wrap=True)
        for flag, count in sorted(plan.flags.items()):
            where = f" on {count} page{'s' * (count != 1)}" if plan.pages > 1 else ""
            line = f"{Path(plan.source).name}: {flag}{where}"
            line += f", {in_sentence(flag)}" if flag in MEANINGS else ""
            console.print(line, markup=False, highlight=False, soft_wrap=True)
        if plan.verdict == "refused":
            console.print(f"refused: {plan.reason}", markup=False, highlight=False, soft_wrap=True)
    if any(plan.sampled < plan.pages for plan in good):
        looked, pages = sum(plan.sampled for plan in good), sum(plan.pages for plan in good)
        console.print(
            f"projected from {looked:,} of {pages:,} pages; --sample 0 looks at all",
            markup=False,
            highlight=False,
        )


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 100 else f"{minutes / 60:.1f} h"
