"""The outcome of a benchmark, with all that is needed to judge it or to run it again."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from eval.machine import machine
from retrieval.errors import InputError


@dataclass(frozen=True, slots=True)
class Benchmark:
    """``rows`` is the table, every row with the same keys; ``facts`` hold for all of it.

    Keys name their unit (``p50_ms``, ``megabytes``); values are what JSON knows.
    """

    name: str
    rows: Sequence[Mapping[str, Any]]
    facts: Mapping[str, Any] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """Everything, as one JSON object."""
        return {
            "benchmark": self.name,
            "date": datetime.now(UTC).isoformat("T", "minutes"),
            "command": " ".join(["folioscope", *sys.argv[1:]]),
            "machine": machine(),
            "facts": dict(self.facts),
            "rows": [dict(row) for row in self.rows],
        }

    def keep(self, folder: Path) -> Path:
        """Write ``NAME.json`` into ``folder``. Raises ``InputError`` if that cannot be."""
        path = folder / f"{self.name}.json"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(self.document(), indent=1, default=str) + "\n", "utf-8")
        except OSError as error:
            raise InputError(
                f"cannot write into {folder}: {error.strerror}; name a folder"
            ) from error
        return path


def shown(value: Any) -> str:
    """A value for people: three or more digits of a fraction, thousands with commas."""
    if value is None:
        return "-"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}"
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3g}" if value else "0"
