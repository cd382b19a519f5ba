"""What an engine must answer to be measured, and what it may answer besides."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from eval.peers.workload import Pages, Question


class Unsupported(Exception):
    """The engine has no such operation; the message says how that is known."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One point of an engine's latency/recall curve.

    Points of one ``series`` are compared with each other; an engine with several ways to
    search (an index, a full scan) has a series for each. ``knobs`` go to ``search``.
    """

    series: str
    knobs: Mapping[str, Any] = field(default_factory=dict)


class Engine(ABC):
    """One engine over one folder. Building and searching happen in different processes.

    Page ids are the numbers of ``Pages``. An operation that is not overridden is not there.
    ``package`` names the distribution whose version is reported.
    """

    package: ClassVar[str]
    needs_text: ClassVar[bool] = False

    @abstractmethod
    def build(self, folder: Path, pages: Pages) -> None:
        """Write everything that searching needs into ``folder``, which is empty."""

    @abstractmethod
    def open(self, folder: Path) -> None:
        """Make ready to search what ``build`` wrote. Called in a new process."""

    @abstractmethod
    def settings(self, pages: int, text: bool) -> Sequence[Setting]:
        """The curve to measure over ``pages`` pages, quick settings first. ``text`` says
        whether pages and questions have words."""

    @abstractmethod
    def search(self, question: Question, k: int, knobs: Mapping[str, Any]) -> Sequence[int]:
        """Ids of the k best pages, best first."""

    def add(self, folder: Path, pages: Pages) -> None:
        """Add pages to what was built, numbered on from there, and make them durable."""
        raise Unsupported("no operation adds to an index that exists")

    def delete(self, folder: Path, ids: Sequence[int]) -> None:
        """Take pages out, durably; they must not be found again, after ``open`` at the latest."""
        raise Unsupported("no operation removes a page")

    def search_documents(
        self, question: Question, k: int, documents: Sequence[int]
    ) -> Sequence[int]:
        """As ``search``, among the pages of these documents only."""
        raise Unsupported("a search takes no condition")

    def places(self, question: Question, page: int) -> Sequence[tuple[float, float, float, float]]:
        """Boxes on the page that match, as page fractions."""
        raise Unsupported("a search returns ids and scores, nothing about places")
