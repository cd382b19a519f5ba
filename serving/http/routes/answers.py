"""Answers: whole, or as a stream of events."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.sse import EventSourceResponse, ServerSentEvent

from indexing.index import Index
from retrieval.errors import FolioscopeError
from serving.answering.pipeline import Answerer, Event
from serving.answering.receipts import receipt_of
from serving.answering.types import Answer
from serving.http import problems
from serving.http.auth import Principal
from serving.http.collections import Collection
from serving.http.disconnect import while_connected
from serving.http.problems import Problem
from serving.http.routes.review import origin_of
from serving.http.schemas import AnswerOut, AskRequest, SearchResponse
from serving.http.state import Reader, Server, ServerState

router = APIRouter(tags=["answers"])
_log = logging.getLogger("folioscope.http")
_END = object()


@router.post("/ask")
async def ask(body: AskRequest, request: Request, server: Server, who: Reader) -> AnswerOut:
    """Answer a question; every citation was checked against the page's words."""
    (collection, index), stop = _prepare(body, server, who), threading.Event()
    try:
        answer = await while_connected(
            request, server.answers.run(lambda: _whole(body, server, who, collection, index, stop))
        )
    finally:
        stop.set()
    return AnswerOut.of(answer, collection.name)


@router.post("/ask/receipt")
async def ask_for_receipt(
    body: AskRequest, request: Request, server: Server, who: Reader
) -> dict[str, Any]:
    """Answer, as an evidence receipt that `folioscope receipt verify` checks offline."""
    (collection, index), stop = _prepare(body, server, who), threading.Event()

    def work() -> dict[str, Any]:
        answer = _whole(body, server, who, collection, index, stop)
        return receipt_of(answer, index)

    try:
        return await while_connected(request, server.answers.run(work))
    finally:
        stop.set()


async def _before_the_stream(
    body: AskRequest, server: Server, who: Reader
) -> tuple[Collection, Index]:
    """What is refused before the first event is refused by its status, as everywhere."""
    prepared = _prepare(body, server, who)
    if server.answers.is_full:
        raise server.answers.full()
    return prepared


@router.post("/ask/stream", response_class=EventSourceResponse)
async def ask_and_stream(
    body: AskRequest,
    server: Server,
    who: Reader,
    prepared: Annotated[tuple[Collection, Index], Depends(_before_the_stream)],
) -> AsyncIterator[ServerSentEvent]:
    """The answer as events: `hits`, `token` (a model's words, not checked yet), then `answer`,
    which is checked; or `problem`."""
    collection, index = prepared
    stop = threading.Event()
    loop = asyncio.get_running_loop()
    events: asyncio.Queue[Any] = asyncio.Queue()

    def work() -> None:
        for event in _events(body, server, who, collection, index, stop):
            loop.call_soon_threadsafe(events.put_nowait, event)

    async def run() -> None:
        try:
            await server.answers.run(work)
        except FolioscopeError as error:
            await events.put(problems.of_error(error))
        except Problem as problem:
            await events.put(problem)
        except Exception:  # the boundary of a request whose head is sent: it must not just end
            _log.exception("unexpected error in an answer")
            await events.put(problems.unexpected())
        finally:
            await events.put(_END)

    task = asyncio.create_task(run())
    try:
        while (event := await events.get()) is not _END:
            yield _problem(event) if isinstance(event, Problem) else _sent(event, collection)
    finally:
        stop.set()  # the client is gone, or has it all
        task.cancel()


def _prepare(body: AskRequest, server: ServerState, who: Principal) -> tuple[Collection, Index]:
    """The collection and the generation that is asked: an answer and its receipt are of one."""
    collection = server.collections.get(who, body.collection)
    if body.doc_id is not None:
        collection.document(who, body.doc_id)
    return collection, collection.index


def _events(
    body: AskRequest,
    server: ServerState,
    who: Principal,
    collection: Collection,
    index: Index,
    stop: threading.Event,
) -> Iterator[Event]:
    gate = None if server.gate is None else server.gate.of(origin_of(collection.name, who))
    answerer = Answerer(index, model=server.model, gate=gate)
    events = answerer.stream(
        body.question,
        k=body.k,
        filter=body.filter,
        doc=body.doc_id,
        where=who.pinned,
        cancelled=stop.is_set,
    )
    for event in events:
        if event.kind == "answer":
            _note(server, collection.name, event.data)
        yield event


def _note(server: ServerState, collection: str, answer: Answer) -> None:
    """Metrics and spans of an answer."""
    for stage, said in answer.safety.items():
        server.metrics.verdicts.labels(stage, said["band"]).inc()
    for stage, milliseconds in answer.timing_ms.items():
        server.metrics.answer_seconds.labels(collection, stage).observe(milliseconds / 1000)
    if server.tracing is not None:
        bands = {f"safety.{stage}": str(said["band"]) for stage, said in answer.safety.items()}
        server.tracing.stages(
            "answer",
            answer.timing_ms,
            collection=collection,
            status=answer.status,
            verdict=answer.verdict,
            model=answer.model,
            generation=answer.index_generation,
            **bands,
        )


def _whole(
    body: AskRequest,
    server: ServerState,
    who: Principal,
    collection: Collection,
    index: Index,
    stop: threading.Event,
) -> Answer:
    answer: Answer | None = None
    for event in _events(body, server, who, collection, index, stop):
        if event.kind == "answer":
            answer = event.data
    if answer is None:
        raise AssertionError("a stream ends with its answer")
    return answer


def _sent(event: Event, collection: Collection) -> ServerSentEvent:
    if event.kind == "token":
        return ServerSentEvent(event="token", data={"text": event.data})
    shown = (
        SearchResponse.of(event.data, collection.name)
        if event.kind == "hits"
        else AnswerOut.of(event.data, collection.name)
    )
    return ServerSentEvent(event=event.kind, data=shown.model_dump(mode="json"))


def _problem(problem: Problem) -> ServerSentEvent:
    said: dict[str, Any] = {"status": problem.status, "code": problem.code}
    if (after := problem.headers.get("Retry-After")) is not None:
        said["retry_after"] = int(after)
    return ServerSentEvent(
        event="problem", data={**said, "detail": problem.detail, "remedy": problem.remedy}
    )
