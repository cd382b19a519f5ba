"""``folioscope eval``: ask questions whose pages are known, measure, compare."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from indexing.cli_common import console, notes, print_json

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

DatasetArgument = Annotated[
    Path, typer.Argument(help="Questions: JSONL, or CSV with question, document, page.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document, for machines.")]


@app.callback()
def _eval() -> None:
    """Measure retrieval on questions whose pages are known.

    Example:  folioscope eval run questions.csv --index my-index --out two-stage.jsonl
    """


def _needs_measures() -> None:
    """Raises ``InputError`` where the extra is not installed."""
    from importlib.util import find_spec

    from retrieval.errors import InputError

    missing = [name for name in ("ir_measures", "scipy") if find_spec(name) is None]
    if missing:
        raise InputError(
            f"measuring needs {' and '.join(missing)}, not installed here; "
            "run `pip install 'folioscope[eval]'` (in a source tree: `pip install -e '.[eval]'`)"
        )


@app.command("run")
def run(
    dataset: DatasetArgument,
    index: Annotated[Path, typer.Option("--index", "-i", help="The index folder.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Where the run goes (JSONL).")],
    mode: Annotated[str, typer.Option(help="two-stage, coarse, exhaustive or bm25.")] = "two-stage",
    depth: Annotated[int, typer.Option(min=1, max=1000, help="Pages kept a question.")] = 100,
    documents: Annotated[
        Path | None,
        typer.Option(help="Text file of document names: ask about these, among these."),
    ] = None,
    kind: Annotated[
        list[str] | None, typer.Option(help="Only questions of this kind; several times.")
    ] = None,
    scope: Annotated[str | None, typer.Option(help="Ask them all so: corpus or doc.")] = None,
    half: Annotated[str | None, typer.Option(help="dev or test: half of the documents.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Ask every question of DATASET, keep the rankings in a file, and measure them.

    A run that was stopped goes on where it ended. Examples:

    folioscope eval run questions.csv --index my-index --out two-stage.jsonl

    folioscope eval run questions.csv -i my-index -o exact.jsonl --mode exhaustive
    """
    _needs_measures()
    from dataclasses import replace

    from eval.datasets import only_documents, read_questions
    from eval.runs import run_questions
    from indexing.index import Index
    from retrieval.errors import InputError

    if scope not in (None, "corpus", "doc") or half not in (None, "dev", "test"):
        raise InputError("--scope is corpus or doc, --half is dev or test")
    questions = read_questions(dataset)
    names = None
    if documents is not None:
        questions, names = only_documents(questions, documents)
    questions = [
        replace(question, scope=scope or question.scope)
        for question in questions
        if (not kind or question.kind in kind) and (half is None or question.half == half)
    ]
    if not questions:
        raise InputError(f"{dataset}: no question is left after --documents, --kind and --half")
    with notes.status("asking") as status:

        def show(done: int, total: int) -> None:
            status.update(f"asking, {done} of {total}")

        found = run_questions(
            Index.open(index),
            questions,
            out,
            mode=mode,  # type: ignore[arg-type]  # checked there
            depth=depth,
            documents=names,
            about={"dataset": dataset.name},
            progress=show,
        )
    document = _measure(questions, found)
    if as_json:
        print_json({"run": str(out), "header": dict(found.header), **document})
    else:
        _print_groups(document["groups"])
        _print_stages(document["latency_ms"])
        if document["regions"]["questions"]:
            shown = "  ".join(f"{name} {value:.3f}" for name, value in document["regions"].items())
            console.print(f"Places: {shown}", soft_wrap=True, highlight=False)


_WIDE = 110
_FEW = ("nDCG@5", "Success@1", "R@100")


@app.command()
def compare(
    dataset: DatasetArgument,
    a: Annotated[Path, typer.Argument(help="A run: the reference.")],
    b: Annotated[Path, typer.Argument(help="Another run of the same questions.")],
    as_json: JsonOption = False,
) -> None:
    """Compare run B with run A on the questions that both answered.

    Shows each measure's difference with a paired randomisation test, and how many of A's ten
    best pages B found at all: with an exhaustive A and a two-stage B, what stage one loses.

    Example:  folioscope eval compare questions.csv exact.jsonl two-stage.jsonl
    """
    _needs_measures()
    from eval.datasets import read_questions
    from eval.measures import MEASURES, kept_of_best, paired_p_value, per_question
    from eval.runs import read_run
    from retrieval.errors import InputError

    questions = read_questions(dataset)
    first, second = read_run(a), read_run(b)
    shared = [q for q in questions if q.qid in first.answered and q.qid in second.answered]
    if not shared:
        raise InputError(f"{a} and {b} have no question of {dataset} in common")
    one, two = per_question(shared, first), per_question(shared, second)
    rows: list[dict[str, Any]] = []
    for measure in MEASURES:
        left = [one[measure][q.qid] for q in shared]
        right = [two[measure][q.qid] for q in shared]
        mean_a, mean_b = sum(left) / len(left), sum(right) / len(right)
        rows.append(
            {"measure": measure, "a": mean_a, "b": mean_b, "p": paired_p_value(left, right)}
        )
    kept = kept_of_best(first, second)
    if as_json:
        print_json({"questions": len(shared), "measures": rows, "top10_of_a_found_by_b": kept})
        return
    from rich.table import Table

    table = Table(title=f"{len(shared)} questions", title_justify="left")
    for column in ("measure", a.name, b.name, "difference", "p"):
        table.add_column(column, justify="left" if column == "measure" else "right")
    for row in rows:
        table.add_row(
            row["measure"],
            f"{row['a']:.4f}",
            f"{row['b']:.4f}",
            f"{row['b'] - row['a']:+.4f}",
            f"{row['p']:.3f}",
        )
    console.print(table)
    console.print(f"Of the ten best pages of {a.name}, {b.name} found {kept:.4f}", highlight=False)


def _measure(questions: Any, found: Any) -> dict[str, Any]:
    from eval.measures import latency, region_hits, summarise

    return {
        "groups": summarise(questions, found),
        "latency_ms": latency(found),
        "regions": region_hits(questions, found),
    }


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
