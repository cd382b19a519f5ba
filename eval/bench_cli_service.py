"""The commands of ``folioscope bench`` about the server: end to end, under load."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from eval.bench_cli import IndexOption, JsonOption, OutOption, QuestionsArgument, show_benchmark
from indexing.cli_common import notes


def service(
    sources: Annotated[Path, typer.Argument(help="Folder of documents to upload.")],
    questions: Annotated[
        Path | None, typer.Option(help="Questions that name documents by their path in FOLDER.")
    ] = None,
    kill_at: Annotated[
        float, typer.Option(min=0.05, max=0.95, help="Share of the jobs done when it is killed.")
    ] = 0.4,
    browser: Annotated[
        bool, typer.Option("--browser", help="By the web page, as a person would, in Chromium.")
    ] = False,
    screenshots: Annotated[
        Path | None, typer.Option(help="Keep pictures of the page in this folder.")
    ] = None,
    out: OutOption = None,
    as_json: JsonOption = False,
) -> None:
    """The server end to end: upload, kill it while it indexes, restart, search, ask, delete.

    Example:  folioscope bench service reports/ --questions reports.jsonl --browser
    """
    from eval.bench_service import measure_service
    from eval.bench_service_page import measure_service_page
    from retrieval.errors import InputError

    if screenshots is not None and not browser:
        raise InputError("--screenshots are of the web page: add --browser")
    with notes.status("serving, indexing, killing"):
        if browser:
            found = measure_service_page(
                sources, questions, kill_at=kill_at, screenshots=screenshots
            )
        else:
            found = measure_service(sources, questions, kill_at=kill_at)
    show_benchmark(found, out, as_json)


def load(
    questions: QuestionsArgument,
    index: IndexOption,
    clients: Annotated[int, typer.Option(min=1, help="Clients at once.")] = 50,
    seconds: Annotated[float, typer.Option(min=1, help="How long the many ask.")] = 60,
    servers: Annotated[
        int, typer.Option(min=1, help="Read-only servers that share the many, against one.")
    ] = 1,
    upload: Annotated[
        list[Path] | None, typer.Option(help="File to index meanwhile; several times.")
    ] = None,
    out: OutOption = None,
    as_json: JsonOption = False,
) -> None:
    """The server under load: latency, throughput, refusals, memory."""
    from eval.bench_load import measure_load

    found = measure_load(
        questions,
        index,
        clients=clients,
        seconds=seconds,
        servers=servers,
        upload=upload or (),
    )
    show_benchmark(found, out, as_json)


def register(app: typer.Typer) -> None:
    """Add the commands to ``folioscope bench``."""
    for command in (service, load):
        app.command()(command)
