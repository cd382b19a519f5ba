"""What goes over the wire, with examples for the API's documentation."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from retrieval.search import MAX_K
from retrieval.store_rows import DocumentRow, PageRecord
from retrieval.types import Hit, MetadataValue, SearchResult, SourcePart, TimeRange
from serving.answering.types import Answer, Claim

Metadata = Annotated[
    dict[Annotated[str, Field(min_length=1, max_length=100)], MetadataValue],
    Field(max_length=50, examples=[{"company": "AMD", "year": 2022}]),
]
# doc_id and page_id are 64-bit; a larger number could not be looked up.
Id = Annotated[int, Field(ge=0, lt=2**63)]


class _Out(BaseModel):
    model_config = ConfigDict(frozen=True)


class Document(_Out):
    """A document of the index."""

    id: int
    name: str = Field(examples=["AMD_2022_10K.pdf"])
    title: str
    pages: int
    media_type: str = Field(examples=["application/pdf"])
    bytes: int
    sha256: str
    metadata: dict[str, MetadataValue]
    flags: list[str]

    @staticmethod
    def of(row: DocumentRow) -> Document:
        """From the index's row; the folder it lies in stays here."""
        return Document(
            id=row.doc_id,
            name=PurePosixPath(row.source).name,
            title=row.title,
            pages=row.pages,
            media_type=row.media_type,
            bytes=row.bytes,
            sha256=row.sha256,
            metadata=dict(row.metadata),
            flags=list(row.flags),
        )


class Documents(_Out):
    """A part of the list of documents."""

    total: int
    documents: list[Document]


class Refused(_Out):
    """A file that was not taken, and why. ``code`` is as in a problem document."""

    name: str
    reason: str
    code: str = Field(default="", examples=["unknown-kind", "file-too-large", "empty-file"])


class DocumentMade(_Out):
    """A document that a file of a job has become, or was already."""

    id: int
    name: str


class JobResult(_Out):
    """What a finished job did. ``reason`` says why one failed or was cancelled."""

    documents: list[DocumentMade] = Field(
        default=[], description="What its files are in the index now, also those there before."
    )
    documents_added: int = 0
    pages_added: int = 0
    pages_removed: int = 0
    unchanged: int = Field(default=0, description="Files that were in the index already.")
    skipped: list[Refused] = Field(default=[], description="Files that could not be read.")
    generation: int | None = None
    reason: str | None = None


class JobOut(_Out):
    """A job and how far it is. One none of whose files could be read has failed."""

    id: str
    collection: str
    kind: Literal["add", "remove", "reindex"]
    state: Literal["queued", "running", "done", "failed", "cancelled"]
    files: list[str] = Field(description="Names of the files it adds, reads anew or removes.")
    stage: Literal["wait", "inspect", "read", "commit"] | None = Field(
        default=None,
        description="What it does; pages are counted once its files were inspected. It waits "
        "while another program writes the index.",
    )
    documents_done: int = Field(
        default=0, description="Files dealt with, also before an interruption."
    )
    documents_total: int = 0
    pages_done: int
    pages_total: int
    created: float = Field(description="Seconds since 1970, UTC; so are started and ended.")
    started: float | None
    ended: float | None
    result: JobResult | None = Field(description="When finished.")


class RegionOut(_Out):
    """A place on a page: x0, y0, x1, y1 in page fractions, origin at the top left."""

    box: tuple[float, float, float, float]
    score: float
    text: str


class PartOut(_Out):
    """A paper on a scan of several: the file's frame (0-based), and the rectangle on it in
    fractions of that frame."""

    frame: int
    box: tuple[float, float, float, float]


class HitOut(_Out):
    """A page found."""

    rank: int
    score: float
    scores: dict[str, float] = Field(description="Each lane's share of the score.")
    doc_id: int
    name: str
    title: str
    page_id: int
    page: int = Field(description="0-based within the document.")
    label: str = Field(description="What the page calls itself.")
    times: tuple[float, float] | None = Field(
        description="When a page of a recording is shown: from, to, in seconds."
    )
    part: PartOut | None = Field(description="Where the paper lies on a scan of several.")
    metadata: dict[str, MetadataValue]
    flags: list[str]
    regions: list[RegionOut]
    snippet: str
    size: tuple[float, float] = Field(description="Points; pixels for a picture.")
    image_url: str
    heatmap_url: str

    @staticmethod
    def of(hit: Hit, collection: str) -> HitOut:
        """From a hit of the index."""
        base = f"/v1/pages/{hit.page_id}"
        return HitOut(
            rank=hit.rank,
            score=hit.score,
            scores=dict(hit.scores),
            doc_id=hit.doc_id,
            name=PurePosixPath(hit.source).name,
            title=hit.title,
            page_id=hit.page_id,
            page=hit.page,
            label=hit.label,
            times=_range(hit.times),
            part=_part(hit.part),
            metadata=dict(hit.metadata),
            flags=list(hit.flags),
            regions=[RegionOut(box=r.box, score=r.score, text=r.text) for r in hit.regions],
            snippet=hit.snippet,
            size=hit.size,
            image_url=f"{base}/image?collection={collection}",
            heatmap_url=f"{base}/heatmap?collection={collection}",
        )


def _part(part: SourcePart | None) -> PartOut | None:
    return None if part is None else PartOut(frame=part.frame, box=part.box)


def _range(times: TimeRange | None) -> tuple[float, float] | None:
    return None if times is None else (times.start, times.end)


class PageOut(_Out):
    """A page's words in reading order; ``boxes[i]`` is the place of ``words[i]``."""

    page_id: int
    doc_id: int
    name: str
    page: int
    label: str
    times: tuple[float, float] | None
    part: PartOut | None
    size: tuple[float, float]
    text_source: str = Field(examples=["layer", "ocr:rapidocr"])
    outline: str
    flags: list[str]
    words: list[str]
    boxes: list[tuple[float, float, float, float]]
    image_url: str

    @staticmethod
    def of(row: DocumentRow, record: PageRecord, collection: str) -> PageOut:
        """From the index's record."""
        return PageOut(
            page_id=record.page_id,
            doc_id=record.doc_id,
            name=PurePosixPath(row.source).name,
            page=record.number,
            label=record.label,
            times=_range(record.times),
            part=_part(record.part),
            size=(record.width, record.height),
            text_source=record.text_source,
            outline=record.outline,
            flags=list(record.flags),
            words=list(record.words.texts),
            boxes=[(x0, y0, x1, y1) for x0, y0, x1, y1 in record.words.boxes.round(5).tolist()],
            image_url=f"/v1/pages/{record.page_id}/image?collection={collection}",
        )


class SearchRequest(BaseModel):
    """A question."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"question": "What was revenue in 2022?", "k": 5, "filter": "company = 'AMD'"}
            ]
        },
    )

    question: Annotated[str, Field(min_length=1, max_length=4000)]
    k: Annotated[int, Field(ge=1, le=min(MAX_K, 100))] = 10
    filter: Annotated[str | None, Field(max_length=2000)] = None
    doc_id: Id | None = None
    mode: Literal["two-stage", "coarse", "exhaustive", "bm25"] = "two-stage"
    explain: bool = False
    collection: str | None = None


class SearchResponse(_Out):
    """The pages found, best first."""

    query: str
    collection: str
    index_generation: int
    timing_ms: dict[str, float]
    hits: list[HitOut]
    explain: dict[str, Any] | None = None

    @staticmethod
    def of(result: SearchResult, collection: str) -> SearchResponse:
        """From a result of the index."""
        return SearchResponse(
            query=result.query,
            collection=collection,
            index_generation=result.index_generation,
            timing_ms=dict(result.timing_ms),
            hits=[HitOut.of(hit, collection) for hit in result.hits],
            explain=None if result.explain is None else dict(result.explain),
        )


class CollectionOut(_Out):
    """A collection and its index."""

    name: str
    ready: bool
    generation: int
    documents: int
    pages: int
    encoder: str
    coarse: str
    memory_bytes: int = Field(description="What the coarse vectors take in memory.")
    disk_bytes: int
    jobs_waiting: int
    writable: bool = Field(description="Whether this key may add and remove documents here.")
    skipped: list[dict[str, str]]


class Upload(_Out):
    """What became of an upload: ``files`` wait in ``job``, ``refused`` were not taken."""

    job: JobOut
    files: list[str]
    refused: list[Refused] = []


class ProblemOut(BaseModel):
    """RFC 9457 problem details."""

    type: str = Field(examples=["urn:folioscope:problem:busy"])
    title: str
    status: int
    code: str = Field(examples=["busy"])
    detail: str
    remedy: str
    request_id: str
    refused: list[Refused] | None = Field(
        default=None, description="Of an upload of which nothing was taken: each file, and why."
    )


class AskRequest(BaseModel):
    """A question to answer."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"question": "What is the total of invoice FF-2025-0318?"}]
        },
    )

    question: Annotated[str, Field(min_length=1, max_length=4000)]
    k: Annotated[int, Field(ge=5, le=50, description="Pages listed beside the answer.")] = 10
    filter: Annotated[str | None, Field(max_length=2000)] = None
    doc_id: Id | None = None
    collection: str | None = None


class CitationOut(_Out):
    """Where a claim stands; ``number`` is what the page shows, from 1. ``answer_box`` is the part
    of ``box`` that is the answer itself, if that is known."""

    number: int
    page_id: int
    doc_id: int
    name: str
    page: int
    box: tuple[float, float, float, float]
    quote: str
    problems: list[str]
    answer_box: tuple[float, float, float, float] | None


class ClaimOut(_Out):
    """A statement with its citations; ``problems`` says why it does not hold."""

    text: str
    arithmetic: str
    verdict: Literal["supported", "partly", "unsupported"]
    problems: list[str]
    citations: list[CitationOut]


class AnswerOut(_Out):
    """An answer whose citations were checked by the server, not by the model."""

    question: str
    collection: str
    status: Literal["answered", "evidence", "not-in-documents", "blocked", "review"]
    text: str
    verdict: Literal["supported", "partly", "unsupported"]
    confidence: float
    model: str
    claims: list[ClaimOut]
    removed: list[ClaimOut] = Field(description="What the model said and the pages do not.")
    conflicts: list[ClaimOut] = Field(
        default=[], description="What other documents say in place of the answer's text."
    )
    hits: list[HitOut]
    index_generation: int
    usage: dict[str, int]
    timing_ms: dict[str, float]
    safety: dict[str, Any]

    @staticmethod
    def of(answer: Answer, collection: str) -> AnswerOut:
        """From a checked answer."""
        numbers = count(1)
        return AnswerOut(
            question=answer.question,
            collection=collection,
            status=answer.status,
            text=answer.text,
            verdict=answer.verdict,
            confidence=answer.confidence,
            model=answer.model,
            claims=[_claim(claim, numbers) for claim in answer.claims],
            removed=[_claim(claim, numbers) for claim in answer.removed],
            conflicts=[_claim(claim, numbers) for claim in answer.conflicts],
            hits=[HitOut.of(hit, collection) for hit in answer.hits],
            index_generation=answer.index_generation,
            usage=dict(answer.usage),
            timing_ms=dict(answer.timing_ms),
            safety=dict(answer.safety),
        )


def _claim(claim: Claim, numbers: Iterator[int]) -> ClaimOut:
    return ClaimOut(
        text=claim.text,
        arithmetic=claim.arithmetic,
        verdict=claim.verdict,
        problems=list(claim.problems),
        citations=[
            CitationOut(
                number=next(numbers),
                page_id=citation.page_id,
                doc_id=citation.doc_id,
                name=citation.name,
                page=citation.page,
                box=citation.box,
                quote=citation.quote,
                problems=list(citation.problems),
                answer_box=citation.answer_box,
            )
            for citation in claim.citations
        ],
    )
