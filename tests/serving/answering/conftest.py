"""One index of sample documents for the tests of answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from indexing.index import Index

NAMES = (
    "invoice-ff-2025-0318.pdf",
    "tarnfield-annual-report-2024.pdf",
    "receipt-pilcrow-coffee.jpg",
)


@pytest.fixture(scope="session")
def index(sample_documents: Path, tmp_path_factory: pytest.TempPathFactory) -> Index:
    index = Index.create(tmp_path_factory.mktemp("asked") / "index")
    index.add([sample_documents / name for name in NAMES])
    return index
