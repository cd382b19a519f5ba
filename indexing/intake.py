"""The door of the house: which files there are, what they are, and their pages.

Files are opened in worker processes only. A page that crashes or hangs a parser comes back
empty with the flag ``page-failed``; a document of which nothing can be read is refused.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from indexing.messages import (
    Describe,
    Finished,
    PagePlan,
    PageRead,
    PlanPages,
    ReadPages,
    Refused,
    Render,
)
from indexing.renderers.base import Image
from indexing.sandbox import Worker, WorkerDiedError, WorkerPool
from indexing.settings import IntakeSettings
from retrieval.errors import InputError
from retrieval.types import (
    DocumentInfo,
    MetadataValue,
    PageContent,
    PageWords,
    SourcePart,
    TimeRange,
)

# A parser that dies this often in one document is not going to recover.
_MOST_DEATHS = 20
# A document that begins with this many unreadable pages has none that can be read.
_MOST_FAILURES = 200
# Text alone takes milliseconds: what takes this share of a page's time for it spins there too.
_TEXT_SHARE = 1 / 16
_REMEDY = "open it in its own program and save it anew, or leave it out"


class IntakeWorkers:
    """Worker processes kept warm across documents; a context manager.

    Methods may be called from several threads, each call leases a worker.
    """

    def __init__(self, settings: IntakeSettings | None = None) -> None:
        self._settings = settings or IntakeSettings()
        self._pool = WorkerPool(self._settings.workers, self._settings.worker_memory_mb)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the workers."""
        self._pool.close()

    def describe(
        self, path: Path, metadata: Mapping[str, MetadataValue] | None = None
    ) -> DocumentInfo:
        """Type by content, size, SHA-256, pages, title. Raises ``InputError``: what is wrong
        with the file and what to do about it."""
        with self._pool.lease() as worker:
            try:
                worker.ask(Describe(path, self._settings, dict(metadata or {})))
                answer = worker.reply(
                    self._settings.seconds_per_page, self._settings.seconds_per_file
                )
            except WorkerDiedError as death:
                raise InputError(f"{path}: opening it {death}; {_REMEDY}") from death
        if isinstance(answer, Refused):
            raise answer.error
        if not isinstance(answer, DocumentInfo):
            raise TypeError(f"a worker answered {type(answer).__name__}")
        return answer

    def read_pages(
        self, path: Path, *, want_image: bool = False, pages: range | None = None
    ) -> Iterator[PageContent]:
        """The pages of ``path`` one by one, in order; all of them unless ``pages`` says which.

        Raises ``InputError`` if nothing can be read.
        """
        if pages is None:
            pages = range(self.describe(path).pages)
        with self._pool.lease() as worker:
            yield from _read(worker, path, self._settings, pages, want_image)

    def plan_pages(self, path: Path, numbers: Sequence[int]) -> list[PagePlan]:
        """How pages would be read, without reading them; a page at which the parser dies ends
        the list. Raises ``InputError`` for a file that cannot be opened."""
        found: list[PagePlan] = []
        with self._pool.lease() as worker:
            try:
                worker.ask(PlanPages(path, self._settings, tuple(numbers)))
                while True:
                    answer = worker.reply(
                        self._settings.seconds_per_page, self._settings.seconds_per_file
                    )
                    if not isinstance(answer, PagePlan):
                        break
                    found.append(answer)
            except WorkerDiedError:
                lost = numbers[len(found) :][:1]
                return found + [PagePlan(n, "nothing", 0, 0, ("page-failed",)) for n in lost]
        if isinstance(answer, Refused):
            raise answer.error
        return found

    def render_page(
        self,
        path: Path,
        number: int,
        *,
        dpi: int,
        times: TimeRange | None = None,
        part: SourcePart | None = None,
    ) -> Image:
        """The picture of a page, ``[h, w, 3] uint8`` RGB. Raises ``InputError``.

        ``times`` and ``part``, what the index says of a page of a recording or of a scan of
        several papers, spare looking through the file, and give the page that was indexed even
        if another version would take the file apart in another way.
        """
        moment = None if times is None else times.frame
        with self._pool.lease() as worker:
            try:
                worker.ask(Render(path, self._settings, number, dpi, moment, part))
                answer = worker.reply(
                    self._settings.seconds_per_page, self._settings.seconds_per_file
                )
            except WorkerDiedError as death:
                raise InputError(
                    f"{path}: rendering page {number + 1} {death}; {_REMEDY}"
                ) from death
        if isinstance(answer, Refused):
            raise answer.error
        if not isinstance(answer, np.ndarray):
            raise TypeError(f"a worker answered {type(answer).__name__} for a picture")
        return answer


def _read(
    worker: Worker, path: Path, settings: IntakeSettings, pages: range, want_image: bool
) -> Iterator[PageContent]:
    """The pages that can be read and, between them, what stands for those that cannot."""
    held: list[PageContent] = []
    reason = ""
    readable = False
    for page in _ask(worker, path, settings, pages, want_image):
        if page.trouble and not readable:
            # Nothing leaves before something was read: a document of failures is refused.
            held.append(page.content)
            reason = reason or f"page {page.content.number + 1}: {page.trouble}"
            if len(held) >= _MOST_FAILURES:
                worker.kill()  # it still has pages to send
                break
            continue
        readable = True
        yield from held
        held = []
        yield page.content
    if held:
        what = "its only page" if len(pages) == 1 else f"any of the {len(held)} pages tried"
        raise InputError(f"{path}: cannot read {what} ({reason}); {_REMEDY}")


def _ask(
    worker: Worker, path: Path, settings: IntakeSettings, pages: range, want_image: bool
) -> Iterator[PageRead]:
    """All ``pages``; one at which the worker dies costs itself, and the worker is replaced."""
    deaths, wasted = 0, 0.0
    rest = pages
    while len(rest):
        began = time.monotonic()
        try:
            worker.ask(ReadPages(path, settings, rest, want_image))
            for _ in rest:
                answer = worker.reply(settings.seconds_per_page, settings.seconds_per_file)
                if isinstance(answer, Refused):
                    raise answer.error
                if not isinstance(answer, PageRead):
                    raise TypeError(f"a worker answered {type(answer).__name__} for a page")
                rest = rest[1:]
                yield answer
                began = time.monotonic()
            if not isinstance(worker.reply(settings.seconds_per_page), Finished):
                raise TypeError("a worker sent more pages than asked for")
        except WorkerDiedError as death:
            if not len(rest):
                break
            deaths += 1
            text = _text_of(worker, path, settings, rest[0])
            wasted += time.monotonic() - began
            yield text or _failed(rest[0], "page-failed", f"reading it {death}")
            rest = rest[1:]
            if deaths > _MOST_DEATHS or wasted > settings.wasted_seconds:
                # What was read is kept; the document has had its share of time.
                for number in rest:
                    yield _failed(number, "page-skipped", f"reading the pages before {death}")
                return


def _text_of(worker: Worker, path: Path, settings: IntakeSettings, number: int) -> PageRead | None:
    """The text layer of a page that the worker died of: mostly it was drawing that failed."""
    seconds = max(1.0, settings.seconds_per_page * _TEXT_SHARE)
    try:
        worker.ask(ReadPages(path, settings, range(number, number + 1), False, text_only=True))
        answer = worker.reply(seconds)
        worker.reply(seconds)
    except WorkerDiedError:
        return None
    return answer if isinstance(answer, PageRead) and len(answer.content.words) else None


def _failed(number: int, flag: str, trouble: str) -> PageRead:
    """What stands for a page that no parser survived, or that was not tried."""
    content = PageContent(
        number=number,
        label=str(number + 1),
        width=612.0,
        height=792.0,
        words=PageWords.empty(),
        text_source="none",
        flags=(flag,),
    )
    return PageRead(content, trouble)


def describe(
    path: Path,
    settings: IntakeSettings | None = None,
    metadata: Mapping[str, MetadataValue] | None = None,
) -> DocumentInfo:
    """``IntakeWorkers.describe`` for one call."""
    with IntakeWorkers(_single(settings)) as workers:
        return workers.describe(path, metadata)


def read_pages(
    path: Path,
    settings: IntakeSettings | None = None,
    *,
    want_image: bool = False,
    pages: range | None = None,
) -> Iterator[PageContent]:
    """``IntakeWorkers.read_pages`` for one document."""
    with IntakeWorkers(_single(settings)) as workers:
        yield from workers.read_pages(path, want_image=want_image, pages=pages)


def render_page(
    path: Path, number: int, *, dpi: int = 110, settings: IntakeSettings | None = None
) -> Image:
    """``IntakeWorkers.render_page`` for one call."""
    with IntakeWorkers(_single(settings)) as workers:
        return workers.render_page(path, number, dpi=dpi)


def _single(settings: IntakeSettings | None) -> IntakeSettings:
    return (settings or IntakeSettings()).model_copy(update={"workers": 1})
