"""Runs a task of ``child`` in an engine's own environment, within time, memory and cores."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eval.peers.environments import interpreter, shared
from retrieval.errors import InputError

_POLL_S = 0.1
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "RAYON_NUM_THREADS",
    "TOKIO_WORKER_THREADS",
    "LANCE_CPU_THREADS",
)


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds and megabytes that one task of an engine may take."""

    seconds: float = 600.0
    memory_mb: float = 8000.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a task found. ``ended`` is empty if it came to its end, else why it did not."""

    findings: tuple[Mapping[str, Any], ...]
    ended: str
    seconds: float
    peak_mb: float

    def value(self, name: str) -> Any:
        """The finding ``name``, or None."""
        return next((f[name] for f in self.findings if name in f), None)

    @property
    def points(self) -> list[Mapping[str, Any]]:
        """The measured settings."""
        return [f for f in self.findings if "p50_ms" in f]


class Stage:
    """A folder with the code that peers run: this package, without the packages around it.

    A peer's process must not see the libraries of this environment, so the folder that holds
    ``eval`` cannot be on its path.
    """

    def __init__(self, folder: Path) -> None:
        self._code, self._findings = folder / "code", folder / "findings"
        package = self._code / "eval"
        self._findings.mkdir(parents=True)
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(Path(__file__).parent, package / "peers", ignore=ignore)
        self._count = 0

    def run(
        self,
        engine: str,
        task: str,
        limits: Limits,
        *,
        cores: int = 0,
        kill_after_s: float | None = None,
        **details: Any,
    ) -> Outcome:
        """Run ``task`` and wait for it.

        ``cores`` binds the process to so many, and tells every library that there are no more;
        0 leaves it all. ``kill_after_s`` ends it (SIGKILL) so many seconds after it began its
        work. Raises ``InputError`` if the engine has no environment.
        """
        python = interpreter(engine)
        if python is None:
            raise InputError(
                f"there is no environment for {engine}; make it: "
                f"`python -m eval.peers.environments {engine}`"
            )
        apart = not shared(engine)
        self._count += 1
        findings = self._findings / f"{self._count}-{engine}-{task}.jsonl"
        said = json.dumps(
            {"engine": engine, "task": task, "findings": str(findings), **details}, default=str
        )
        # Threads that wait must not spin: other processes may need the core.
        environment = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ}
        if cores:
            environment |= dict.fromkeys(_THREAD_VARIABLES, str(cores))
        if apart:
            environment |= {"PYTHONPATH": str(self._code), "PYTHONNOUSERSITE": "1"}
        began = time.perf_counter()
        with findings.with_suffix(".err").open("wb") as errors:
            process = subprocess.Popen(
                [str(python), "-m", "eval.peers.child", said],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                env=environment,
                cwd=self._code if apart else None,
                start_new_session=True,
            )
            try:
                if cores:
                    os.sched_setaffinity(process.pid, sorted(os.sched_getaffinity(0))[:cores])
                ended, peak = _watch(process, findings, limits, kill_after_s)
            finally:
                # In a session of its own it does not hear of the terminal's Ctrl-C.
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
        return Outcome(_read(findings), _said(ended, findings), time.perf_counter() - began, peak)


def _watch(
    process: subprocess.Popen[bytes], findings: Path, limits: Limits, kill_after_s: float | None
) -> tuple[str, float]:
    """Why the process ended, and the most memory it held, in megabytes."""
    began, working, peak = time.perf_counter(), None, 0.0
    ended = ""
    while process.poll() is None:
        now = time.perf_counter()
        peak = max(peak, _private_mb(process.pid))
        if working is None and findings.exists() and findings.stat().st_size:
            working = now
        if now - began > limits.seconds:
            ended = f"stopped after {limits.seconds:.0f} s"
        elif peak > limits.memory_mb:
            ended = f"stopped at {limits.memory_mb / 1000:.1f} GB of memory"
        elif kill_after_s is not None and working is not None and now - working >= kill_after_s:
            ended = "killed"
        if ended:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            break
        try:
            process.wait(_POLL_S if kill_after_s is None else min(_POLL_S, kill_after_s / 4))
        except subprocess.TimeoutExpired:
            continue
    if not ended and process.returncode:
        ended = f"failed with exit code {process.returncode}"
    return ended, peak


def _private_mb(pid: int) -> float:
    """Memory of the process that is not a mapped file, which the kernel may drop."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text("ascii").splitlines()
    except OSError:
        return 0.0
    sizes = dict(line.split(":", 1) for line in lines if line.startswith("Rss"))
    return sum(float(sizes.get(name, "0 kB").split()[0]) for name in ("RssAnon", "RssShmem")) / 1e3


def _read(findings: Path) -> tuple[Mapping[str, Any], ...]:
    if not findings.exists():
        return ()
    # A process that was killed may have been writing its last line.
    complete = findings.read_text("utf-8").split("\n")[:-1]
    return tuple(json.loads(line) for line in complete)


def _said(ended: str, findings: Path) -> str:
    """The reason in the engine's own words, where it had any."""
    if not ended.startswith("failed"):
        return ended
    error = next((f["error"] for f in _read(findings) if "error" in f), None)
    if error is None:
        lines = findings.with_suffix(".err").read_text("utf-8", "replace").strip().splitlines()
        error = lines[-1] if lines else "no message"
    return f"{ended}: {error}"
