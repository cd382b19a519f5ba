"""``folioscope demo``: the main job on the sample documents, or on a folder of one's own."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from indexing.cli_common import build_progress, console, counted, lacking, print_skipped, were_there

if TYPE_CHECKING:
    from indexing.index import Index

SAMPLES = Path(__file__).resolve().parent.parent / "data" / "documents"
SAMPLE_QUESTIONS = (
    "How much did cargo bikes bring in for Tarnfield in 2024?",
    "How much did the coffee receipt come to in total?",
    "What does error code E-11 on the weather station mean?",
)
_HITS = 2


def demo(
    docs: Annotated[
        Path | None, typer.Option(help="Your own folder instead of the samples.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Where index and pictures go.")] = Path("demo-out"),
    question: Annotated[
        list[str] | None, typer.Option("--question", "-q", help="Ask this; several times.")
    ] = None,
) -> None:
    """Build an index, ask three questions, and draw the pages that answer them.

    Example:  folioscope demo --docs ~/papers -q "Which data sets were used?"
    """
    from indexing.cli_search import draw_hits, print_result
    from indexing.index import Index
    from indexing.source_files import expand_sources
    from retrieval.errors import InputError

    sources = docs or SAMPLES
    if not sources.exists():
        raise InputError(f"{sources} does not exist; name a folder with --docs")
    # Run where the documents are, it would find the pictures that it drew the last time.
    drawn = out.resolve()
    paths = [path for path in expand_sources([sources]) if drawn not in path.resolve().parents]
    where = out / "index" if docs is None else out / f"index-{_slug(sources)}"
    index = Index.create(where)
    with build_progress(quiet=False) as progress:
        report = index.add(paths, progress=progress)
    console.print(
        f"[bold]Indexed[/bold] {counted(report.documents_added, 'document')}, "
        f"{counted(report.pages_added, 'page')} in "
        f"{report.seconds:.1f} s"
        + (f" ({were_there(report.unchanged)})" if report.unchanged else "")
    )
    for note in lacking(report):
        console.print(note, markup=False, highlight=False, soft_wrap=True)
    print_skipped(report.skipped)
    questions = question or (SAMPLE_QUESTIONS if docs is None else _from_headings(index))
    for number, text in enumerate(questions, 1):
        console.print(
            f"\nQ{number}. {text}",
            style="bold green",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
        result = index.search(text, _HITS)
        for old in (out / f"q{number}").glob("*.png"):
            old.unlink()  # of another run, about other documents
        print_result(result, draw_hits(index, result, out / f"q{number}"))
    command = "folioscope" if shutil.which("folioscope") else sys.argv[0]
    console.print(
        f'\nAsk your own:  {command} search "{questions[0]}" --index {where}\n'
        f'An answer:     {command} ask "{questions[0]}" --index {where}',
        highlight=False,
        markup=False,
        soft_wrap=True,
    )


def _slug(folder: Path) -> str:
    """A name for ``folder`` that another folder of the same name does not get."""
    whole = folder.resolve()
    name = re.sub(r"\W+", "-", whole.name).strip("-") or "docs"
    return f"{name}-{hashlib.sha256(os.fsencode(whole)).hexdigest()[:6]}"


def _from_headings(index: Index) -> list[str]:
    """Three questions for unknown documents: the titles of their most common subjects."""
    titles: Iterable[str] = (str(row["title"]) for row in index.documents())
    names = (Path(str(row["source"])).stem for row in index.documents())
    known = Counter(
        " ".join(re.split(r"[\W_]+", text)).strip() for text in (*titles, *names) if text.strip()
    )
    return [f"What is said about {text}?" for text, _ in known.most_common(3)]
