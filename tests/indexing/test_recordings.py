"""Recordings are documents: pages with times, found, pictured, limited, refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("av", reason="PyAV, the extra `video`, is not installed")

from eval.synthetic_video import encode, page
from indexing import video
from indexing.build import BuildSettings
from indexing.index import Index
from indexing.intake import IntakeWorkers
from indexing.renderers import open_document
from indexing.renderers.recordings import time_label
from indexing.settings import IntakeSettings
from retrieval.errors import InputError

_SLIDES = (
    ["Harbour dues", "Winter berth 412.50"],
    ["Lighthouse repairs", "Lantern glass replaced"],
    ["Ferry timetable", "Last crossing 21.40"],
)
_SECONDS = 2.0
_QUIET = IntakeSettings(workers=1, ocr="off")


def _clip(path: Path, slides: tuple[list[str], ...] = _SLIDES, codec: str = "libx264") -> Path:
    pictures = [page(lines, (480, 270), text=26) for lines in slides]
    count = round(_SECONDS * 5)
    frames = ((n / 5, pictures[n // count]) for n in range(len(slides) * count))
    return encode(path, frames, fps=5, codec=codec, title="Port office")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _clip(tmp_path_factory.mktemp("clips") / "port.mp4")


def test_a_hit_in_a_recording_says_when_and_shows_the_frame(clip: Path, tmp_path: Path) -> None:
    settings = BuildSettings(intake=IntakeSettings(workers=1, ocr="tesseract"))
    index = Index.create(tmp_path / "index", settings=settings)
    report = index.add([clip])
    assert (report.documents_added, report.pages_added) == (1, 3)
    assert len(report.notes) == 1
    assert "port.mp4: 0:06 of video: 30 frames" in report.notes[0]
    assert "kept 3 frames" in report.notes[0]
    best = index.search("lantern glass of the lighthouse").hits[0]
    assert best.times is not None and (best.title, best.page) == ("Port office", 1)
    assert best.times.start == pytest.approx(2.0, abs=0.3)
    assert best.times.end == pytest.approx(4.0, abs=0.3)
    assert best.times.start <= best.times.frame < best.times.end
    assert best.label == time_label(best.times.start, best.times.end)
    shown = index.page_image(best).astype(int)
    wanted = np.asarray(page(_SLIDES[1], (480, 270), text=26)).astype(int)
    assert shown.shape == wanted.shape and np.abs(shown - wanted).mean() < 8
    assert index.add([clip]).unchanged == 1


@pytest.mark.parametrize(
    ("name", "codec", "media_type"),
    [
        ("a.mov", "libx264", "video/quicktime"),
        ("a.mkv", "libx264", "video/x-matroska"),
        ("a.webm", "libvpx", "video/webm"),
        ("a.gif", "gif", "image/gif"),
    ],
)
def test_containers(tmp_path: Path, name: str, codec: str, media_type: str) -> None:
    path = _clip(tmp_path / name, _SLIDES[:2], codec)
    with IntakeWorkers(_QUIET) as workers:
        found = workers.describe(path)
        assert (found.media_type, found.pages, found.flags) == (media_type, 2, ())
        pages = list(workers.read_pages(path, want_image=True))
        times = [content.times for content in pages]
        assert times[0] is not None and times[1] is not None
        assert times[0].end == pytest.approx(times[1].start, abs=0.3)
        for number, content in enumerate(pages):
            # The stored moment gives the same picture as the page's number.
            again = workers.render_page(path, number, dpi=110, times=content.times)
            assert content.image is not None
            assert np.abs(again.astype(int) - content.image.astype(int)).mean() < 1


def test_a_gif_of_a_moment_is_pictures(tmp_path: Path) -> None:
    path = tmp_path / "two.gif"
    frames = [Image.new("RGB", (40, 30), tone) for tone in ("white", "black")]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=200)
    with IntakeWorkers(_QUIET) as workers:
        assert [content.times for content in workers.read_pages(path)] == [None, None]


def test_limits_name_themselves(clip: Path) -> None:
    small = _QUIET.model_copy(update={"max_pixels": 100_000})
    with (
        IntakeWorkers(small) as workers,
        pytest.raises(InputError, match=r"480 x 270 pixels.*--limit max_pixels=129600"),
    ):
        workers.describe(clip)
    with pytest.raises(InputError, match=r"is 0:06 long, the limit is 0:03.*max_video_minutes"):
        video.inspect_video(clip, "video/mp4", video.VideoLimits(seconds=3.0))
    few = _QUIET.model_copy(update={"max_video_pages": 2})
    with IntakeWorkers(few) as workers:
        found = workers.describe(clip)
    assert 1 <= found.pages <= 2 and found.flags == ("frames-thinned",)


def test_without_pyav_one_line_says_what_to_install(
    clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(video, "available", lambda: False)
    with pytest.raises(InputError, match=r"needs PyAV: run `pip install 'folioscope\[video\]'`"):
        open_document(clip, "video/mp4", _QUIET)


def test_what_is_cut_off_is_said_or_refused(clip: Path, tmp_path: Path) -> None:
    whole = clip.read_bytes()
    lost = tmp_path / "lost.mp4"
    lost.write_bytes(whole[: len(whole) // 2])  # an MP4's index comes last
    part = _clip(tmp_path / "part.mkv")
    part.write_bytes(part.read_bytes()[: part.stat().st_size // 2])
    with IntakeWorkers(_QUIET) as workers:
        with pytest.raises(InputError, match=r"lost\.mp4: .*; fetch or export it again"):
            workers.describe(lost)
        found = workers.describe(part)
        assert found.flags == ("recording-cut-off",) and 1 <= found.pages < 3
        assert len(list(workers.read_pages(part))) == found.pages


@pytest.mark.parametrize(
    ("times", "label"),
    [
        ((12.04, 31.5), "0:12-0:31"),
        ((1.41, 2.0), "0:01.4-0:02.0"),
        ((3599.96, 3723.0), "59:59-1:02:03"),
        ((59.99, 60.3), "0:59.9-1:00.3"),
    ],
)
def test_labels_are_times_as_people_write_them(times: tuple[float, float], label: str) -> None:
    assert time_label(*times) == label


def test_a_frame_is_found_by_its_time(clip: Path) -> None:
    limits = video.VideoLimits()
    for seconds in (0.0, 2.1, 5.9):
        frame = video.frame_at(clip, "video/mp4", seconds, limits)
        assert frame.start <= seconds + 1e-3 < frame.start + frame.shown + 0.01
