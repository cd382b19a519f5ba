"""``folioscope safety train-orders`` and ``injection-pages``: the checks of pages for orders to a
model, trained and calibrated."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from indexing.cli_common import console, notes, print_json
from serving.safety.cli import JsonOption

if TYPE_CHECKING:
    from serving.safety.orders import HonestPage


def register(app: typer.Typer) -> None:
    """Add the commands to ``folioscope safety``."""
    app.command("train-orders")(train_orders)
    app.command("injection-pages")(injection_pages)


AttacksOption = Annotated[Path, typer.Option(help="CSV: category, attack_text.")]
CarriersOption = Annotated[Path, typer.Option(help="JSONL: context, an honest text a line.")]
HonestOption = Annotated[
    list[Path], typer.Option("--index", "-i", help="Index of honest pages; several times.")
]
PagesOption = Annotated[int, typer.Option(min=1, help="Pages of a document, at most.")]


def train_orders(
    attacks: AttacksOption,
    carriers: CarriersOption,
    index: HonestOption,
    out: Annotated[Path, typer.Option(help="The classifier's file, .npz.")],
    policy_out: Annotated[Path, typer.Option(help="The policy file to write.")],
    policy: Annotated[
        Path | None, typer.Option(help="The policy to start from; by default the shipped one.")
    ] = None,
    pages: PagesOption = 40,
    max_marked: Annotated[
        float, typer.Option(min=0, max=1, help="Share of honest pages that may be marked.")
    ] = 0.005,
    as_json: JsonOption = False,
) -> None:
    """Train the head that marks pages with orders to a model, and pick its threshold.

    Half of the attacks' categories, the carriers and the documents are for training, a quarter
    for the threshold, a quarter for `bench safety`. The file holds numbers only.

    Example:  folioscope safety train-orders --attacks attacks.csv --carriers mails.jsonl
    -i my-index --out order.npz --policy-out mine.json
    """
    import numpy as np

    from serving.safety import calibration as measure
    from serving.safety import orders
    from serving.safety.detectors.order import CATEGORY, OrderDetector
    from serving.safety.heads import read_head
    from serving.safety.policy import CategoryPolicy, HeadFile, read_policy, write_policy

    bad, carrying = orders.read_attacks(attacks), orders.read_carriers(carriers)
    honest = [page for path in index for page in _pages(path, pages)]
    with notes.status("training"):
        head, area, count = orders.train_orders(bad, carrying, honest)
    digest = head.write(out)
    detector = OrderDetector(read_head(out, digest))
    rows = orders.calibration_pages(bad, carrying, honest)
    with notes.status("scoring"):
        scores = measure.scores_of(detector, CATEGORY, rows)
    found = measure.calibrate(
        scores,
        np.array([row.harmful for row in rows]),
        measure.Wanted(0.99, max_marked, 0.0),
        data={"file": attacks.name, "part": "calibrate", "sha256": measure.sha256_of(rows)},
        detectors=[detector.id],
        before=CategoryPolicy(pages="mark"),
    )
    measured = found.chosen.calibration
    if measured is None:
        raise AssertionError("a calibrated category says how")
    # A page is marked, never left out: nothing is above the block threshold, as there is none.
    measured = measured.model_copy(
        update={
            "blocked": measure.rate(0, measured.recall.n),
            "wrongly_blocked": measure.rate(0, measured.false_positives.n),
            "review_load": measured.false_positives,
        }
    )
    chosen = found.chosen.model_copy(update={"block": None, "calibration": measured})
    start = read_policy(policy)
    written = start.model_copy(
        update={
            "revision": start.revision + 1,
            "fast": tuple(dict.fromkeys([*start.fast, CATEGORY])),
            "categories": {**start.categories, CATEGORY: chosen},
            "heads": {**start.heads, CATEGORY: HeadFile(path=str(out.absolute()), sha256=digest)},
        }
    )
    write_policy(written, policy_out)
    said = {
        "file": str(out),
        "sha256": digest,
        "bytes": out.stat().st_size,
        "passages": count,
        "auroc": area,
        "threshold": chosen.review,
        "marked": measured.recall.model_dump(),
        "honest_marked": measured.false_positives.model_dump(),
        "policy": written.id,
    }
    if as_json:
        print_json(said)
        return
    for name, value in said.items():
        console.print(f"{name}: {value}", soft_wrap=True, highlight=False, markup=False)


def injection_pages(
    attacks: AttacksOption,
    carriers: CarriersOption,
    index: HonestOption,
    out: Annotated[Path, typer.Option(help="The CSV file to write: text, label, category, place.")],
    pages: PagesOption = 200,
) -> None:
    """Make labelled pages for `safety calibrate --category injection`.

    Attacks, carriers and documents of the calibration part; each attack told in every way that
    injections show themselves. The file holds the pages' text: keep it where they are kept.

    Example:  folioscope safety injection-pages --attacks attacks.csv --carriers mails.jsonl
    -i my-index --out injections.csv
    """
    import csv

    from retrieval.errors import InputError
    from serving.safety import orders
    from serving.safety.ways import injection_pages as made

    rows = made(
        orders.read_attacks(attacks),
        orders.read_carriers(carriers),
        [page for path in index for page in _pages(path, pages)],
    )
    try:
        with out.open("w", newline="", encoding="utf-8", errors="replace") as file:
            writer = csv.writer(file)
            writer.writerow(["text", "label", "category", "source", "place"])
            for row in rows:
                label = "harmful" if row.harmful else "benign"
                writer.writerow([row.text, label, row.category, row.source, row.place])
    except OSError as error:
        raise InputError(f"cannot write {out}: {error.strerror}") from error
    bad = sum(row.harmful for row in rows)
    console.print(
        f"{out}: {bad} pages with injections, {len(rows) - bad} without",
        soft_wrap=True,
        highlight=False,
        markup=False,
    )


def _pages(path: Path, most: int) -> list[HonestPage]:
    from indexing.index import Index
    from serving.safety.orders import HonestPage, drawn, page_text

    opened = Index.open(path)
    found = []
    for document in opened.documents():
        for number in drawn(document["pages"], most).tolist():
            page_id = opened.page_id(document["doc_id"], number)
            if page_id is not None:
                text = page_text(opened.page(page_id).words)
                found.append(HonestPage(document["source"], text))
    return found
