"""What a worker process and its parent say to each other.

A module of its own: pickles name a class by its module, and the worker's is ``__main__``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from indexing.renderers.base import Image
from indexing.settings import IntakeSettings
from retrieval.errors import FolioscopeError
from retrieval.types import DocumentInfo, MetadataValue, PageContent


@dataclass(frozen=True, slots=True)
class Describe:
    """Ask for a ``DocumentInfo``."""

    path: Path
    settings: IntakeSettings
    metadata: Mapping[str, MetadataValue]


@dataclass(frozen=True, slots=True)
class ReadPages:
    """Ask for the pages ``numbers``, one ``PageRead`` each, then ``Finished``.

    With ``text_only`` nothing is drawn: what is asked of a page that could not be drawn.
    """

    path: Path
    settings: IntakeSettings
    numbers: range
    want_image: bool
    text_only: bool = False


@dataclass(frozen=True, slots=True)
class Render:
    """Ask for one page's picture. ``moment`` (seconds) says which frame of a recording it is."""

    path: Path
    settings: IntakeSettings
    number: int
    dpi: int
    moment: float | None = None


@dataclass(frozen=True, slots=True)
class PageRead:
    """A page, and why nothing on it could be read ("" if something was, or it is blank)."""

    content: PageContent
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class Refused:
    """The request failed for a reason that is the file's."""

    error: FolioscopeError


@dataclass(frozen=True, slots=True)
class Finished:
    """All pages asked for were sent."""


@dataclass(frozen=True, slots=True)
class Working:
    """Not done yet, but not stuck: work that takes longer than a page goes on."""


@dataclass(frozen=True, slots=True)
class Ready:
    """The worker has started: from here on its time is the file's."""


Request = Describe | ReadPages | Render
Reply = DocumentInfo | PageRead | Image | Refused | Finished | Working | Ready
