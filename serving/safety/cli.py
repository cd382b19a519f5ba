"""``folioscope safety``: train the text classifier, and calibrate a policy, on labelled texts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from indexing.cli_common import console, notes, print_json

if TYPE_CHECKING:
    from retrieval.types import FloatArray
    from serving.safety.calibration import Calibrated
    from serving.safety.labelled import Labelled
    from serving.safety.policy import Calibration, Policy, Rate
    from serving.safety.types import Detector

safety_app = typer.Typer(
    no_args_is_help=True,
    help="Train and calibrate the safety gate on labelled texts.",
    rich_markup_mode=None,
)
DataOption = Annotated[
    Path, typer.Option("--data", help="CSV: text, label (harmful, benign), source, category.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document, for machines.")]


@safety_app.command("train")
def train(
    data: DataOption,
    out: Annotated[Path, typer.Option(help="The classifier's file, .npz.")],
    more_benign: Annotated[
        list[Path] | None,
        typer.Option(help="Text file of benign texts, one a line; several times."),
    ] = None,
    grams_only: Annotated[
        bool, typer.Option(help="Hashed words and letters alone, without encoder states.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Train a text classifier on the training part of labelled texts.

    Half of the texts are for training, a quarter for `safety calibrate`, a quarter for `bench
    safety`; near-duplicates stay together. The file holds numbers only, none of the texts.

    Example:  folioscope safety train --data prompts.csv --out harm.npz
    """
    from rich import box
    from rich.table import Table

    from serving.safety import labelled
    from serving.safety.training import train as fit

    rows = labelled.read_labelled(data)
    more = [row for path in more_benign or () for row in _benign(path)]
    states = None if grams_only else _states([*rows, *more])
    with notes.status("training"):
        trained = fit(rows, states, more)
    digest = trained.head.write(out)
    said = {
        "file": str(out),
        "sha256": digest,
        "bytes": out.stat().st_size,
        "trained_on": len(trained.rows),
        "auroc": trained.auroc,
        "sources": trained.sources,
    }
    if as_json:
        print_json(said)
        return
    table = Table(box=box.MARKDOWN)
    for column in ("source", "harmful", "benign", "AUROC", "AUROC, source left out"):
        table.add_column(column, justify="left" if column == "source" else "right")
    for row in trained.sources:
        out_of = row["auroc_left_out"]
        table.add_row(
            row["source"] or "-",
            str(row["harmful"]),
            str(row["benign"]),
            f"{row['auroc']:.3f}",
            "-" if out_of is None else f"{out_of:.3f}",
        )
    console.print(table)
    console.print(
        f"AUROC {trained.auroc:.3f} in cross-validation on {len(trained.rows)} texts; "
        f"{out}: {said['bytes']:,} bytes, SHA-256 {digest}",
        soft_wrap=True,
        highlight=False,
        markup=False,
    )


@safety_app.command("calibrate")
def calibrate(
    data: DataOption,
    out: Annotated[Path, typer.Option(help="The policy file to write.")],
    target_recall: Annotated[
        float, typer.Option(min=0, max=1, help="Share of harmful texts that must not pass.")
    ] = 0.99,
    max_review: Annotated[
        float, typer.Option(min=0, max=1, help="Share of benign texts that may be held back.")
    ] = 0.02,
    max_blocked: Annotated[
        float, typer.Option(min=0, max=1, help="Share of benign texts that may be blocked.")
    ] = 0.005,
    category: Annotated[
        str, typer.Option(help="The policy's category that the labels are about.")
    ] = "harm",
    policy: Annotated[
        Path | None, typer.Option(help="The policy to start from; by default the shipped one.")
    ] = None,
    part: Annotated[
        str,
        typer.Option(help="calibrate: what `safety train` left for this; or all, train, test."),
    ] = "calibrate",
    name: Annotated[str | None, typer.Option(help="Name of the policy written.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Pick the thresholds of a category on labelled texts, and write them into a policy.

    If recall and review load cannot both be had, the review load is kept, and both points are
    shown. Rows whose category column names another category of the policy are left out.

    Example:  folioscope safety calibrate --data mine.csv --part all --out mine.json
    """
    import numpy as np

    from retrieval.errors import InputError
    from serving.safety import calibration as measure
    from serving.safety import labelled
    from serving.safety.policy import CategoryPolicy, read_policy, write_policy
    from serving.safety.setup import checks_of

    start = read_policy(policy)
    checks, _ = checks_of(start)
    detectors = _giving(category, [t.detector for of in checks.values() for t in of])
    if not detectors:
        raise InputError(f"no check of the policy '{start.name}' gives the category '{category}'")
    rows = [
        row
        for row in labelled.part_of(labelled.read_labelled(data), part)
        if row.category == category or row.category not in start.categories
    ]
    harmful = np.array([row.harmful for row in rows], bool)
    measure.check_enough(harmful)
    with notes.status("scoring"):
        scores = np.max([measure.scores_of(d, category, rows) for d in detectors], axis=0)
    found = measure.calibrate(
        scores,
        harmful,
        measure.Wanted(target_recall, max_review, max_blocked),
        data={"file": data.name, "part": part, "sha256": measure.sha256_of(rows)},
        detectors=[d.id for d in detectors],
        before=start.categories.get(category, CategoryPolicy()),
    )
    written = start.model_copy(
        update={
            "name": name or start.name,
            "revision": start.revision + 1,
            "categories": {**start.categories, category: found.chosen},
        }
    )
    write_policy(written, out)
    if as_json:
        print_json({"policy": written.id, "category": category, **_document(found)})
        return
    _print(category, found, written, out)


def _giving(category: str, detectors: list[Detector]) -> list[Detector]:
    return list({d.id: d for d in detectors if category in d.categories}.values())


def _document(found: Calibrated) -> dict[str, object]:
    from dataclasses import asdict

    def point(of: object) -> dict[str, object]:
        return {
            key: value if isinstance(value, float) else value.model_dump()
            for key, value in asdict(of).items()  # type: ignore[call-overload]
        }

    return {
        "chosen": found.chosen.model_dump(mode="json"),
        "at_review_limit": point(found.at_limit),
        "at_target_recall": point(found.at_recall),
    }


def _print(category: str, found: Calibrated, written: Policy, out: Path) -> None:
    from rich import box
    from rich.table import Table

    measured = found.chosen.calibration
    if measured is None:
        raise AssertionError("a calibrated category says how")
    table = Table(box=box.MARKDOWN)
    for column in ("", "threshold", "recall", "false positives"):
        table.add_column(column, justify="left" if not column else "right")
    for said, point in (
        ("held back, at the review load", found.at_limit),
        ("held back, at the recall", found.at_recall),
    ):
        threshold = f"{point.threshold:.4f}" if point.threshold <= 1 else "never"
        table.add_row(said, threshold, _share(point.recall), _share(point.false_positives))
    block = "never" if found.chosen.block is None else f"{found.chosen.block:.4f}"
    table.add_row("blocked", block, _share(measured.blocked), _share(measured.wrongly_blocked))
    console.print(table)
    bins = Table(box=box.MARKDOWN)
    for column in ("mean score", "share harmful", "texts"):
        bins.add_column(column, justify="right")
    for mean, share, count in measured.reliability:
        bins.add_row(f"{mean:.3f}", f"{share:.3f}", str(count))
    console.print(bins)
    for line in _lines(category, measured):
        console.print(line, soft_wrap=True, highlight=False, markup=False)
    console.print(f"written: {out}, {written.id}", soft_wrap=True, highlight=False, markup=False)


def _lines(category: str, measured: Calibration) -> list[str]:
    lines = [
        f"{category}: {measured.recall.n} harmful and {measured.false_positives.n} benign texts; "
        f"a person sees {_share(measured.review_load)} of the benign; "
        f"calibration error (ECE) {measured.ece:.3f}"
    ]
    if not measured.reached:
        lines.append(
            f"The recall {measured.target_recall:.1%} is out of reach at a review load of "
            f"{measured.max_review:.1%}: the review load was kept. A guard model may reach both "
            "(docs/safety.md)."
        )
    return lines


def _share(rate: Rate) -> str:
    return f"{rate.value:.1%} [{rate.low:.1%}-{rate.high:.1%}]"


def _benign(path: Path) -> list[Labelled]:
    from retrieval.errors import InputError
    from serving.safety.labelled import Labelled

    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path} as UTF-8 text: {error}") from error
    return [
        Labelled(f"{path.name}:{number}", line.strip(), False, source=path.name)
        for number, line in enumerate(lines, 1)
        if line.strip()
    ]


def _states(rows: list[Labelled]) -> FloatArray:
    import numpy as np

    from retrieval.encoders.text import TextEncoder

    encoder = TextEncoder.load()
    with notes.status("reading the texts"):
        return np.concatenate([encoder.pooled_states([row.text]) for row in rows])
