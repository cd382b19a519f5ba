"""Which frames of a recording become pages, and from when to when each page is shown.

A frame is compared with the last *kept* one, so that what changes too slowly for neighbours to
differ is kept once it has added up. While much of the picture moves (film, a scroll, a drag)
frames are kept when the layout is another or a bounded gap has passed; as soon as it rests,
any small change counts. What returns within a moment (a caret that blinks, a menu that closes)
is the page it was.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from indexing.video import Frame
from indexing.video_changes import (
    Look,
    brightness_change,
    detail_change,
    layout_change,
    moving_share,
    still,
)

# The picture moves if much of it changed within so many seconds, and rests after so many
# without a change.
_LAG = 0.25
_RESTS = 0.4
# How long ago a kept frame may have been seen to be recognised, and how many are remembered.
_RECALL_SECONDS = 1.25
_REMEMBERED = 4


@dataclass(frozen=True, slots=True)
class KeepSettings:
    """Thresholds of ``FrameKeeper``, tuned on labelled clips (docs/BENCHMARKS.md).

    ``detail`` and ``brightness`` (grey levels) tell one frame from another, ``moving`` is
    the share of the picture from which on it moves, ``layout`` the share of hash bits that
    tells a cut. ``gap`` bounds how long movement goes without a page, in seconds. Of a picture
    that changes without rest ``burst`` frames are kept at once, and ``restless`` more a second.
    ``pages`` is the most that a recording may become.
    """

    detail: float = 16.0
    brightness: float = 24.0
    moving: float = 0.05
    layout: float = 0.45
    gap: float = 3.0
    burst: int = 32
    restless: float = 0.05
    pages: int = 600


@dataclass(slots=True, eq=False)
class Span:
    """A kept frame: shown from ``start`` to ``end``, in seconds. ``end`` grows until closed."""

    number: int
    start: float
    end: float
    look: Look
    seen: float


class FrameKeeper:
    """Decides frame by frame, in one pass. ``thinned`` says that the page limit held some back."""

    def __init__(self, settings: KeepSettings, seconds: float) -> None:
        self._settings = settings
        self._seconds = seconds
        self._live: list[Span] = []
        self._recent: deque[tuple[float, Look]] = deque()
        self._held: tuple[Frame, Look] | None = None
        self._changed_at = 0.0
        self._unknown_since: float | None = None
        self._kept = 0
        self._tokens = float(settings.burst)
        self._filled = 0.0
        self.thinned = False

    def offer(self, frame: Frame) -> list[tuple[Span, Frame]]:
        """The spans that begin now, with their frames; none if ``frame`` is known.

        Frames come in the order of their times. There may be two spans: the last of many small
        changes that were passed over, if it is about to vanish, and ``frame``.
        """
        look, rested = self._look(frame)
        self._forget(frame.start)
        known = next((span for span in reversed(self._live) if self._same(span.look, look)), None)
        end = frame.start + frame.shown
        if known is not None:
            known.end = known.seen = end
            self._unknown_since = None
            return []
        if self._unknown_since is None:
            self._unknown_since = frame.start
        if self._worth(frame, look, rested) and self._within_budget(frame.start):
            begun = self._release(look)
            # As it is now it has been since the last change, or since it was unlike the last page.
            start = max(self._changed_at, self._unknown_since)
            if self._live:
                # While it was not known to stay, the page before was taken to go on.
                last = self._live[-1]
                last.end = min(last.end, max(last.seen, start))
            begun.append((self._keep(start, end, look), frame))
            self._unknown_since = None
            return begun
        last = self._live[-1]
        last.end = max(last.end, end)
        return []

    def is_closed(self, span: Span) -> bool:
        """Whether ``span`` has its final ``end``."""
        return span not in self._live

    def _look(self, frame: Frame) -> tuple[Look, bool]:
        """How ``frame`` looks, and whether the picture rests: it stays, or has not changed."""
        grey = frame.grey()
        before = self._recent[-1][1] if self._recent else None
        # The look before is kept on, not this one: small steps must not add up unseen.
        look = before if before is not None and still(before, grey) else Look.of(grey)
        if before is None or not self._same(before, look):
            self._changed_at = frame.start
        rested = max(frame.shown, frame.start - self._changed_at) >= _RESTS
        self._recent.append((frame.start, look))
        while len(self._recent) > 1 and self._recent[1][0] <= frame.start - _LAG:
            self._recent.popleft()
        return look, rested

    def _same(self, a: Look, b: Look) -> bool:
        settings = self._settings
        return a is b or (
            brightness_change(a, b) < settings.brightness and detail_change(a, b) < settings.detail
        )

    def _moved(self, a: Look, b: Look) -> bool:
        return moving_share(a, b, self._settings.detail) >= self._settings.moving

    def _worth(self, frame: Frame, look: Look, rested: bool) -> bool:
        if not self._live or rested:
            return True
        settings, last = self._settings, self._live[-1]
        if frame.start - last.start >= settings.gap:
            return True
        moved = self._moved(self._recent[0][1], look)
        if moved and layout_change(last.look, look) < settings.layout:
            return False
        filled = self._tokens + (frame.start - self._filled) * settings.restless
        self._tokens, self._filled = min(filled, settings.burst), frame.start
        if self._tokens >= 1:
            self._tokens -= 1
            return True
        if not moved and (self._held is None or not self._moved(self._held[1], look)):
            self._held = frame, look
        return False

    def _release(self, look: Look) -> list[tuple[Span, Frame]]:
        """The frame held back, as a span, if little of it is left in ``look``."""
        held, self._held = self._held, None
        if held is None or not self._moved(held[1], look):
            return []
        frame, before = held
        if self._same(self._live[-1].look, before) or not self._within_budget(frame.start):
            return []
        return [(self._keep(frame.start, frame.start + frame.shown, before), frame)]

    def _within_budget(self, now: float) -> bool:
        """Half of the pages are for the asking; the rest is spread over the time that is left."""
        left = self._settings.pages - self._kept
        if not self._live or left > self._settings.pages / 2:
            return True
        spacing = max(0.0, self._seconds - now) / max(1, left)
        if left > 1 and now - self._live[-1].start >= spacing:
            return True
        self.thinned = True
        return False

    def _keep(self, start: float, end: float, look: Look) -> Span:
        span = Span(self._kept, start, end, look, end)
        self._kept += 1
        self._live = [*self._live[-_REMEMBERED + 1 :], span]
        return span

    def _forget(self, now: float) -> None:
        """The last span stays live: whatever comes is compared with it."""
        self._live = [
            span
            for span in self._live
            if span is self._live[-1] or span.seen >= now - _RECALL_SECONDS
        ]


def keep_frames(
    frames: Iterable[Frame], keeper: FrameKeeper, use: Callable[[Span, Frame], object]
) -> Iterator[Span]:
    """The spans of ``frames`` in order, each when its end is known.

    ``use`` is called with each kept frame while it is at hand.
    """
    waiting: deque[Span] = deque()
    for frame in frames:
        for span, kept in keeper.offer(frame):
            use(span, kept)
            waiting.append(span)
        while waiting and keeper.is_closed(waiting[0]):
            yield waiting.popleft()
    yield from waiting
