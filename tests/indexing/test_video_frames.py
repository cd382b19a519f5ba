"""Which frames are kept: nothing that changes is lost, and what stands still is one page."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

av = pytest.importorskip("av", reason="PyAV, the extra `video`, is not installed")

from eval import synthetic_video  # noqa: E402
from eval.synthetic_video import Clip  # noqa: E402
from indexing.video import Frame, sample  # noqa: E402
from indexing.video_frames import FrameKeeper, KeepSettings, keep_frames  # noqa: E402

_RATE = 4


def _frames(clip: Clip) -> Iterator[Frame]:
    for number in range(round(clip.seconds * _RATE)):
        picture = clip.draw(number / _RATE).convert("RGB")
        raw = av.VideoFrame.from_ndarray(np.asarray(picture), format="rgb24")
        yield Frame(raw, number / _RATE, 1 / _RATE)


def _starts(clip: Clip, **settings: float) -> tuple[list[float], bool]:
    keeper = FrameKeeper(KeepSettings(**settings), clip.seconds)  # type: ignore[arg-type]  # pages is int
    spans = list(keep_frames(_frames(clip), keeper, lambda span, frame: None))
    assert [span.start for span in spans] == sorted(span.start for span in spans)
    assert all(span.end > span.start for span in spans)
    return [span.start for span in spans], keeper.thinned


CLIPS = [
    synthetic_video.static(20),
    synthetic_video.caret(20),
    synthetic_video.tick_box(),
    synthetic_video.digit(12),
    synthetic_video.typing(),
    synthetic_video.hard_cuts(6),
    synthetic_video.cross_fade(40),
    synthetic_video.fade_to_black(40),
]


@pytest.mark.parametrize("clip", CLIPS, ids=[clip.name for clip in CLIPS])
def test_every_state_becomes_a_page_and_none_two(clip: Clip) -> None:
    starts, _ = _starts(clip)
    for begin, end, what in clip.states:
        assert any(begin - 1e-6 <= start < end for start in starts), f"{what} is lost"
    inside = [s for s in starts if not any(a - 1e-6 <= s <= b for a, b in clip.optional)]
    assert len(inside) <= len(clip.states) + 1


def test_every_line_of_a_slow_scroll_is_on_a_page() -> None:
    speed, seconds = 20.0, 24.0
    starts, _ = _starts(synthetic_video.scroll(speed, seconds))
    wanted = set().union(
        *(synthetic_video.lines_seen(speed, t / 2) for t in range(round(seconds - 2) * 2))
    )
    found = set().union(*(synthetic_video.lines_seen(speed, min(t, seconds - 2)) for t in starts))
    assert wanted <= found
    assert len(starts) < seconds


def test_the_limit_of_pages_holds_and_says_so() -> None:
    starts, thinned = _starts(synthetic_video.hard_cuts(12, 1.0), pages=6)
    assert len(starts) <= 6 and thinned
    # The last half is spread over the time that is left, not spent at once.
    assert starts[-1] >= 6


def test_sampling_takes_what_is_on_the_screen_at_each_moment() -> None:
    class Shown:
        def __init__(self, start: float, shown: float) -> None:
            self.start, self.shown = start, shown

    frames = [Shown(0.0, 0.1), Shown(0.1, 0.05), Shown(0.15, 0.2), Shown(0.35, 2.0)]
    kept = list(sample(iter(frames), 4))  # type: ignore[arg-type]  # only the times are looked at
    assert [frame.start for frame in kept] == [0.0, 0.15, 0.35]
