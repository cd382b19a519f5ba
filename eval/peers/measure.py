"""``folioscope bench peers``: every engine over the same workloads, compared at equal recall."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from eval.benchmark import Benchmark
from eval.peers.capabilities import check_capabilities
from eval.peers.engines import ENGINES
from eval.peers.environments import ENVIRONMENTS, interpreter
from eval.peers.export import export_index, export_synthetic
from eval.peers.processes import Limits, Outcome, Stage
from eval.peers.workload import ABOUT, Workload
from eval.synthetic.build import CollectionSpec
from eval.synthetic.statistics import Statistics
from retrieval.errors import InputError
from retrieval.manifest import read_manifest

OURS = "folioscope"
OURS_HALF = f"{OURS}-fp16"
CORES = (1, 2)
# Bytes a component on disk: the workload in float16, an index in float32 that is being built.
_BYTES = 8

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class PeerSettings:
    """``limits`` hold for building and for measuring at one number of cores; ``setting_s`` is
    when a point of the curve is done with fewer questions. ``index`` and ``asked`` (questions)
    take the place of made-up pages. ``folder`` is where vectors and indexes lie meanwhile; with
    ``keep`` they stay there, and what a run before this one made is used again."""

    engines: tuple[str, ...] = tuple(ENGINES)
    questions: int = 100
    spec: CollectionSpec = field(default_factory=CollectionSpec)
    limits: Limits = field(default_factory=Limits)
    setting_s: float = 20.0
    cores: tuple[int, ...] = CORES
    checks: bool = True
    index: Path | None = None
    asked: Path | None = None
    folder: Path | None = None
    keep: bool = False


@dataclass(frozen=True, slots=True)
class Measured:
    """One engine over one workload. ``runs`` are outcomes by cores; ``note`` says what stopped
    it, if anything did."""

    engine: str
    pages: int
    build: Outcome
    disk_mb: float
    runs: Mapping[int, Outcome]

    @property
    def note(self) -> str:
        """Why something is missing, in a few words."""
        said = [f"build {self.build.ended}"] if self.build.ended else []
        said += [f"{n} cores: {run.ended}" for n, run in self.runs.items() if run.ended]
        return "; ".join(dict.fromkeys(said))


def measure_peers(
    sizes: Sequence[int], settings: PeerSettings, tell: Tell = lambda what: None
) -> tuple[Benchmark, Benchmark | None]:
    """The curves, and what each engine can do (None without ``settings.checks``).

    Engines without an environment are named in the facts. Raises ``InputError`` if an engine
    is unknown, only Folioscope is left of several, or nothing says where to keep what is built.
    """
    engines, absent = _present(settings.engines)
    if settings.keep and settings.folder is None:
        raise InputError("--keep needs --folder: where vectors and indexes stay")
    with ExitStack() as stack:
        scratch = Path(tempfile.mkdtemp(prefix="folioscope-peers-", dir=settings.folder))
        stack.callback(shutil.rmtree, scratch, ignore_errors=True)
        stage = Stage(scratch / "stage")
        folder = settings.folder if settings.keep and settings.folder is not None else scratch
        measured: list[Measured] = []
        sources = []
        abilities = None
        for workload in _workloads(folder, sizes, settings, tell):
            sources.append(str(workload.about["source"]))
            for engine in engines:
                tell(f"{engine}, {workload.about['pages']:,} pages")
                measured.append(_measure(stage, folder, engine, workload, settings))
            if settings.checks and abilities is None:
                abilities = check_capabilities(stage, scratch, engines, workload, tell)
    facts = {
        "questions": settings.questions,
        "workload": ", ".join(dict.fromkeys(sources)),
        "cores": ", ".join(map(str, settings.cores)),
        "limit_s": settings.limits.seconds,
        "limit_mb": settings.limits.memory_mb,
        "not_measured": ", ".join(absent),
        "engine_versions": {m.engine: m.build.value("version") for m in measured},
        "points": [
            {"pages": m.pages, "engine": m.engine, "cores": cores, **point}
            for m in measured
            for cores, run in m.runs.items()
            for point in run.points
        ],
    }
    return Benchmark("peers", compare(measured), facts), abilities


def _present(wanted: Sequence[str]) -> tuple[list[str], list[str]]:
    unknown = sorted(set(wanted) - set(ENGINES))
    if unknown:
        raise InputError(f"unknown engine {', '.join(unknown)}; known: {', '.join(ENGINES)}")
    # Folioscope is what the others are compared with, so it is first, wanted or not.
    names = list(dict.fromkeys((OURS, *wanted)))
    present = [name for name in names if interpreter(name) is not None]
    absent = [name for name in names if name not in present]
    if absent and present == [OURS]:
        raise InputError(
            f"no environment for {', '.join(absent)}; make them: `python -m "
            "eval.peers.environments` (docs/evaluate.md)"
        )
    return present, absent


def _workloads(
    folder: Path, sizes: Sequence[int], settings: PeerSettings, tell: Tell
) -> Iterator[Workload]:
    """One after another, so that only one is on disk unless they are kept."""
    if settings.index is not None:
        if settings.asked is None:
            raise InputError("--index needs --asked: the questions to its pages")
        tell("reading the index")
        place = folder / f"workload-{_sha256_of(settings.index, settings.asked, settings)}"
        if not _kept(place, settings):
            export_index(place, settings.index, settings.asked, settings.questions)
        yield Workload.open(place)
        return
    dim, spec = Statistics.read().dim, settings.spec
    for pages in sorted(set(sizes)):
        place = folder / f"workload-{pages}x{spec.patches:g}-{spec.seed}-{settings.questions}"
        if _kept(place, settings):
            yield Workload.open(place)
            continue
        needed = pages * settings.spec.patches * _BYTES * dim
        free = shutil.disk_usage(folder).free
        if needed > free:
            raise InputError(
                f"{pages:,} pages and their indexes need about {needed / 1e9:.0f} GB in {folder}, "
                f"{free / 1e9:.0f} GB are free; ask for fewer or name another --folder"
            )
        tell(f"making {pages:,} pages")
        yield export_synthetic(place, pages, settings.questions, spec)
        if not settings.keep:
            shutil.rmtree(place)


def _sha256_of(index: Path, asked: Path, settings: PeerSettings) -> str:
    """What a workload of an index was made from, for its name."""
    generation = read_manifest(index).generation
    said = f"{index.resolve()} {generation} {settings.questions}".encode()
    return hashlib.sha256(said + asked.read_bytes()).hexdigest()[:16]


def _kept(workload: Path, settings: PeerSettings) -> bool:
    """Whether a run before this one wrote it to its end: what it is about is written last."""
    return settings.keep and (workload / ABOUT).exists()


def _measure(
    stage: Stage, folder: Path, engine: str, workload: Workload, settings: PeerSettings
) -> Measured:
    index = folder / f"{workload.folder.name}-{engine}"
    common: dict[str, Any] = {"workload": workload.folder, "folder": index}
    note = index.with_name(f"{index.name}.json")
    kept = _built(note, engine) if settings.keep else None
    if kept is not None:
        build = kept
    else:
        note.unlink(missing_ok=True)
        shutil.rmtree(index, ignore_errors=True)
        index.mkdir()
        build = stage.run(engine, "build", settings.limits, **common)
        if settings.keep and not build.ended:
            note.write_text(json.dumps({"by": _releases(engine), **asdict(build)}), "utf-8")
    disk = sum(p.stat().st_size for p in index.rglob("*") if p.is_file()) / 1e6
    runs = {}
    if not build.ended:
        for cores in settings.cores:
            runs[cores] = stage.run(
                engine,
                "measure",
                settings.limits,
                cores=cores,
                setting_s=settings.setting_s,
                **common,
            )
    if not settings.keep or build.ended:
        shutil.rmtree(index, ignore_errors=True)
    return Measured(engine, int(workload.about["pages"]), build, disk, runs)


def _built(note: Path, engine: str) -> Outcome | None:
    """How these releases of an engine built what lies beside ``note``; None if others did."""
    if not note.exists():
        return None
    kept = json.loads(note.read_text("utf-8"))
    if kept.pop("by", None) != _releases(engine):
        return None
    return Outcome(**kept | {"findings": tuple(kept["findings"])})


def _releases(engine: str) -> str:
    return ENVIRONMENTS[engine].pins if engine in ENVIRONMENTS else version("folioscope")


def compare(measured: Sequence[Measured]) -> list[dict[str, Any]]:
    """A row for every point of each engine's frontier at one core: no setting of that engine is
    both quicker and finds more. ``ratio`` is how many times as long it takes as Folioscope's
    quickest setting that finds at least as much; None where Folioscope has none."""
    rows = []
    for pages in dict.fromkeys(m.pages for m in measured):
        here = [m for m in measured if m.pages == pages]
        ours = [p for m in here for p in _points(m, 1) if _is_ours(m, p)]
        for each in here:
            on_one, on_two = _points(each, 1), _points(each, 2)
            series = list(dict.fromkeys(point["series"] for point in on_one)) or [""]
            for name in series:
                points = [point for point in on_one if point["series"] == name]
                kept: list[Mapping[str, Any] | None] = [*frontier(points)]
                rows += [_row(each, name, point, on_two, ours) for point in kept or [None]]
    return rows


def _is_ours(measured: Measured, point: Mapping[str, Any]) -> bool:
    return measured.engine in (OURS, OURS_HALF) and point["series"] == "vectors"


def _points(measured: Measured, cores: int) -> list[Mapping[str, Any]]:
    return measured.runs[cores].points if cores in measured.runs else []


def frontier(points: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The points that no other beats in both ``p50_ms`` and ``recall_10``, quickest first."""
    kept: list[Mapping[str, Any]] = []
    for point in sorted(points, key=lambda p: (p["p50_ms"], -p["recall_10"])):
        if not kept or point["recall_10"] > kept[-1]["recall_10"]:
            kept.append(point)
    return kept


def at_recall(points: Sequence[Mapping[str, Any]], recall: float) -> Mapping[str, Any] | None:
    """The quickest point that finds at least so much."""
    enough = [p for p in points if p["recall_10"] >= recall - 1e-9]
    return min(enough, key=lambda p: float(p["p50_ms"]), default=None)


def _row(
    each: Measured,
    series: str,
    point: Mapping[str, Any] | None,
    on_two: Sequence[Mapping[str, Any]],
    ours: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    name = f"{each.engine}, {series}" if series else each.engine
    row: dict[str, Any] = {"pages": each.pages, "engine": name}
    figures = ("recall_10", "hit_10", "p50_ms", "p95_ms", "cpu_ms")
    two = next(
        (p for p in on_two if point and p["series"] == series and p["knobs"] == point["knobs"]),
        None,
    )
    level = at_recall(ours, point["recall_10"]) if point else None
    row["setting"] = _spelled(point["knobs"]) if point else ""
    row |= {figure: point[figure] if point else None for figure in figures}
    row["two_cores_p50_ms"] = two["p50_ms"] if two else None
    row["two_cores_p95_ms"] = two["p95_ms"] if two else None
    row["ratio"] = point["p50_ms"] / level["p50_ms"] if point and level else None
    row["cpu_ratio"] = point["cpu_ms"] / level["cpu_ms"] if point and level else None
    row |= {
        "build_s": each.build.value("build_s"),
        "build_cpu_s": each.build.value("build_cpu_s"),
        "disk_mb": each.disk_mb,
        "memory_mb": each.runs[1].value("memory_mb") if 1 in each.runs else None,
        "note": each.note,
    }
    return row


def _spelled(knobs: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in knobs.items())


def brief(found: Benchmark, abilities: Benchmark | None) -> list[Benchmark]:
    """What fits a screen: latency at one core by setting, then one line an engine for the rest."""
    columns = ("pages", "engine", "setting", "recall_10", "hit_10")
    times = ("p50_ms", "p95_ms", "cpu_ms", "ratio", "cpu_ratio")
    costs = ("build_s", "build_cpu_s", "disk_mb", "memory_mb", "note")
    curves = [{name: row[name] for name in (*columns, *times)} for row in found.rows]
    seen = {(row["pages"], row["engine"]): row for row in found.rows}
    lines = [
        {"pages": pages, "engine": engine, **{name: row[name] for name in costs}}
        for (pages, engine), row in seen.items()
    ]
    tables = [Benchmark(found.name, curves, found.facts), Benchmark(found.name, lines)]
    return [*tables, abilities] if abilities is not None else tables
