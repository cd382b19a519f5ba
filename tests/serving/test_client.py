"""The Python client against a real server, blocking and asynchronous."""

from __future__ import annotations

import asyncio
import io
import resource
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import httpx2 as httpx
import pytest
from PIL import Image

from retrieval.errors import InputError, ServiceError
from serving.client import ApiError, AsyncClient, Client
from serving.client_calls import checked
from serving.client_events import EventLines
from serving.client_files import ReadInThread


@pytest.mark.slow
def test_the_main_job_in_a_few_lines(
    start: Callable[..., httpx.Client], tmp_path: Path, sample_documents: Path
) -> None:
    url = str(start(tmp_path / "index").base_url)
    with Client(url) as client:
        invoice = sample_documents / "invoice-ff-2025-0318.pdf"
        (tmp_path / "code.py").write_text("print()")
        job = client.upload([invoice, tmp_path / "code.py"], {"year": 2025}, wait=100)
        assert job.state == "done" and job.result is not None and job.files == [invoice.name]
        assert [(item.name, bool(item.reason)) for item in job.refused] == [("code.py", True)]
        found = client.search("total of the invoice", filter="year = 2025")
        hit = found.hits[0]
        assert hit.name == invoice.name and hit.regions
        assert client.documents().total == 1 and client.document(hit.doc_id).pages == 1
        assert len(client.page(hit.page_id).words) > 20
        answer = client.ask("What is the total of invoice FF-2025-0318?")
        assert "6,722.58" in answer.text and not answer.claims[0].citations[0].problems
        events = list(client.ask_stream("What is the total of invoice FF-2025-0318?"))
        assert [event.kind for event in events] == ["hits", "answer"]
        assert events[0].hits is not None and events[0].hits.hits[0].page_id == hit.page_id
        assert events[1].answer is not None and events[1].answer.text == answer.text
        with pytest.raises(ApiError, match="no document 77"):
            list(client.ask_stream("x", doc_id=77))
        assert client.ask_receipt("What is the total of invoice FF-2025-0318?")["sha256"]
        crop = client.page_image(hit.page_id, box=hit.regions[0].box, width=200)
        assert Image.open(io.BytesIO(crop)).width == 200
        assert Image.open(io.BytesIO(client.heatmap(hit.page_id, "total"))).format == "PNG"
        assert client.jobs()[0].id == job.id and client.collections() == ["default"]
        assert client.cases() == []
        with pytest.raises(ApiError, match="no document 77") as refused:
            client.search("x", doc_id=77)
        assert (refused.value.status, refused.value.code) == (404, "no-such-document")
        with pytest.raises(InputError, match="cannot be read"):
            client.upload(["missing.pdf"])
        with pytest.raises(ApiError, match=r"[.] Send documents[.]$"):
            client.upload([tmp_path / "code.py"])
        send_many(client, tmp_path)

    async def again() -> None:
        async with AsyncClient(url) as client:
            both = await asyncio.gather(client.search("invoice"), client.status())
            told = await asyncio.gather(client.jobs(), client.collections(), client.cases("all"))
            assert [len(found) for found in told] == [1, 1, 0]
            page_id = both[0].hits[0].page_id
            assert (await client.heatmap(page_id, "total")).startswith(b"\x89PNG")
            assert both[0].hits[0].name == invoice.name and both[1].pages == 1
            kinds = [event.kind async for event in client.ask_stream("invoice total")]
            assert kinds[0] == "hits" and kinds[-1] == "answer"
            await send_much(client)
            job = await client.remove(both[0].hits[0].doc_id, wait=100)
            assert job.state == "done" and (await client.documents()).total == 0

    async def send_much(client: AsyncClient) -> None:
        large = tmp_path / "large.bin"
        with large.open("wb") as file:
            file.truncate(60_000_000)
        tracemalloc.start()
        with pytest.raises(ApiError) as refused:
            await client.upload([large])
        held = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert refused.value.code == "unknown-kind"
        assert held < 10_000_000, "the file was held in memory"

    asyncio.run(again())


def send_many(client: Client, folder: Path) -> None:
    """More files than there may be open ones; and one that is not as long as it says."""
    many = [folder / f"{number}.bin" for number in range(150)]
    for path in many:
        path.write_bytes(b"of no kind")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(path.name) for path in Path("/dev/fd").iterdir())
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 20, hard))
    try:
        with pytest.raises(ApiError) as refused:
            client.upload(many)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert refused.value.code == "unknown-kind"
    growing = Path("/proc/self/status")
    if growing.exists():
        with pytest.raises(InputError, match="changed while it was sent"):
            client.upload([growing])


def test_an_empty_field_does_not_end_what_is_sent() -> None:
    data, file = {"collection": ""}, ("files", ("a.bin", b"of no kind"))
    request = httpx.Request("POST", "http://127.0.0.1:9", data=data, files=[file])
    assert isinstance(request.stream, httpx.SyncByteStream)
    body = ReadInThread(request.stream)

    async def sent() -> bytes:
        return b"".join([piece async for piece in body])

    assert len(asyncio.run(sent())) == int(request.headers["content-length"])


def test_an_answer_of_another_version_is_said() -> None:
    lines = EventLines()
    with pytest.raises(ServiceError, match=r"question: .*another version"):
        [lines.event(line) for line in ("event: answer", "data: {}", "")]


def test_what_a_proxy_says_is_a_refusal_too() -> None:
    for said in (httpx.Response(502, json=["x"]), httpx.Response(502, text="<h1>Bad gateway")):
        with pytest.raises(ApiError) as refused:
            checked(said)
        assert refused.value.status == 502


def test_a_server_that_is_not_there_is_said() -> None:
    with Client("http://127.0.0.1:9") as client, pytest.raises(ServiceError, match="cannot reach"):
        client.status()
