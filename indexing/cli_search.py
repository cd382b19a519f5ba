"""``folioscope search``: ask an index, print pages and places, write pictures."""

from __future__ import annotations

import os
import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from indexing.cli_common import console, notes, part_in_words, print_json

if TYPE_CHECKING:
    from indexing.index import Index
    from retrieval.types import Hit, SearchResult


def search(
    question: Annotated[str, typer.Argument(help="In your own words.")],
    index: Annotated[Path, typer.Option("--index", "-i", help="The index folder.")],
    k: Annotated[int, typer.Option("-k", min=1, max=1000, help="How many pages.")] = 10,
    filter: Annotated[
        str | None, typer.Option(help="Condition over metadata, source, title, pages.")
    ] = None,
    doc: Annotated[
        str | None, typer.Option(help="Ask one document: its id, path or file name.")
    ] = None,
    mode: Annotated[str, typer.Option(help="two-stage, coarse, exhaustive or bm25.")] = "two-stage",
    explain: Annotated[bool, typer.Option(help="Show what each lane gave.")] = False,
    device: Annotated[str, typer.Option(help="Reranks on auto, cpu or cuda.")] = "auto",
    images: Annotated[
        Path | None, typer.Option(help="Write a picture of every hit into this folder.")
    ] = None,
    password: Annotated[str | None, typer.Option(help="Opens locked PDFs, for --images.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document, for machines.")
    ] = False,
) -> None:
    """Find the pages that answer QUESTION, and the places on them.

    Examples:

    folioscope search "What was operating income in 2022?" --index my-index -k 5

    folioscope search "dividend" -i my-index --filter "year >= 2020 AND company = 'AMD'"
    """
    from retrieval.asking import check_question

    check_question(question, mode)
    if images:
        _check_folder(images)
    from indexing.build import BuildSettings
    from indexing.index import Index
    from indexing.settings import IntakeSettings
    from retrieval.search import SearchSettings

    intake = IntakeSettings(password=password)
    opened = Index.open(
        index, settings=BuildSettings(intake=intake), search=SearchSettings(device=device)
    )
    result = opened.search(question, k, filter=filter, doc=doc, mode=mode, explain=explain)  # type: ignore[arg-type]  # checked there
    if not result.hits and not as_json:
        _why_nothing(opened, filter)
    pictures = draw_hits(opened, result, images) if images else {}
    if as_json:
        print_json(as_document(result, pictures))
    else:
        print_result(result, pictures)


def _why_nothing(index: Index, filter: str | None) -> None:
    """Say on stderr what an empty result comes from, where it is not the question."""
    documents = index.documents()
    if not documents:
        notes.print("the index is empty; `folioscope index add` fills it")
        return
    if filter is None:
        return
    kinds: dict[str, str] = {}
    for document in documents:
        for key, value in document["metadata"].items():
            kinds.setdefault(key, "text" if isinstance(value, str) else "number")
    known = ", ".join(f"{key} ({kind})" for key, kind in sorted(kinds.items())) or "none"
    notes.print(
        f"perhaps the filter allows no document; metadata here: {known}. A text is quoted "
        "('x'), a number is not.",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


def as_document(result: SearchResult, pictures: dict[int, Path] | None = None) -> dict[str, Any]:
    """The JSON document of a search; docs/search.md describes it. Keys are only ever added."""
    document: dict[str, Any] = {
        "query": result.query,
        "index_generation": result.index_generation,
        "timing_ms": dict(result.timing_ms),
        "hits": [_hit(hit, pictures or {}) for hit in result.hits],
    }
    if result.explain is not None:
        document["explain"] = dict(result.explain)
    return document


def _hit(hit: Hit, pictures: dict[int, Path]) -> dict[str, Any]:
    document: dict[str, Any] = {
        "rank": hit.rank,
        "score": hit.score,
        "scores": dict(hit.scores),
        "doc_id": hit.doc_id,
        "source": hit.source,
        "title": hit.title,
        "page": hit.page,
        "label": hit.label,
        "times": [hit.times.start, hit.times.end] if hit.times else None,
        "part": {"frame": hit.part.frame, "box": list(hit.part.box)} if hit.part else None,
        "metadata": dict(hit.metadata),
        "flags": list(hit.flags),
        "regions": [asdict(region) for region in hit.regions],
        "snippet": hit.snippet,
        "page_id": hit.page_id,
    }
    if hit.rank in pictures:
        document["image"] = str(pictures[hit.rank])
    return document


def draw_hits(index: Index, result: SearchResult, folder: Path) -> dict[int, Path]:
    """Write ``<rank>-<file>-p<page>.png`` for each hit; a page that cannot be pictured is
    said on stderr and left out."""
    from retrieval.errors import FolioscopeError

    _make_folder(folder)
    written: dict[int, Path] = {}
    for hit in result.hits:
        stem = re.sub(r"[^\w-]+", "-", Path(hit.source).stem)[:60]
        path = folder / f"{hit.rank:02d}-{stem}-p{hit.page + 1}.png"
        try:
            index.draw(result.query, hit).save(path)
        except FolioscopeError as error:
            notes.print(f"no picture of hit {hit.rank}: {error}", markup=False, soft_wrap=True)
            continue
        written[hit.rank] = path
    return written


def _check_folder(folder: Path) -> None:
    """Raise ``InputError`` if pictures could not be written into ``folder``; it is not made."""
    from retrieval.errors import InputError

    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise InputError(
            f"cannot write pictures into {folder}: {there} is no folder that can be written to; "
            "name another"
        )


def _make_folder(folder: Path) -> None:
    from retrieval.errors import InputError

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"cannot write pictures into {folder}: {error.strerror}; name a folder"
        ) from error


def print_result(result: SearchResult, pictures: dict[int, Path]) -> None:
    """Hits for people: where, how sure, what it says there."""
    from rich.markup import escape

    from indexing.flags import MEANINGS, in_sentence

    if not result.hits:
        console.print("nothing found")
    for hit in result.hits:
        name = escape(Path(hit.source).name)
        label = "" if hit.label == str(hit.page + 1) else f' (labelled "{escape(hit.label)}")'
        if hit.times:
            label = f", {escape(hit.label)}"
        console.print(
            f"[bold]{hit.rank:>2}. {name}[/bold], page {hit.page + 1}{label}"
            f"  [cyan]{hit.score:.3f}[/cyan]",
            soft_wrap=True,
        )
        if hit.part and not hit.part.whole:
            console.print(f"    [dim]{part_in_words(hit.part)}[/dim]", soft_wrap=True)
        for region in hit.regions[:2]:
            x0, y0, x1, y1 = (round(100 * value) for value in region.box)
            text = escape(_shortened(region.text))
            console.print(
                f"    [dim]x {x0}-{x1} %, y {y0}-{y1} %, {region.score:.2f}[/dim]  {text}"
            )
        for flag in hit.flags:
            meaning = MEANINGS.get(flag)
            if result.explain is not None or (meaning and meaning.verdict == "degraded"):
                colour = "yellow" if meaning and meaning.verdict != "fine" else "dim"
                console.print(f"    [{colour}]{escape(f'{flag}: {in_sentence(flag)}')}[/{colour}]")
        if result.explain is not None:
            shares = "  ".join(f"{name} {share:+.3f}" for name, share in hit.scores.items())
            console.print(f"    [dim]{shares}[/dim]")
        if hit.rank in pictures:
            console.print(f"    {pictures[hit.rank]}", markup=False, soft_wrap=True)
    spent = "  ".join(f"{stage} {ms:.0f}" for stage, ms in result.timing_ms.items())
    console.print(f"[dim]generation {result.index_generation}; ms: {spent}[/dim]")


def _shortened(text: str, width: int = 100) -> str:
    text = " ".join(text.split())
    return text if len(text) <= width else text[: width - 1].rsplit(" ", 1)[0] + " ..."
