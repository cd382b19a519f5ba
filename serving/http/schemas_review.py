"""Cases of the review queue as they go over the wire."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

CaseState = Literal["waiting", "approved", "rejected", "all"]


class ReviewOut(BaseModel):
    """A case. ``place`` says what ``quote`` is from; of a page ``name``, ``page`` (0-based) and
    ``box`` say where, and ``page_id`` is set while the page can be seen by this key."""

    model_config = ConfigDict(extra="forbid")

    id: str
    state: Literal["waiting", "approved", "rejected"]
    collection: str
    stage: Literal["fast", "heavy"]
    place: Literal["question", "page", "answer"]
    category: str
    question: str
    answer: str | None
    quote: str
    reasons: list[str]
    scores: dict[str, float]
    policy: str
    name: str | None
    page: int | None
    page_id: int | None
    box: tuple[float, float, float, float] | None
    created: float = Field(description="Seconds since 1970.")
    decided: float | None
    reviewer: str | None
    note: str | None


class Decision(BaseModel):
    """Why, for the audit log."""

    model_config = ConfigDict(extra="forbid")

    note: Annotated[str, Field(max_length=2000)] = ""
    collection: str | None = Field(default=None, max_length=64)
