"""Errors as RFC 9457 problem details: a code for programs, a sentence and a remedy for people.

Nothing of the server's insides leaves it: messages of our own errors name files, so they go
through ``public``, and anything unexpected becomes a number that the log explains.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from indexing.renderers.base import UNLOCK
from retrieval.errors import (
    EncoderError,
    FolioscopeError,
    InputError,
    ServiceError,
    StorageError,
)

_log = logging.getLogger("folioscope.http")
MEDIA_TYPE = "application/problem+json"
# The command line takes passwords, the API does not: it would have to keep them.
_UNLOCK_HERE = "save the document without one, and send that"
# An absolute path as our messages write it; only its last part is the client's business.
_PATH = re.compile(r"(?<![\w/.])/(?:[^\s/:;,'\"()]+/)+")


class Problem(Exception):
    """An answer that is an error. ``detail`` says what, ``remedy`` what to do; ``members`` are
    further members of its document."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        remedy: str = "",
        headers: Mapping[str, str] | None = None,
        members: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.remedy = remedy
        self.headers = dict(headers or {})
        self.members = dict(members or {})


_TITLES = {
    400: "The request cannot be used",
    401: "Who is asking is not known",
    403: "Not allowed",
    404: "Not found",
    405: "Not possible here",
    409: "In conflict with what is there",
    413: "Too large",
    415: "This kind of file is not read",
    422: "The request cannot be used",
    429: "Too many requests",
    500: "An error of the server",
    503: "Busy, or not ready",
    504: "Took too long",
}


def respond(request: Request, problem: Problem) -> JSONResponse:
    """``problem`` as a response."""
    body: dict[str, Any] = {
        **problem.members,
        "type": f"urn:folioscope:problem:{problem.code}",
        "title": _TITLES.get(problem.status, "Error"),
        "status": problem.status,
        "code": problem.code,
        "detail": problem.detail,
        "remedy": problem.remedy,
        "request_id": getattr(request.state, "request_id", ""),
    }
    return JSONResponse(
        body, status_code=problem.status, headers=problem.headers, media_type=MEDIA_TYPE
    )


def public(message: str, *files: str | Path) -> str:
    """``message`` without the folders of this machine, and with remedies that a client has.

    ``files`` are those that the message may name: known ones are found whatever marks are in
    their folders' names.
    """
    for file in sorted(map(str, files), key=len, reverse=True):
        message = message.replace(file, Path(file).name)
    return _PATH.sub("", message).replace(UNLOCK, _UNLOCK_HERE)


def of_error(error: FolioscopeError) -> Problem:
    """The problem that one of our own errors is for a client."""
    if isinstance(error, InputError):
        return Problem(422, "unusable-input", public(str(error)), "Change the request.")
    if isinstance(error, StorageError):
        _log.error("storage: %s", error)
        return Problem(
            503,
            "index-unavailable",
            "The index cannot be read at the moment.",
            "Try again; if it stays so, its operator has to run `folioscope index verify`.",
            {"Retry-After": "5"},
        )
    if isinstance(error, EncoderError):
        _log.error("encoder: %s", error)
        return Problem(503, "encoder-unavailable", "The encoder is not ready.", "Ask the operator.")
    if isinstance(error, ServiceError):
        _log.warning("service: %s", error)
        return Problem(
            503,
            "service-unavailable",
            public(str(error)),
            "Try again later.",
            {"Retry-After": "10"},
        )
    _log.error("unexpected kind of error: %s", error)
    return unexpected()


def _not_json(kind: str) -> Problem:
    """The problem of a body that was not read because of its content type, ``kind``."""
    return Problem(
        422,
        "invalid-request",
        f"The body was sent as {kind[:100] or 'no kind'}, and is read as JSON only.",
        "Send the header `Content-Type: application/json` (curl: --json instead of -d).",
    )


def unexpected() -> Problem:
    """The problem that an error of ours is which nobody thought of."""
    return Problem(500, "internal", "Something went wrong inside.", "Report the request id.")


def install(app: FastAPI) -> None:
    """Make every error of ``app`` that is meant to be one a problem document."""

    @app.exception_handler(Problem)
    def _problem(request: Request, error: Problem) -> JSONResponse:
        return respond(request, error)

    @app.exception_handler(FolioscopeError)
    def _ours(request: Request, error: FolioscopeError) -> JSONResponse:
        return respond(request, of_error(error))

    @app.exception_handler(RequestValidationError)
    def _invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        unread = any(e["loc"] == ("body",) and e["type"] != "missing" for e in error.errors())
        if unread and kind != "application/json" and not kind.endswith("+json"):
            return respond(request, _not_json(kind))
        wrong = "; ".join(
            f"{'.'.join(str(part) for part in e['loc'])}: {e['msg']}" for e in error.errors()[:8]
        )
        return respond(
            request, Problem(422, "invalid-request", wrong, "See /docs for what is expected.")
        )

    @app.exception_handler(HTTPException)
    def _http(request: Request, error: HTTPException) -> JSONResponse:
        code = {404: "not-found", 405: "method-not-allowed"}.get(error.status_code, "http")
        said = str(error.detail)
        if error.status_code == 404:
            said = f"There is nothing at {request.url.path[:200]}."
        if error.status_code == 405:
            allowed = (error.headers or {}).get("Allow", "another method")
            said = f"{request.method} is not possible here; {allowed} is."
        return respond(request, Problem(error.status_code, code, said, "See /docs.", error.headers))
