"""What an answer is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from retrieval.store import PageRecord
from retrieval.types import Box, FloatArray, Hit

Verdict = Literal["supported", "partly", "unsupported"]
# ``evidence``: no short answer, these passages are the nearest. ``review``: a person decides first.
Status = Literal["answered", "evidence", "not-in-documents", "blocked", "review"]


@dataclass(frozen=True, slots=True)
class Citation:
    """Where a claim stands: ``quote`` is what the page's words say inside ``box`` (page
    fractions), ``answer_box`` the part of it that is the answer itself, if that is known.
    ``problems`` is why it does not hold, empty if it does."""

    page_id: int
    doc_id: int
    name: str
    page: int
    box: Box
    quote: str
    problems: tuple[str, ...] = ()
    answer_box: Box | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """One statement of an answer. ``arithmetic`` spells a step out, as "12 - 5 = 7"."""

    text: str
    citations: tuple[Citation, ...]
    arithmetic: str = ""
    verdict: Verdict = "unsupported"
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer with its evidence. ``confidence`` is in [0, 1]; ``model`` says who phrased it,
    ``usage`` what it took, ``removed`` the claims that did not hold, ``conflicts`` what other
    documents say in place of its text, ``settings`` those that it was made with."""

    question: str
    status: Status
    text: str
    claims: tuple[Claim, ...]
    verdict: Verdict
    confidence: float
    model: str
    index_generation: int
    hits: tuple[Hit, ...] = ()
    removed: tuple[Claim, ...] = ()
    conflicts: tuple[Claim, ...] = ()
    usage: Mapping[str, int] = field(default_factory=dict)
    timing_ms: Mapping[str, float] = field(default_factory=dict)
    safety: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class EvidencePage:
    """A page found, with its words and what each says for each token of the question,
    ``evidence [q, words] float32``; ``focus`` is the same for the thing asked for alone.
    ``pictures`` False: a model may not see it, only its words. ``warning`` is told with it."""

    hit: Hit
    record: PageRecord
    evidence: FloatArray
    focus: FloatArray
    pictures: bool = True
    warning: str = ""
