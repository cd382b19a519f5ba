"""Recordings as files: what they hold, and their frames by time.

FFmpeg is reached through PyAV. It is told the container's type rather than let guess (some of
its formats are lists of further files and addresses), and may open nothing but this file.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from indexing.renderers.base import Image, LibraryError, opening
from indexing.settings import raise_limit
from retrieval.errors import InputError

Grey = NDArray[np.uint8]

MP4, MATROSKA, GIF = "video/mp4", "video/x-matroska", "image/gif"
_FORMATS = {
    MP4: "mov",
    "video/quicktime": "mov",
    MATROSKA: "matroska",
    "video/webm": "matroska",
    GIF: "gif",
}
# A GIF is a recording, and not a picture that moves a little, from here on.
_GIF_FRAMES, _GIF_SECONDS = 3, 3.0
# Frames are compared at this width; digits 8 pixels high are still told apart.
_GREY_WIDTH = 1920
_WHAT = "the video"
_INSTALL = "reading videos needs PyAV: run `pip install 'folioscope[video]'`"
_MOST_BAD_PACKETS = 1_000
# A container's own idea of its length is rarely exact.
_MISSING_SECONDS, _MISSING_SHARE = 1.0, 0.02


@dataclass(frozen=True, slots=True)
class VideoLimits:
    """What a recording may be: its longest ``seconds``, the largest picture in ``pixels``."""

    seconds: float = 4 * 3600.0
    pixels: int = 40_000_000


@dataclass(frozen=True, slots=True)
class VideoFacts:
    """A recording before its frames are decoded.

    ``seconds`` is how long it is by its packets, ``frames`` how many those are; ``width`` and
    ``height`` are pixels as displayed. ``flags`` may hold ``recording-cut-off``: it claims to
    be longer.
    """

    seconds: float
    frames: int
    width: int
    height: int
    codec: str
    title: str
    flags: tuple[str, ...] = ()

    @property
    def rate(self) -> float:
        """Frames a second, on average."""
        return self.frames / self.seconds if self.seconds > 0 else 0.0


class Frame:
    """One decoded frame. ``start`` is when it appears, in seconds from the file's first
    moment, ``shown`` for how long it stays."""

    __slots__ = ("_aspect", "_frame", "shown", "start")

    def __init__(self, frame: Any, start: float, shown: float, aspect: float = 1.0) -> None:
        self._frame, self._aspect = frame, aspect
        self.start, self.shown = start, shown

    def grey(self) -> Grey:
        """``[h, w] uint8``, upright, at most 1,920 wide."""
        width, height = self._size()
        scale = min(1.0, _GREY_WIDTH / width)
        size = max(1, round(width * scale)), max(1, round(height * scale))
        if _has_alpha(self._frame):
            whole = Pillow.fromarray(self._pixels(width, height)).convert("L")
            grey: Grey = np.asarray(whole.resize(size, Pillow.Resampling.BOX))
        else:
            grey = self._frame.reformat(*size, format="gray").to_ndarray()
        upright: Grey = _upright(grey, self._frame)
        return upright

    def image(self, max_pixels: int) -> Image:
        """``[h, w, 3] uint8`` RGB, upright, scaled down to ``max_pixels`` if it has more."""
        width, height = self._size()
        shrink = min(1.0, math.sqrt(max_pixels / (width * height)))
        size = max(1, int(width * shrink)), max(1, int(height * shrink))
        upright: Image = _upright(self._pixels(*size), self._frame)
        return upright

    def _size(self) -> tuple[int, int]:
        """Width and height in square pixels, before the frame is turned upright."""
        return max(1, round(self._frame.width * self._aspect)), self._frame.height

    def _pixels(self, width: int, height: int) -> Image:
        if _has_alpha(self._frame):
            rgba = Pillow.fromarray(self._frame.reformat(width, height, format="rgba").to_ndarray())
            paper = Pillow.new("RGBA", rgba.size, "white")
            flat: Image = np.asarray(Pillow.alpha_composite(paper, rgba).convert("RGB"))
            return flat
        pixels: Image = self._frame.reformat(width, height, format="rgb24").to_ndarray()
        return pixels


def available() -> bool:
    """Whether PyAV, the extra ``video``, is installed."""
    return importlib.util.find_spec("av") is not None


def is_recording(path: Path, media_type: str) -> bool:
    """Whether ``path`` is read by time: every video, and a GIF that runs for a while.

    Raises ``InputError`` for a video where PyAV is missing; a GIF is pictures then.
    """
    if media_type not in _FORMATS:
        return False
    if media_type == GIF:
        return available() and _gif_runs(path)
    if not available():
        raise InputError(f"{path}: is a video; {_INSTALL}")
    return True


def _gif_runs(path: Path) -> bool:
    try:
        with Pillow.open(path, formats=("GIF",)) as picture:
            frames = int(getattr(picture, "n_frames", 1))
            seconds = 0.0
            for number in range(min(frames, 1_000)):
                picture.seek(number)
                seconds += picture.info.get("duration", 0) / 1000
    except (OSError, SyntaxError, ValueError, EOFError, Pillow.DecompressionBombError):
        return False  # reading it as pictures says what is wrong with it
    return frames >= _GIF_FRAMES and seconds >= _GIF_SECONDS


def inspect_video(path: Path, media_type: str, limits: VideoLimits) -> VideoFacts:
    """Read the container's packets, decode one frame. Raises ``InputError`` if the file is
    damaged beyond use, has no picture, or is beyond the limits."""
    with _open(path, media_type) as container:
        stream = _video_stream(path, container)
        _check_size(path, stream, limits)
        claimed = (container.duration or 0) / 1e6
        frames, end = _count_packets(container, stream)
        if not frames:
            raise LibraryError(
                f"{path}: the video holds no frames; it is cut off or damaged, so fetch or "
                "export it again"
            )
        if end > limits.seconds:
            raise InputError(
                f"{path}: the video is {clock(end)} long, the limit is {clock(limits.seconds)}; "
                f"cut it into parts, or {raise_limit('max_video_minutes', math.ceil(end / 60))}"
            )
        title = str(container.metadata.get("title", ""))
        codec = str(stream.codec_context.name)
    try:
        first = next(decode(path, media_type, limits))
    except StopIteration:
        raise LibraryError(
            f"{path}: no frame of the video can be decoded ({codec}); it is damaged, so fetch "
            "or export it again"
        ) from None
    height, width = first.image(limits.pixels).shape[:2]
    missing = claimed - end > max(_MISSING_SECONDS, _MISSING_SHARE * claimed)
    return VideoFacts(
        seconds=end,
        frames=frames,
        width=width,
        height=height,
        codec=codec,
        title=" ".join(title.split()),
        flags=("recording-cut-off",) if missing else (),
    )


def decode(
    path: Path, media_type: str, limits: VideoLimits, *, start: float = 0.0
) -> Generator[Frame, None, None]:
    """The frames in the order shown, with times that only grow, from ``start`` (seconds) or a
    little before it: decoding can begin at some frames only.

    Packets that cannot be decoded are passed over; frames beyond the limit of seconds end it.
    """
    with _open(path, media_type) as container:
        stream = _video_stream(path, container)
        _check_size(path, stream, limits)
        _prepare(stream, limits)
        if media_type != GIF and start > 0:
            at = int((start + _beginning(container)) / float(stream.time_base))
            with _library_errors():
                container.seek(max(0, at), stream=stream)
        yield from _timed(container, stream, limits)


def frame_at(path: Path, media_type: str, seconds: float, limits: VideoLimits) -> Frame:
    """The frame that is shown at ``seconds``. Raises ``InputError`` if there is none."""
    found: Frame | None = None
    with closing(decode(path, media_type, limits, start=seconds)) as frames:
        for frame in frames:
            # Half a millisecond: times were rounded when they were stored.
            if found is not None and frame.start > seconds + 5e-4:
                break
            found = frame
    if found is None:
        raise InputError(f"{path}: no frame can be decoded at {clock(seconds)}; the video changed")
    return found


def sample(frames: Iterator[Frame], rate: float) -> Iterator[Frame]:
    """Of ``frames`` those on the screen at the moments ``0, 1/rate, 2/rate, ...``, each once."""
    step = 1.0 / rate
    due = 0
    for frame in frames:
        end = frame.start + frame.shown
        if due * step < end - 1e-6:
            yield frame
            due = max(due + 1, math.ceil((end - 1e-6) / step))


def clock(seconds: float, *, tenths: bool = False) -> str:
    """``seconds`` as people write it: "1:02:03", "4:05"; with ``tenths`` "0:07.3"."""
    whole = int(seconds + 1e-6)
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    text = f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
    return f"{text}.{int((seconds + 1e-6 - whole) * 10)}" if tenths else text


@contextmanager
def _open(path: Path, media_type: str) -> Iterator[Any]:
    if not available():
        raise InputError(f"{path}: is a video; {_INSTALL}")
    import av

    av.logging.set_level(None)
    with opening(path, _WHAT):
        container: Any = av.open(
            str(path),
            format=_FORMATS[media_type],
            # Only this file: some containers can name others.
            options={"protocol_whitelist": "file"},
            metadata_errors="replace",
        )
    try:
        yield container
    finally:
        container.close()


def _video_stream(path: Path, container: Any) -> Any:
    # Cover art is a video stream of one picture to FFmpeg.
    moving = [s for s in container.streams.video if not _is_cover(s)]
    if not moving:
        raise InputError(f"{path}: has sound but no picture; leave it out, or give its transcript")
    if moving[0].codec_context is None:
        raise LibraryError(
            f"{path}: the video is damaged, or packed in a way that FFmpeg does not know; save it "
            "as MP4"
        )
    return moving[0]


def _is_cover(stream: Any) -> bool:
    return bool(stream.disposition & type(stream.disposition).attached_pic)


def _check_size(path: Path, stream: Any, limits: VideoLimits) -> None:
    width, height = stream.codec_context.width, stream.codec_context.height
    if width * height > limits.pixels:
        raise InputError(
            f"{path}: the video's pictures are {width} x {height} pixels, the limit is "
            f"{limits.pixels // 1_000_000} million; scale it down, or "
            f"{raise_limit('max_pixels', width * height)}"
        )


def _prepare(stream: Any, limits: VideoLimits) -> None:
    # One worker a core is enough; and a picture that grows half way is refused by FFmpeg.
    stream.codec_context.thread_count = 1
    stream.codec_context.options = {"max_pixels": str(limits.pixels)}


def _beginning(container: Any) -> float:
    """When the file begins by its own clock: players show that moment as 0:00."""
    return (container.start_time or 0) / 1e6


@contextmanager
def _library_errors() -> Iterator[None]:
    """FFmpeg's complaints about a stretch of a file: what came before it is kept."""
    import av

    try:
        yield
    except (av.error.FFmpegError, ValueError, OverflowError):
        return


def _count_packets(container: Any, stream: Any) -> tuple[int, float]:
    """How many frames the packets hold, and when the last of them ends, in seconds."""
    frames, first, last, shown = 0, math.inf, -math.inf, 0.0
    base = float(stream.time_base)
    with _library_errors():
        for packet in container.demux(stream):
            if packet.pts is None or not packet.size:
                continue
            frames += 1
            first = min(first, packet.pts * base)
            if packet.pts * base >= last:
                last, shown = packet.pts * base, float(packet.duration or 0) * base
    if not frames:
        return 0, 0.0
    if not shown and frames > 1:
        shown = (last - first) / (frames - 1)
    return frames, max(0.0, last + shown - _beginning(container))


def _packets(container: Any, stream: Any) -> Iterator[Any]:
    with _library_errors():
        yield from container.demux(stream)


def _decoded(container: Any, stream: Any) -> Iterator[Any]:
    bad = 0
    for packet in _packets(container, stream):
        frames: list[Any] = []
        good = False
        with _library_errors():
            frames = packet.decode()
            good = True
        bad += not good
        if bad > _MOST_BAD_PACKETS:
            return
        yield from frames


def _timed(container: Any, stream: Any, limits: VideoLimits) -> Iterator[Frame]:
    """Frames with their times; a frame's own lasts until the next begins."""
    beginning = _beginning(container)
    usual = 1.0 / float(stream.average_rate or stream.guessed_rate or 25)
    aspect = _aspect(stream)

    def stamped() -> Iterator[tuple[Any, float]]:
        last = -usual
        for frame in _decoded(container, stream):
            at = last + usual if frame.time is None else frame.time - beginning
            if at <= last:
                continue  # a time that does not grow is a fault of the file
            if at > limits.seconds:
                break
            last = at
            yield frame, at
        yield None, last

    for (frame, at), (_, following) in pairwise(stamped()):
        shown = following - at if following > at else _own_duration(frame, usual)
        yield Frame(frame, at, shown, aspect)


def _own_duration(frame: Any, usual: float) -> float:
    duration = float(frame.duration or 0) * float(frame.time_base or 0)
    return duration if duration > 0 else usual


def _aspect(stream: Any) -> float:
    """How much wider than high a stored pixel is; 1 where the file says something absurd."""
    aspect = float(stream.sample_aspect_ratio or 1)
    return aspect if 0.2 < aspect < 5 else 1.0


def _has_alpha(frame: Any) -> bool:
    return any(component.is_alpha for component in frame.format.components)


def _upright(pixels: Any, frame: Any) -> Any:
    turns = round((getattr(frame, "rotation", 0) or 0) / 90) % 4
    return np.ascontiguousarray(np.rot90(pixels, turns)) if turns else pixels
