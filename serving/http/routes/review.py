"""The review queue: what the safety gate holds back until a person decides."""

from __future__ import annotations

import json
from pathlib import PurePosixPath
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request

from retrieval.errors import InputError
from serving.http.auth import ANONYMOUS, Principal
from serving.http.problems import Problem
from serving.http.schemas_review import CaseState, Decision, ReviewOut
from serving.http.state import Reviewer, Server, ServerState, audit
from serving.safety.queue import ReviewItem, ReviewQueue

router = APIRouter(tags=["review"])
Name = Annotated[str | None, Query(max_length=64)]
_PAGE = 200


def origin_of(collection: str, who: Principal) -> str:
    """What tells askers apart in the queue: a decision for one tenant is none for another."""
    return json.dumps([collection, sorted(who.pinned.items())], ensure_ascii=False)


@router.get("/review")
async def list_cases(
    server: Server,
    who: Reviewer,
    state: CaseState = "waiting",
    limit: Annotated[int, Query(ge=1, le=_PAGE)] = 50,
    collection: Name = None,
) -> list[ReviewOut]:
    """Cases of a collection, the oldest first."""
    queue = _queue(server)
    name = server.collections.get(who, collection).name

    def read() -> list[ReviewItem]:
        found: list[ReviewItem] = []
        offset = 0
        while len(found) < limit:
            part = queue.items(None if state == "all" else state, limit=_PAGE, offset=offset)
            found += [item for item in part if _visible(item, who, name)]
            offset += _PAGE
            if len(part) < _PAGE:
                break
        return found[:limit]

    return [_out(server, who, item) for item in await server.images.run(read)]


@router.get("/review/{case_id}")
async def get_case(case_id: str, server: Server, who: Reviewer) -> ReviewOut:
    """One case."""
    return _out(server, who, await _case(server, who, case_id))


@router.post("/review/{case_id}/approve")
async def approve(
    case_id: str, body: Decision, request: Request, server: Server, who: Reviewer
) -> ReviewOut:
    """Let it pass: the same case asked again is answered."""
    return await _decide(case_id, "approved", body, request, server, who)


@router.post("/review/{case_id}/reject")
async def reject(
    case_id: str, body: Decision, request: Request, server: Server, who: Reviewer
) -> ReviewOut:
    """Hold it back: the same case asked again is blocked."""
    return await _decide(case_id, "rejected", body, request, server, who)


async def _decide(
    case_id: str,
    decision: Literal["approved", "rejected"],
    body: Decision,
    request: Request,
    server: ServerState,
    who: Principal,
) -> ReviewOut:
    item = await _case(server, who, case_id)
    queue = _queue(server)
    try:
        decided = await server.images.run(
            lambda: queue.decide(case_id, decision, who=_name(who), note=body.note)
        )
    except InputError as error:
        raise Problem(
            409, "already-decided", f"This case was {item.state} already.", "Look at it again."
        ) from error
    await audit(server, request, who, _collection(decided), case_id)
    return _out(server, who, decided)


def _name(who: Principal) -> str:
    return who.key if who is ANONYMOUS else f"key {who.key}"


def _queue(server: ServerState) -> ReviewQueue:
    if server.gate is None or server.gate.queue is None:
        raise Problem(
            404, "no-review", "This server has no review queue.", "Start it with --safety on."
        )
    return server.gate.queue


async def _case(server: ServerState, who: Principal, case_id: str) -> ReviewItem:
    """The case, if this key may decide it. Raises ``Problem`` 404, the same in both cases."""
    queue = _queue(server)
    try:
        item = await server.images.run(lambda: queue.get(case_id))
    except InputError:
        item = None
    if item is None or not _visible(item, who, _collection(item)):
        said = f"There is no case '{case_id[:40]}'."
        raise Problem(404, "no-such-case", said, "GET /v1/review lists them.")
    return item


def _visible(item: ReviewItem, who: Principal, collection: str) -> bool:
    if _collection(item) != collection or not who.sees(collection):
        return False
    return not who.pinned or item.case.origin == origin_of(collection, who)


def _collection(item: ReviewItem) -> str:
    try:
        name, _ = json.loads(item.case.origin)
    except ValueError:
        return ""
    return str(name)


def _out(server: ServerState, who: Principal, item: ReviewItem) -> ReviewOut:
    case = item.case
    name = _collection(item)
    page_id = None
    if case.source is not None and case.page is not None:
        target = server.collections.get(who, name)
        if target.ready:
            mine = target.documents(who).items()
            doc_id = next((key for key, row in mine if row.source == case.source), None)
            page_id = None if doc_id is None else target.index.page_id(doc_id, case.page)
    return ReviewOut(
        id=item.id,
        state=item.state,
        collection=name,
        stage=case.stage,
        place=case.place,
        category=case.category,
        question=case.question,
        answer=case.answer,
        quote=case.quote,
        reasons=list(case.reasons),
        scores=dict(case.scores),
        policy=case.policy,
        name=None if case.source is None else PurePosixPath(case.source).name,
        page=case.page,
        page_id=page_id,
        box=case.box,
        created=item.created,
        decided=item.decided,
        reviewer=item.reviewer,
        note=item.note,
    )
