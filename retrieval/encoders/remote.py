"""``--encoder http:URL``: a model of the ColPali family behind vLLM's pooling endpoint.

The server answers with one vector for every token of the prompt and does not say which of them
are the page's picture. Three small pictures tell, once, when the encoder is loaded: a picture
twice as wide has more tokens by as many as the first one's picture has (or has as many, if the
model squashes every page to a square), and the first vector that differs between two pictures of
one size is where the picture begins. Pages are then sent at sizes that the server need not
resize, neither above its budget nor below its least (Qwen3-VL enlarges what has fewer than 65,536
pixels), and the number of vectors shows whether it did: so every vector's place is known.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from retrieval.encoders.base import Reads
from retrieval.encoders.geometry import grid_boxes, square_side
from retrieval.encoders.options import parse
from retrieval.encoders.post import Endpoint
from retrieval.errors import EncoderError
from retrieval.types import FloatArray, PageContent, PageEmbedding, QueryEmbedding

OPTIONS = {
    "model": "which of the server's models",
    "max_pixels": "most pixels a page is sent at",
    "prompt": "what is said beside the picture",
    "query_prefix": "text before a question",
    "query_suffix": "text after a question",
    "timeout": "seconds for one answer",
    "retries": "how often to try again",
    "parallel": "requests at once",
}
_REVISION = "http-1"
_MAX_PIXELS = 1024 * 32 * 32
# Multiples of the cells of all Qwen-VL models (28 and 32 pixels): one above the least that any of
# them leaves as it is, and one for servers with a budget below the first, twice as wide.
_PROBES = (448, 224)
_CELLS = range(14, 65)
_LEAST_BUDGET = 224 * 224
# Of the largest difference that a picture makes; what half precision does to the tokens before it
# from one batch to the next is far below.
_NOISE = 0.05


@dataclass(frozen=True, slots=True)
class _Layout:
    """The picture begins at token ``first``; ``cell`` is a token's side in pixels, or 0 where
    ``side`` x ``side`` tokens stand for every picture. ``around`` is how many tokens the prompt
    has beside the picture's, and ``least`` a number of pixels that the server did not enlarge."""

    first: int
    cell: int
    side: int
    around: int = 0
    least: int = 0


class RemoteEncoder:
    """``PageEncoder`` over a server's model. Load with ``RemoteEncoder.load``."""

    reads: frozenset[Reads] = frozenset({"image"})

    def __init__(
        self,
        endpoint: Endpoint,
        model: str,
        layout: _Layout,
        dim: int,
        *,
        id: str,
        prompt: str,
        query: tuple[str, str],
        max_pixels: int,
        parallel: int,
    ) -> None:
        self.id = id
        self.dim = dim
        self._endpoint = endpoint
        self._model = model
        self._layout = layout
        self._prompt = prompt
        self._query = query
        self._max_pixels = max_pixels
        self._parallel = parallel

    @classmethod
    def load(cls, argument: str) -> RemoteEncoder:
        """Ask the server at ``argument`` (``URL[?option=value&...]``) which model it serves and
        how its vectors lie.

        ``FOLIOSCOPE_ENCODER_API_KEY``, if set, goes along as a bearer token. Raises
        ``EncoderError`` for an address that does not answer, or answers in another way.
        """
        wanted = parse("http", argument, OPTIONS)
        url = urlsplit(wanted.target)
        if url.scheme not in ("http", "https") or not url.netloc:
            raise EncoderError(
                f"--encoder http:{wanted.target} is no address; write http:http://host:8000"
            )
        endpoint = Endpoint(
            wanted.target.rstrip("/"),
            timeout=wanted.number("timeout", 120.0),
            retries=wanted.integer("retries", 0) if "retries" in wanted.options else 4,
        )
        model = wanted.options.get("model") or _only_model(endpoint)
        prompt = wanted.options.get("prompt", "Describe the image.")
        query = (wanted.options.get("query_prefix", ""), wanted.options.get("query_suffix", ""))
        layout, dim = _probe(endpoint, model, prompt)
        return cls(
            endpoint,
            model,
            layout,
            dim,
            id=f"http:{argument}",
            prompt=prompt,
            query=query,
            max_pixels=wanted.integer("max_pixels", _LEAST_BUDGET) or _MAX_PIXELS,
            parallel=wanted.integer("parallel") or 4,
        )

    @property
    def fingerprint(self) -> str:
        """Hex digest over the model's name and all that is said to it. What weights the server
        has under that name it alone knows."""
        seed = [_REVISION, self._model, self._prompt, *self._query, self._max_pixels, self.dim]
        seed += [self._layout.cell, self._layout.side]
        return hashlib.sha256(json.dumps(seed).encode()).hexdigest()

    def encode_pages(self, pages: Sequence[PageContent]) -> list[PageEmbedding]:
        """One vector a patch of each page's picture, several requests at once."""
        with ThreadPoolExecutor(self._parallel, "encoder-http") as pool:
            return list(pool.map(self._encode_page, pages))

    def encode_queries(self, queries: Sequence[str]) -> list[QueryEmbedding]:
        """One vector a token of each question, all of equal weight. The server does not name
        the tokens, so they are called ``1``, ``2``, ..."""
        return [self._encode_query(query) for query in queries]

    def _encode_page(self, page: PageContent) -> PageEmbedding:
        if page.image is None or not page.image.size:
            return PageEmbedding(np.zeros((0, self.dim), np.float32), np.zeros((0, 4), np.float32))
        rows, columns = self._grid(page.image.shape[0], page.image.shape[1])
        picture = Image.fromarray(page.image)
        if self._layout.cell:
            size = (columns * self._layout.cell, rows * self._layout.cell)
            picture = picture.resize(size, Image.Resampling.LANCZOS)
        vectors = self._checked(_ask(self._endpoint, self._model, self._prompt, picture))
        first, count = self._layout.first, rows * columns
        over = len(vectors) - (count + self._layout.around if self._layout.cell else first + count)
        if over < 0:
            raise EncoderError(
                f"{self._endpoint.url} gave {len(vectors)} vectors for a picture of {count} "
                "patches: it makes pictures smaller; start it with a larger max_pixels "
                "(--mm-processor-kwargs), or give this encoder a smaller one"
            )
        if over and self._layout.cell:
            raise EncoderError(
                f"{self._endpoint.url} gave {over} vectors more than a picture of {rows} x "
                f"{columns} patches has: it makes pictures larger, and where they lie is not "
                "known; start it with a smaller min_pixels (--mm-processor-kwargs)"
            )
        return PageEmbedding(vectors[first : first + count], grid_boxes(rows, columns))

    def _grid(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of the tokens of a page, within ``max_pixels``; a picture too small for
        the server is enlarged here, where its new size is known."""
        if not self._layout.cell:
            return self._layout.side, self._layout.side
        cell = self._layout.cell
        scale = min(1.0, (self._max_pixels / (height * width)) ** 0.5)
        rows = max(1, int(height * scale / cell))
        columns = max(1, int(width * scale / cell))
        # Rounding up may double what a very narrow picture has.
        least = min(self._layout.least, self._max_pixels // 2) // cell**2
        if rows * columns < least:
            rows = max(1, round((least * height / width) ** 0.5))
            columns = -(-least // rows)
        return rows, columns

    def _encode_query(self, query: str) -> QueryEmbedding:
        if not query.strip():
            return QueryEmbedding(np.zeros((0, self.dim), np.float32), (), np.zeros(0, np.float32))
        prefix, suffix = self._query
        asked = {"model": self._model, "input": [prefix + query + suffix]}
        vectors = self._checked(_vectors(self._endpoint, asked))
        tokens = tuple(str(i + 1) for i in range(len(vectors)))
        return QueryEmbedding(vectors, tokens, np.full(len(tokens), 1 / len(tokens), np.float32))

    def _checked(self, vectors: FloatArray) -> FloatArray:
        """Unit rows of the dimension that the encoder was loaded with."""
        if vectors.shape[1] != self.dim:
            raise EncoderError(
                f"{self._endpoint.url} now gives vectors of {vectors.shape[1]} components, before "
                f"{self.dim}: another model is being served; start the one that was"
            )
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        unit: FloatArray = vectors / np.maximum(norms, np.float32(1e-6))
        return unit


def _only_model(endpoint: Endpoint) -> str:
    listed = endpoint.get("/v1/models")
    try:
        names = [str(entry["id"]) for entry in listed["data"]]
    except (KeyError, TypeError) as error:
        raise _unexpected(endpoint, "/v1/models", listed) from error
    if len(names) != 1:
        raise EncoderError(
            f"{endpoint.url} serves {len(names)} models ({', '.join(names)}); add ?model=NAME"
        )
    return names[0]


def _probe(endpoint: Endpoint, model: str, prompt: str) -> tuple[_Layout, int]:
    """Where the picture's tokens are and how large each is; see this module's beginning."""
    for side in _PROBES:
        try:
            return _probed(endpoint, model, prompt, side)
        except ValueError as error:
            said = error
    raise EncoderError(
        f"{endpoint.url}: it is not known how the patches of '{model}' lie on the page "
        f"({said}); use a model with one grid of patches (ColPali, ColQwen), or run it here "
        "with --encoder colpali:MODEL"
    ) from said


def _probed(endpoint: Endpoint, model: str, prompt: str, pixels: int) -> tuple[_Layout, int]:
    """The layout and dimension by pictures of ``pixels`` x ``pixels`` and twice the width.

    Raises ``ValueError`` where they fit no layout.
    """
    noise = np.random.default_rng(0).integers(0, 256, (pixels, pixels, 3), np.uint8)
    plain = np.zeros_like(noise)
    square = _ask(endpoint, model, prompt, Image.fromarray(noise))
    other = _ask(endpoint, model, prompt, Image.fromarray(plain))
    wide = _ask(endpoint, model, prompt, Image.fromarray(np.hstack((noise, noise))))
    dim = square.shape[1]
    apart = np.abs(square - other).max(axis=1) if square.shape == other.shape else np.zeros(1)
    if apart.max() <= 1e-3:
        raise EncoderError(
            f"{endpoint.url}: '{model}' does not look at pictures; serve a model of the ColPali "
            "family, as in `vllm serve TomoroAI/tomoro-colqwen3-embed-4b`"
        )
    first = int(np.flatnonzero(apart > _NOISE * apart.max())[0])
    more = len(wide) - len(square)
    if not more:
        small = _ask(endpoint, model, prompt, Image.fromarray(noise[::2, ::2]))
        if len(small) != len(square):
            raise ValueError("the server resizes pictures")
        # As many for any picture: the largest square that the prompt has room for.
        return _Layout(first, 0, int((len(square) - first) ** 0.5)), dim
    side = square_side(more)
    cell, around = pixels // side, len(square) - more
    if pixels % side or cell not in _CELLS or first > around:
        raise ValueError(f"{more} patches more for twice the width of {pixels} pixels")
    return _Layout(first, cell, 0, around, pixels**2), dim


def _ask(endpoint: Endpoint, model: str, prompt: str, picture: Image.Image) -> FloatArray:
    buffer = io.BytesIO()
    picture.convert("RGB").save(buffer, "PNG", compress_level=1)
    address = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
    content = [
        {"type": "image_url", "image_url": {"url": address}},
        {"type": "text", "text": prompt},
    ]
    message = {"role": "user", "content": content}
    return _vectors(endpoint, {"model": model, "messages": [message]})


def _vectors(endpoint: Endpoint, asked: dict[str, Any]) -> FloatArray:
    """The vectors of the one prompt asked about, ``[tokens, d] float32``."""
    answer = endpoint.post("/pooling", asked)
    try:
        (entry,) = answer["data"]
        vectors: NDArray[np.float32] = np.asarray(entry["data"], np.float32)
    except (KeyError, TypeError, ValueError) as error:
        raise _unexpected(endpoint, "/pooling", answer) from error
    if vectors.ndim != 2 or not vectors.size or not np.isfinite(vectors).all():
        raise EncoderError(
            f"{endpoint.url}/pooling gave an array of shape {vectors.shape} instead of one vector "
            "a token; serve the model with `--runner pooling` and a late-interaction architecture"
        )
    return vectors


def _unexpected(endpoint: Endpoint, path: str, answer: Any) -> EncoderError:
    said = json.dumps(answer)[:160]
    return EncoderError(
        f"{endpoint.url}{path} answered {said}, which is not vLLM's; docs/encoders.md says which "
        "versions are known"
    )
