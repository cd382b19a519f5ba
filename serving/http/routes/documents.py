"""Documents and the jobs that add and remove them."""

from __future__ import annotations

import asyncio
import json
import mimetypes
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, BinaryIO

from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse

from indexing.inspection import sniff
from retrieval.errors import InputError
from serving.http.auth import Principal
from serving.http.collections import Collection, pinned
from serving.http.forms import UPLOAD_FORM, upload_form
from serving.http.jobs import FINISHED, Job
from serving.http.problems import Problem, public
from serving.http.schemas import (
    Document,
    Documents,
    Id,
    JobOut,
    JobResult,
    Metadata,
    Refused,
    Upload,
)
from serving.http.state import Reader, Server, ServerState, Writer, audit, writable
from serving.http.uploads import safe_name

router = APIRouter(tags=["documents"])
_LOOK_SECONDS = 0.1
_MOST_WAITING = 1000
Name = Annotated[str | None, Query(max_length=64)]


@router.get("/documents")
async def list_documents(
    server: Server,
    who: Reader,
    collection: Name = None,
    offset: Annotated[int, Query(ge=0, lt=2**31)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Documents:
    """The documents that this key may see."""
    rows = server.collections.get(who, collection).documents(who)
    ids = sorted(rows)
    return Documents(
        total=len(ids), documents=[Document.of(rows[i]) for i in ids[offset : offset + limit]]
    )


@router.post("/documents", status_code=202, openapi_extra=UPLOAD_FORM)
async def upload_documents(request: Request, server: Server, who: Writer) -> Upload:
    """Upload files; they are searchable when the job is done. A file that is empty, too large or of
    a kind that is not read is refused, and costs only itself."""
    writable(server)
    async with upload_form(request, server.settings.upload_files) as form:
        target = server.collections.get(who, form.collection)
        _room(server, target)
        meta = pinned(form.metadata, who)
        add: list[dict[str, Any]] = []
        refused: list[tuple[str, Problem]] = []
        for file in form.files:
            name = safe_name(file.filename or "")
            try:
                stored = await asyncio.to_thread(_stored, target, file.file, name, _owner(who))
            except Problem as problem:
                refused.append((name, problem))
            else:
                add.append({"path": str(stored), "metadata": meta})
    said = [Refused(name=name, reason=str(problem), code=problem.code) for name, problem in refused]
    if not add:
        raise _none_taken([problem for _, problem in refused], said)
    job = await asyncio.to_thread(
        server.jobs.put, target.name, "add", who.key, {"add": add, "remove": []}
    )
    _wake(target)
    names = [Path(item["path"]).name for item in add]
    await audit(server, request, who, target.name, ", ".join(names)[:500])
    return Upload(job=job_out(job), files=names, refused=said)


@router.get("/documents/{doc_id}")
async def get_document(
    doc_id: Id, server: Server, who: Reader, collection: Name = None
) -> Document:
    """One document."""
    return Document.of(server.collections.get(who, collection).document(who, doc_id))


@router.delete("/documents/{doc_id}", status_code=202)
async def delete_document(
    doc_id: Id, request: Request, server: Server, who: Writer, collection: Name = None
) -> JobOut:
    """Take a document out; its uploaded file goes too."""
    writable(server)
    target = server.collections.get(who, collection)
    _room(server, target)
    row = target.document(who, doc_id)
    discard = [row.source] if target.uploads.holds(Path(row.source)) else []
    named = Path(row.source).name
    work = {"add": [], "remove": [doc_id], "discard": discard, "named": named}
    job = await asyncio.to_thread(server.jobs.put, target.name, "remove", who.key, work)
    _wake(target)
    await audit(server, request, who, target.name, str(doc_id))
    return job_out(job)


@router.post("/documents/{doc_id}/reindex", status_code=202)
async def reindex_document(
    doc_id: Id,
    request: Request,
    server: Server,
    who: Writer,
    metadata: Metadata | None = None,
    collection: Name = None,
) -> JobOut:
    """Read a document anew, with other metadata if given."""
    writable(server)
    target = server.collections.get(who, collection)
    _room(server, target)
    row = target.document(who, doc_id)
    meta = pinned(dict(row.metadata) if metadata is None else metadata, who)
    if not target.uploads.holds(Path(row.source)) and not Path(row.source).exists():
        raise Problem(409, "source-gone", "The file of this document is gone.", "Upload it anew.")
    work = {"add": [{"path": row.source, "metadata": meta}], "remove": [doc_id]}
    job = await asyncio.to_thread(server.jobs.put, target.name, "reindex", who.key, work)
    _wake(target)
    await audit(server, request, who, target.name, str(doc_id))
    return job_out(job)


@router.get(
    "/documents/{doc_id}/recording",
    responses={200: {"content": {"video/mp4": {}}}, 206: {"description": "A part (Range)."}},
    response_class=FileResponse,
)
async def get_recording(
    doc_id: Id, server: Server, who: Reader, collection: Name = None
) -> FileResponse:
    """A recording as it was uploaded, whole or by ranges, so that a hit plays at its time."""
    row = server.collections.get(who, collection).document(who, doc_id)
    kind = mimetypes.guess_type(row.source)[0] or ""
    if not kind.startswith("video/"):
        raise Problem(404, "no-recording", "This document is no recording.", "See its pages.")
    if not Path(row.source).is_file():
        raise Problem(409, "source-gone", "The file of this document is gone.", "Upload it anew.")
    headers = {"Cache-Control": "private, no-cache", "Vary": "Authorization"}
    return FileResponse(row.source, media_type=kind, headers=headers)


@router.get("/jobs")
async def list_jobs(server: Server, who: Reader, collection: Name = None) -> list[JobOut]:
    """The newest jobs: a limited key sees its own."""
    target = server.collections.get(who, collection)
    owner = who.key if who.pinned else None
    return [job_out(job) for job in server.jobs.newest(target.name, owner=owner)]


@router.get("/jobs/{job_id}")
async def get_job(
    job_id: str,
    request: Request,
    server: Server,
    who: Reader,
    wait: Annotated[float, Query(ge=0, le=60, description="Seconds to wait for its end.")] = 0,
) -> JobOut:
    """A job and how far it is."""
    until = time.monotonic() + wait
    job = _job(server, who, job_id)
    while job.state not in FINISHED and time.monotonic() < until:
        await asyncio.sleep(_LOOK_SECONDS)
        if server.stopping.is_set() or await request.is_disconnected():
            break
        job = _job(server, who, job_id)
    return job_out(job)


@router.post("/jobs/{job_id}/cancel")
async def cancel_job(job_id: str, request: Request, server: Server, who: Writer) -> JobOut:
    """End a job; what it has committed stays."""
    writable(server)
    job = _job(server, who, job_id)
    if job.state in FINISHED:
        raise Problem(409, "job-finished", f"The job is {job.state} already.", "")
    worker = server.collections.get(who, job.collection).worker
    if worker is not None:
        await server.images.run(lambda: worker.cancel(job_id))
    await audit(server, request, who, job.collection, job_id)
    return job_out(_job(server, who, job_id))


def job_out(job: Job) -> JobOut:
    """A job as clients see it."""
    files = [Path(item["path"]).name for item in job.work.get("add", ())]
    if job.kind == "remove" and "named" in job.work:
        files = [job.work["named"]]
    result = None if job.result is None else dict(job.result)
    if result is not None:
        result["skipped"] = [
            {"name": Path(item["path"]).name, "reason": public(item["reason"], item["path"])}
            for item in result.get("skipped", ())
        ]
    return JobOut(
        id=job.id,
        collection=job.collection,
        kind=job.kind,
        state=job.state,
        files=files,
        stage=job.progress.get("stage"),
        documents_done=int(job.progress.get("documents_done", 0)),
        documents_total=int(job.progress.get("documents_total", 0)),
        pages_done=int(job.progress.get("pages_done", 0)),
        pages_total=int(job.progress.get("pages_total", 0)),
        created=job.created,
        started=job.started,
        ended=job.ended,
        result=None if result is None else JobResult.model_validate(result),
    )


def _stored(target: Collection, content: BinaryIO, name: str, owner: str) -> Path:
    """Where an uploaded file lies now. Raises ``Problem`` if it is not taken."""
    stored = target.uploads.store(content, name, owner)
    try:
        sniff(stored)
    except InputError as error:
        target.uploads.discard(stored)
        reason = public(str(error), stored)
        raise Problem(415, "unknown-kind", reason, "Send documents.") from error
    return stored


def _none_taken(refusals: Sequence[Problem], said: Sequence[Refused]) -> Problem:
    """The problem of an upload of which nothing was taken."""
    first = refusals[0]
    if len({problem.code for problem in refusals}) > 1:
        first = Problem(422, "nothing-usable", "", "Send documents.")
    details = " ".join(f"{str(problem).rstrip('.')}." for problem in refusals)[:1000]
    members = {"refused": [item.model_dump() for item in said]}
    return Problem(first.status, first.code, details, first.remedy, first.headers, members)


def _job(server: ServerState, who: Principal, job_id: str) -> Job:
    job = server.jobs.get(job_id)
    if job is None or not who.sees(job.collection) or not _visible(job, who):
        said = f"There is no job '{job_id[:40]}'."
        raise Problem(404, "no-such-job", said, "GET /v1/jobs lists them.")
    return job


def _visible(job: Job, who: Principal) -> bool:
    return not who.pinned or job.owner == who.key


def _owner(who: Principal) -> str:
    """Whose copy an upload is: tenants are told apart by what their keys pin."""
    return json.dumps(dict(who.pinned), sort_keys=True)


def _room(server: ServerState, target: Collection) -> None:
    if server.jobs.waiting(target.name) >= _MOST_WAITING:
        raise Problem(
            503,
            "busy",
            f"{_MOST_WAITING} jobs are waiting already.",
            "Try again later.",
            {"Retry-After": "60"},
        )


def _wake(target: Collection) -> None:
    if target.worker is not None:
        target.worker.wake()
