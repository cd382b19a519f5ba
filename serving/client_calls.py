"""What the blocking and the asynchronous client have in common: how a call is put, and what is made
of its answer."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, TypeVar

import httpx2 as httpx
from pydantic import BaseModel, TypeAdapter

from retrieval.errors import ServiceError
from retrieval.types import Box, MetadataValue
from serving.client_events import refusal
from serving.client_files import FileToSend
from serving.http.schemas import JobOut, Refused, Upload
from serving.http.schemas_review import ReviewOut

Model = TypeVar("Model", bound=BaseModel)
FINISHED = ("done", "failed", "cancelled")
LONGEST_WAIT = 60.0
# The server gives up on an answer after 120 seconds, unless its operator says otherwise; its own
# words are better than a connection that was let go.
TIMEOUT = 150.0
JOBS = TypeAdapter(list[JobOut])
CASES = TypeAdapter(list[ReviewOut])
NAMES = TypeAdapter(list[str])


def checked(response: httpx.Response) -> httpx.Response:
    """The response. Raises ``ApiError`` unless it is a success."""
    if response.is_success:
        return response
    try:
        said = response.json()
    except ValueError:
        said = None
    problem = said if isinstance(said, dict) else {}  # a proxy may say anything
    after = response.headers.get("Retry-After")
    raise refusal({"retry_after": after, **problem}, response.status_code, response.reason_phrase)


class Calls:
    """How each call is put; the two clients differ in how it is sent."""

    def __init__(self, collection: str | None) -> None:
        self._collection = collection

    def _query(self, **values: Any) -> dict[str, Any]:
        values["collection"] = self._collection
        return {name: value for name, value in values.items() if value is not None}

    def _picture(self, page_id: int, width: int, box: Box | None) -> tuple[str, dict[str, Any]]:
        query = self._query(width=width)
        if box is None:
            return f"/v1/pages/{page_id}/image", query
        query.update(zip(("x0", "y0", "x1", "y1"), box, strict=True))
        return f"/v1/pages/{page_id}/crop", query

    def _form(self, metadata: Mapping[str, MetadataValue] | None) -> dict[str, str]:
        return self._query(metadata=json.dumps(dict(metadata or {})))


def headers_of(key: str | None) -> dict[str, str]:
    return {} if key is None else {"Authorization": f"Bearer {key}"}


def unreachable(url: httpx.URL, error: httpx.TransportError) -> ServiceError:
    return ServiceError(f"cannot reach {url}: {error!r}; is `folioscope serve` running there?")


class UploadJob(JobOut):
    """The job of an upload; ``refused`` are the files that the server did not take, and why."""

    refused: list[Refused]


def with_refused(job: JobOut, upload: Upload) -> UploadJob:
    return UploadJob(**job.model_dump(), refused=upload.refused)


def parts_of(files: Sequence[str | Path], opened: ExitStack) -> list[Any]:
    """The files of a form; ``opened`` closes what a request that failed left open."""
    return [
        ("files", (path.name, opened.enter_context(closing(FileToSend(path)))))
        for path in map(Path, files)
    ]
