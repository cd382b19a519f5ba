"""The ``folioscope`` command, and ``from folioscope import Index``.

The commands' modules import Typer and nothing heavy; what a command needs is imported when
it runs, so that ``--help`` answers at once.
"""

from __future__ import annotations

import json
import os
import sys
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from io import TextIOWrapper
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eval.bench_cli import app as bench_app
from eval.bench_cli_intake import register as register_intake
from eval.bench_cli_scale import register as register_scale
from eval.bench_cli_service import register as register_service
from eval.cli import app as eval_app
from eval.cli_tune import tune
from indexing.cli import app as index_app
from indexing.cli_demo import demo
from indexing.cli_inspect import inspect
from indexing.cli_search import search
from retrieval.errors import FolioscopeError
from serving.answering.cli import ask, receipt_app
from serving.http.cli import keys_app, mcp, serve
from serving.safety.cli import safety_app
from serving.safety.cli_orders import register as register_orders
from serving.safety.cli_pictures import register as register_pictures
from serving.safety.cli_review import review_app

if TYPE_CHECKING:
    from indexing.build import BuildSettings as BuildSettings
    from indexing.index import Index as Index

_EXPORTS = {
    "Index": "indexing.index",
    "BuildSettings": "indexing.build",
    "IntakeSettings": "indexing.settings",
    "SearchSettings": "retrieval.search",
    "FolioscopeError": "retrieval.errors",
}


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        return getattr(import_module(_EXPORTS[name]), name)
    raise AttributeError(f"module 'folioscope' has no attribute {name!r}")


def _version() -> str:
    try:
        return version("folioscope")
    except PackageNotFoundError:
        return "unknown"


app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
app.add_typer(index_app, name="index")
app.command("inspect")(inspect)
app.command("search")(search)
app.add_typer(eval_app, name="eval")
app.command("demo")(demo)
register_intake(bench_app)
register_service(bench_app)
register_scale(bench_app)
app.add_typer(bench_app, name="bench")
app.command("tune")(tune)
app.command("ask")(ask)
app.add_typer(receipt_app, name="receipt")
app.command("serve")(serve)
app.command("mcp")(mcp)
app.add_typer(keys_app, name="keys")
app.add_typer(review_app, name="review")
register_orders(safety_app)
register_pictures(safety_app)
app.add_typer(safety_app, name="safety")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"folioscope {_version()}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Say which.")
    ] = False,
) -> None:
    """Find the page, and the place on the page, that answers a question.

    Start with:  folioscope index build my-documents --index my-index

    Then ask:    folioscope search "What was revenue in 2023?" --index my-index
    """


def main() -> None:
    """Run the command; our errors become one line and an exit code, bugs keep their trace.

    Exit codes: 0 done, 1 other failure, 2 the user's input, 3 the index, 4 the encoder,
    5 a service, 130 interrupted.
    """
    # One thread a query, one a batch of pages: several at once share the cores better than one
    # spread over them. Set before numpy is loaded, which reads it then.
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    for stream in (sys.stdout, sys.stderr):
        # File names are bytes; one that is not UTF-8 must not end a long build.
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        app()
    except SystemExit as ended:
        if ended.code == 130:  # what Typer makes of KeyboardInterrupt
            typer.echo("interrupted; what was committed is kept, run again to go on", err=True)
        raise
    except FolioscopeError as error:
        if "--json" in sys.argv[1:]:
            said = {"error": {"kind": type(error).__name__, "message": str(error)}}
            typer.echo(json.dumps(said, ensure_ascii=False))
        else:
            typer.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
