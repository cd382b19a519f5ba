"""What failed on a page, gathered while it is read: one failure never costs more than its part."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from indexing.renderers.base import in_words

T = TypeVar("T")
_log = logging.getLogger(__name__)


class Faults:
    """The flags of a page, and the first failure in the library's words."""

    def __init__(self) -> None:
        self.flags: list[str] = []
        self.reason = ""

    def attempt(self, act: Callable[[], T], default: T, flag: str) -> T:
        """What ``act`` returns, or ``default`` and a flag if the library raises."""
        try:
            return act()
        except Exception as error:  # hostile input raises classes of all kinds; the page pays
            _log.debug("%s", flag, exc_info=True)
            self.flags.append(flag)
            self.reason = self.reason or in_words(error)
            return default
