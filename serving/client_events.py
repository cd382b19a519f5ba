"""Answers that stream: server-sent events of ``/v1/ask/stream``, read as they come."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from pydantic import ValidationError

from retrieval.errors import ServiceError
from serving.http.schemas import AnswerOut, SearchResponse

Read = TypeVar("Read")


@dataclass(frozen=True, slots=True)
class AskEvent:
    """A step of an answer. ``hits`` is set for the kind ``hits``, ``text`` for ``token`` (a
    model's words, not checked yet), ``answer`` for ``answer``, which comes last."""

    kind: Literal["hits", "token", "answer"]
    hits: SearchResponse | None = None
    text: str = ""
    answer: AnswerOut | None = None


class ApiError(ServiceError):
    """The server refused; ``code`` and ``status`` are those of its problem document."""

    def __init__(self, status: int, code: str, message: str, retry_after: float | None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.retry_after = retry_after


def understood(read: Callable[[str | bytes], Read], content: str | bytes) -> Read:
    """What ``read`` makes of an answer. Raises ``ServiceError`` if it is not what was expected."""
    try:
        return read(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ServiceError(
            f"the server's answer cannot be understood ({where}: {first['msg']}); "
            "is the server of another version than this client?"
        ) from error


class EventLines:
    """Puts lines of a stream together to events.

    >>> lines = EventLines()
    >>> [lines.event(line) for line in ("event: token", 'data: {"text": "Yes"}', "")][-1].text
    'Yes'
    """

    def __init__(self) -> None:
        self._kind = ""
        self._data: list[str] = []

    def event(self, line: str) -> AskEvent | None:
        """The event that ``line`` ends, if it ends one. Raises ``ApiError`` for a ``problem``."""
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            self._kind = value
        elif name == "data":
            self._data.append(value)
        if line or not self._data:
            return None
        kind, data = self._kind, "\n".join(self._data)
        self._kind, self._data = "", []
        return _made(kind, data)


def _made(kind: str, data: str) -> AskEvent | None:
    if kind == "hits":
        return AskEvent("hits", hits=understood(SearchResponse.model_validate_json, data))
    if kind == "token":
        return AskEvent("token", text=str(json.loads(data)["text"]))
    if kind == "answer":
        return AskEvent("answer", answer=understood(AnswerOut.model_validate_json, data))
    if kind == "problem":
        raise refusal(json.loads(data))
    return None  # of a newer server


def refusal(problem: dict[str, Any], status: int = 500, otherwise: str = "") -> ApiError:
    """The error that a problem document is; ``status`` and ``otherwise`` where it is none."""
    detail, remedy = str(problem.get("detail", otherwise)), str(problem.get("remedy", ""))
    between = "" if not remedy or detail.endswith((".", "!", "?")) else "."
    said = f"{detail}{between} {remedy}".strip()
    after = problem.get("retry_after")
    return ApiError(
        int(problem.get("status", status)),
        str(problem.get("code", "http")),
        said,
        None if after is None else float(after),
    )
