"""``--vlm local:MODEL``: a vision-language model in this process, through transformers.

One client for every family that transformers loads as "image and text to text" and that has a
chat template (Qwen-VL, SmolVLM and relatives): the family's own processor prepares pictures and
prompt, the budget is counted with its own tokenizer, and what comes out is checked like any
other model's words.
"""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from PIL import Image as Pillow

from indexing.index import Index
from retrieval.encoders.checkpoint import resolve
from retrieval.encoders.device import choose_device, choose_dtype
from retrieval.encoders.options import parse
from retrieval.errors import EncoderError, InputError, ServiceError
from retrieval.legibility import ReaderInput
from serving.answering.context import ContextSettings, build_context, usage_of
from serving.answering.pipeline import Draft
from serving.answering.prompt import Message, converse, messages_of
from serving.answering.types import EvidencePage

OPTIONS = {
    "device": "cuda, cuda:1, mps or cpu",
    "dtype": "bfloat16, float16 or float32",
    "tokens": "budget for what the model is shown",
    "answer": "most tokens of an answer",
    "seconds": "time limit of an answer",
}
# What is counted before the pictures are prepared is an estimate; so many times it is tightened.
_TRIES = 5
_TIGHTER = 0.6


@dataclass(frozen=True, slots=True)
class LocalSettings:
    """Where and how the model runs; None for ``device`` and ``dtype`` takes the best there is."""

    device: str | None = None
    dtype: str | None = None
    seconds: float = 300.0
    answer_tokens: int = 1500


class LocalModel:
    """A ``Model`` on this machine. Safe to share between threads, which take turns."""

    def __init__(
        self,
        target: str,
        settings: LocalSettings | None = None,
        context: ContextSettings | None = None,
        *,
        revision: str = "",
    ) -> None:
        """``target`` is a folder or a hub name. Raises ``EncoderError`` for what is not there."""
        transformers = _transformers()
        checkpoint = resolve(target, revision)
        self._settings = settings or LocalSettings()
        self._device = choose_device(self._settings.device)
        dtype = choose_dtype(self._settings.dtype, self._device)
        self._processor = _load(transformers.AutoProcessor, checkpoint.processor)
        if not getattr(self._processor, "chat_template", None):
            raise EncoderError(
                f"{target} has no chat template: it does not take instructions; name the "
                "'instruct' or 'chat' version of it"
            )
        model = _load(transformers.AutoModelForImageTextToText, checkpoint.model, dtype=dtype)
        self._model = model.to(self._device).eval()
        self._window = _window(self._model.config)
        context = context or ContextSettings()
        seen = reader_of(self._processor, context.views.reader)
        self._context = replace(context, views=replace(context.views, reader=seen))
        self._name = checkpoint.name
        self._lock = threading.Lock()

    @classmethod
    def parse(cls, argument: str) -> LocalModel:
        """The model that ``MODEL[@REVISION][?option=value&...]`` names."""
        try:
            wanted = parse("local", argument, OPTIONS)
            tokens, answer = wanted.integer("tokens", 500), wanted.integer("answer", 16)
            settings = LocalSettings(
                wanted.options.get("device"),
                wanted.options.get("dtype"),
                wanted.number("seconds", LocalSettings().seconds),
                answer or LocalSettings().answer_tokens,
            )
        except EncoderError as error:
            raise InputError(str(error).replace("--encoder", "--vlm")) from error
        context = ContextSettings(tokens=tokens) if tokens else ContextSettings()
        return cls(wanted.target, settings, context, revision=wanted.revision)

    @property
    def name(self) -> str:
        """The folder or hub name with its revision."""
        return self._name

    def draft(
        self,
        question: str,
        pages: Sequence[EvidencePage],
        index: Index,
        cancelled: Callable[[], bool],
    ) -> Iterator[str | Draft]:
        """The reply's text as it comes, then what it says. Raises ``ServiceError``."""
        context, settings, counted = self._fitting(question, pages, index)
        usage = usage_of(context, settings, len(pages))
        usage["context_tokens"] = counted

        def complete(messages: Sequence[Message]) -> Generator[str, None, str]:
            return self._complete(messages, cancelled, usage)

        yield from converse(complete, question, context, usage, self._name)

    def _fitting(
        self, question: str, pages: Sequence[EvidencePage], index: Index
    ) -> tuple[Any, ContextSettings, int]:
        """The context that the budget and the model's window hold, counted by the model's own
        processor. Raises ``ServiceError`` if not even a little fits."""
        most = self._context.tokens
        if self._window is not None:
            most = min(most, self._window - self._settings.answer_tokens)
        settings = replace(self._context, tokens=most)
        counted = 0
        for _ in range(_TRIES):
            if settings.tokens <= 0:
                break
            context = build_context(
                pages, index, settings, question=question, count=self._count_text
            )
            inputs = self._prepared(messages_of(question, context))
            counted = int(inputs["input_ids"].shape[-1])
            if counted <= most:
                return context, replace(settings, tokens=most), counted
            settings = replace(settings, tokens=int(settings.tokens * _TIGHTER))
        raise ServiceError(
            f"{self._name} has room for {max(most, 0)} tokens beside its answer, and the question "
            f"with a part of one page takes {counted}; use a model with a longer window, or ask "
            "for a shorter answer (?answer=300)"
        )

    def _count_text(self, text: str) -> int:
        return len(self._processor.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _prepared(self, messages: Sequence[Message]) -> Any:
        """The model's inputs. System messages and text go as parts: some templates take no
        plain strings."""
        turns, pictures = [], []
        for message in messages:
            parts: list[dict[str, str]] = []
            for part in message.parts:
                if isinstance(part, str):
                    parts.append({"type": "text", "text": part})
                else:
                    parts.append({"type": "image"})
                    pictures.append(Pillow.open(io.BytesIO(part.data)).convert("RGB"))
            turns.append({"role": message.role, "content": parts})
        try:
            text = self._processor.apply_chat_template(
                turns, add_generation_prompt=True, tokenize=False
            )
            return self._processor(
                text=[text], images=[pictures] if pictures else None, return_tensors="pt"
            )
        except Exception as error:  # templates and processors raise whatever they please
            raise ServiceError(
                f"the processor of {self._name} does not take this prompt ({_said(error)})"
            ) from error

    def _complete(
        self, messages: Sequence[Message], cancelled: Callable[[], bool], usage: dict[str, int]
    ) -> Generator[str, None, str]:
        from transformers import StoppingCriteriaList, TextIteratorStreamer

        inputs = self._prepared(messages).to(self._device)
        prompt = int(inputs["input_ids"].shape[-1])
        usage["prompt_tokens"] = usage.get("prompt_tokens", 0) + prompt
        streamer = TextIteratorStreamer(
            self._processor.tokenizer, skip_prompt=True, skip_special_tokens=True
        )
        stop = _Stop(cancelled, self._settings.seconds)
        outcome: dict[str, Any] = {}

        def work() -> None:
            try:
                with self._lock:
                    outcome["ids"] = self._model.generate(
                        **inputs,
                        max_new_tokens=self._settings.answer_tokens,
                        do_sample=False,
                        streamer=streamer,
                        stopping_criteria=StoppingCriteriaList([stop]),
                    )
            except BaseException as error:
                outcome["error"] = error
            finally:
                streamer.end()

        thread = threading.Thread(target=work, name="folioscope-vlm", daemon=True)
        thread.start()
        parts: list[str] = []
        try:
            for piece in streamer:
                if piece:
                    parts.append(piece)
                    yield piece
        finally:
            stop.now()  # whoever reads has it all, or is gone
            thread.join()
        self._judge(outcome, stop, prompt, usage)
        return "".join(parts)

    def _judge(self, outcome: dict[str, Any], stop: _Stop, prompt: int, usage: Any) -> None:
        """Raise ``ServiceError`` unless the model came to the end of its answer."""
        if "error" in outcome:
            raise ServiceError(
                f"{self._name} failed while it answered ({_said(outcome['error'])}); give it a "
                "smaller budget (?tokens=4000) if it ran out of memory"
            ) from outcome["error"]
        if stop.why == "cancelled":
            raise ServiceError("the question was cancelled")
        if stop.why == "late":
            raise ServiceError(
                f"{self._name} did not answer within {self._settings.seconds:g} seconds"
            )
        said = int(outcome["ids"].shape[-1]) - prompt
        usage["completion_tokens"] = usage.get("completion_tokens", 0) + said
        ends = self._model.generation_config.eos_token_id
        ends = ends if isinstance(ends, list) else [ends]
        if said >= self._settings.answer_tokens and int(outcome["ids"][0, -1]) not in ends:
            raise ServiceError(
                f"{self._name} ran out of its {self._settings.answer_tokens} tokens; ask for "
                "less, or raise the limit (?answer=3000)"
            )


class _Stop:
    """A stopping criterion: the asker has gone, or it takes too long. Looked at every token."""

    def __init__(self, cancelled: Callable[[], bool], seconds: float) -> None:
        self._cancelled = cancelled
        self._until = time.monotonic() + seconds
        self._now = threading.Event()
        self.why = ""

    def now(self) -> None:
        """Stop at the next token."""
        self._now.set()

    def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
        import torch

        if self._now.is_set() or self._cancelled():
            self.why = "cancelled"
        elif time.monotonic() > self._until:
            self.why = "late"
        return torch.full((input_ids.shape[0],), bool(self.why), device=input_ids.device)


def reader_of(processor: Any, most: ReaderInput) -> ReaderInput:
    """How a processor shrinks pictures, and no larger than ``most``.

    ``longest_edge`` counts pixels where patches are merged (Qwen-VL), else a side (SmolVLM); what
    gives ``width`` and ``height``, or crops, squashes all pictures to one size. A processor that
    says nothing is taken to show what it is sent.
    """
    images = getattr(processor, "image_processor", None)
    # Those that always crop see the crop.
    crop = getattr(images, "crop_size", None) if getattr(images, "do_center_crop", False) else None
    size = crop or getattr(images, "size", None) or {}

    def said(name: str) -> int | None:
        value = size.get(name) if hasattr(size, "get") else getattr(size, name, None)
        return int(value) if value else None

    width, height, longest = said("width"), said("height"), said("longest_edge")
    if width and height:
        return replace(most, fixed=(width, height))
    if longest and getattr(images, "merge_size", None):
        return replace(most, max_pixels=min(longest, most.max_pixels or longest))
    if longest:
        return replace(most, max_side=min(longest, most.max_side or longest))
    return most


def _transformers() -> Any:
    try:
        import transformers
        from transformers.utils.logging import disable_progress_bar
    except ImportError as error:
        raise EncoderError(
            "a local model needs transformers and torch; run `pip install 'folioscope[local]'`"
        ) from error
    switch: Any = disable_progress_bar
    switch()
    return transformers


def _load(family: Any, folder: Any, **how: Any) -> Any:
    """From files alone: code that a checkpoint brings along is not run."""
    try:
        return family.from_pretrained(str(folder), trust_remote_code=False, **how)
    except Exception as error:  # transformers raises whatever a broken file led to
        raise EncoderError(
            f"{folder} cannot be loaded as a vision-language model ({_said(error)}); name the "
            "folder or hub name of one that transformers knows"
        ) from error


def _window(config: Any) -> int | None:
    """How many tokens the model can attend to, where its configuration says so."""
    text = getattr(config, "text_config", None) or config
    found = getattr(text, "max_position_embeddings", None)
    return int(found) if found else None


def _said(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
