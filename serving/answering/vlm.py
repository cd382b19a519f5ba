"""A model behind an OpenAI-compatible endpoint: vLLM, Ollama, llama.cpp, hosted services."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from indexing.index import Index
from retrieval.errors import ServiceError
from serving.answering.context import ContextSettings, build_context, usage_of
from serving.answering.pipeline import Draft
from serving.answering.prompt import Message, Reply, converse
from serving.answering.types import EvidencePage


@dataclass(frozen=True, slots=True)
class EndpointSettings:
    """Where the model is. ``seconds`` is the limit of one request; ``structured`` asks the
    server to hold the model to the reply's JSON schema (turned off where it refuses)."""

    url: str
    model: str = ""
    key: str = "none"
    seconds: float = 120.0
    retries: int = 2
    answer_tokens: int = 1500
    structured: bool = True


class EndpointModel:
    """A ``Model`` over the official ``openai`` client. Safe to share between threads."""

    def __init__(
        self,
        settings: EndpointSettings,
        context: ContextSettings | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Raises ``ServiceError`` if no model is named and the server names none."""
        import openai

        self._settings = settings
        self._clock = clock
        self._context = context or ContextSettings()
        self._client = openai.OpenAI(
            base_url=settings.url,
            api_key=settings.key,
            timeout=settings.seconds,
            max_retries=settings.retries,
        )
        self._model = settings.model or self._only_model()

    @property
    def name(self) -> str:
        """The model's name at its server."""
        return self._model

    def draft(
        self,
        question: str,
        pages: Sequence[EvidencePage],
        index: Index,
        cancelled: Callable[[], bool],
    ) -> Iterator[str | Draft]:
        """The reply's text as it comes, then what it says. Raises ``ServiceError``."""
        context = build_context(pages, index, self._context, question=question)
        usage = usage_of(context, self._context, len(pages))

        def complete(messages: Sequence[Message]) -> Generator[str, None, str]:
            return self._complete([_as_sent(m) for m in messages], cancelled, usage)

        name = f"{self._model} at {self._settings.url}"
        yield from converse(complete, question, context, usage, name)

    def _complete(
        self, messages: list[dict[str, Any]], cancelled: Callable[[], bool], usage: dict[str, int]
    ) -> Generator[str, None, str]:
        import openai

        late = self._clock() + self._settings.seconds
        parts: list[str] = []
        finished = False
        form: dict[str, Any] = {}
        if self._settings.structured:
            schema = {"name": "answer", "schema": Reply.model_json_schema()}
            form = {"response_format": {"type": "json_schema", "json_schema": schema}}
        try:
            try:
                stream = self._request(messages, form)
            except openai.BadRequestError:
                if not form:
                    raise
                stream = self._request(messages, {})  # a server without structured output
            with stream:
                for chunk in stream:
                    if cancelled():
                        raise ServiceError("the question was cancelled")
                    # The client's own limit starts anew with every word.
                    if self._clock() > late:
                        raise ServiceError(self._too_slow())
                    if chunk.usage is not None:
                        for name in ("prompt_tokens", "completion_tokens"):
                            usage[name] = usage.get(name, 0) + getattr(chunk.usage, name)
                    for choice in chunk.choices:
                        if choice.delta.content:
                            parts.append(choice.delta.content)
                            yield choice.delta.content
                        if choice.finish_reason == "length":
                            raise ServiceError(
                                f"{self._model} ran out of its {self._settings.answer_tokens} "
                                "tokens; ask for less, or raise the limit"
                            )
                        finished |= choice.finish_reason is not None
        except openai.APITimeoutError as error:
            raise ServiceError(self._too_slow()) from error
        except openai.APIConnectionError as error:
            raise ServiceError(
                f"cannot reach the model at {self._settings.url}; is its server running?"
            ) from error
        except openai.APIStatusError as error:
            raise ServiceError(
                f"{self._settings.url} refused the request ({error.status_code}): "
                f"{str(error.message)[:200]}"
            ) from error
        except openai.OpenAIError as error:
            raise ServiceError(f"{self._settings.url}: {error}") from error
        except (ValueError, TypeError, AttributeError) as error:
            # The client takes events apart as if every server kept to the protocol.
            raise ServiceError(
                f"{self._settings.url} sent something that is no chat completion "
                f"({type(error).__name__}); is it an OpenAI-compatible endpoint?"
            ) from error
        if not finished:
            raise ServiceError(f"the answer of {self._settings.url} was cut off; ask again")
        return "".join(parts)

    def _too_slow(self) -> str:
        return f"{self._settings.url} did not answer within {self._settings.seconds:g} seconds"

    def _request(self, messages: list[dict[str, Any]], form: Mapping[str, Any]) -> Any:
        return self._client.chat.completions.create(  # type: ignore[call-overload]
            model=self._model,
            messages=messages,
            max_tokens=self._settings.answer_tokens,
            temperature=0,
            stream=True,
            stream_options={"include_usage": True},
            **form,
        )

    def _only_model(self) -> str:
        import openai

        try:
            models = [model.id for model in self._client.models.list()]
        except openai.OpenAIError as error:
            raise ServiceError(
                f"cannot ask {self._settings.url} which models it has: {error}"
            ) from error
        if len(models) != 1:
            known = ", ".join(models[:10]) or "none"
            raise ServiceError(f"name a model of {self._settings.url}; it has: {known}")
        return models[0]


def _as_sent(message: Message) -> dict[str, Any]:
    """A message in the protocol's form: plain text where it has no pictures."""
    if len(message.parts) == 1 and isinstance(message.parts[0], str):
        return {"role": message.role, "content": message.parts[0]}
    parts = [
        {"type": "text", "text": part}
        if isinstance(part, str)
        else {"type": "image_url", "image_url": {"url": part.url()}}
        for part in message.parts
    ]
    return {"role": message.role, "content": parts}
