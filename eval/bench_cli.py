"""``folioscope bench``: the measurements of docs/BENCHMARKS.md, each as a command.

Every one runs as a process of its own (most fix the number of threads before numpy is loaded);
what it prints is shown and, with ``--out``, kept with the machine, the versions and the date.
"""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from indexing.cli_common import notes

BENCHES = {
    "build": "indexing rate next to the sum of its parts: SOURCES...",
    "coarse": "FAISS types by size: build time, memory, latency, recall",
    "load": "the server under load: QUESTIONS -i INDEX",
    "maxsim": "late-interaction kernels",
    "ocr": "OCR engines on receipts: DATA",
    "pooling": "what page vectors lose: QUESTIONS -i INDEX",
    "answers": "answers and their citations: QUESTIONS -i INDEX",
}


def bench(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Which; 'list' shows them.")] = "list",
    out: Annotated[
        Path | None, typer.Option(help="Keep the result in this folder, as NAME.md.")
    ] = None,
) -> None:
    """Measure the engine on this machine.

    What follows NAME goes to the benchmark; `python -m eval.bench_NAME --help` says what
    it takes.

    Examples:

    folioscope bench maxsim

    folioscope bench build reports/ --out bench-out
    """
    from retrieval.errors import InputError

    if name == "list":
        for known, what in sorted(BENCHES.items()):
            typer.echo(f"{known:<9} {what}")
        return
    if name not in BENCHES:
        raise InputError(f"unknown benchmark '{name}'; known: {', '.join(sorted(BENCHES))}")
    command = [sys.executable, "-m", f"eval.bench_{name}", *context.args]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    lines: list[str] = []
    for line in process.stdout or ():
        typer.echo(line, nl=False)
        lines.append(line)
    if process.wait():
        raise typer.Exit(process.returncode)
    if out is not None:
        _keep(out, name, context.args, "".join(lines))


def _keep(out: Path, name: str, arguments: list[str], printed: str) -> None:
    from eval.runs import machine
    from retrieval.errors import InputError

    about = json.dumps(machine(), indent=1)
    when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    said = f"folioscope bench {' '.join([name, *arguments])}"
    try:
        out.mkdir(parents=True, exist_ok=True)
        path = out / f"{name}.md"
        path.write_text(
            f"# {name}, {when}\n`{said}`\n\n{printed}\n```json\n{about}\n```\n", "utf-8"
        )
    except OSError as error:
        raise InputError(f"cannot write into {out}: {error.strerror}; name a folder") from error
    notes.print(f"kept in {path}", markup=False, highlight=False)
