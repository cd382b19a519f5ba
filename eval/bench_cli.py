"""``folioscope bench``: the measurements of docs/BENCHMARKS.md, each as a command.

Times are of one thread a library unless the environment says otherwise: the command sets that
before numpy is loaded.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from indexing.cli_common import console, notes, print_json

if TYPE_CHECKING:
    from eval.benchmark import Benchmark

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

QuestionsArgument = Annotated[
    Path, typer.Argument(help="Questions: JSONL, or CSV with question, document, page.")
]
IndexOption = Annotated[Path, typer.Option("--index", "-i", help="The index folder.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document, for machines.")]
OutOption = Annotated[
    Path | None, typer.Option("--out", help="Also keep the JSON in this folder, as NAME.json.")
]


@app.callback()
def _bench() -> None:
    """Measure the engine on this machine; results name the machine, the versions and the date.

    Example:  folioscope bench maxsim
    """


@app.command()
def maxsim(
    pages: Annotated[int, typer.Option(min=1, help="Pages scored at once.")] = 100,
    patches: Annotated[int, typer.Option(min=2, help="Patches a page, on average.")] = 1030,
    tokens: Annotated[int, typer.Option(min=1, help="Vectors of the question.")] = 20,
    dim: Annotated[int, typer.Option(min=1, help="Components a vector.")] = 128,
    repeats: Annotated[int, typer.Option(min=1, help="Times each kernel runs.")] = 25,
    peers: Annotated[
        Path | None,
        typer.Option(help="A Python with maxsim-cpu, colpali-engine...: times these as well."),
    ] = None,
    out: OutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Late-interaction kernels: how fast pages are scored exactly, on one thread.

    Example:  folioscope bench maxsim --peers peers/bin/python
    """
    from eval.bench_maxsim import measure_maxsim

    show_benchmark(measure_maxsim(pages, patches, tokens, dim, repeats, peers), out, as_json)


@app.command()
def gpu(
    pages: Annotated[int, typer.Option(min=1, help="Pages scored at once.")] = 100,
    index: Annotated[
        Path | None, typer.Option("--index", "-i", help="Also read pages of this index.")
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Times each kernel runs.")] = 20,
    out: OutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Late interaction on a GPU, next to other libraries that are installed: all in one run.

    Example:  folioscope bench gpu --index my-index
    """
    from eval.bench_gpu import measure_gpu

    show_benchmark(measure_gpu(pages, index, repeats=repeats), out, as_json)


@app.command()
def coarse(
    vectors: Annotated[
        list[int] | None,
        typer.Option(min=16, help="Collection size in vectors; several times."),
    ] = None,
    kind: Annotated[list[str] | None, typer.Option(help="FAISS type; several times.")] = None,
    questions: Annotated[int, typer.Option(min=1, help="Questions asked.")] = 40,
    out: OutOption = None,
    as_json: JsonOption = False,
) -> None:
    """FAISS types of stage one by size: build time, memory, latency, recall.

    Example:  folioscope bench coarse --vectors 80000 --kind sq8 --kind ivf_pq4fs
    """
    from dataclasses import asdict

    from eval.bench_coarse import CANDIDATES, DIM, EACH, TOKENS, measure_coarse
    from eval.benchmark import Benchmark
    from retrieval.coarse_kinds import KINDS
    from retrieval.errors import InputError
    from retrieval.maxsim import has_kernel

    unknown = set(kind or ()) - set(KINDS)
    if unknown:
        raise InputError(f"unknown type {', '.join(unknown)}; known: {', '.join(KINDS)}")
    rows = []
    with notes.status("measuring") as status:
        for row in measure_coarse(vectors or [10_000, 80_000, 1_000_000], kind or KINDS, questions):
            rows.append(asdict(row))
            status.update(f"measured {row.kind} at {row.vectors:,} vectors")
    facts = {
        "dim": DIM,
        "vectors_a_page": EACH,
        "tokens": TOKENS,
        "candidates": CANDIDATES,
        "compiled_kernel": has_kernel(),
        "threads": 1,
    }
    show_benchmark(Benchmark("coarse", rows, facts), out, as_json)


@app.command()
def pooling(
    questions: QuestionsArgument,
    index: IndexOption,
    documents: Annotated[
        Path | None, typer.Option(help="Text file of document names: only these.")
    ] = None,
    out: OutOption = None,
    as_json: JsonOption = False,
) -> None:
    """What pooling a page into few vectors loses, without BM25 or document context."""
    from eval.bench_pooling import measure_pooling

    show_benchmark(measure_pooling(questions, index, documents), out, as_json)


@app.command()
def build(
    sources: Annotated[list[str], typer.Argument(help="Files and folders to index.")],
    parts: Annotated[bool, typer.Option(help="Also time every part alone.")] = True,
    out: OutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Indexing rate, next to the rates of its parts; memory and disk."""
    from eval.bench_build import measure_build

    show_benchmark(measure_build(sources, parts=parts), out, as_json)


@app.command()
def ocr(
    data: Annotated[Path, typer.Argument(help="Folder with docs/receipts, ocr_gt, questions.")],
    pages: Annotated[int, typer.Option(min=1, help="Receipts to read.")] = 12,
    seed: Annotated[str, typer.Option(help="Draws other receipts.")] = "",
    out: OutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Accuracy and time of the OCR engines on receipts."""
    from eval.bench_ocr import measure_ocr

    show_benchmark(measure_ocr(data, pages, seed), out, as_json)


@app.command()
def video(
    folder: Annotated[
        Path | None, typer.Argument(help="Folder with clips of known states.")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="What they show when; as eval/video_labels.json.")
    ] = None,
    questions: Annotated[
        Path | None, typer.Option(help="Questions about the clips: JSONL with times.")
    ] = None,
    ocr: Annotated[str, typer.Option(help="For --questions: auto, tesseract, rapidocr.")] = "auto",
    minutes: Annotated[
        float, typer.Option(min=0, help="Instead of clips: drawn work of so many minutes.")
    ] = 0,
    embedding: Annotated[
        bool, typer.Option(help="Also EfficientNet-lite0, which needs torch.")
    ] = False,
    by_clip: Annotated[
        bool, typer.Option("--by-clip", help="Only what a build keeps of each clip.")
    ] = False,
    out: OutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Which frames of recordings methods keep: changes found, frames kept in vain.

    With --questions the clips are indexed and asked instead: is the time found?

    Example:  folioscope bench video clips/
    """
    from retrieval.errors import InputError

    if minutes:
        from eval.bench_video import measure_drawn_work

        show_benchmark(measure_drawn_work(minutes), out, as_json)
        return
    if ocr not in ("auto", "tesseract", "rapidocr"):
        raise InputError(f"--ocr is auto, tesseract or rapidocr, not '{ocr}'")
    if folder is None:
        raise InputError("name a folder of clips, or --minutes of work to be drawn")
    if questions is not None:
        from eval.bench_video_questions import measure_video_questions

        with notes.status("indexing the clips"):
            asked = measure_video_questions(folder, questions, ocr)  # type: ignore[arg-type]  # checked above
        show_benchmark(asked, out, as_json)
        return
    from eval.bench_video import measure_clips, measure_video

    if by_clip:
        with notes.status("looking through the clips"):
            kept = measure_clips(folder, labels)
        show_benchmark(kept, out, as_json)
        return
    with notes.status("comparing frames"):
        found = measure_video(folder, labels, embedding)
    show_benchmark(found, out, as_json, upright=True)


@app.command()
def broken(
    folder: Annotated[
        Path | None, typer.Argument(help="Broken files; a manifest.csv says what is expected.")
    ] = None,
    mutants: Annotated[int, typer.Option(min=0, help="Also damage good files so often.")] = 500,
    of: Annotated[
        Path | None, typer.Option(help="The good files; without it small ones are drawn.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Damages them otherwise.")] = 0,
    out: OutOption = None,
    as_json: JsonOption = False,
) -> None:
    """What becomes of broken files: verdicts by category; nothing may crash, hang or spread.

    Example:  folioscope bench broken damaged/ --mutants 500 --of reports/
    """
    from eval.bench_broken import measure_broken

    with notes.status("examining") as status:
        found = measure_broken(
            folder, of, mutants, seed, lambda done: status.update(f"examined {done:,} files")
        )
    show_benchmark(found, out, as_json)
    for surprise in [] if as_json else found.facts["surprising"]:
        console.print(surprise, markup=False, highlight=False, soft_wrap=True)


@app.command()
def answers(
    questions: QuestionsArgument,
    index: IndexOption,
    half: Annotated[str | None, typer.Option(help="dev or test: half of the documents.")] = None,
    out: OutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Answers of the embedded reader: how many are right, and cite the right place."""
    from eval.bench_answers import measure_answers
    from retrieval.errors import InputError

    if half not in (None, "dev", "test"):
        raise InputError("--half is dev or test")
    show_benchmark(measure_answers(questions, index, half), out, as_json)


@app.command()
def verifier(
    questions: QuestionsArgument,
    index: IndexOption,
    half: Annotated[str | None, typer.Option(help="dev or test: half of the documents.")] = None,
    out: OutOption = None,
    as_json: JsonOption = False,
) -> None:
    """True claims and planted lies about the answering pages: false alarms, and what is caught."""
    from eval.verifier_claims import measure_verifier
    from retrieval.errors import InputError

    if half not in (None, "dev", "test"):
        raise InputError("--half is dev or test")
    show_benchmark(measure_verifier(questions, index, half), out, as_json)


@app.command()
def safety(
    data: Annotated[
        Path,
        typer.Argument(
            help="Folder: prompts.csv, injection_attacks.csv, injection_contexts.jsonl."
        ),
    ],
    questions: Annotated[
        Path | None, typer.Option(help="Honest questions: how many are held back.")
    ] = None,
    index: Annotated[
        Path | None, typer.Option("--index", "-i", help="Honest pages: how many are left out.")
    ] = None,
    policy: Annotated[Path | None, typer.Option(help="A policy; by default the shipped.")] = None,
    part: Annotated[str, typer.Option(help="Part of the prompts: test, or all.")] = "test",
    read: Annotated[int, typer.Option(min=0, help="Attacks read through intake.")] = 15,
    pages: Annotated[int, typer.Option(min=1, help="Pages of the index.")] = 200,
    out: OutOption = None,
    as_json: JsonOption = False,
) -> None:
    """The safety gate: recall, false positives and latency of each stage; injections that pass.

    Example:  folioscope bench safety data/safety --questions mine.jsonl --index my-index
    """
    from eval.bench_safety import SafetySettings, measure_safety
    from serving.safety.policy import read_policy

    with notes.status("beginning") as status:
        found = measure_safety(
            data,
            read_policy(policy),
            SafetySettings(part, read, pages, pages),
            questions=questions,
            index=index,
            show=status.update,
        )
    if as_json:
        print_json([one.document() for one in found])
        return
    for one in found:
        if out is not None:
            one.keep(out)
        print_table(one)


def show_benchmark(
    found: Benchmark, out: Path | None, as_json: bool, *, upright: bool = False
) -> None:
    """Keep it where asked, and print it for people or machines."""
    kept = found.keep(out) if out is not None else None
    if as_json:
        print_json(found.document())
        return
    print_table(turned(found) if upright else found)
    if kept is not None:
        notes.print(f"kept in {kept}", markup=False, highlight=False)


def turned(found: Benchmark) -> Benchmark:
    """The same table with a line for each figure, where there are too many for one line."""
    from eval.benchmark import Benchmark

    first, *names = found.rows[0]
    lines = [
        {first: name.replace("_", " "), **{f"{row[first]:,}": row.get(name) for row in found.rows}}
        for name in names
    ]
    growth = found.facts.get("growth", {})
    if growth:
        for line, name in zip(lines, names, strict=True):
            line["grows as pages ^"] = growth.get(name)
    return Benchmark(found.name, lines, found.facts)


def print_table(found: Benchmark) -> None:
    """The rows as a table that is Markdown too, then the facts that hold for all of them."""
    from rich import box
    from rich.table import Table

    from eval.benchmark import shown

    if found.rows:
        table = Table(box=box.MARKDOWN)
        for column, value in found.rows[0].items():
            right = isinstance(value, int | float) and not isinstance(value, bool)
            table.add_column(column.replace("_", " "), justify="right" if right else "left")
        for row in found.rows:
            table.add_row(*(shown(value) for value in row.values()))
        console.print(table)
    said = [
        f"{name.replace('_', ' ')} {shown(value)}"
        for name, value in found.facts.items()
        if isinstance(value, int | float | str) and value != ""
    ]
    console.print("; ".join(said), markup=False, highlight=False)
