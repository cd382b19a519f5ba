"""The commands of ``folioscope bench`` about collections that are made up: scale, peers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from eval.bench_cli import IndexOption, JsonOption, OutOption, print_table, show_benchmark
from indexing.cli_common import notes


def register(app: typer.Typer) -> None:
    """Add the commands to ``folioscope bench``."""
    for command in (scale, statistics, peers):
        app.command()(command)


def scale(
    pages: Annotated[
        list[int] | None, typer.Option(min=100, help="Collection size; several times.")
    ] = None,
    patches: Annotated[float, typer.Option(min=1, help="Patches a page, on average.")] = 128,
    vectors: Annotated[int, typer.Option(min=1, help="Pooled vectors a page.")] = 16,
    questions: Annotated[int, typer.Option(min=1, help="Questions timed.")] = 200,
    exhaustive: Annotated[
        int, typer.Option(min=0, help="Questions also scored against every page.")
    ] = 20,
    folder: Annotated[
        Path | None,
        typer.Option(help="Keep the collection here, and go on with one that is here."),
    ] = None,
    out: OutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Latency, memory, disk and recall of a made-up collection of any size.

    A page takes 25 KB of disk and a millisecond to make. Without --folder everything is removed
    at the end.

    Example:  folioscope bench scale --pages 10000 --pages 100000
    """
    from eval.bench_scale import ScaleSettings, measure_scale
    from eval.synthetic.build import CollectionSpec

    settings = ScaleSettings(
        CollectionSpec(patches, vectors),
        questions,
        exhaustive,
        folder.absolute() if folder else None,
    )
    with notes.status("making words") as status:
        found = measure_scale(
            pages or [10_000],
            settings,
            lambda what, at: status.update(f"{what}: {at:,} pages"),
        )
    show_benchmark(found, out, as_json, upright=True)


def statistics(
    index: IndexOption,
    questions: Annotated[
        Path | None, typer.Argument(help="Questions to it; the development half is used.")
    ] = None,
    write: Annotated[
        Path | None, typer.Option(help="Write the statistics into this .npz file.")
    ] = None,
    out: OutOption = None,
    as_json: JsonOption = False,
) -> None:
    """What made-up collections take from real pages, measured on an index of the text encoder.

    Moments, spectra and counts only: nothing of any page's content is kept.
    """
    from eval.synthetic.measure import measure_statistics
    from eval.synthetic.report import compared

    with notes.status("measuring"):
        found = measure_statistics(index, questions)
    if write is not None:
        found.write(write)
    show_benchmark(compared(found), out, as_json)


def peers(
    pages: Annotated[
        list[str] | None,
        typer.Option(help="Collection sizes, with commas or several times."),
    ] = None,
    engine: Annotated[
        list[str] | None, typer.Option(help="Only this engine; several times.")
    ] = None,
    questions: Annotated[int, typer.Option(min=1, help="Questions asked.")] = 100,
    patches: Annotated[float, typer.Option(min=1, help="Patches a page, on average.")] = 128,
    index: Annotated[
        Path | None, typer.Option("--index", "-i", help="Take the pages of this index instead.")
    ] = None,
    asked: Annotated[
        Path | None, typer.Option(help="With --index: questions to it, JSONL or CSV.")
    ] = None,
    core: Annotated[
        list[int] | None, typer.Option(min=1, help="Cores of a search: 1 and 2.")
    ] = None,
    each: Annotated[
        float, typer.Option(min=0.1, help="Seconds after which one setting ends.")
    ] = 20,
    checks: Annotated[bool, typer.Option(help="Also try what each engine can do.")] = True,
    seconds: Annotated[float, typer.Option(min=1, help="Most seconds of one process.")] = 600,
    memory: Annotated[float, typer.Option(min=0.1, help="Most GB of one process.")] = 8,
    folder: Annotated[
        Path | None, typer.Option(help="Where vectors and indexes lie meanwhile.")
    ] = None,
    keep: Annotated[
        bool, typer.Option(help="Leave them in --folder, and use what is there already.")
    ] = False,
    out: OutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Other engines over the same vectors: latency at equal recall, and what each can do.

    Make their environments first: python -m eval.peers.environments

    Example:  folioscope bench peers --pages 1000,10000 --engine fast-plaid
    """
    from eval.peers.engines import ENGINES
    from eval.peers.measure import CORES, PeerSettings, brief, measure_peers
    from eval.peers.processes import Limits
    from eval.synthetic.build import CollectionSpec

    settings = PeerSettings(
        engines=tuple(engine or ENGINES),
        questions=questions,
        spec=CollectionSpec(patches),
        limits=Limits(seconds, memory * 1000),
        setting_s=each,
        cores=tuple(sorted({1, *(core or CORES)})),
        checks=checks,
        index=index,
        asked=asked,
        folder=folder,
        keep=keep,
    )
    with notes.status("beginning") as status:
        found, abilities = measure_peers(_sizes(pages or ["1000"]), settings, status.update)
    if as_json:
        extra = {"capabilities": list(abilities.rows)} if abilities else {}
        show_benchmark(replace(found, facts={**found.facts, **extra}), out, as_json)
        return
    kept = [found.keep(out), abilities and abilities.keep(out)] if out is not None else []
    for table in brief(found, abilities):
        print_table(table)
    for path in filter(None, kept):
        notes.print(f"kept in {path}", markup=False, highlight=False)


def _sizes(said: list[str]) -> list[int]:
    from retrieval.errors import InputError

    try:
        sizes = [int(part) for text in said for part in text.split(",")]
    except ValueError as error:
        raise InputError(f"--pages takes whole numbers, not {' '.join(said)}") from error
    if min(sizes) < 20:
        raise InputError("--pages must be at least 20")
    return sizes
