"""What a client uploads, read only once it is known who sends it.

Parsed by FastAPI, a body would be on disk before the key that came with it was looked at.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import Request
from pydantic import TypeAdapter, ValidationError
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from serving.http.problems import Problem
from serving.http.schemas import Metadata

_METADATA: TypeAdapter[Metadata] = TypeAdapter(Metadata)
_MOST_FIELDS = 16
_LONGEST_NAME = 64
# What the API's description says of the body, since nothing else declares it.
UPLOAD_FORM: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["files"],
                    "properties": {
                        "files": {
                            "type": "array",
                            "minItems": 1,
                            "items": {"type": "string", "format": "binary"},
                            "description": "One or more files.",
                        },
                        "metadata": {
                            "type": "string",
                            "default": "{}",
                            "description": "A JSON object for all of them.",
                            "examples": ['{"year": 2022}'],
                        },
                        "collection": {"type": "string", "maxLength": _LONGEST_NAME},
                    },
                }
            }
        },
    }
}


@dataclass(frozen=True, slots=True)
class UploadForm:
    """The fields of an upload. The files are open until the form is left."""

    files: list[UploadFile]
    metadata: Metadata
    collection: str | None


@asynccontextmanager
async def upload_form(request: Request, most_files: int) -> AsyncIterator[UploadForm]:
    """Receive an upload. Raises ``Problem`` 400 if it breaks off, 413 for too many files, 422 for a
    form without any or with fields that cannot be used, 503 if there is no room for it."""
    try:
        form = await request.form(max_files=most_files, max_fields=_MOST_FIELDS)
    except HTTPException as error:
        raise _unusable(str(error.detail), most_files) from error
    except ClientDisconnect as error:  # nobody's fault here; the log should not say so
        raise Problem(400, "cut-off", "The upload broke off.", "Send it again.") from error
    except OSError as error:
        raise no_room("The upload") from error
    try:
        files = [value for value in form.getlist("files") if isinstance(value, UploadFile)]
        if not files:
            raise Problem(
                422,
                "invalid-request",
                "The request has no files.",
                "Send them as multipart/form-data, in the field files (curl: -F files=@a.pdf).",
            )
        name = form.get("collection")
        if name is not None and (not isinstance(name, str) or len(name) > _LONGEST_NAME):
            raise Problem(422, "invalid-request", "collection is not a name.", "Send its name.")
        yield UploadForm(files, _metadata(form.get("metadata", "{}")), name)
    finally:
        await form.close()


def no_room(what: str) -> Problem:
    """The refusal of something that does not go on the server's disk."""
    return Problem(
        503,
        "cannot-store",
        f"{what} could not be stored.",
        "Try again later; the server's disk may be full.",
        {"Retry-After": "60"},
    )


def _unusable(said: str, most_files: int) -> Problem:
    if said.startswith("Too many files"):
        return Problem(
            413,
            "too-many-files",
            f"More than {most_files} files in one request.",
            "Send them in several requests.",
        )
    return Problem(422, "invalid-request", f"The form cannot be read: {said}", "See /docs.")


def _metadata(given: object) -> Metadata:
    try:
        return _METADATA.validate_json(given if isinstance(given, str) else "")
    except ValidationError as error:
        raise Problem(
            422,
            "bad-metadata",
            f"metadata is not a JSON object of plain values ({error.error_count()} errors).",
            'Send, for example, {"year": 2022}.',
        ) from error
