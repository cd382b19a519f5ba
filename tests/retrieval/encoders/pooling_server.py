"""A server that speaks vLLM's ``/pooling`` for a made-up model, over real sockets.

Like Qwen-VL it gives one vector for every square of ``cell`` pixels, between tokens of the
prompt before and after; a vector says the colour of its square. Pictures of fewer pixels than
``least`` are enlarged first, those of more than ``most`` made smaller. It can be told to fail.
"""

from __future__ import annotations

import base64
import io
import json
import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from PIL import Image

BEFORE, AFTER = 5, 7


class PoolingServer(ThreadingHTTPServer):
    """``failures`` are consumed one a request: a status, ``drop``, ``slow`` or ``text``."""

    daemon_threads = True
    dim = 16
    cell = 28
    fixed = 0
    blind = False
    shrink = False
    least = 0
    most = 1 << 24
    models = ("tiny/colqwen",)

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.failures: list[Any] = []
        self.keys: list[str | None] = []
        self.released = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def of_picture(self, address: str) -> Any:
        raw = base64.b64decode(address.split(",", 1)[1])
        picture = Image.open(io.BytesIO(raw)).convert("RGB")
        area = picture.width * picture.height
        scale = (min(max(area, self.least), self.most) / area) ** 0.5
        whole = math.ceil if scale > 1 else math.floor
        columns = max(1, whole(picture.width * scale / self.cell))
        rows = max(1, whole(picture.height * scale / self.cell))
        if self.fixed:
            columns = rows = self.fixed
        if self.shrink:
            columns, rows = max(1, columns // 2), max(1, rows // 2)
        small = np.asarray(picture.resize((columns, rows), Image.Resampling.BOX), np.float32)
        if self.blind:
            small = np.zeros_like(small)
        return self.vectors(small.reshape(-1, 3))

    def vectors(self, colours: Any) -> Any:
        turn = np.random.default_rng(0).standard_normal((3, self.dim))
        return (colours / 255 - 0.5) @ turn + 0.01


class _Handler(BaseHTTPRequestHandler):
    server: PoolingServer

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        if not self._failed():
            self._send(200, {"data": [{"id": name} for name in self.server.models]})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.keys.append(self.headers.get("Authorization"))
        if self._failed():
            return
        words = self.server.vectors(np.random.default_rng(1).uniform(0, 255, (BEFORE + AFTER, 3)))
        if "messages" in asked:
            content = asked["messages"][0]["content"]
            picture = self.server.of_picture(content[0]["image_url"]["url"])
            vectors = np.concatenate((words[:BEFORE], picture, words[BEFORE:]))
        else:
            vectors = words[: len(asked["input"][0].split())]
        self._send(200, {"data": [{"index": 0, "object": "pooling", "data": vectors.tolist()}]})

    def _failed(self) -> bool:
        failure = self.server.failures.pop(0) if self.server.failures else None
        if failure == "drop":
            self.close_connection = True
            self.connection.close()
        elif failure == "slow":
            self.server.released.wait(30)
        elif failure == "text":
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>hello</html>")
        elif failure is not None:
            self._send(failure, {"error": "not now"})
        return failure is not None

    def _send(self, status: int, body: Any) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def pooling_server() -> Iterator[PoolingServer]:
    """The server, running in a thread."""
    server = PoolingServer()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        server.shutdown()
        server.server_close()
        thread.join()
