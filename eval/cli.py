"""``folioscope eval``: ask questions whose pages are known, measure, compare."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from indexing.cli_common import console, notes, print_json

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

DatasetOption = Annotated[
    str | None,
    typer.Option(
        "--dataset",
        "-d",
        help="Questions (CSV, JSONL), or a data set with pages: a folder, vidore:OWNER/NAME.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document, for machines.")]


@app.callback()
def _eval() -> None:
    """Measure retrieval on questions whose pages are known.

    Example:  folioscope eval run --dataset questions.csv --index my-index --out two-stage.jsonl
    """


def _needs_measures(*more: str) -> None:
    """Raises ``InputError`` where the extra is not installed."""
    from importlib.util import find_spec

    from retrieval.errors import InputError

    missing = [name for name in ("ir_measures", "scipy", *more) if find_spec(name) is None]
    if missing:
        raise InputError(
            f"measuring needs {' and '.join(missing)}, not installed here; "
            "run `pip install 'folioscope[eval]'` (in a source tree: `pip install -e '.[eval]'`)"
        )


@app.command("run")
def run(
    questions: Annotated[
        str | None, typer.Argument(metavar="[DATASET]", help="The same as --dataset.")
    ] = None,
    dataset: DatasetOption = None,
    index: Annotated[Path | None, typer.Option("--index", "-i", help="The index folder.")] = None,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="TOML or YAML; options win over it.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Where the run goes (JSONL).")] = Path(
        "run.jsonl"
    ),
    encoder: Annotated[
        str | None, typer.Option(help="Encoder of a data set's own pages. Default: text.")
    ] = None,
    mode: Annotated[
        str | None, typer.Option(help="two-stage (default), coarse, exhaustive or bm25.")
    ] = None,
    depth: Annotated[
        int | None, typer.Option(help="Pages kept a question, 1 to 1000. Default: 100.")
    ] = None,
    candidates: Annotated[
        int | None, typer.Option(help="Pages that stage one hands on. Default: 100.")
    ] = None,
    documents: Annotated[
        Path | None,
        typer.Option(help="Text file of document names: ask about these, among these."),
    ] = None,
    kind: Annotated[
        list[str] | None, typer.Option(help="Only questions of this kind; several times.")
    ] = None,
    language: Annotated[str | None, typer.Option(help="Only questions in this language.")] = None,
    scope: Annotated[str | None, typer.Option(help="Ask them all so: corpus or doc.")] = None,
    half: Annotated[str | None, typer.Option(help="dev or test: half of the documents.")] = None,
    split: Annotated[str | None, typer.Option(help="Split of a data set. Default: test.")] = None,
    answers: Annotated[
        bool | None, typer.Option("--answers", help="Also answer every question, and measure it.")
    ] = None,
    mteb: Annotated[
        Path | None, typer.Option(help="Also write the result in MTEB's format into this folder.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Ask every question of a data set, keep the rankings in a file, and measure them.

    A run that was stopped goes on where it ended. Pages that a data set brings are indexed
    first, once. Everything that was measured is kept beside the run, as NAME.results.json.
    Examples:

    folioscope eval run --dataset questions.csv --index my-index --out two-stage.jsonl

    folioscope eval run -d vidore:esg_reports_v2/ -o esg.jsonl

    folioscope eval run --config night.toml --mode exhaustive -o exact.jsonl
    """
    _needs_measures()
    from eval.config import read_config
    from eval.harness import run_config

    if dataset and questions:
        raise typer.BadParameter("name the data set once", param_hint="--dataset")
    options = {
        "dataset": dataset or questions,
        "index": index,
        "encoder": encoder,
        "mode": mode,
        "depth": depth,
        "candidates": candidates,
        "documents": documents,
        "kind": tuple(kind) if kind else None,
        "language": language,
        "scope": scope,
        "half": half,
        "split": split,
        "answers": answers,
    }
    chosen = read_config(config, options)
    with notes.status("opening") as status:
        results = run_config(chosen, out, status.update)
    if mteb is not None:
        from eval.mteb import write_mteb
        from eval.runs import read_run

        results["mteb"] = str(write_mteb(read_run(out), mteb, chosen.split))
    if as_json:
        print_json(results)
    else:
        _print_results(results)


_WIDE = 110
_FEW = ("nDCG@5", "Success@1", "R@100")


@app.command()
def compare(
    a: Annotated[Path, typer.Argument(help="A run: the reference.")],
    b: Annotated[Path, typer.Argument(help="Another run of the same questions.")],
    as_json: JsonOption = False,
) -> None:
    """Compare run B with run A on the questions that both answered.

    Shows each measure's difference with a paired randomisation test, and how many of A's ten
    best pages B found at all: with an exhaustive A and a two-stage B, what stage one loses.

    Example:  folioscope eval compare exact.jsonl two-stage.jsonl
    """
    _needs_measures()
    from eval.harness import compare_runs
    from eval.runs import read_run

    found = compare_runs(read_run(a), read_run(b))
    if as_json:
        print_json(found)
        return
    rows, kept = found["measures"], found["top10_of_a_found_by_b"]
    from rich.table import Table

    table = Table(title=f"{found['questions']} questions", title_justify="left")
    for column in ("measure", a.name, b.name, "difference", "p"):
        table.add_column(column, justify="left" if column == "measure" else "right")
    for row in rows:
        low, high = row["interval"]
        table.add_row(
            row["measure"],
            f"{row['a']:.4f}",
            f"{row['b']:.4f}",
            f"{row['b'] - row['a']:+.4f} [{low:+.3f}, {high:+.3f}]",
            f"{row['p']:.3f}",
        )
    console.print(table)
    console.print(f"Of the ten best pages of {a.name}, {b.name} found {kept:.4f}", highlight=False)


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(help="Runs of one data set; the first leads.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The HTML file.")] = Path("report.html"),
    index: Annotated[
        Path | None, typer.Option("--index", "-i", help="Where the pages are, if it was moved.")
    ] = None,
    worst: Annotated[int, typer.Option(min=0, help="Questions shown with pictures.")] = 12,
    curves: Annotated[
        Path | None, typer.Option(help="What `folioscope eval curves` kept, to be shown as well.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """One HTML file about RUNS: quality, times, plots, and the worst questions with their pages.

    Nothing in it is fetched from elsewhere; it can be sent to anyone who may see the pages.

    Example:  folioscope eval report two-stage.jsonl exact.jsonl --out report.html
    """
    _needs_measures("matplotlib", "jinja2")
    from eval.harness import read_document
    from eval.report import write_report

    with notes.status("drawing"):
        found = read_document(curves) if curves is not None else None
        size = write_report(runs, out, worst=worst, index=index, curves=found)
    if as_json:
        print_json({"report": str(out), "bytes": size})
    else:
        console.print(f"{out}: {size / 1e6:.1f} MB", highlight=False)


def _print_results(results: dict[str, Any]) -> None:
    _print_groups(results["groups"])
    _print_stages(results["efficiency"]["latency_ms"])
    for name in ("places", "answers"):
        found = results[name]
        if found["questions"]:
            values = {k: v for k, v in found.items() if isinstance(v, int | float)}
            shown = "  ".join(f"{key} {value:.3g}" for key, value in values.items())
            console.print(f"{name.capitalize()}: {shown}", soft_wrap=True, highlight=False)


def _print_groups(groups: list[dict[str, Any]]) -> None:
    from rich.table import Table

    from eval.measures import MEASURES

    table = Table(title=f"Retrieval ({MEASURES[0]} with its 95 % interval)", title_justify="left")
    table.add_column("questions")
    table.add_column("n", justify="right")
    # A narrow terminal would break every cell; --json has them all.
    shown = MEASURES if console.width >= _WIDE else _FEW
    for measure in shown:
        table.add_column(measure, justify="right")
    for row in groups:
        low, high = row["interval"]
        first = f"{row[shown[0]]:.3f} [{low:.2f}-{high:.2f}]"
        others = (f"{row[measure]:.3f}" for measure in shown[1:])
        table.add_row(row["group"], str(row["questions"]), first, *others)
    console.print(table)


def _print_stages(stages: dict[str, dict[str, float]]) -> None:
    from rich.table import Table

    table = Table(title="Milliseconds a question", title_justify="left")
    table.add_column("stage")
    for name in ("p50", "p95", "p99"):
        table.add_column(name, justify="right")
    for stage, values in stages.items():
        table.add_row(stage, *(f"{values[name]:.1f}" for name in ("p50", "p95", "p99")))
    console.print(table)
