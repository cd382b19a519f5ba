"""Recordings as documents: every kept frame is a page, with the time for which it is shown."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from indexing.derived import derived
from indexing.renderers.base import Image, pixel_part
from indexing.settings import IntakeSettings
from indexing.video import (
    Frame,
    VideoFacts,
    VideoLimits,
    clock,
    decode,
    frame_at,
    inspect_video,
    sample,
)
from indexing.video_frames import FrameKeeper, KeepSettings, Span, keep_frames
from retrieval.errors import InputError
from retrieval.types import Box, PageWords, TimeRange

# Part of what names a stored result: raise it when other frames would be kept.
_VERSION = 1
_ALIVE_SECONDS = 2.0
# Short recordings are looked at more often: so often a second, while it is so many frames.
_SHORT_RATE, _SHORT_FRAMES = 10.0, 300
# Decoding so many seconds onward costs about what seeking does.
_WALK_SECONDS = 10.0
# What a picture costs a vision-language model: a token for so many pixels (28 x 28, Qwen-VL).
_PIXELS_A_TOKEN = 784
# Whole seconds say enough of a page that is shown for this long.
_TENTHS_BELOW = 10.0


@dataclass(frozen=True, slots=True)
class Kept:
    """The pages of a recording. ``thinned``: the limit of pages held changes back."""

    times: tuple[TimeRange, ...]
    thinned: bool


def video_limits(settings: IntakeSettings) -> VideoLimits:
    """What ``settings`` allow a recording to be."""
    return VideoLimits(settings.max_video_minutes * 60.0, settings.max_pixels)


def looks_a_second(facts: VideoFacts, settings: IntakeSettings) -> float:
    """How often a second a frame is looked at: ``video_fps``, and more often in short ones."""
    short = min(_SHORT_RATE, _SHORT_FRAMES / max(facts.seconds, 1e-3))
    return max(settings.video_fps, short)


def time_label(start: float, end: float) -> str:
    """What a page of a recording calls itself: "0:12-0:31", or "0:01.4-0:02.0" if it is short."""
    if end - start < _TENTHS_BELOW:
        return f"{clock(start, tenths=True)}-{clock(end, tenths=True)}"
    return f"{clock(start)}-{clock(end)}"


def keep(
    path: Path,
    media_type: str,
    facts: VideoFacts,
    settings: IntakeSettings,
    alive: Callable[[], None],
) -> Kept:
    """Look through the whole recording once. ``alive`` is called every few seconds."""
    thresholds = KeepSettings(pages=settings.max_video_pages)
    keeper = FrameKeeper(thresholds, facts.seconds)
    moments: dict[int, float] = {}

    def note(span: Span, frame: Frame) -> None:
        moments[span.number] = frame.start

    def watched() -> Iterator[Frame]:
        said = time.monotonic()
        for frame in decode(path, media_type, video_limits(settings)):
            if time.monotonic() - said > _ALIVE_SECONDS:
                alive()
                said = time.monotonic()
            yield frame

    spans = keep_frames(sample(watched(), looks_a_second(facts, settings)), keeper, note)
    times = tuple(
        TimeRange(round(span.start, 3), round(span.end, 3), round(moments[span.number], 3))
        for span in spans
    )
    return Kept(times, keeper.thinned)


def naive_tokens(facts: VideoFacts, rate: float) -> tuple[int, int]:
    """Frames, and tokens of a vision-language model, if all of ``facts`` were shown to one at
    ``rate`` frames a second."""
    frames = max(1, min(facts.frames, round(facts.seconds * rate)))
    return frames, frames * max(1, facts.width * facts.height // _PIXELS_A_TOKEN)


def picture_at(path: Path, media_type: str, moment: float, settings: IntakeSettings) -> Image:
    """The frame shown at ``moment`` (seconds), ``[h, w, 3] uint8`` RGB."""
    frame = frame_at(path, media_type, moment, video_limits(settings))
    return frame.image(settings.max_pixels)


class RecordingDocument:
    """An ``OpenDocument`` over a video or a GIF that runs. Which frames are pages is found out
    once for a file and settings, and kept in the cache."""

    def __init__(
        self, path: Path, media_type: str, settings: IntakeSettings, alive: Callable[[], None]
    ) -> None:
        self._path, self._media_type, self._settings = path, media_type, settings
        self._facts = inspect_video(path, media_type, video_limits(settings))
        self._kept = self._look_through(alive)
        if not self._kept.times:
            raise InputError(f"{path}: no frame of the video can be decoded; export it again")
        self._ahead: Iterator[Frame] = iter(())
        self._held: Frame | None = None
        self._next: Frame | None = None

    def _look_through(self, alive: Callable[[], None]) -> Kept:
        settings = self._settings
        thresholds = asdict(KeepSettings(pages=settings.max_video_pages))
        recipe = f"frames {_VERSION} {settings.video_fps} {sorted(thresholds.items())}"

        def make(to: Path) -> None:
            kept = keep(self._path, self._media_type, self._facts, settings, alive)
            to.write_text(json.dumps(asdict(kept)), "utf-8")

        with derived(self._path, recipe, ".frames.json", settings.cache_mb, make) as path:
            found = json.loads(path.read_text("utf-8"))
        return Kept(tuple(TimeRange(**row) for row in found["times"]), found["thinned"])

    @property
    def pages(self) -> int:
        return len(self._kept.times)

    @property
    def title(self) -> str:
        return self._facts.title

    @property
    def flags(self) -> tuple[str, ...]:
        return (*self._facts.flags, *(("frames-thinned",) if self._kept.thinned else ()))

    @property
    def note(self) -> str:
        rate = looks_a_second(self._facts, self._settings)
        frames, tokens = naive_tokens(self._facts, rate)
        kept = len(self._kept.times)
        return (
            f"{clock(self._facts.seconds)} of video: {frames:,} frames or {_count(tokens)} tokens "
            f"at {rate:.2g} frames a second; kept {kept:,} frame{'s' * (kept != 1)}, "
            f"{_count(kept * tokens // frames)} tokens"
        )

    def label(self, number: int) -> str:
        times = self.times(number)
        return time_label(times.start, times.end)

    def outline(self, number: int) -> str:
        return ""

    def size(self, number: int) -> tuple[float, float]:
        return float(self._facts.width), float(self._facts.height)

    def words(self, number: int) -> PageWords:
        return PageWords.empty()

    def times(self, number: int) -> TimeRange:
        return self._kept.times[number]

    def part(self, number: int) -> None:
        return None

    def picture_share(self, number: int) -> float:
        return 1.0

    def has_content(self, number: int) -> bool:
        return True

    def page_flags(self, number: int) -> tuple[str, ...]:
        return ()

    def render(self, number: int, dpi: int, max_pixels: int) -> Image:
        """The frame's own pixels: ``dpi`` means nothing for a recording."""
        return self._frame(self.times(number).frame).image(max_pixels)

    def pixels(self, number: int, dpi: int) -> tuple[int, int]:
        width, height = self.size(number)
        return int(width), int(height)

    def render_part(self, number: int, dpi: int, box: Box) -> Image:
        frame = self.render(number, dpi, self._settings.max_picture_megapixels * 1_000_000)
        height, width = frame.shape[:2]
        x0, y0, x1, y1 = pixel_part(box, width, height)
        return np.ascontiguousarray(frame[y0:y1, x0:x1])

    def detail(self, number: int) -> float:
        """Its pixels are all there is, at any resolution."""
        return 0.0

    def unpainted(self, number: int) -> list[tuple[Box, str]]:
        return []

    def doubtful(self, number: int) -> list[Box]:
        return []

    def pictures(self, number: int) -> list[Box]:
        return []

    def _frame(self, moment: float) -> Frame:
        """The frame at ``moment``; pages are asked for in order, so that decoding goes on from
        the last one where that is nearer than the next place to begin at."""
        held = self._held
        far = held is None or not held.start - 1e-3 <= moment <= held.start + _WALK_SECONDS
        if far and not (self._media_type == "image/gif" and held and held.start <= moment):
            limits = video_limits(self._settings)
            self._ahead = decode(self._path, self._media_type, limits, start=moment)
            self._held, self._next = None, next(self._ahead, None)
        while self._next is not None and (self._held is None or self._next.start <= moment + 5e-4):
            self._held, self._next = self._next, next(self._ahead, None)
        if self._held is None:
            raise InputError(f"{self._path}: no frame can be decoded at {clock(moment)}")
        return self._held

    def close(self) -> None:
        self._ahead, self._held, self._next = iter(()), None, None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _count(tokens: int) -> str:
    """``tokens`` for people: "9.8 million", "410 thousand"."""
    if tokens >= 1_000_000:
        return f"{tokens / 1e6:.1f} million"
    return f"{tokens / 1e3:.0f} thousand" if tokens >= 10_000 else f"{tokens:,}"
