"""``folioscope tune``: the compression that does for a collection."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from eval.bench_cli import print_table
from eval.cli import _needs_measures
from indexing.cli_common import notes, print_json


def tune(
    index: Annotated[Path, typer.Option("--index", "-i", help="The index folder.")],
    questions: Annotated[
        Path | None,
        typer.Argument(help="Questions (JSONL, CSV); without any, words of sampled pages."),
    ] = None,
    setting: Annotated[
        list[str] | None, typer.Option(help="Only these, as in binary+pool2; several times.")
    ] = None,
    pages: Annotated[int, typer.Option(min=10, help="Pages scored.")] = 1000,
    half: Annotated[str | None, typer.Option(help="dev or test: half of the documents.")] = None,
    encode: Annotated[
        bool, typer.Option("--encode", help="Encode the words anew: slow, and the true float32.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Also keep the JSON in this folder.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document, for machines.")
    ] = False,
) -> None:
    """Measure every compression on your own pages and recommend one.

    Nothing is changed. To have the setting, build an index with --compression.

    Example:  folioscope tune questions.csv --index my-index
    """
    _needs_measures()
    from eval.tune import tune as measure
    from retrieval.errors import InputError

    if half not in (None, "dev", "test"):
        raise InputError("--half is dev or test")
    with notes.status("measuring") as status:
        found = measure(
            index,
            questions,
            names=setting or (),
            pages=pages,
            half=half,
            encode=encode,
            progress=lambda done, total: status.update(f"measuring, {done} of {total} pages"),
        )
    kept = found.keep(out) if out is not None else None
    if as_json:
        print_json(found.document())
        return
    print_table(found)
    if kept is not None:
        notes.print(f"kept in {kept}", markup=False, highlight=False)
