"""Vision-language models in this process, through transformers' real classes."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from indexing.index import Index
from retrieval.errors import EncoderError, InputError, ServiceError
from serving.answering.pipeline import Answerer
from serving.answering.types import Answer

QUESTION = "What is the total of invoice FF-2025-0318?"
REPLY = json.dumps(
    {
        "answerable": True,
        "answer": "The total is 6,722.58.",
        "claims": [
            {
                "text": "The total is 6,722.58.",
                "citations": [{"page": 1, "quote": "Total due £6,722.58"}],
            }
        ],
    },
    ensure_ascii=False,
)
PIECES = (REPLY[:60], REPLY[60:90], REPLY[90:])
FAMILIES = ("qwen", "smolvlm")
Make = Callable[..., Any]

needs_torch = [
    pytest.mark.models,
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        not (find_spec("torch") and find_spec("transformers")),
        reason="torch and transformers are absent; run `make test-models`",
    ),
]


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    from serving.answering.local_vlm import LocalModel
    from tests.retrieval.encoders.conftest import declare_missing_operators

    declare_missing_operators()
    from tests.serving.answering import tiny_vlm

    written: dict[Any, Path] = {}

    def load(family: str, options: str = "", pieces: tuple[str, ...] = PIECES, **how: Any) -> Any:
        key = (family, pieces, tuple(sorted(how.items())))
        if key not in written:
            written[key] = tmp_path_factory.mktemp(family)
            tiny_vlm.WRITERS[family](written[key], pieces, **how)
        return LocalModel.parse(f"{written[key]}{options}")

    return load


class TestWithWeights:
    pytestmark = needs_torch

    @pytest.mark.parametrize("family", FAMILIES)
    def test_an_answer_streams_and_is_checked(self, make: Make, index: Index, family: str) -> None:
        events = list(Answerer(index, model=make(family)).stream(QUESTION))
        said = [event.data for event in events if event.kind == "token"]
        assert "".join(said) == REPLY and len(said) > 1
        answer: Answer = events[-1].data
        assert (answer.status, answer.verdict) == ("answered", "supported")
        assert answer.usage["pictures"] >= 1
        assert answer.usage["prompt_tokens"] <= answer.usage["budget_tokens"]
        assert answer.usage["completion_tokens"] == len(PIECES) + 1

    @pytest.mark.parametrize("family", FAMILIES)
    def test_a_short_window_gets_a_context_that_fits(
        self, make: Make, index: Index, family: str
    ) -> None:
        model = make(family, "?answer=50", window=3000)
        answer = Answerer(index, model=model).ask(QUESTION)
        assert answer.status == "answered"
        assert answer.usage["prompt_tokens"] <= answer.usage["budget_tokens"] == 2950

    def test_a_window_without_room_is_said(self, make: Make, index: Index) -> None:
        model = make("qwen", "?answer=50", window=600)
        with pytest.raises(ServiceError, match="room for 550 tokens"):
            Answerer(index, model=model).ask(QUESTION)

    @pytest.mark.parametrize("family", FAMILIES)
    def test_an_answer_without_end_is_cut_off_and_said(
        self, make: Make, index: Index, family: str
    ) -> None:
        model = make(family, "?answer=40", end=False)
        with pytest.raises(ServiceError, match="ran out of its 40 tokens"):
            Answerer(index, model=model).ask(QUESTION)

    def test_cancelling_stops_the_generation(self, make: Make, index: Index) -> None:
        model = make("smolvlm", "?answer=20000", end=False)
        stop = threading.Event()
        with pytest.raises(ServiceError, match="cancelled"):
            for event in Answerer(index, model=model).stream(QUESTION, cancelled=stop.is_set):
                if event.kind == "token":
                    stop.set()

    def test_who_stops_reading_stops_the_generation(self, make: Make, index: Index) -> None:
        model = make("smolvlm", "?answer=20000", end=False)
        stream = Answerer(index, model=model).stream(QUESTION)
        assert any(event.kind == "token" for event in stream)
        stream.close()  # type: ignore[attr-defined]
        names = {thread.name for thread in threading.enumerate()}
        assert "folioscope-vlm" not in names

    def test_a_model_that_is_slow_is_an_error(self, make: Make, index: Index) -> None:
        model = make("qwen", "?answer=20000&seconds=0.01", end=False)
        with pytest.raises(ServiceError, match=r"within 0\.01 seconds"):
            Answerer(index, model=model).ask(QUESTION)

    def test_words_in_another_form_are_an_error(self, make: Make, index: Index) -> None:
        model = make("qwen", pieces=("I cannot ", "help."))
        with pytest.raises(ServiceError, match="does not answer in the form"):
            Answerer(index, model=model).ask(QUESTION)

    def test_a_base_model_is_refused(self, make: Make, tmp_path: Path) -> None:
        from serving.answering.local_vlm import LocalModel
        from tests.serving.answering import tiny_vlm

        tiny_vlm.write_qwen(tmp_path, PIECES)
        (tmp_path / "chat_template.jinja").unlink()
        with pytest.raises(EncoderError, match="no chat template"):
            LocalModel(str(tmp_path))

    def test_a_damaged_checkpoint_is_named(self, make: Make, tmp_path: Path) -> None:
        from serving.answering.local_vlm import LocalModel
        from tests.serving.answering import tiny_vlm

        tiny_vlm.write_qwen(tmp_path, PIECES)
        (tmp_path / "model.safetensors").write_bytes(b"short")
        with pytest.raises(EncoderError, match="cannot be loaded"):
            LocalModel(str(tmp_path))


@pytest.mark.parametrize("argument", ["m?device=", "m?colour=red", "m?answer=few", "?tokens=900"])
def test_what_cannot_be_meant_is_refused(argument: str) -> None:
    from serving.answering.local_vlm import LocalModel

    with pytest.raises((InputError, EncoderError)):
        LocalModel.parse(argument)
