"""The command as a user runs it: a process, its exit status, what it writes where."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SCRIPT = Path(__file__).parents[2] / "folioscope.py"
# Wide enough that no table or message is wrapped, and no colours.
ENVIRONMENT = {**os.environ, "COLUMNS": "240", "NO_COLOR": "1", "TERM": "dumb"}
QUICK = ("--ocr", "off", "--workers", "1")


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    def document(self) -> Any:
        """stdout as the one JSON document that it must be, in the JSON that all parsers know."""

        def refuse(constant: str) -> None:
            raise AssertionError(f"{constant} is not JSON")

        return json.loads(self.out, parse_constant=refuse)


def folioscope(*arguments: str | Path, cwd: Path | None = None) -> Done:
    """Run the command to its end."""
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *map(os.fspath, arguments)],
        capture_output=True,
        text=True,
        errors="surrogateescape",
        env=ENVIRONMENT,
        cwd=cwd,
        timeout=110,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def worked(*arguments: str | Path, cwd: Path | None = None) -> Done:
    """Run the command, which must end well and have nothing to say on stderr."""
    done = folioscope(*arguments, cwd=cwd)
    assert (done.code, done.err) == (0, ""), done
    return done
