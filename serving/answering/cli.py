"""``folioscope ask`` and ``folioscope receipt``."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from indexing.cli_common import console, notes, print_json

if TYPE_CHECKING:
    from serving.answering.pipeline import Answerer
    from serving.answering.types import Answer, Citation, Claim

receipt_app = typer.Typer(no_args_is_help=True, help="Evidence receipts.", rich_markup_mode=None)


def ask(
    question: Annotated[str, typer.Argument(help="In your own words.")],
    index: Annotated[Path, typer.Option("--index", "-i", help="The index folder.")],
    filter: Annotated[
        str | None, typer.Option(help="Condition over metadata, source, title, pages.")
    ] = None,
    doc: Annotated[
        str | None, typer.Option(help="Ask one document: its id, path or file name.")
    ] = None,
    vlm: Annotated[
        str | None,
        typer.Option(
            help="A model: URL of an OpenAI-compatible endpoint, or local:MODEL.",
            envvar="FOLIOSCOPE_VLM",
        ),
    ] = None,
    model: Annotated[
        str, typer.Option(help="Its name, where the server has several.", envvar="FOLIOSCOPE_MODEL")
    ] = "",
    key: Annotated[
        str, typer.Option(help="Its API key.", envvar="OPENAI_API_KEY", show_default=False)
    ] = "none",
    safety: Annotated[
        str,
        typer.Option(
            help="The safety gate: on, off, or a policy file.", envvar="FOLIOSCOPE_SAFETY"
        ),
    ] = "on",
    stream: Annotated[bool, typer.Option(help="Show the model's words as they come.")] = False,
    receipt: Annotated[
        Path | None, typer.Option(help="Write the answer with its evidence into this file.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document, for machines.")
    ] = False,
) -> None:
    """Answer QUESTION from the pages found, with citations that were checked.

    Without --vlm the embedded reader answers in the documents' own words: a sentence, a table's
    cell, a labelled field. Some figures it works out by common formulas, step by step (change
    from the year before, margins). It says so when the documents do not tell.

    Examples:

    folioscope ask "What is the total of invoice FF-2025-0318?" --index my-index

    folioscope ask "Why did margins fall?" -i my-index --vlm http://localhost:8000/v1 --stream

    folioscope ask "Why did margins fall?" -i my-index --vlm local:Qwen/Qwen2.5-VL-3B-Instruct
    """
    from retrieval.asking import check_question

    check_question(question)
    from indexing.index import Index

    opened = Index.open(index)
    answerer = _answerer(opened, vlm, model, key, safety)
    answer = None
    for event in answerer.stream(question, filter=filter, doc=doc):
        if event.kind == "token" and stream and not as_json:
            notes.print(event.data, end="", markup=False, highlight=False, soft_wrap=True)
        elif event.kind == "answer":
            answer = event.data
    if answer is None:
        raise AssertionError("a stream ends with its answer")
    if stream and not as_json and vlm:
        notes.print()
    if receipt is not None:
        from retrieval.errors import InputError
        from serving.answering.receipts import receipt_of

        made = json.dumps(receipt_of(answer, opened), ensure_ascii=False, indent=1, default=str)
        try:
            receipt.write_text(made, "utf-8")
        except OSError as error:
            raise InputError(f"cannot write the receipt {receipt}: {error.strerror}") from error
    if as_json:
        print_json(as_document(answer))
    else:
        _print(answer)


@receipt_app.command("verify")
def verify(
    file: Annotated[Path, typer.Argument(help="A receipt of `folioscope ask --receipt`.")],
    index: Annotated[Path, typer.Option("--index", "-i", help="The index folder.")],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document, for machines.")
    ] = False,
) -> None:
    """Check an answer again, offline: its pages, quotes, numbers. Exit code 1 if it fails.

    Example:  folioscope receipt verify answer.json --index my-index
    """
    from indexing.index import Index
    from serving.answering.receipts import verify_receipt

    problems = verify_receipt(file, Index.open(index))
    if as_json:
        print_json({"holds": not problems, "problems": problems})
    elif problems:
        for problem in problems:
            console.print(f"- {problem}", markup=False, highlight=False, soft_wrap=True)
    else:
        console.print("holds: every page, quote and number is as it was")
    if problems:
        raise typer.Exit(1)


def as_document(answer: Answer) -> dict[str, Any]:
    """The JSON document of an answer; docs/ask.md describes it. Keys are only ever added."""
    document = asdict(answer)
    document["hits"] = [
        {"rank": h.rank, "score": h.score, "doc_id": h.doc_id, "source": h.source, "page": h.page}
        for h in answer.hits
    ]
    return document


def _answerer(index: Any, vlm: str | None, model: str, key: str, safety: str) -> Answerer:
    from serving.answering.pipeline import Answerer
    from serving.safety.setup import gate_of

    gate = gate_of(safety, encoder=index.encoder)
    if vlm is None:
        return Answerer(index, gate=gate)
    from serving.answering.models import open_model

    return Answerer(index, model=open_model(vlm, model=model, key=key), gate=gate)


def _print(answer: Answer) -> None:
    from rich.markup import escape

    if answer.status == "answered":
        console.print(f"[bold]{escape(answer.text)}[/bold]", soft_wrap=True, highlight=False)
    elif answer.status == "evidence":
        console.print("No short answer; the nearest passages:", soft_wrap=True)
    else:
        console.print(escape(answer.text), soft_wrap=True, highlight=False)
        for stage in answer.safety.values():
            for reason in stage["reasons"]:
                console.print(f"  [dim]{escape(reason)}[/dim]", soft_wrap=True, highlight=False)
            if stage["review_id"]:
                console.print(f"  case {stage['review_id']}; ask again once it is decided")
    for number, claim in enumerate(answer.claims, 1):
        _print_claim(number, claim)
    if answer.conflicts:
        console.print("[yellow]in conflict: other documents say otherwise[/yellow]")
    for number, claim in enumerate(answer.conflicts, len(answer.claims) + 1):
        _print_claim(number, claim)
    if answer.removed:
        console.print(
            f"[dim]{len(answer.removed)} statements of the model did not hold and were removed; "
            "--json shows them[/dim]",
            soft_wrap=True,
        )
    if answer.claims and answer.model == "reader":
        console.print("[dim]quoted from the page; see whether it is what you asked[/dim]")
    elif answer.claims:
        console.print(f"[dim]{answer.verdict}; by {escape(answer.model)}[/dim]", soft_wrap=True)


def _print_claim(number: int, claim: Claim) -> None:
    from rich.markup import escape

    shown = escape(" ".join(claim.text.split()))
    console.print(f"  [{number}] {shown}".replace("[", r"\[", 1), soft_wrap=True, highlight=False)
    for citation in claim.citations:
        console.print(f"      [dim]{escape(_where(citation))}[/dim]", soft_wrap=True)
    for problem in claim.problems:
        console.print(f"      [red]{escape(problem)}[/red]", soft_wrap=True, highlight=False)


def _where(citation: Citation) -> str:
    x0, y0, x1, y1 = (round(100 * value) for value in citation.box)
    return f"{citation.name}, page {citation.page + 1}, x {x0}-{x1} %, y {y0}-{y1} %"
