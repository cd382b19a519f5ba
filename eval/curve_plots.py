"""Plots of what ``eval.curves`` measures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def curve_sections(curves: Mapping[str, Any]) -> list[Any]:
    """Filled in with the curves."""
    return []
