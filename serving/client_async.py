"""The client for asyncio; ``serving.client`` has both."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx2 as httpx

from retrieval.types import Box, MetadataValue
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
from serving.client_events import AskEvent, EventLines, understood
from serving.client_files import ReadInThread
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


class AsyncClient(Calls):
    """The same calls for asyncio; an asynchronous context manager."""

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        *,
        key: str | None = None,
        collection: str | None = None,
        timeout: float = TIMEOUT,
    ) -> None:
        super().__init__(collection)
        self._http = httpx.AsyncClient(base_url=url, headers=headers_of(key), timeout=timeout)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._http.aclose()

    async def search(
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
        return await self._send(SearchResponse, "POST", "/v1/search", json=body)

    async def ask(
        self,
        question: str,
        k: int = 10,
        *,
        filter: str | None = None,
        doc_id: int | None = None,
    ) -> AnswerOut:
        """An answer whose citations the server checked."""
        body = self._query(question=question, k=k, filter=filter, doc_id=doc_id)
        return await self._send(AnswerOut, "POST", "/v1/ask", json=body)

    async def ask_stream(
        self,
        question: str,
        k: int = 10,
        *,
        filter: str | None = None,
        doc_id: int | None = None,
    ) -> AsyncIterator[AskEvent]:
        """The hits, a model's words as they come, then the checked answer."""
        body = self._query(question=question, k=k, filter=filter, doc_id=doc_id)
        lines = EventLines()
        try:
            async with self._http.stream("POST", "/v1/ask/stream", json=body) as response:
                if not response.is_success:
                    await response.aread()
                async for line in checked(response).aiter_lines():
                    if (event := lines.event(line)) is not None:
                        yield event
        except httpx.TransportError as error:
            raise unreachable(self._http.base_url, error) from error

    async def ask_receipt(
        self,
        question: str,
        k: int = 10,
        *,
        filter: str | None = None,
        doc_id: int | None = None,
    ) -> dict[str, Any]:
        """An answer as an evidence receipt, for `folioscope receipt verify`."""
        body = self._query(question=question, k=k, filter=filter, doc_id=doc_id)
        response = await self._response("POST", "/v1/ask/receipt", json=body)
        receipt: dict[str, Any] = response.json()
        return receipt

    async def upload(
        self,
        files: Sequence[str | Path],
        metadata: Mapping[str, MetadataValue] | None = None,
        *,
        wait: float = 0,
    ) -> UploadJob:
        """Send files; returns the job, after its end or ``wait`` seconds."""
        with ExitStack() as opened:
            parts = parts_of(files, opened)
            request = self._http.build_request(
                "POST", "/v1/documents", files=parts, data=self._form(metadata)
            )
            if isinstance(request.stream, httpx.SyncByteStream):
                request.stream = ReadInThread(request.stream)
            response = await self._answer(self._http.send(request))
        upload = understood(Upload.model_validate_json, response.content)
        return with_refused(await self.job(upload.job.id, wait=wait), upload)

    async def job(self, job_id: str, *, wait: float = 0) -> JobOut:
        """A job, after its end or ``wait`` seconds."""
        until = time.monotonic() + wait
        while True:
            left = max(0.0, min(LONGEST_WAIT, until - time.monotonic()))
            job = await self._send(JobOut, "GET", f"/v1/jobs/{job_id}", params={"wait": left})
            if job.state in FINISHED or time.monotonic() >= until:
                return job

    async def jobs(self) -> list[JobOut]:
        """The newest jobs of the collection, those of this key where it is pinned."""
        response = await self._response("GET", "/v1/jobs", params=self._query())
        return understood(JOBS.validate_json, response.content)

    async def documents(self, offset: int = 0, limit: int = 100) -> Documents:
        """A part of the list of documents."""
        query = self._query(offset=offset, limit=limit)
        return await self._send(Documents, "GET", "/v1/documents", params=query)

    async def remove(self, doc_id: int, *, wait: float = 0) -> JobOut:
        """Take a document out."""
        job = await self._send(JobOut, "DELETE", f"/v1/documents/{doc_id}", params=self._query())
        return await self.job(job.id, wait=wait)

    async def document(self, doc_id: int) -> Document:
        """One document."""
        return await self._send(Document, "GET", f"/v1/documents/{doc_id}", params=self._query())

    async def reindex(
        self, doc_id: int, metadata: Mapping[str, MetadataValue] | None = None, *, wait: float = 0
    ) -> JobOut:
        """Read a document anew, with other metadata if given."""
        how: dict[str, Any] = {} if metadata is None else {"json": dict(metadata)}
        path = f"/v1/documents/{doc_id}/reindex"
        job = await self._send(JobOut, "POST", path, params=self._query(), **how)
        return await self.job(job.id, wait=wait)

    async def cancel(self, job_id: str) -> JobOut:
        """End a job; what it has committed stays."""
        return await self._send(JobOut, "POST", f"/v1/jobs/{job_id}/cancel")

    async def page(self, page_id: int) -> PageOut:
        """A page's words and boxes."""
        return await self._send(PageOut, "GET", f"/v1/pages/{page_id}", params=self._query())

    async def page_image(self, page_id: int, *, width: int = 1000, box: Box | None = None) -> bytes:
        """The page, or the part of it in ``box`` (page fractions), as WebP."""
        path, query = self._picture(page_id, width, box)
        return (await self._response("GET", path, params=query)).content

    async def heatmap(self, page_id: int, question: str) -> bytes:
        """What on a page speaks for a question: a PNG to multiply its picture with."""
        query = self._query(question=question)
        response = await self._response("GET", f"/v1/pages/{page_id}/heatmap", params=query)
        return response.content

    async def cases(self, state: CaseState = "waiting") -> list[ReviewOut]:
        """Cases of the review queue, the oldest first."""
        response = await self._response("GET", "/v1/review", params=self._query(state=state))
        return understood(CASES.validate_json, response.content)

    async def approve(self, case_id: str, note: str = "") -> ReviewOut:
        """Let a case pass: asked again, it is answered."""
        path = f"/v1/review/{case_id}/approve"
        return await self._send(ReviewOut, "POST", path, json={"note": note})

    async def reject(self, case_id: str, note: str = "") -> ReviewOut:
        """Hold a case back: asked again, it is blocked."""
        path = f"/v1/review/{case_id}/reject"
        return await self._send(ReviewOut, "POST", path, json={"note": note})

    async def collections(self) -> list[str]:
        """The names of the collections that this key may search."""
        response = await self._response("GET", "/v1/collections")
        return understood(NAMES.validate_json, response.content)

    async def status(self) -> CollectionOut:
        """What the collection holds."""
        return await self._send(CollectionOut, "GET", "/v1/status", params=self._query())

    async def _send(self, model: type[Model], method: str, path: str, **how: Any) -> Model:
        response = await self._response(method, path, **how)
        return understood(model.model_validate_json, response.content)

    async def _response(self, method: str, path: str, **how: Any) -> httpx.Response:
        return await self._answer(self._http.request(method, path, **how))

    async def _answer(self, sent: Awaitable[httpx.Response]) -> httpx.Response:
        try:
            return checked(await sent)
        except httpx.TransportError as error:
            raise unreachable(self._http.base_url, error) from error
