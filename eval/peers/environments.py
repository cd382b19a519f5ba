"""An environment a peer, with exact releases: ``python -m eval.peers.environments``.

Each lies in ``$FOLIOSCOPE_PEERS`` (default ``~/.cache/folioscope/peers``), made with this
Python. Releases are pinned, so that a figure can be had again; a changed pin makes it anew.
CPU builds of torch are at https://download.pytorch.org/whl/cpu (``PIP_EXTRA_INDEX_URL``); from
PyPI it brings CUDA along.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from retrieval.errors import InputError, ServiceError

_TORCH = "torch==2.13.0"
_NUMPY = "numpy==2.4.6"


@dataclass(frozen=True, slots=True)
class Environment:
    """``peer`` is the engine itself, ``packages`` what is installed before it. One that is
    ``alone`` is installed without what it says it needs, because it asks for another torch."""

    peer: str
    packages: tuple[str, ...] = (_NUMPY,)
    alone: tuple[str, ...] = ()

    @property
    def pins(self) -> str:
        """What is installed, as one text: compared with what was."""
        python = ".".join(map(str, sys.version_info[:2]))
        return "\n".join((f"python {python}", *self.packages, *self.alone, self.peer)) + "\n"


# Both were compiled against this very release of torch, whose CPU build does not load them.
_PLAID = (
    "torch==2.11.0",
    _NUMPY,
    "joblib==1.5.3",
    "filelock==3.20.0",
    "usearch==2.26.6",
    "duckdb==1.4.4",
    "pyarrow==24.0.0",
)

ENVIRONMENTS: dict[str, Environment] = {
    "fast-plaid": Environment("fast-plaid==1.7.0.2110", _PLAID, ("fastkmeans==0.5.0",)),
    "xtr-warp": Environment("xtr-warp-rs==2.1.0.2110", _PLAID, ("fastkmeans==0.5.0",)),
    "lancedb": Environment("lancedb==0.40.0"),
    "qdrant": Environment("qdrant-client==1.20.0"),
    "qdrant-edge": Environment("qdrant-edge-py==0.9.0"),
    "visual-rag-toolkit": Environment(
        "visual-rag-toolkit==0.2.0", (_TORCH, _NUMPY, "qdrant-client==1.20.0")
    ),
    "colpali-engine": Environment(
        "colpali-engine==0.3.18",
        (_TORCH, _NUMPY, "transformers==5.3.0", "peft==0.18.1", "pillow==12.0.0"),
        (_NUMPY,),
    ),
    "bm25s": Environment("bm25s==0.3.16"),
}


def root() -> Path:
    """Where the environments are."""
    named = os.environ.get("FOLIOSCOPE_PEERS")
    return Path(named) if named else Path.home() / ".cache" / "folioscope" / "peers"


def interpreter(name: str) -> Path | None:
    """The Python of a peer's environment; None where it is not there or has other pins.

    Folioscope's own is the one that runs, and so is that of a peer whose release is installed
    in this environment.
    """
    if name not in ENVIRONMENTS:
        return Path(sys.executable)
    folder = root() / name
    pins = folder / "pins.txt"
    if pins.exists() and pins.read_text("utf-8") == ENVIRONMENTS[name].pins:
        return folder / "bin" / "python"
    return Path(sys.executable) if _is_here(ENVIRONMENTS[name]) else None


def shared(name: str) -> bool:
    """Whether a peer runs in the environment that this process runs in."""
    found = interpreter(name)
    return found is not None and str(found) == sys.executable


def _is_here(environment: Environment) -> bool:
    package, _, release = environment.peer.partition("==")
    try:
        return version(package) == release
    except PackageNotFoundError:
        return False


def make(name: str) -> Path:
    """Make the environment ``name``, or leave it if it is there. Raises ``ServiceError`` if a
    package cannot be installed."""
    if name not in ENVIRONMENTS:
        raise InputError(f"no environment '{name}'; known: {', '.join(ENVIRONMENTS)}")
    found = interpreter(name)
    if found is not None:
        return found
    environment, folder = ENVIRONMENTS[name], root() / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    _run(name, [sys.executable, "-m", "venv", str(folder)])
    python = folder / "bin" / "python"
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if environment.alone:
        _run(name, [*pip, *environment.packages])
        _run(name, [*pip, "--no-deps", *environment.alone, environment.peer])
    else:
        _run(name, [*pip, *environment.packages, environment.peer])
    (folder / "pins.txt").write_text(environment.pins, "utf-8")
    return python


def _run(name: str, command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise ServiceError(
            f"the environment '{name}' could not be made: {said[-1] if said else 'no message'}; "
            f"the command was: {' '.join(command)}"
        )


def main(names: Sequence[str]) -> int:
    """Make the named environments, or all; one that fails costs only itself."""
    failed = 0
    for name in names or ENVIRONMENTS:
        try:
            print(f"{name}: {make(name)}", flush=True)
        except (InputError, ServiceError) as error:
            failed += 1
            print(f"{name}: {error}", file=sys.stderr, flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
