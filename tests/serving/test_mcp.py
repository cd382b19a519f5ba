"""The MCP tools as an agent calls them."""

from __future__ import annotations

import asyncio
import base64
import io
import shutil
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, StdioServerParameters, stdio_client
from PIL import Image

from indexing.index import Index


async def _session(index: Path) -> dict[str, Any]:
    command = StdioServerParameters(
        command=sys.executable, args=["-m", "folioscope", "mcp", "--index", str(index)]
    )
    said: dict[str, Any] = {}
    async with Client(stdio_client(command)) as client:
        said["version"] = client.server_info.version
        said["tools"] = [tool.name for tool in (await client.list_tools()).tools]
        found = await client.call_tool("search", {"question": "how many swifts were counted"})
        said["hits"] = found.structured_content["result"]
        page = {"page_id": said["hits"][0]["page_id"]}
        said["page"] = (await client.call_tool("read_page", page)).structured_content
        seen = await client.call_tool("see_page", {**page, "question": "swifts"})
        said["picture"] = base64.b64decode(seen.content[0].data)
        said["wrong"] = await client.call_tool("read_page", {"page_id": 9999})
        asked = {"question": "What is the total of invoice FF-2025-0318?"}
        said["answer"] = (await client.call_tool("ask", asked)).structured_content
        said["documents"] = (await client.call_tool("list_documents", {})).structured_content
        with Index.open(index) as beside:
            beside.remove(said["hits"][0]["doc_id"])
        said["after"] = (await client.call_tool("list_documents", {})).structured_content
        said["gone"] = await client.call_tool("read_page", page)
    return said


@pytest.mark.slow
def test_an_agent_searches_reads_and_sees(built: Path, tmp_path: Path) -> None:
    shutil.copytree(built, tmp_path / "index")
    said = asyncio.run(_session(tmp_path / "index"))
    assert said["version"] == version("folioscope")
    assert set(said["tools"]) == {"search", "read_page", "see_page", "ask", "list_documents"}
    assert said["hits"][0]["name"] == "counting-swifts-paper.pdf" and said["hits"][0]["regions"]
    assert "swift" in said["page"]["text"].lower()
    assert Image.open(io.BytesIO(said["picture"])).width > 500
    assert said["wrong"].is_error and "9999" in said["wrong"].content[0].text
    assert said["answer"]["status"] == "answered" and "6,722.58" in said["answer"]["text"]
    (citation,) = said["answer"]["claims"][0]["citations"]
    assert citation["name"] == "invoice-ff-2025-0318.pdf" and not citation["problems"]
    assert said["documents"]["total"] == 2
    assert "/" not in said["hits"][0]["name"]
    # An agent's session goes on while others add and remove.
    assert said["after"]["total"] == 1 and said["gone"].is_error
