"""Recordings drawn and encoded here, whose states are known to the frame.

Each clip is one thing that goes wrong when frames are dropped by appearance: a change too small,
too slow, or none at all. Tests and ``eval.bench_video`` share them.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

_INK, _PAPER = "#1c2733", "#fbfbf8"
_TEXT = (
    "account balance budget change deliver export figure growth "
    "harbour invoice journal ledger margin notice office parcel "
    "quarter report supply tariff update vendor warrant yield"
)
_WORDS = _TEXT.split()


@dataclass(frozen=True, slots=True)
class Clip:
    """``draw(t)`` gives the picture at t seconds. ``states`` are ``(t0, t1, what)``: each must
    be kept; frames kept within ``optional`` are no fault."""

    name: str
    seconds: float
    fps: int
    draw: Callable[[float], Image.Image]
    states: tuple[tuple[float, float, str], ...]
    optional: tuple[tuple[float, float], ...] = ()
    kind: str = "synthetic"


def write(clip: Clip, path: Path, *, codec: str = "libx264", quality: int = 26) -> Path:
    """Encode ``clip``; ``quality`` is the codec's constant rate factor (higher is worse)."""
    times = [number / clip.fps for number in range(round(clip.seconds * clip.fps))]
    frames = ((t, clip.draw(t)) for t in times)
    return encode(path, frames, fps=clip.fps, codec=codec, quality=quality)


def encode(
    path: Path,
    frames: Iterator[tuple[float, Image.Image]],
    *,
    fps: int = 10,
    codec: str = "libx264",
    quality: int = 26,
    title: str = "",
) -> Path:
    """Write pictures with their times in seconds as a video; the container is the suffix's."""
    import av

    with av.open(str(path), "w") as container:
        if title:
            container.metadata["title"] = title
        stream: Any = None
        for seconds, picture in frames:
            if stream is None:
                stream = container.add_stream(codec, rate=fps)
                stream.width, stream.height = picture.size
                stream.pix_fmt = "rgb8" if codec == "gif" else "yuv420p"
                stream.codec_context.time_base = stream.time_base = _thousandth()
                if codec == "libx264":
                    stream.options = {"crf": str(quality), "preset": "ultrafast", "threads": "1"}
            frame = av.VideoFrame.from_ndarray(np.asarray(picture.convert("RGB")), format="rgb24")
            frame.pts, frame.time_base = round(seconds * 1000), _thousandth()
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def _thousandth() -> Any:
    from fractions import Fraction

    return Fraction(1, 1000)


@cache
def font(size: int) -> Any:
    """Pillow's own font."""
    return ImageFont.load_default(size)


def page(lines: list[str], size: tuple[int, int] = (640, 360), *, text: int = 16) -> Image.Image:
    """A window with lines of text."""
    image = Image.new("RGB", size, _PAPER)
    pen = ImageDraw.Draw(image)
    pen.rectangle((0, 0, size[0], 26), fill="#2f5d8a")
    for number, line in enumerate(lines):
        pen.text((20, 40 + number * round(text * 1.5)), line, _INK, font(text))
    return image


def prose(seed: int, lines: int) -> list[str]:
    """Lines of words; each begins with its number, so that it can be told from all others."""
    chance = random.Random(seed)
    return [f"{n + 1:03} " + " ".join(chance.choices(_WORDS, k=6)) for n in range(lines)]


def _steps(seconds: float, count: int, what: str) -> tuple[tuple[float, float, str], ...]:
    return tuple((i * seconds, (i + 1) * seconds, f"{what} {i + 1}") for i in range(count))


def static(seconds: float = 60) -> Clip:
    """A screen on which nothing happens."""
    picture = page(prose(1, 10))
    return Clip("static screen", seconds, 10, lambda t: picture, ((0, seconds, "the screen"),))


def caret(seconds: float = 60) -> Clip:
    """An editor with a caret that blinks twice a second."""
    off = page(prose(2, 8))
    on = off.copy()
    ImageDraw.Draw(on).rectangle((220, 300, 228, 318), fill=_INK)

    def draw(t: float) -> Image.Image:
        return on if int(t * 2) % 2 else off

    return Clip("caret blinks", seconds, 10, draw, ((0, seconds, "the editor"),), ((0, 1.0),))


def tick_box() -> Clip:
    """A form on which a box of 12 pixels is ticked, then another."""
    form = page([f"    {line}" for line in prose(3, 8)])
    pictures = []
    for ticked in range(3):
        image = form.copy()
        pen = ImageDraw.Draw(image)
        for box in range(8):
            x, y = 20, 44 + box * 24
            pen.rectangle((x, y, x + 11, y + 11), outline=_INK)
            if box < ticked:
                pen.line((x + 2, y + 6, x + 5, y + 9, x + 9, y + 2), _INK, 2)
        pictures.append(image)
    return Clip("ticked box", 15, 10, lambda t: pictures[int(t / 5)], _steps(5, 3, "boxes"))


def digit(text: int = 12) -> Clip:
    """A table in which one digit, ``text`` points high, counts up every four seconds."""
    rows = prose(4, 9)

    def draw(t: float) -> Image.Image:
        lines = [*rows[:5], f"Total for the day 417{int(t / 4)}.50", *rows[5:]]
        return page(lines, text=text)

    return Clip(f"one digit of {text} px", 24, 10, draw, _steps(4, 6, "total"))


def typing() -> Clip:
    """Forty letters typed at five a second; only the finished line has to be there."""
    rows, line = prose(5, 6), "The quick brown fox jumps over lazy dogs"

    def draw(t: float) -> Image.Image:
        return page([*rows, line[: max(0, int((t - 2) * 5))]])

    states = ((0, 2.2, "before"), (10.0, 14, "the line"))
    return Clip("typing", 14, 10, draw, states, ((2.2, 10.0),))


def hard_cuts(count: int = 10, each: float = 3.0) -> Clip:
    """Slides, one after the other."""
    slides = [page(prose(10 + i, 8), text=18) for i in range(count)]

    def draw(t: float) -> Image.Image:
        return slides[min(count - 1, int(t / each))]

    return Clip("hard cuts", count * each, 10, draw, _steps(each, count, "slide"))


def cross_fade(seconds: float = 60) -> Clip:
    """One slide turns into another so slowly that no two frames differ to the eye."""
    a, b = page(prose(20, 8)), page(prose(21, 8))

    def draw(t: float) -> Image.Image:
        return Image.blend(a, b, min(1.0, t / (seconds - 2)))

    states = ((0, 0.15 * seconds, "first slide"), (0.85 * seconds, seconds, "second slide"))
    middle = ((0.15 * seconds, 0.85 * seconds),)
    return Clip(f"{seconds:g} s cross-fade", seconds, 10, draw, states, middle, "fade")


def fade_to_black(seconds: float = 60) -> Clip:
    """A plain light picture without contours darkens evenly."""

    def draw(t: float) -> Image.Image:
        tone = round(240 * (1 - min(1.0, t / (seconds - 2))))
        return Image.new("RGB", (640, 360), (tone, tone, tone))

    low, high = 0.12 * seconds, 0.88 * seconds
    states = (
        (0.0, low, "light"),
        (0.44 * seconds, 0.56 * seconds, "grey"),
        (high, seconds, "black"),
    )
    optional = ((low, 0.44 * seconds), (0.56 * seconds, high))
    return Clip(f"{seconds:g} s fade", seconds, 10, draw, states, optional, "fade")


def scroll(speed: float = 20, seconds: float = 40) -> Clip:
    """Text moves up by ``speed`` pixels a second. Every line has to be on some kept frame:
    ``lines_seen`` tells which."""
    tall = _tall(speed, seconds)

    def draw(t: float) -> Image.Image:
        at = round(min(t, seconds - 2) * speed)
        return tall.crop((0, at, 640, at + 360))

    return Clip(f"scroll at {speed:g} px/s", seconds, 10, draw, ())


@cache
def _tall(speed: float, seconds: float) -> Image.Image:
    height = 360 + round(seconds * speed)
    return page(prose(30, (height - 60) // 24), (640, height))


def lines_seen(speed: float, t: float) -> set[int]:
    """The lines of ``scroll`` that are whole in the picture at t (before its last 2 seconds)."""
    at = round(t * speed)
    return {n for n in range(2000) if at <= 40 + n * 24 and 40 + n * 24 + 20 <= at + 360}


def working_day(minutes: float = 10) -> Clip:
    """A recording at 4 frames a second: slides, typing, a table that changes, a scroll, rests."""
    parts = [hard_cuts(4, 5.0), typing(), digit(14), scroll(40, 12), caret(20), tick_box()]
    length = sum(part.seconds for part in parts)

    def draw(t: float) -> Image.Image:
        round_, t = divmod(t, length)
        for part in parts:
            if t < part.seconds:
                image = part.draw(t)
                if round_:
                    image = image.copy()
                    ImageDraw.Draw(image).text((500, 4), f"round {round_:.0f}", "white", font(14))
                return image
            t -= part.seconds
        raise AssertionError("a time beyond the parts")

    return Clip("ten minutes of work", minutes * 60, 4, draw, ())
