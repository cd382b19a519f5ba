"""``folioscope bench service``: a folder through the real server, killed in the middle."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from eval.bench_service import measure_service
from eval.bench_service_page import measure_service_page
from retrieval.errors import InputError

pytest.importorskip("fastapi")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_nothing_is_lost_when_the_server_is_killed(
    sample_documents: Path, repository: Path, tmp_path: Path
) -> None:
    for name in ("invoice-ff-2025-0318.pdf", "tarnfield-annual-report-2024.pdf"):
        shutil.copy(sample_documents / name, tmp_path)
    asked = repository / "data" / "questions.jsonl"
    found = measure_service(tmp_path, asked, kill_at=0.05)
    steps = {row["step"]: (row["got"], row["of"]) for row in found.rows}
    assert steps["documents there"] == (2, 2) and steps["documents there twice"] == (0, 0)
    for step in ("jobs done", "deleted", "deleted stays deleted", "others stay"):
        assert steps[step] == (1, 1), step
    for step in ("pages there", "documents searchable", "answers, hits first"):
        assert steps[step][0] == steps[step][1] > 0, step
    for step in ("citations that hold", "pages as before the stop"):
        assert steps[step][0] == steps[step][1] > 0, step
    for step in ("asked before the kill, answered", "asked after it, answered"):
        assert steps[step][0] == steps[step][1], step
    assert steps["asked of all documents: page among the first 10"][0] > 0
    assert steps["damages that verify finds"] == (0, 0)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no file in this folder"):
        measure_service(tmp_path)


def test_what_is_missing_of_a_browser_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "a.pdf").write_bytes(b"%PDF-1.4")
    with monkeypatch.context() as only, pytest.raises(InputError, match="pip install"):
        only.setitem(sys.modules, "playwright.sync_api", None)
        measure_service_page(tmp_path)
    pytest.importorskip("playwright")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PLAYWRIGHT_BROWSERS_PATH", str(tmp_path))
    with pytest.raises(InputError, match="apt-get install chromium"):
        measure_service_page(tmp_path)
