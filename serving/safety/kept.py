"""What was found on pages, kept by what they say: a page asked about often is looked at once."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace

from serving.safety.types import Evidence, Score

HIDDEN = "hidden-text"
_MOST = 20_000


class KeptPages:
    """The last pages' worst scores. Thread-safe; two threads may look at a new page at once."""

    def __init__(self) -> None:
        self._kept: OrderedDict[bytes, Score | None] = OrderedDict()
        self._lock = threading.Lock()

    def score_of(self, page: Evidence, look: Callable[[Evidence], Score | None]) -> Score | None:
        """What ``look`` finds on a page of these words and flags, as said of this one."""
        key = _key(page)
        with self._lock:
            known = key in self._kept
            if known:
                self._kept.move_to_end(key)
                found = self._kept[key]
        if not known:
            found = look(page)
            with self._lock:
                self._kept[key] = found
                while len(self._kept) > _MOST:
                    self._kept.popitem(last=False)
        return None if found is None else replace(found, page_id=page.page_id)


def _key(page: Evidence) -> bytes:
    digest = hashlib.sha256("\0".join(page.words.texts).encode("utf-8", "surrogatepass"))
    digest.update(b"\1" if HIDDEN in page.flags else b"\0")
    return digest.digest()
