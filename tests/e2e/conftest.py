"""A real browser, and where its pictures go."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from eval.web_page import open_browser
from retrieval.errors import InputError


# Not of the session: Playwright holds an event loop, beside which no other test could run one.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Headless Chromium; skips where there is none."""
    expect.set_options(timeout=180_000)  # of a busy machine; a quiet one needs none of it
    with ExitStack() as stack:
        try:
            found = stack.enter_context(open_browser())
        except InputError as error:
            pytest.skip(str(error))
        yield found


@pytest.fixture
def artefacts(repository: Path) -> Path:
    """Where screenshots go."""
    folder = repository / "test-artefacts"
    folder.mkdir(exist_ok=True)
    return folder
