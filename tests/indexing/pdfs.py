"""Small documents that the build's tests write, about things the sample documents are not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pymupdf

OWLS = "Barn owls hunt voles at night over rough grassland and nest in old barns."
BEES = "Honey bees store nectar in wax combs and dance to show where flowers are."
SWARM = "A swarm leaves with the old queen in May when the hive becomes too small."
TIDES = "Spring tides follow the full moon; neap tides come a week later."
BOOKS = {"owls": [OWLS], "bees": [BEES, SWARM]}
PASSWORD = "open sesame"


def write_pdf(
    path: Path,
    pages: Sequence[str],
    *,
    title: str = "",
    size: tuple[float, float] = (595.0, 842.0),
    password: str = "",
) -> Path:
    """A PDF with one page a text, and a text layer; locked if there is a password."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with pymupdf.open() as document:
        for text in pages:
            page = document.new_page(width=size[0], height=size[1])
            page.insert_textbox((50, 60, size[0] - 50, size[1] - 50), text, fontsize=11)
        document.set_metadata({"title": title})
        locks = {"encryption": pymupdf.PDF_ENCRYPT_AES_256, "user_pw": password}
        document.save(path, **(locks if password else {}))
    return path


def write_books(folder: Path, books: Mapping[str, Sequence[str]] = BOOKS) -> Path:
    """One PDF a book; returns the folder."""
    for name, pages in books.items():
        write_pdf(folder / f"{name}.pdf", pages, title=name.title())
    return folder
