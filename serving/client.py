"""A typed client of the HTTP API, blocking (``Client``) and asynchronous (``AsyncClient``).

>>> with Client("http://127.0.0.1:8000") as client:                   # doctest: +SKIP
...     client.upload(["report.pdf"], {"year": 2024}, wait=60)
...     print(client.search("What was revenue?").hits[0].page)
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx2 as httpx

from retrieval.types import Box, MetadataValue
from serving.client_async import AsyncClient
from serving.client_calls import (
    CASES,
    FINISHED,
    JOBS,
    LONGEST_WAIT,
    NAMES,
    TIMEOUT,
    Calls,
    Model,
    UploadJob,
    checked,
    headers_of,
    parts_of,
    unreachable,
    with_refused,
)
from serving.client_events import ApiError, AskEvent, EventLines, understood
from serving.http.schemas import (
    AnswerOut,
    CollectionOut,
    Document,
    Documents,
    JobOut,
    PageOut,
    SearchResponse,
    Upload,
)
from serving.http.schemas_review import CaseState, ReviewOut

__all__ = ["ApiError", "AskEvent", "AsyncClient", "Client", "UploadJob"]


class Client(Calls):
    """Blocking client; a context manager. Raises ``ApiError`` where the server refuses, and
    ``ServiceError`` where it cannot be reached."""

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        *,
        key: str | None = None,
        collection: str | None = None,
        timeout: float = TIMEOUT,
    ) -> None:
        super().__init__(collection)
        self._http = httpx.Client(base_url=url, headers=headers_of(key), timeout=timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._http.close()

    def search(
        self,
        question: str,
        k: int = 10,
        *,
        filter: str | None = None,
        doc_id: int | None = None,
        mode: str = "two-stage",
        explain: bool = False,
    ) -> SearchResponse:
        """The k best pages."""
        body = self._query(
            question=question, k=k, filter=filter, doc_id=doc_id, mode=mode, explain=explain
        )
        return self._send(SearchResponse, "POST", "/v1/search", json=body)

    def ask(
        self,
        question: str,
        k: int = 10,
        *,
        filter: str | None = None,
        doc_id: int | None = None,
    ) -> AnswerOut:
        """An answer whose citations the server checked."""
        body = self._query(question=question, k=k, filter=filter, doc_id=doc_id)
        return self._send(AnswerOut, "POST", "/v1/ask", json=body)

    def ask_stream(
        self,
        question: str,
        k: int = 10,
        *,
        filter: str | None = None,
        doc_id: int | None = None,
    ) -> Iterator[AskEvent]:
        """The hits, a model's words as they come, then the checked answer."""
        body = self._query(question=question, k=k, filter=filter, doc_id=doc_id)
        lines = EventLines()
        try:
            with self._http.stream("POST", "/v1/ask/stream", json=body) as response:
                if not response.is_success:
                    response.read()
                for line in checked(response).iter_lines():
                    if (event := lines.event(line)) is not None:
                        yield event
        except httpx.TransportError as error:
            raise unreachable(self._http.base_url, error) from error

    def ask_receipt(
        self,
        question: str,
        k: int = 10,
        *,
        filter: str | None = None,
        doc_id: int | None = None,
    ) -> dict[str, Any]:
        """An answer as an evidence receipt, for `folioscope receipt verify`."""
        body = self._query(question=question, k=k, filter=filter, doc_id=doc_id)
        receipt: dict[str, Any] = self._response("POST", "/v1/ask/receipt", json=body).json()
        return receipt

    def upload(
        self,
        files: Sequence[str | Path],
        metadata: Mapping[str, MetadataValue] | None = None,
        *,
        wait: float = 0,
    ) -> UploadJob:
        """Send files; returns the job, after its end or ``wait`` seconds."""
        with ExitStack() as opened:
            upload = self._send(
                Upload,
                "POST",
                "/v1/documents",
                files=parts_of(files, opened),
                data=self._form(metadata),
            )
        return with_refused(self.job(upload.job.id, wait=wait), upload)

    def job(self, job_id: str, *, wait: float = 0) -> JobOut:
        """A job, after its end or ``wait`` seconds."""
        until = time.monotonic() + wait
        while True:
            left = max(0.0, min(LONGEST_WAIT, until - time.monotonic()))
            job = self._send(JobOut, "GET", f"/v1/jobs/{job_id}", params={"wait": left})
            if job.state in FINISHED or time.monotonic() >= until:
                return job

    def jobs(self) -> list[JobOut]:
        """The newest jobs of the collection, those of this key where it is pinned."""
        response = self._response("GET", "/v1/jobs", params=self._query())
        return understood(JOBS.validate_json, response.content)

    def documents(self, offset: int = 0, limit: int = 100) -> Documents:
        """A part of the list of documents."""
        query = self._query(offset=offset, limit=limit)
        return self._send(Documents, "GET", "/v1/documents", params=query)

    def document(self, doc_id: int) -> Document:
        """One document."""
        return self._send(Document, "GET", f"/v1/documents/{doc_id}", params=self._query())

    def remove(self, doc_id: int, *, wait: float = 0) -> JobOut:
        """Take a document out."""
        job = self._send(JobOut, "DELETE", f"/v1/documents/{doc_id}", params=self._query())
        return self.job(job.id, wait=wait)

    def reindex(
        self, doc_id: int, metadata: Mapping[str, MetadataValue] | None = None, *, wait: float = 0
    ) -> JobOut:
        """Read a document anew, with other metadata if given."""
        how: dict[str, Any] = {} if metadata is None else {"json": dict(metadata)}
        path = f"/v1/documents/{doc_id}/reindex"
        job = self._send(JobOut, "POST", path, params=self._query(), **how)
        return self.job(job.id, wait=wait)

    def cancel(self, job_id: str) -> JobOut:
        """End a job; what it has committed stays."""
        return self._send(JobOut, "POST", f"/v1/jobs/{job_id}/cancel")

    def page(self, page_id: int) -> PageOut:
        """A page's words and boxes."""
        return self._send(PageOut, "GET", f"/v1/pages/{page_id}", params=self._query())

    def page_image(self, page_id: int, *, width: int = 1000, box: Box | None = None) -> bytes:
        """The page, or the part of it in ``box`` (page fractions), as WebP."""
        path, query = self._picture(page_id, width, box)
        return self._response("GET", path, params=query).content

    def heatmap(self, page_id: int, question: str) -> bytes:
        """What on a page speaks for a question: a PNG to multiply its picture with."""
        query = self._query(question=question)
        return self._response("GET", f"/v1/pages/{page_id}/heatmap", params=query).content

    def cases(self, state: CaseState = "waiting") -> list[ReviewOut]:
        """Cases of the review queue, the oldest first."""
        response = self._response("GET", "/v1/review", params=self._query(state=state))
        return understood(CASES.validate_json, response.content)

    def approve(self, case_id: str, note: str = "") -> ReviewOut:
        """Let a case pass: asked again, it is answered."""
        return self._send(ReviewOut, "POST", f"/v1/review/{case_id}/approve", json={"note": note})

    def reject(self, case_id: str, note: str = "") -> ReviewOut:
        """Hold a case back: asked again, it is blocked."""
        return self._send(ReviewOut, "POST", f"/v1/review/{case_id}/reject", json={"note": note})

    def collections(self) -> list[str]:
        """The names of the collections that this key may search."""
        response = self._response("GET", "/v1/collections")
        return understood(NAMES.validate_json, response.content)

    def status(self) -> CollectionOut:
        """What the collection holds."""
        return self._send(CollectionOut, "GET", "/v1/status", params=self._query())

    def _send(self, model: type[Model], method: str, path: str, **how: Any) -> Model:
        content = self._response(method, path, **how).content
        return understood(model.model_validate_json, content)

    def _response(self, method: str, path: str, **how: Any) -> httpx.Response:
        try:
            return checked(self._http.request(method, path, **how))
        except httpx.TransportError as error:
            raise unreachable(self._http.base_url, error) from error
