"""Whether a document that is read again keeps what it had.

Who has a document read again wants it better, not the half that a failing disk gives. What could
not be read is flagged; the end of a file that was cut off is not: who repairs it cannot know of it.
A file that has changed may be a shorter edition; only one that is damaged too is no edition.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from indexing.flags import damage, lacks, losses
from retrieval.errors import InputError
from retrieval.store import StoreWriter
from retrieval.store_rows import DocumentRow, PageRow
from retrieval.types import DocumentInfo


@dataclass(slots=True)
class _Reading:
    """What was read anew."""

    flags: Counter[str]
    pages: int = 0
    words: int = 0


def no_worse(
    rows: Iterator[PageRow],
    document: DocumentInfo,
    before: Sequence[DocumentRow],
    again: Collection[int],
    writer: StoreWriter,
) -> Iterator[PageRow]:
    """``rows``; raises ``InputError`` at their end if they hold less than ``before`` does.

    Of the documents ``before`` those ``again`` are read again because somebody asked for it, the
    others because their file has changed.
    """
    now = _Reading(Counter(document.flags))
    for row in rows:
        now.flags.update(row.content.flags)
        now.pages += 1
        now.words += len(row.content.words)
        yield row
    for old in before:
        changed = document.sha256 != old.sha256
        if old.doc_id in again:
            less = _failed(now, old) or _fewer_pages(now, old, changed)
            less = less or _fewer_words(now, old, changed, writer)
        else:
            less = _broken_edition(now, old, writer)
        if less:
            raise InputError(
                f"{document.source}: less of it can be read than before ({less}), so the earlier "
                "reading stays; mend the file, or remove the document and add it anew"
            )


def _failed(now: _Reading, old: DocumentRow) -> str:
    """What could not be read, if that is more than in reading ``old``."""
    return _more(losses(now.flags), losses(_flags(old)))


def _fewer_pages(now: _Reading, old: DocumentRow, changed: bool) -> str:
    """Limits may leave out pages of the same bytes; where they have ``changed``, pages are gone."""
    return f"{now.pages} of {old.pages} pages" if changed and now.pages < old.pages else ""


def _fewer_words(now: _Reading, old: DocumentRow, changed: bool, writer: StoreWriter) -> str:
    """Fewer words, in a file that is damaged and was not. One that has ``changed`` since may have
    been damaged before, and have lost more."""
    more = _more(damage(now.flags), {} if changed else damage(_flags(old)))
    if not more:
        return ""
    had = _words(old, writer)
    if not had:
        return more  # of pictures alone nobody can tell what is missing
    return f"{now.words} of {had} words; {more}" if now.words < had else ""


def _broken_edition(now: _Reading, old: DocumentRow, writer: StoreWriter) -> str:
    """Fewer words, and parts that could not be read. Repair alone says nothing: some programs
    write every file so."""
    more = _more(lacks(now.flags), lacks(_flags(old)))
    if not more:
        return ""
    had = _words(old, writer)
    return f"{now.words} of {had} words; {more}" if now.words < had else ""


def _words(old: DocumentRow, writer: StoreWriter) -> int:
    return sum(len(page.words) for page in writer.first_pages(old.doc_id, old.pages))


def _more(now: Mapping[str, int], was: Mapping[str, int]) -> str:
    if sum(now.values()) <= sum(was.values()):
        return ""
    return ", ".join(f"{flag}: {count}" for flag, count in now.items())


def _flags(row: DocumentRow) -> Counter[str]:
    return Counter(row.own_flags) + Counter(row.page_flags)
