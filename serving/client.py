"""A typed client of the HTTP API, blocking (``Client``) and asynchronous (``AsyncClient``).

>>> with Client("http://127.0.0.1:8000") as client:                   # doctest: +SKIP
...     client.upload(["report.pdf"], {"year": 2024}, wait=60)
...     print(client.search("What was revenue?").hits[0].page)
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx2 as httpx
from pydantic import BaseModel

from retrieval.errors import InputError, ServiceError
from retrieval.types import Box, MetadataValue
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

Model = TypeVar("Model", bound=BaseModel)
_FINISHED = ("done", "failed", "cancelled")
_LONGEST_WAIT = 60.0


class ApiError(ServiceError):
    """The server refused; ``code`` and ``status`` are those of its problem document."""

    def __init__(self, status: int, code: str, message: str, retry_after: float | None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.retry_after = retry_after


def _checked(response: httpx.Response) -> httpx.Response:
    """The response. Raises ``ApiError`` unless it is a success."""
    if response.is_success:
        return response
    try:
        problem = response.json()
    except ValueError:
        problem = {}
    said = f"{problem.get('detail', response.reason_phrase)} {problem.get('remedy', '')}".strip()
    after = response.headers.get("Retry-After")
    raise ApiError(
        response.status_code,
        problem.get("code", "http"),
        said,
        None if after is None else float(after),
    )


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

    def _form(self, metadata: Mapping[str, MetadataValue] | None) -> dict[str, str]:
        return self._query(metadata=json.dumps(dict(metadata or {})))


def _headers(key: str | None) -> dict[str, str]:
    return {} if key is None else {"Authorization": f"Bearer {key}"}


def _unreachable(url: httpx.URL, error: httpx.TransportError) -> ServiceError:
    return ServiceError(f"cannot reach {url}: {error!r}; is `folioscope serve` running there?")


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

    def upload(
        self,
        files: Sequence[str | Path],
        metadata: Mapping[str, MetadataValue] | None = None,
        *,
        wait: float = 0,
    ) -> JobOut:
        """Send files; returns the job, after its end or ``wait`` seconds."""
        with ExitStack() as opened:
            parts = [
                ("files", (path.name, opened.enter_context(_open(path))))
                for path in map(Path, files)
            ]
            upload = self._send(
                Upload, "POST", "/v1/documents", files=parts, data=self._form(metadata)
            )
        return self.job(upload.job.id, wait=wait)

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

    def page(self, page_id: int) -> PageOut:
        """A page's words and boxes."""
        return self._send(PageOut, "GET", f"/v1/pages/{page_id}", params=self._query())

    def page_image(self, page_id: int, *, width: int = 1000, box: Box | None = None) -> bytes:
        """The page, or the part of it in ``box`` (page fractions), as WebP."""
        query = self._query(width=width)
        if box is None:
            return self._bytes(f"/v1/pages/{page_id}/image", query)
        query.update(zip(("x0", "y0", "x1", "y1"), box, strict=True))
        return self._bytes(f"/v1/pages/{page_id}/crop", query)

    def status(self) -> CollectionOut:
        """What the collection holds."""
        return self._send(CollectionOut, "GET", "/v1/status", params=self._query())

    def _bytes(self, path: str, query: Mapping[str, Any]) -> bytes:
        try:
            return _checked(self._http.get(path, params=query)).content
        except httpx.TransportError as error:
            raise _unreachable(self._http.base_url, error) from error

    def _send(self, model: type[Model], method: str, path: str, **how: Any) -> Model:
        try:
            response = self._http.request(method, path, **how)
        except httpx.TransportError as error:
            raise _unreachable(self._http.base_url, error) from error
        return model.model_validate_json(_checked(response).content)


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

    async def upload(
        self,
        files: Sequence[str | Path],
        metadata: Mapping[str, MetadataValue] | None = None,
        *,
        wait: float = 0,
    ) -> JobOut:
        """Send files; returns the job, after its end or ``wait`` seconds."""
        parts = []
        for path in map(Path, files):
            with _open(path) as file:
                parts.append(("files", (path.name, file.read())))
        upload = await self._send(
            Upload, "POST", "/v1/documents", files=parts, data=self._form(metadata)
        )
        return await self.job(upload.job.id, wait=wait)

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

    async def page(self, page_id: int) -> PageOut:
        """A page's words and boxes."""
        return await self._send(PageOut, "GET", f"/v1/pages/{page_id}", params=self._query())

    async def status(self) -> CollectionOut:
        """What the collection holds."""
        return await self._send(CollectionOut, "GET", "/v1/status", params=self._query())

    async def _send(self, model: type[Model], method: str, path: str, **how: Any) -> Model:
        try:
            response = await self._http.request(method, path, **how)
        except httpx.TransportError as error:
            raise _unreachable(self._http.base_url, error) from error
        return model.model_validate_json(_checked(response).content)


def _open(path: Path) -> Any:
    try:
        return path.open("rb")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
