"""The encoder over HTTP, against a real server on this machine: places, failures, retries."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from retrieval.encoders import load_encoder
from retrieval.encoders.post import KEY, Endpoint
from retrieval.errors import EncoderError
from retrieval.types import PageContent, PageWords
from tests.retrieval.encoders.pooling_server import PoolingServer, pooling_server


@pytest.fixture
def server() -> Iterator[PoolingServer]:
    with pooling_server() as running:
        yield running


def page(image: Any) -> PageContent:
    return PageContent(0, "1", 612, 792, PageWords.empty(), image=image)


def blank(height: int, width: int) -> Any:
    return np.full((height, width, 3), 200, np.uint8)


@pytest.mark.parametrize("cell", [28, 32])
def test_a_mark_is_in_the_patch_that_covers_it(server: PoolingServer, cell: int) -> None:
    server.cell = cell
    encoder = load_encoder(f"http:{server.url}")
    assert encoder.dim == 16
    for x, y in ((0.1, 0.1), (0.9, 0.1), (0.3, 0.8), (0.97, 0.97)):
        image = blank(1400, 1000)
        at = (round(y * 1400), round(x * 1000))
        image[at[0] - 20 : at[0] + 20, at[1] - 20 : at[1] + 20] = (255, 0, 0)
        plain, marked = encoder.encode_pages([page(blank(1400, 1000)), page(image)])
        changed = np.linalg.norm(marked.vectors - plain.vectors, axis=1)
        box = marked.boxes[changed.argmax()]
        assert box[0] <= x <= box[2]
        assert box[1] <= y <= box[3]
        assert len(marked.vectors) * cell * cell <= 1024 * 32 * 32


def test_a_fixed_grid_is_recognised(server: PoolingServer) -> None:
    server.fixed = 16
    (found,) = load_encoder(f"http:{server.url}").encode_pages([page(blank(900, 600))])
    assert found.vectors.shape == (256, 16)
    np.testing.assert_allclose(found.boxes[1], [1 / 16, 0, 2 / 16, 1 / 16])


def test_the_budget_is_kept_and_fingerprinted(server: PoolingServer) -> None:
    whole = load_encoder(f"http:{server.url}")
    small = load_encoder(f"http:{server.url}?max_pixels=100000")
    (found,) = small.encode_pages([page(blank(1400, 1000))])
    assert 28 * 28 * len(found.vectors) <= 100000
    assert small.fingerprint != whole.fingerprint
    assert load_encoder(small.id).fingerprint == small.fingerprint


def test_questions_and_pages_without_pictures(server: PoolingServer) -> None:
    encoder = load_encoder(f"http:{server.url}")
    question, empty = encoder.encode_queries(["how much is it", " "])
    assert question.vectors.shape == (4, 16)
    assert question.weights.sum() == pytest.approx(1)
    assert not len(empty.tokens)
    assert not len(encoder.encode_pages([page(None)])[0].vectors)


def test_what_passes_is_tried_again(server: PoolingServer) -> None:
    waits: list[float] = []
    server.failures = [503, "drop", 429]
    endpoint = Endpoint(server.url, timeout=5, retries=3, wait=waits.append)
    assert endpoint.get("/v1/models")["data"][0]["id"] == "tiny/colqwen"
    assert waits == [0.5, 1.0, 2.0]
    server.failures = [503] * 3
    with pytest.raises(EncoderError, match=r"did not answer \(503 .*\) in 3 tries"):
        Endpoint(server.url, timeout=5, retries=2, wait=waits.append).get("/v1/models")


def test_a_server_that_hangs_costs_its_time_limit(server: PoolingServer) -> None:
    server.failures = ["slow", "slow"]
    endpoint = Endpoint(server.url, timeout=0.1, retries=1, wait=lambda _: None)
    with pytest.raises(EncoderError, match=r"timed out.* in 2 tries"):
        endpoint.post("/pooling", {"model": "x", "input": ["a"]})


@pytest.mark.parametrize(
    ("failure", "said"),
    [(404, "refused the request"), (401, KEY), ("text", "did not answer in JSON")],
)
def test_what_does_not_pass_is_said_at_once(server: PoolingServer, failure: Any, said: str) -> None:
    server.failures = [failure]
    with pytest.raises(EncoderError, match=said):
        load_encoder(f"http:{server.url}")
    assert not server.failures


def test_nobody_at_the_address(server: PoolingServer) -> None:
    server.server_close()
    with pytest.raises(EncoderError, match="did not answer"):
        load_encoder(f"http:{server.url}?retries=0&timeout=2")
    with pytest.raises(EncoderError, match="is no address"):
        load_encoder("http:localhost:8000")


def test_models_that_cannot_serve(server: PoolingServer) -> None:
    server.blind = True
    with pytest.raises(EncoderError, match="does not look at pictures"):
        load_encoder(f"http:{server.url}")
    server.blind = False
    server.models = ("a", "b")
    with pytest.raises(EncoderError, match=r"serves 2 models \(a, b\)"):
        load_encoder(f"http:{server.url}")
    assert load_encoder(f"http:{server.url}?model=b").dim == 16


def test_a_server_that_makes_pictures_smaller_is_found_out(server: PoolingServer) -> None:
    encoder = load_encoder(f"http:{server.url}")
    server.shrink = True
    with pytest.raises(EncoderError, match="it makes pictures smaller"):
        encoder.encode_pages([page(blank(900, 600))])


def test_a_server_that_enlarges_small_pictures(server: PoolingServer) -> None:
    """Qwen3-VL's own settings: 32 pixels a token, none of fewer than 65,536."""
    server.cell, server.least = 32, 65_536
    encoder = load_encoder(f"http:{server.url}")
    image = blank(90, 40)
    image[60:75, 5:15] = (255, 0, 0)
    plain, marked = encoder.encode_pages([page(blank(90, 40)), page(image)])
    box = marked.boxes[np.linalg.norm(marked.vectors - plain.vectors, axis=1).argmax()]
    assert 5 / 40 <= (box[0] + box[2]) / 2 <= 15 / 40
    assert 60 / 90 <= (box[1] + box[3]) / 2 <= 75 / 90
    (strip,) = encoder.encode_pages([page(blank(3, 900))])
    assert len(strip.vectors) * 32 * 32 >= server.least
    server.least = 2_000_000
    with pytest.raises(EncoderError, match="it makes pictures larger"):
        encoder.encode_pages([page(blank(900, 600))])


def test_a_server_of_small_pictures_is_asked_with_smaller_ones(server: PoolingServer) -> None:
    server.most = 128 * 28 * 28
    encoder = load_encoder(f"http:{server.url}?max_pixels={server.most}")
    (found,) = encoder.encode_pages([page(blank(1400, 1000))])
    assert 90 <= len(found.vectors) <= 128
    server.least = server.most = 400_000
    with pytest.raises(EncoderError, match="not known how the patches"):
        load_encoder(f"http:{server.url}")


def test_another_model_behind_the_address_is_found_out(server: PoolingServer) -> None:
    encoder = load_encoder(f"http:{server.url}")
    server.dim = 8
    with pytest.raises(EncoderError, match="another model is being served"):
        encoder.encode_queries(["how much"])


def test_the_key_goes_along(server: PoolingServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY, "secret")
    load_encoder(f"http:{server.url}")
    assert set(server.keys) == {"Bearer secret"}
