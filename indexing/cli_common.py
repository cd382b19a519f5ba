"""What the commands share: how results are printed, progress is shown, sizes are written."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Console

if TYPE_CHECKING:
    from collections.abc import Callable

    from indexing.build import BuildProgress, BuildReport, SkippedSource
    from retrieval.types import SourcePart

# A pipe has no width; 80 columns would break tables that a file or pager shows well.
console = Console(width=None if sys.stdout.isatty() else 120)
notes = Console(stderr=True)


def print_json(value: Any) -> None:
    """One JSON document on stdout; dataclasses become objects."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2, default=_plain) + "\n")


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, Mapping):
        return dict(value)
    return str(value)


def size(count: float) -> str:
    """Bytes for people: ``3.4 MB``."""
    for unit in ("B", "KB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def counted(number: int, noun: str) -> str:
    """``1 page``, ``2 pages``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def were_there(number: int) -> str:
    """How a build says that documents were in the index."""
    return "1 was there already" if number == 1 else f"{number} were there already"


def passed_over(paths: Sequence[str]) -> str:
    """How files of kinds that are not read are named."""
    kind = "of another kind" if len(paths) == 1 else "of other kinds"
    return f"{counted(len(paths), 'file')} {kind} passed over: {_some(map(_name, paths))}"


def lacking(report: BuildReport) -> list[str]:
    """What of a build's sources is not, or not all, in the index without being an error."""
    lines = []
    if report.flagged:
        flagged = (f"{_name(one.source)} ({', '.join(one.flags)})" for one in report.flagged)
        lines.append(f"{counted(len(report.flagged), 'document')} with flags: {_some(flagged)}")
    if report.wordless:
        count = counted(len(report.wordless), "document")
        lines.append(f"{count} without readable words: {_some(map(_name, report.wordless))}")
    if report.passed_over:
        lines.append(passed_over(report.passed_over))
    return lines


def _name(source: str) -> str:
    return source.rsplit("/", 1)[-1]


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    return ", ".join(listed[:5]) + (" ..." if len(listed) > 5 else "")


@contextmanager
def build_progress(quiet: bool) -> Iterator[Callable[[BuildProgress], None] | None]:
    """A progress bar on stderr with pages/s and the time left; nothing when ``quiet``."""
    if quiet or not notes.is_terminal:
        yield None
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description:<8}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[name]}"),
    )
    with Progress(*columns, console=notes, transient=True) as bars:
        task = bars.add_task("starting", total=None, rate="", name="")

        def show(step: BuildProgress) -> None:
            pages = step.stage != "inspect"
            done = step.pages_done if pages else step.documents_done
            total = step.pages_total if pages else step.documents_total
            rate = f"{step.pages_done / max(step.seconds, 0.1):.1f} pages/s" if pages else ""
            bars.update(
                task,
                description={"inspect": "looking", "read": "indexing"}.get(step.stage, "saving"),
                completed=done,
                total=total or None,
                rate=rate,
                name=step.source.rsplit("/", 1)[-1][-28:],
            )

        yield show


def part_in_words(part: SourcePart) -> str:
    """Where a paper lies on its scan: "on the scan: x 5-31 %, y 11-80 %"."""
    x0, y0, x1, y1 = (round(100 * value) for value in part.box)
    frame = f", frame {part.frame + 1}" if part.frame else ""
    return f"on the scan{frame}: x {x0}-{x1} %, y {y0}-{y1} %"


@contextmanager
def counted_progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on stderr for so many of so many; nothing where nobody looks."""
    if not notes.is_terminal:
        yield lambda done, total: None
        return
    from rich.progress import Progress

    with Progress(console=notes, transient=True) as bars:
        task = bars.add_task(what, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total or None)


def print_skipped(skipped: tuple[SkippedSource, ...]) -> None:
    """The table of what is not in the index, and why."""
    if not skipped:
        return
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=f"{len(skipped)} skipped", title_justify="left", show_lines=False)
    table.add_column("source", overflow="fold", ratio=2)
    table.add_column("why", overflow="fold", ratio=3)
    for item in skipped:
        reason = item.reason.removeprefix(f"{item.source}: ")
        table.add_row(escape(item.source.rsplit("/", 1)[-1]), escape(reason))
    console.print(table)
