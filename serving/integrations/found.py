"""What a hit becomes for a framework: the text of its page, and where it is."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any, Protocol

from indexing.index import Index
from serving.client import Client


class Search(Protocol):
    """An index on this machine, or a client of a server: both search in the same way."""

    def search(self, question: str, k: int = 10, *, filter: str | None = None) -> Any: ...


def passages(
    source: Index | Client | Search, question: str, k: int, filter: str | None
) -> list[tuple[str, float, dict[str, Any]]]:
    """Text, score and metadata of the k best pages.

    The text is that of the whole page: a framework's model sees no pictures, and a table's head
    may stand far from its row. ``regions`` in the metadata are the places that answer.
    """
    result: Any = source.search(question, k, filter=filter)
    found = []
    for hit in result.hits:
        metadata = {
            "source": PurePosixPath(getattr(hit, "source", "") or hit.name).name,
            "title": hit.title,
            "page": hit.page + 1,
            "page_id": hit.page_id,
            "doc_id": hit.doc_id,
            "flags": list(hit.flags),
            "regions": [{"box": list(r.box), "text": r.text} for r in hit.regions],
            **dict(hit.metadata),
        }
        found.append((_text(source, hit.page_id) or hit.snippet, float(hit.score), metadata))
    return found


def _text(source: Any, page_id: int) -> str:
    """The words of a page, a line a line."""
    page = source.page(page_id)
    if not isinstance(source, Index):
        return " ".join(page.words)
    lines: dict[int, list[str]] = {}
    for word, line in zip(page.words.texts, page.words.lines.tolist(), strict=True):
        lines.setdefault(line, []).append(word)
    return "\n".join(" ".join(words) for words in lines.values())
