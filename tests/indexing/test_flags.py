"""Flags: every word that intake writes is explained, and the verdict is the worst of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from indexing.flags import MEANINGS, in_sentence, verdict_of


@pytest.mark.parametrize(
    ("flags", "verdict"),
    [
        ((), "fine"),
        (("misnamed",), "fine"),
        (("repaired", "misnamed"), "repaired"),
        (("repaired", "cut-off"), "degraded"),
        (("unheard-of",), "fine"),
    ],
)
def test_the_verdict_is_the_worst_of_the_flags(flags: tuple[str, ...], verdict: str) -> None:
    assert verdict_of(flags) == verdict
    assert verdict_of(reversed(flags)) == verdict


def test_every_flag_is_explained_in_the_documentation(repository: Path) -> None:
    said = (repository / "docs" / "index-documents.md").read_text("utf-8")
    missing = [flag for flag in MEANINGS if f"`{flag}`" not in said]
    assert not missing
    assert in_sentence("unheard-of") == "unheard-of"


def test_every_flag_in_the_code_has_a_meaning(repository: Path) -> None:
    written = re.compile(
        r'(?:flags\.append\(|_failed\([^"]*)"([a-z-]+)"|\(\*?\w*,? ?"([a-z-]+)",\)'
    )
    for file in (repository / "indexing").rglob("*.py"):
        for match in written.finditer(file.read_text("utf-8")):
            flag = match[1] or match[2]
            assert flag in MEANINGS or flag == "image", f"{file.name}: {flag}"
