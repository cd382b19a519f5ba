"""Requests drawn from the API's own description never make the server fail."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx2 as httpx
import pytest


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_drawn_requests_never_fail_inside(
    start: Callable[..., httpx.Client], built: Path, tmp_path: Path
) -> None:
    shutil.copytree(built, tmp_path / "index")
    client = start(tmp_path / "index")
    command = [sys.executable, "-m", "schemathesis.cli", "run"]
    options = ["--checks", "not_a_server_error", "--max-examples", "40", "--phases", "fuzzing"]
    seed = ["--seed", "1", "--generation-database", "none", "--no-color"]
    url = str(client.base_url.join("/openapi.json"))
    done = subprocess.run(
        [*command, url, *options, *seed], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
    assert client.get("/readyz").status_code == 200
