"""What a worker process and its parent say to each other.

A module of its own: pickles name a class by its module, and the worker's is ``__main__``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from indexing.renderers.base import Image
from indexing.settings import IntakeSettings
from retrieval.errors import FolioscopeError
from retrieval.types import DocumentInfo, MetadataValue, PageContent, SourcePart


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
class PlanPages:
    """Ask how the pages ``numbers`` would be read, one ``PagePlan`` each, then ``Finished``."""

    path: Path
    settings: IntakeSettings
    numbers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PagePlan:
    """How a page would be read: from its text ``layer``, by ``ocr``, or there is ``nothing`` on
    it. ``words`` are the layer's. ``tiles`` is how many parts OCR may read besides the whole;
    ``part`` is where the page lies on a scan of several papers."""

    number: int
    how: Literal["layer", "ocr", "nothing"]
    words: int
    tiles: int
    flags: tuple[str, ...]
    part: SourcePart | None = None


@dataclass(frozen=True, slots=True)
class Render:
    """Ask for one page's picture. ``moment`` (seconds) says which frame of a recording it is,
    ``part`` which part of a scan."""

    path: Path
    settings: IntakeSettings
    number: int
    dpi: int
    moment: float | None = None
    part: SourcePart | None = None


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


Request = Describe | ReadPages | PlanPages | Render
Reply = DocumentInfo | PageRead | PagePlan | Image | Refused | Finished | Working | Ready
