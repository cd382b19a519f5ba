"""A typed client of the HTTP API, blocking (``Client``) and asynchronous (``AsyncClient``).

>>> with Client("http://127.0.0.1:8000") as client:                   # doctest: +SKIP
...     client.upload(["report.pdf"], {"year": 2024}, wait=60)
...     print(client.search("What was revenue?").hits[0].page)
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx2 as httpx
from pydantic import BaseModel

from retrieval.errors import ServiceError
from retrieval.types import Box, MetadataValue
from serving.client_events import ApiError, AskEvent, EventLines, refusal
from serving.client_files import FileToSend, ReadInThread
from serving.http.schemas import (
    AnswerOut,
    CollectionOut,
    Document,
    Documents,
    JobOut,
    PageOut,
    Refused,
    SearchResponse,
    Upload,
)

Model = TypeVar("Model", bound=BaseModel)
_FINISHED = ("done", "failed", "cancelled")
_LONGEST_WAIT = 60.0
__all__ = ["ApiError", "AskEvent", "AsyncClient", "Client", "UploadJob"]


def _checked(response: httpx.Response) -> httpx.Response:
    """The response. Raises ``ApiError`` unless it is a success."""
    if response.is_success:
        return response
    try:
        problem = response.json()
    except ValueError:
        problem = {}
    after = response.headers.get("Retry-After")
    raise refusal({"retry_after": after, **problem}, response.status_code, response.reason_phrase)


class _Calls:
    """How each call is put; the two clients differ in how it is sent."""

    def __init__(self, collection: str | None) -> None:
        self._collection = collection

    def _query(self, **values: Any) -> dict[str, Any]:
        values["collection"] = self._collection
        return {name: value for name, value in values.items() if value is not None}

    def _question(
        self,
        question: str,
        k: int,
        filter: str | None,
        doc_id: int | None,
        mode: str,
        explain: bool,
    ) -> dict[str, Any]:
        return self._query(
            question=question, k=k, filter=filter, doc_id=doc_id, mode=mode, explain=explain
        )

    def _picture(self, page_id: int, width: int, box: Box | None) -> tuple[str, dict[str, Any]]:
        query = self._query(width=width)
        if box is None:
            return f"/v1/pages/{page_id}/image", query
        query.update(zip(("x0", "y0", "x1", "y1"), box, strict=True))
        return f"/v1/pages/{page_id}/crop", query

    def _form(self, metadata: Mapping[str, MetadataValue] | None) -> dict[str, str]:
        return self._query(metadata=json.dumps(dict(metadata or {})))


def _headers(key: str | None) -> dict[str, str]:
    return {} if key is None else {"Authorization": f"Bearer {key}"}


def _unreachable(url: httpx.URL, error: httpx.TransportError) -> ServiceError:
    return ServiceError(f"cannot reach {url}: {error!r}; is `folioscope serve` running there?")


class UploadJob(JobOut):
    """The job of an upload; ``refused`` are the files that the server did not take, and why."""

    refused: list[Refused]


class Client(_Calls):
    """Blocking client; a context manager. Raises ``ApiError`` where the server refuses, and
    ``ServiceError`` where it cannot be reached."""

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        *,
        key: str | None = None,
        collection: str | None = None,
        timeout: float = 90.0,
    ) -> None:
        super().__init__(collection)
        self._http = httpx.Client(base_url=url, headers=_headers(key), timeout=timeout)

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
        self, question: str, *, filter: str | None = None, doc_id: int | None = None
    ) -> AnswerOut:
        """An answer whose citations the server checked."""
        body = self._query(question=question, filter=filter, doc_id=doc_id)
        return self._send(AnswerOut, "POST", "/v1/ask", json=body)

    def ask_stream(
        self, question: str, *, filter: str | None = None, doc_id: int | None = None
    ) -> Iterator[AskEvent]:
        """The hits, a model's words as they come, then the checked answer."""
        body = self._query(question=question, filter=filter, doc_id=doc_id)
        lines = EventLines()
        try:
            with self._http.stream("POST", "/v1/ask/stream", json=body) as response:
                if not response.is_success:
                    response.read()
                for line in _checked(response).iter_lines():
                    if (event := lines.event(line)) is not None:
                        yield event
        except httpx.TransportError as error:
            raise _unreachable(self._http.base_url, error) from error

    def ask_receipt(
        self, question: str, *, filter: str | None = None, doc_id: int | None = None
    ) -> dict[str, Any]:
        """An answer as an evidence receipt, for `folioscope receipt verify`."""
        body = self._query(question=question, filter=filter, doc_id=doc_id)
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
                files=_parts(files, opened),
                data=self._form(metadata),
            )
        return _with_refused(self.job(upload.job.id, wait=wait), upload)

    def job(self, job_id: str, *, wait: float = 0) -> JobOut:
        """A job, after its end or ``wait`` seconds."""
        until = time.monotonic() + wait
        while True:
            left = max(0.0, min(_LONGEST_WAIT, until - time.monotonic()))
            job = self._send(JobOut, "GET", f"/v1/jobs/{job_id}", params={"wait": left})
            if job.state in _FINISHED or time.monotonic() >= until:
                return job

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

    def status(self) -> CollectionOut:
        """What the collection holds."""
        return self._send(CollectionOut, "GET", "/v1/status", params=self._query())

    def _send(self, model: type[Model], method: str, path: str, **how: Any) -> Model:
        return model.model_validate_json(self._response(method, path, **how).content)

    def _response(self, method: str, path: str, **how: Any) -> httpx.Response:
        try:
            return _checked(self._http.request(method, path, **how))
        except httpx.TransportError as error:
            raise _unreachable(self._http.base_url, error) from error


class AsyncClient(_Calls):
    """The same calls for asyncio; an asynchronous context manager."""

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        *,
        key: str | None = None,
        collection: str | None = None,
        timeout: float = 90.0,
    ) -> None:
        super().__init__(collection)
        self._http = httpx.AsyncClient(base_url=url, headers=_headers(key), timeout=timeout)

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
        self, question: str, *, filter: str | None = None, doc_id: int | None = None
    ) -> AnswerOut:
        """An answer whose citations the server checked."""
        body = self._query(question=question, filter=filter, doc_id=doc_id)
        return await self._send(AnswerOut, "POST", "/v1/ask", json=body)

    async def ask_stream(
        self, question: str, *, filter: str | None = None, doc_id: int | None = None
    ) -> AsyncIterator[AskEvent]:
        """The hits, a model's words as they come, then the checked answer."""
        body = self._query(question=question, filter=filter, doc_id=doc_id)
        lines = EventLines()
        try:
            async with self._http.stream("POST", "/v1/ask/stream", json=body) as response:
                if not response.is_success:
                    await response.aread()
                async for line in _checked(response).aiter_lines():
                    if (event := lines.event(line)) is not None:
                        yield event
        except httpx.TransportError as error:
            raise _unreachable(self._http.base_url, error) from error

    async def ask_receipt(
        self, question: str, *, filter: str | None = None, doc_id: int | None = None
    ) -> dict[str, Any]:
        """An answer as an evidence receipt, for `folioscope receipt verify`."""
        body = self._query(question=question, filter=filter, doc_id=doc_id)
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
            parts = _parts(files, opened)
            request = self._http.build_request(
                "POST", "/v1/documents", files=parts, data=self._form(metadata)
            )
            if isinstance(request.stream, httpx.SyncByteStream):
                request.stream = ReadInThread(request.stream)
            response = await self._answer(self._http.send(request))
        upload = Upload.model_validate_json(response.content)
        return _with_refused(await self.job(upload.job.id, wait=wait), upload)

    async def job(self, job_id: str, *, wait: float = 0) -> JobOut:
        """A job, after its end or ``wait`` seconds."""
        until = time.monotonic() + wait
        while True:
            left = max(0.0, min(_LONGEST_WAIT, until - time.monotonic()))
            job = await self._send(JobOut, "GET", f"/v1/jobs/{job_id}", params={"wait": left})
            if job.state in _FINISHED or time.monotonic() >= until:
                return job

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

    async def status(self) -> CollectionOut:
        """What the collection holds."""
        return await self._send(CollectionOut, "GET", "/v1/status", params=self._query())

    async def _send(self, model: type[Model], method: str, path: str, **how: Any) -> Model:
        return model.model_validate_json((await self._response(method, path, **how)).content)

    async def _response(self, method: str, path: str, **how: Any) -> httpx.Response:
        return await self._answer(self._http.request(method, path, **how))

    async def _answer(self, sent: Awaitable[httpx.Response]) -> httpx.Response:
        try:
            return _checked(await sent)
        except httpx.TransportError as error:
            raise _unreachable(self._http.base_url, error) from error


def _with_refused(job: JobOut, upload: Upload) -> UploadJob:
    return UploadJob(**job.model_dump(), refused=upload.refused)


def _parts(files: Sequence[str | Path], opened: ExitStack) -> list[Any]:
    """The files of a form; ``opened`` closes what a request that failed left open."""
    return [
        ("files", (path.name, opened.enter_context(closing(FileToSend(path)))))
        for path in map(Path, files)
    ]
