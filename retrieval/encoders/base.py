"""The protocol that lets the searcher and the store work with any encoder.

Nothing outside ``retrieval/encoders`` knows whether vectors come from words or pixels:
an encoder says what it reads, and hands back patch vectors with boxes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, Protocol, runtime_checkable

from retrieval.errors import EncoderError
from retrieval.types import PageContent, PageEmbedding, QueryEmbedding

Reads = Literal["words", "image"]


@runtime_checkable
class PageEncoder(Protocol):
    """Turns pages and queries into multivectors of one space.

    ``id`` is what ``--encoder`` takes; ``fingerprint`` is a hex digest over weights and every
    setting that changes the vectors, so that two indexes with equal fingerprints may be
    compared and any other pair must not. ``dim`` is d of ``[n, d]``.
    """

    @property
    def id(self) -> str: ...

    @property
    def fingerprint(self) -> str: ...

    @property
    def dim(self) -> int: ...

    @property
    def reads(self) -> frozenset[Reads]: ...

    def encode_pages(self, pages: Sequence[PageContent]) -> list[PageEmbedding]:
        """One embedding a page, in order. Raises ``EncoderError``."""
        ...

    def encode_queries(self, queries: Sequence[str]) -> list[QueryEmbedding]:
        """One embedding a query, in order. An empty query gives zero vectors."""
        ...


Factory = Callable[[str], PageEncoder]
_FACTORIES: dict[str, Factory] = {}


def register_encoder(family: str, factory: Factory) -> None:
    """Make ``--encoder family`` and ``--encoder family:argument`` known.

    ``factory`` gets the part after the colon ("" if none) and may import heavy packages.
    """
    _FACTORIES[family] = factory


def encoder_families() -> list[str]:
    """The names that ``--encoder`` accepts before its colon."""
    return sorted(_FACTORIES)


def load_encoder(encoder_id: str) -> PageEncoder:
    """The encoder that ``encoder_id`` ("text", "colpali:vidore/colqwen2-v1.0") names.

    Raises ``EncoderError`` for an unknown family or weights that cannot be loaded.
    """
    family, _, argument = encoder_id.partition(":")
    factory = _FACTORIES.get(family)
    if factory is None:
        known = ", ".join(encoder_families())
        raise EncoderError(f"unknown encoder '{encoder_id}'; this installation has: {known}")
    return factory(argument)
