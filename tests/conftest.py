"""What every test may ask for: the sample documents, the private evaluation data, and
hypothesis profiles that make CI repeatable."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent.parent

# In CI the same examples run every time: a red run is about the change, not about luck.
# Elsewhere new examples are drawn, and failing ones are kept in .hypothesis/.
settings.register_profile("dev", deadline=None)
settings.register_profile(
    "ci",
    derandomize=True,
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("ci" if os.environ.get("CI") else "dev")


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What is made of sources goes into a folder of the run, not into the user's cache."""
    os.environ["FOLIOSCOPE_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the source tree."""
    return ROOT


@pytest.fixture(scope="session")
def sample_documents() -> Path:
    """The folder of sample documents that the repository ships."""
    return ROOT / "data" / "documents"


@pytest.fixture(scope="session")
def evaldata() -> Path:
    """Real documents and questions that may not be shipped; skips where they are absent."""
    path = ROOT.parent / "shared" / "evaldata"
    if not (path / "README.md").is_file():
        pytest.skip(f"the private evaluation data is not at {path}")
    return path
