"""The tables that ``folioscope eval`` prints."""

from __future__ import annotations

from typing import Any

from indexing.cli_common import console

_WIDE = 110
_FEW = ("nDCG@5", "Success@1", "R@100")


def print_results(results: dict[str, Any]) -> None:
    """Quality by kind, times by stage, places and answers."""
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


def print_curves(curves: dict[str, Any]) -> None:
    """One table a curve."""
    from rich.table import Table

    def table(title: str, rows: list[dict[str, Any]]) -> None:
        drawn = Table(title=title, title_justify="left")
        for column in rows[0]:
            drawn.add_column(column.replace("_", " "), justify="right")
        for row in rows:
            drawn.add_row(*(f"{v:.3f}" if isinstance(v, float) else str(v) for v in row.values()))
        console.print(drawn)

    table("Share among the candidates", curves["stage_one"])
    points = [*curves["candidates"], {"k": "all", **curves["exhaustive"]}]
    costs = []
    for row in points:
        took, lost = row["latency_ms"]["total"], row.get("loss")
        costs.append(
            {
                "k": row["k"],
                "nDCG@5": row["nDCG@5"],
                "nDCG@10": row["nDCG@10"],
                "lost nDCG@10": lost["nDCG@10"]["mean"] if lost else 0.0,
                **{f"{name} ms": f"{value:.1f}" for name, value in took.items()},
            }
        )
    table("Quality and time by candidates", costs)
    compressed = [
        {name: value for name, value in row.items() if name != "intervals"}
        for row in curves["compression"]
    ]
    if compressed:
        table("Patches in fewer bytes", compressed)
