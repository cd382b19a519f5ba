"""Pages: their words, pictures, crops and heatmaps."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from retrieval.store import PageRecord
from retrieval.store_rows import DocumentRow
from serving.http.auth import Principal
from serving.http.collections import Collection
from serving.http.disconnect import while_connected
from serving.http.pictures import etag
from serving.http.problems import Problem
from serving.http.schemas import Id, PageOut
from serving.http.state import Reader, Server, ServerState

router = APIRouter(tags=["pages"])
Name = Annotated[str | None, Query(max_length=64)]
Width = Annotated[int, Query(ge=32, le=2400)]
_HEAT_SIDE = 640
_PICTURE: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/webp": {}}},
    304: {"description": "Unchanged."},
}


@router.get("/pages/{page_id}")
async def get_page(page_id: Id, server: Server, who: Reader, collection: Name = None) -> PageOut:
    """A page's words with their boxes."""
    target, row, record = await _find(server, who, collection, page_id)
    return PageOut.of(row, record, target.name)


@router.get("/documents/{doc_id}/pages/{number}")
async def get_page_of_document(
    doc_id: Id, number: Id, server: Server, who: Reader, collection: Name = None
) -> PageOut:
    """A page by its place in a document, from 0."""
    target = server.collections.get(who, collection)
    target.document(who, doc_id)
    page_id = target.index.page_id(doc_id, number)
    if page_id is None:
        raise Problem(404, "no-such-page", f"Document {doc_id} has no page {number}.", "")
    found, row, record = await _find(server, who, collection, page_id)
    return PageOut.of(row, record, found.name)


@router.get("/pages/{page_id}/image", responses=_PICTURE, response_class=Response)
async def page_image(
    page_id: Id,
    request: Request,
    server: Server,
    who: Reader,
    collection: Name = None,
    width: Width = 1000,
) -> Response:
    """The page, at most ``width`` pixels wide, as WebP."""
    _, row, record = await _find(server, who, collection, page_id)
    tag = etag("page", *_drawn(row, record), width)
    if _unchanged(request, tag):
        return _not_modified(tag)
    data = await while_connected(
        request,
        server.images.run(lambda: server.pictures.page(row, record, width, tag)),
    )
    return _picture(data, "image/webp", tag)


@router.get("/pages/{page_id}/crop", responses=_PICTURE, response_class=Response)
async def page_crop(
    page_id: Id,
    request: Request,
    server: Server,
    who: Reader,
    x0: Annotated[float, Query(ge=0, le=1)],
    y0: Annotated[float, Query(ge=0, le=1)],
    x1: Annotated[float, Query(ge=0, le=1)],
    y1: Annotated[float, Query(ge=0, le=1)],
    collection: Name = None,
    width: Width = 1000,
) -> Response:
    """A part of the page, given in page fractions, as WebP."""
    _, row, record = await _find(server, who, collection, page_id)
    box = (x0, y0, x1, y1)
    tag = etag("crop", *_drawn(row, record), box, width)
    if _unchanged(request, tag):
        return _not_modified(tag)
    data = await while_connected(
        request,
        server.images.run(lambda: server.pictures.crop(row, record, box, width, tag)),
    )
    return _picture(data, "image/webp", tag)


@router.get(
    "/pages/{page_id}/heatmap",
    responses={200: {"content": {"image/png": {}}}},
    response_class=Response,
)
async def page_heatmap(
    page_id: Id,
    request: Request,
    server: Server,
    who: Reader,
    question: Annotated[str, Query(min_length=1, max_length=4000)],
    collection: Name = None,
) -> Response:
    """Where the page speaks for the question: a PNG to multiply its picture with."""
    target, row, record = await _find(server, who, collection, page_id)
    asked = hashlib.sha256(question.encode()).hexdigest()
    tag = etag("heat", row.sha256, page_id, asked, target.index.encoder.fingerprint)
    if _unchanged(request, tag):
        return _not_modified(tag)
    index = target.index
    scale = _HEAT_SIDE / max(record.width, record.height, 1e-6)
    size = (max(1, round(record.height * scale)), max(1, round(record.width * scale)))

    def draw() -> bytes:
        return server.pictures.heat(index.heat(question, page_id, size), tag)

    return _picture(await while_connected(request, server.searches.run(draw)), "image/png", tag)


async def _find(
    server: ServerState, who: Principal, collection: str | None, page_id: int
) -> tuple[Collection, DocumentRow, PageRecord]:
    """The page, if ``who`` may see its document. Raises ``Problem`` 404, the same in both cases."""
    target = server.collections.get(who, collection)
    index = target.index
    owner = index.document_of(page_id)
    row = None if owner is None else target.documents(who).get(owner)
    if row is None:
        raise Problem(404, "no-such-page", f"There is no page {page_id}.", "Search anew.")
    return target, row, await server.searches.run(lambda: index.page(page_id))


def _drawn(row: DocumentRow, record: PageRecord) -> tuple[object, ...]:
    """What a page's picture is made from."""
    return row.sha256, record.number, record.times, record.part


def _unchanged(request: Request, tag: str) -> bool:
    given = request.headers.get("if-none-match", "")
    return tag in [part.strip().removeprefix("W/") for part in given.split(",")]


def _headers(tag: str) -> dict[str, str]:
    # Private: what a key may see must not be kept by a shared cache.
    # Asked about each time: in an index that is built anew an id is that of another page.
    return {"ETag": tag, "Cache-Control": "private, no-cache", "Vary": "Authorization"}


def _not_modified(tag: str) -> Response:
    return Response(status_code=304, headers=_headers(tag))


def _picture(data: bytes, media_type: str, tag: str) -> Response:
    return Response(data, media_type=media_type, headers=_headers(tag))
