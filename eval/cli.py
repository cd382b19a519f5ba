"""``folioscope eval``: ask questions whose pages are known, measure, compare."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

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
        from eval.cli_tables import print_results

        print_results(results)


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
    for name, key in ((b.name, "not_in_b"), (a.name, "not_in_a")):
        if found[key]:
            console.print(
                f"{found[key]} more questions are not in {name}: left out", highlight=False
            )
    console.print(f"Of the ten best pages of {a.name}, {b.name} found {kept:.4f}", highlight=False)


@app.command()
def curves(
    dataset: DatasetOption = None,
    index: Annotated[Path | None, typer.Option("--index", "-i", help="The index folder.")] = None,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="TOML or YAML; options win over it.")
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for curves.json and the plots.")
    ] = Path("curves"),
    questions: Annotated[
        int, typer.Option(min=0, help="Ask so many, the same ones every time; 0: all.")
    ] = 100,
    k: Annotated[
        list[int] | None,
        typer.Option("--k", "-k", min=1, help="Candidates; several times. Default: 10 to 200."),
    ] = None,
    documents: Annotated[
        Path | None, typer.Option(help="Text file of document names: only these.")
    ] = None,
    kind: Annotated[
        list[str] | None, typer.Option(help="Only questions of this kind; several times.")
    ] = None,
    language: Annotated[str | None, typer.Option(help="Only questions in this language.")] = None,
    scope: Annotated[str | None, typer.Option(help="Ask them all so: corpus or doc.")] = None,
    half: Annotated[str | None, typer.Option(help="dev or test: half of the documents.")] = None,
    compressed: Annotated[
        int, typer.Option(min=0, help="Questions on which compressions are compared; 0: none.")
    ] = 20,
    as_json: JsonOption = False,
) -> None:
    """What two stages find, lose and take on your questions, by number of candidates and by
    compression.

    Exhaustive search is the yardstick, so a large index takes a while: a second a question and
    4,000 pages.

    Example:  folioscope eval curves --dataset questions.csv --index my-index --out curves/
    """
    _needs_measures("matplotlib")
    from eval.config import read_config
    from eval.curve_plots import keep_curves
    from eval.curves import KS
    from eval.harness import curves_config

    options = {
        "dataset": dataset,
        "index": index,
        "documents": documents,
        "kind": tuple(kind) if kind else None,
        "language": language,
        "scope": scope,
        "half": half,
    }
    chosen = read_config(config, options)
    with notes.status("opening") as status:
        found = curves_config(
            chosen, questions or None, k or KS, compressed=compressed, say=status.update
        )
        kept = keep_curves(found, out)
    if as_json:
        print_json(found)
        return
    from eval.cli_tables import print_curves

    print_curves(found)
    notes.print("kept: " + ", ".join(map(str, kept)), markup=False, highlight=False)


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


@app.command("fit-weights")
def fit_weights(
    questions: Annotated[Path, typer.Argument(help="Questions with their pages (CSV, JSONL).")],
    index: Annotated[Path, typer.Option("--index", "-i", help="The index folder.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the weights, do not keep them.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Fit how much each lane counts, on the development half; the index keeps the weights.

    Measure on the other half what was gained: `folioscope eval run --half test`. Example:

    folioscope eval fit-weights questions.csv --index my-index
    """
    _needs_measures()
    from dataclasses import asdict

    from eval.datasets import read_questions
    from eval.fit_weights import fit_weights as fit
    from indexing.index import Index
    from retrieval.ranking import weights_as_dict

    opened = Index.open(index)
    before = opened.weights()
    found = fit(opened, read_questions(questions), before)
    if not dry_run:
        opened.set_weights(found.weights)
    if as_json:
        print_json(asdict(found))
        return
    old, new = weights_as_dict(before), weights_as_dict(found.weights)
    for name in ("late", "bm25", "document", "length"):
        console.print(f"{name:<10} {old[name]:.3f} -> {new[name]:.3f}")
    for name, weight in new["others"].items():
        console.print(f"{name:<10} {old['others'].get(name, 1.0):.3f} -> {weight:.3f}")
    console.print(
        f"{found.questions} questions, loss {found.loss_before:.3f} -> {found.loss_after:.3f}"
        + ("" if dry_run else "; kept in the index")
    )
