"""What intake keeps of small print on large pictures: ``folioscope bench detail DATA``.

``DATA`` is a folder as ``folioscope bench ocr`` takes it. Receipts whose total is known are read
as they are, set on a canvas of 6000 x 4000 pixels, enlarged to fill it, and shrunk with their
canvas to 896 x 896 pixels as careless pipelines do. With the guard, pages go through intake; the
guard off is one pass of the same engine over a picture shrunk to 2,000 pixels, its own default. A
total is *lost* if it is not among the words read; the guard's part is that a page with a lost
total says so by a flag. All receipts take most of an hour: with a file to keep the readings in, a
run that was stopped goes on.

Posters are composed of parts of real pages, sixteen a poster, drawn at falling sizes; the text
layers say what should be read.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from eval.bench_legibility import Sample, draw_sample, plain, samples
from eval.bench_ocr import answered, receipt_names, receipt_questions, share_read
from eval.benchmark import Benchmark
from indexing.intake import IntakeWorkers
from indexing.ocr import InMemory
from indexing.ocr_engines import SIDE, Engine, read_once
from indexing.separate import separate
from indexing.settings import IntakeSettings
from indexing.source_files import expand_sources
from retrieval.errors import FolioscopeError, InputError

CANVAS = (6000, 4000)
NAIVE = 896
_FLAGS = {"illegible", "partly-illegible", "detail-cut"}
Image = NDArray[np.uint8]
Show = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Read:
    """A picture's text, what was flagged, and what it took."""

    text: str
    flagged: bool
    seconds: float


@dataclass(frozen=True, slots=True)
class Reading:
    """One form of one receipt, read with the guard on or off: how many of the totals ``asked``
    for are among its words, and which share of the receipt's words is (None: not counted)."""

    receipt: str
    engine: Engine
    form: str
    guard: bool
    asked: int
    read: int
    flagged: bool
    seconds: float
    words: float | None = None

    @property
    def key(self) -> tuple[str, str, str, bool]:
        """What it is a reading of."""
        return self.receipt, self.engine, self.form, self.guard


def measure_receipts(
    data: Path,
    pages: int,
    engine: Engine,
    kept: Path | None = None,
    show: Show = lambda text: None,
) -> Benchmark:
    """One row a form of the receipts and setting of the guard: totals read, lost, and flagged.

    Readings that the file ``kept`` has are taken from it, others are added. Raises ``InputError``
    if ``data`` is not such a folder, or ``kept`` no such file.
    """
    names = receipt_names(data, pages)
    questions = receipt_questions(data)
    names = [name for name in names if questions.get(name)]
    if not names:
        raise InputError(f"{data} lacks receipts with questions; see `folioscope bench ocr --help`")
    known = {} if kept is None else _readings(kept)
    rows: dict[tuple[str, bool], list[Reading]] = {}
    with (
        tempfile.TemporaryDirectory(prefix="folioscope-bench-") as folder,
        IntakeWorkers(IntakeSettings(workers=1, ocr=engine)) as workers,
    ):
        for count, name in enumerate(names):
            for form, make in _FORMS.items():
                for guard in (True, False):
                    if form == "as it is" and not guard:
                        continue
                    show(f"{count + 1} of {len(names)}: {form}, guard {'on' if guard else 'off'}")
                    reading = known.get((name, engine, form, guard))
                    if reading is None:
                        image = make(_receipt(data, name))
                        found = (
                            _guarded(workers, image, Path(folder))
                            if guard
                            else _naive(image, engine)
                        )
                        read = [answered(question, found.text) for question in questions[name]]
                        reading = Reading(
                            *(name, engine, form, guard, len(read), sum(read)),
                            *(found.flagged, round(found.seconds, 2)),
                            round(share_read(_truth(data, name), found.text.split()), 3),
                        )
                        if kept is not None:
                            with kept.open("a", encoding="utf-8") as file:
                                file.write(json.dumps(asdict(reading)) + "\n")
                    rows.setdefault((form, guard), []).append(reading)
    return Benchmark(
        "detail-receipts",
        [_row(form, guard, found) for (form, guard), found in rows.items()],
        {"receipts": len(names), "engine": engine, "canvas": list(CANVAS), "naive_side": NAIVE},
    )


def _readings(path: Path) -> dict[tuple[str, str, str, bool], Reading]:
    if not path.exists():
        return {}
    try:
        lines = path.read_text("utf-8").splitlines()
        found = [Reading(**json.loads(line)) for line in lines]
    except (OSError, ValueError, TypeError) as error:
        raise InputError(
            f"{path}: not readings that were kept ({error}); name a file that does not exist yet"
        ) from error
    return {reading.key: reading for reading in found}


def _truth(data: Path, name: str) -> str:
    """All that a receipt says."""
    boxes = json.loads((data / "ocr_gt" / f"{name}.json").read_text("utf-8"))
    return " ".join(box["text"] for box in boxes)


def _words(found: Sequence[Reading], flagged: bool) -> float | None:
    """The median share of words read of the pages that were flagged, or of the others."""
    some = [one.words for one in found if one.flagged == flagged and one.words is not None]
    return round(float(np.median(some)), 3) if some else None


def _row(form: str, guard: bool, found: Sequence[Reading]) -> dict[str, Any]:
    return {
        "receipts": form,
        "guard": "on" if guard else "off",
        "totals": sum(one.asked for one in found),
        "read": sum(one.read for one in found),
        "lost": sum(one.asked - one.read for one in found),
        "lost_and_flagged": sum(one.asked - one.read for one in found if one.flagged),
        "read_yet_flagged": sum(one.read for one in found if one.flagged),
        "words_where_flagged": _words(found, True),
        "words_elsewhere": _words(found, False),
        "median_s": float(np.median([one.seconds for one in found])),
    }


def _placed(receipt: Pillow.Image) -> Pillow.Image:
    canvas = Pillow.new("RGB", CANVAS, "white")
    canvas.paste(receipt, ((CANVAS[0] - receipt.width) * 2 // 3, (CANVAS[1] - receipt.height) // 3))
    return canvas


def _enlarged(receipt: Pillow.Image) -> Pillow.Image:
    scale = min(CANVAS[0] / receipt.width, CANVAS[1] / receipt.height)
    size = (int(receipt.width * scale), int(receipt.height * scale))
    canvas = Pillow.new("RGB", CANVAS, "white")
    canvas.paste(receipt.resize(size, Pillow.Resampling.BICUBIC), (0, 0))
    return canvas


def _shrunk(receipt: Pillow.Image) -> Pillow.Image:
    return _placed(receipt).resize((NAIVE, NAIVE), Pillow.Resampling.LANCZOS)


_FORMS: dict[str, Callable[[Pillow.Image], Pillow.Image]] = {
    "as it is": lambda receipt: receipt,
    "on a 6000 x 4000 canvas": _placed,
    "enlarged to 6000 x 4000": _enlarged,
    "that canvas shrunk to 896 x 896": _shrunk,
}


def _guarded(workers: IntakeWorkers, image: Pillow.Image, folder: Path) -> Read:
    path = folder / "page.png"
    image.save(path, compress_level=1)
    began = time.perf_counter()
    (page,) = workers.read_pages(path)
    return Read(
        " ".join(page.words.texts), bool(_FLAGS & set(page.flags)), time.perf_counter() - began
    )


def _naive(image: Pillow.Image, engine: Engine) -> Read:
    began = time.perf_counter()
    pixels = np.asarray(image)
    side = SIDE["rapidocr"]
    scale = min(1.0, side / max(image.size))
    small = InMemory(pixels).shrunk(round(image.width * scale), round(image.height * scale))
    found = read_once(small, engine)
    return Read(" ".join(found.texts), False, time.perf_counter() - began)


def measure_posters(
    sources: Sequence[str],
    heights: Sequence[float],
    engine: Engine,
    show: Show = lambda text: None,
) -> Benchmark:
    """One row an x-height on the poster and way of reading: the share of the words read, the
    parts it was read in, and the time."""
    parts = samples(expand_sources(sources), 16)
    if not parts:
        raise InputError("none of the sources is a PDF with running text in its text layer")
    rows = []
    with (
        tempfile.TemporaryDirectory(prefix="folioscope-bench-") as folder,
        IntakeWorkers(IntakeSettings(workers=1, ocr=engine)) as workers,
    ):
        for height in heights:
            poster, truth = compose(parts, height)
            image = Pillow.fromarray(poster)
            for guard in (True, False):
                show(f"letters of {height:g} pixels, {'tiles' if guard else 'shrunk'}")
                found = _guarded(workers, image, Path(folder)) if guard else _naive(image, engine)
                read = Counter(map(plain, found.text.split()))
                rows.append(
                    {
                        "x_height_px": height,
                        "read": "in tiles" if guard else "shrunk to 2,000",
                        "megapixels": image.width * image.height / 1e6,
                        "words": truth.total(),
                        "word_recall": (truth & read).total() / truth.total(),
                        "flagged": found.flagged,
                        "seconds": found.seconds,
                    }
                )
    return Benchmark("detail-posters", rows, {"parts": len(parts), "engine": engine})


def compose(parts: Sequence[Sample], height: float) -> tuple[Image, Counter[str]]:
    """A white poster of 6000 x 4000 pixels or more with the ``parts`` in four columns, their
    letters ``height`` pixels high, and the words on it."""
    drawn = [draw_sample(part, height / part.x_height) for part in parts]
    columns = [drawn[i::4] for i in range(4)]
    gap = 200
    widths = [max(part.shape[1] for part in column) for column in columns]
    heights = [sum(part.shape[0] + gap for part in column) for column in columns]
    width = max(CANVAS[0], sum(widths) + gap * 5)
    poster = np.full((max(CANVAS[1], max(heights) + gap), width, 3), 255, np.uint8)
    x = gap
    for column, wide in zip(columns, widths, strict=True):
        y = gap
        for part in column:
            poster[y : y + part.shape[0], x : x + part.shape[1]] = part
            y += part.shape[0] + gap
        x += wide + gap
    words = Counter(plain(word) for part in parts for word in part.words)
    return poster, words


def measure_scans(
    data: Path, scans: int = 40, seed: int = 7, single: Sequence[str] = ()
) -> Benchmark:
    """Receipts laid on lids of several tones, two to four at a time and a little crooked: how
    many scans are taken apart into as many, and how many single pictures are taken apart at all.

    ``single`` are further files, of which pictures are taken to show one paper, or none.
    Raises ``InputError`` if ``data`` holds no receipts.
    """
    names = receipt_names(data, 10_000)
    if len(names) < 4:
        raise InputError(f"{data} lacks receipts; see `folioscope bench ocr --help`")
    rng = np.random.default_rng(seed)
    rows = []
    for lid in (30, 90, 150, 190, 245):
        right = found = 0
        for _ in range(scans):
            chosen = rng.choice(names, int(rng.integers(2, 5)), replace=False)
            parts = separate(_scan(data, [str(name) for name in chosen], lid, rng))
            right += len(parts) == len(chosen)
            found += bool(parts)
        rows.append({"lid_tone": lid, "scans": scans, "right_number": right, "taken_apart": found})
    wrong = sum(bool(separate(np.asarray(_receipt(data, name)))) for name in names)
    pictures, more = _taken_apart(expand_sources(single)) if single else (0, 0)
    facts = {
        "single_receipts": len(names),
        "of_these_taken_apart": wrong,
        "other_pictures": pictures,
        "of_those_taken_apart": more,
    }
    return Benchmark("scans", rows, facts)


def _taken_apart(paths: Sequence[Path]) -> tuple[int, int]:
    """How many of ``paths`` are pictures that open, and how many become more pages than frames."""
    pictures = apart = 0
    with IntakeWorkers(IntakeSettings(workers=1, ocr="off")) as workers:
        for path in paths:
            try:
                kind = workers.describe(path).media_type
                parts = [
                    plan.part
                    for plan in workers.plan_pages(
                        path, range(min(8, workers.describe(path).pages))
                    )
                ]
            except FolioscopeError:
                continue
            pictures += kind.startswith("image/")
            apart += any(part is not None and not part.whole for part in parts)
    return pictures, apart


def _receipt(data: Path, name: str) -> Pillow.Image:
    with Pillow.open(data / "docs" / "receipts" / f"{name}.jpg") as picture:
        return picture.convert("RGB")


def _scan(data: Path, names: Sequence[str], lid: int, rng: np.random.Generator) -> Image:
    papers = []
    for name in names:
        paper = _receipt(data, name)
        paper.thumbnail((600, 1300))
        papers.append(
            paper.convert("RGBA").rotate(
                float(rng.uniform(-4, 4)), expand=True, resample=Pillow.Resampling.BILINEAR
            )
        )
    gap = 60
    width = sum(paper.width for paper in papers) + gap * (len(papers) + 1)
    height = max(paper.height for paper in papers) + 2 * gap
    noise = rng.normal(lid, 3, (height, width, 1)).clip(0, 255).astype(np.uint8)
    scan = Pillow.fromarray(np.repeat(noise, 3, axis=2))
    x = gap
    for paper in papers:
        scan.paste(
            paper, (x, int(rng.integers(gap // 2, height - paper.height - gap // 2 + 1))), paper
        )
        x += paper.width + gap
    return np.asarray(scan)
