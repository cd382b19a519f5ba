"""``folioscope review``: what waits for a person."""

from __future__ import annotations

import csv
import getpass
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from indexing.cli_common import console, notes, print_json

if TYPE_CHECKING:
    from serving.safety.queue import ReviewItem, ReviewQueue

review_app = typer.Typer(
    no_args_is_help=True,
    help="Borderline questions, pages and answers that wait for a person.",
    rich_markup_mode=None,
)
QueueOption = Annotated[
    Path | None,
    typer.Option(
        "--queue",
        help="The queue's file; by default in your state folder.",
        envvar="FOLIOSCOPE_REVIEW_QUEUE",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document, for machines.")]
ItemArgument = Annotated[str, typer.Argument(help="The case's id, as `review list` shows it.")]
WhoOption = Annotated[
    str | None, typer.Option("--who", help="Who decides, for the audit log; by default your login.")
]
NoteOption = Annotated[str, typer.Option(help="Why, for the audit log.")]


@review_app.command("list")
def list_cases(
    state: Annotated[str, typer.Option(help="waiting, approved, rejected or all.")] = "waiting",
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the oldest first.")] = 100,
    queue: QueueOption = None,
    as_json: JsonOption = False,
) -> None:
    """List cases, the oldest first. What was said is not shown; see `review show`.

    Example:  folioscope review list --state waiting
    """
    from rich.table import Table

    from retrieval.errors import InputError
    from serving.safety.queue import STATES

    if state not in (*STATES, "all"):
        raise InputError(f"unknown state '{state}'; use {', '.join(STATES)} or all")
    items = _queue(queue).items(None if state == "all" else state, limit=limit)  # type: ignore[arg-type]
    if as_json:
        print_json([as_document(item) for item in items])
        return
    table = Table()
    for column in ("id", "state", "since", "in the", "category", "score", "policy"):
        table.add_column(column)
    for item in items:
        table.add_row(
            item.id,
            item.state,
            _time(item.created),
            item.case.place,
            item.case.category,
            f"{max(item.case.scores.values(), default=0.0):.2f}",
            item.case.policy,
        )
    console.print(table)


@review_app.command("show")
def show(item: ItemArgument, queue: QueueOption = None, as_json: JsonOption = False) -> None:
    """Show a case: what was asked or found, where, why it waits, and what happened to it.

    It may hold offensive text: that is what the gate looks for.
    """
    opened = _queue(queue)
    found = opened.get(item)
    log = opened.audit(item)
    if as_json:
        print_json({**as_document(found), "audit": log})
        return
    case = found.case
    lines = [
        f"{found.id}: {found.state}, {case.stage} check, policy {case.policy}",
        *(f"  {reason}" for reason in case.reasons),
        f"question: {case.question}",
    ]
    if case.answer is not None:
        lines.append(f"answer: {case.answer}")
    if case.source is not None:
        lines.append(f"page: {case.source}, page {(case.page or 0) + 1}, box {case.box}")
    if case.place == "page":
        lines.append(f"quote: {case.quote}")
    lines += [f"{_time(e.at)}  {e.action}  {e.who}  {e.note}".rstrip() for e in log]
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


@review_app.command("approve")
def approve(
    item: ItemArgument,
    note: NoteOption = "",
    who: WhoOption = None,
    queue: QueueOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let a case pass, now and when it is asked again."""
    _decide(item, "approved", note, who, queue, as_json)


@review_app.command("reject")
def reject(
    item: ItemArgument,
    note: NoteOption = "",
    who: WhoOption = None,
    queue: QueueOption = None,
    as_json: JsonOption = False,
) -> None:
    """Block a case, now and when it is asked again."""
    _decide(item, "rejected", note, who, queue, as_json)


@review_app.command("export")
def export(
    out: Annotated[Path, typer.Argument(help="The CSV file to write; - for standard output.")],
    queue: QueueOption = None,
) -> None:
    """Write decisions as labelled texts, for the next `folioscope safety calibrate --data`."""
    from retrieval.errors import InputError

    rows = list(_queue(queue).labels())
    names = ["id", "text", "label", "category", "place", "source"]
    try:
        with sys.stdout if str(out) == "-" else out.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(rows)
    except OSError as error:
        raise InputError(f"cannot write {out}: {error.strerror}") from error
    notes.print(f"{len(rows)} decisions")


def as_document(item: ReviewItem) -> dict[str, Any]:
    """An item as JSON: its case and what became of it, in one object."""
    from dataclasses import asdict

    document = asdict(item)
    return {**document.pop("case"), **document}


def _decide(
    item: str,
    decision: Literal["approved", "rejected"],
    note: str,
    who: str | None,
    queue: Path | None,
    as_json: bool,
) -> None:
    decided = _queue(queue).decide(item, decision, who=who or getpass.getuser(), note=note)
    if as_json:
        print_json(as_document(decided))
    else:
        console.print(f"{decided.id} {decided.state} by {decided.reviewer}", highlight=False)


def _queue(path: Path | None) -> ReviewQueue:
    from serving.safety.queue import ReviewQueue, default_queue

    return ReviewQueue(path or default_queue())


def _time(seconds: float) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")
