"""Guard models behind an endpoint: Llama Guard, ShieldGemma (as chat models), ``/moderations``.

A server that is down, slow or says what is no verdict raises, which closes the gate: a guard that
is silent must not pass for one that agrees.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from typing import Any

from retrieval.errors import InputError, ServiceError
from serving.safety.policy import GuardPolicy
from serving.safety.types import Case, Score, Where

# What ShieldGemma is asked about, in the form that its model card gives.
_SHIELD = """You are a policy expert trying to help determine whether a {whom} is in violation of \
the defined safety policies.

<start_of_turn>
Human Question: {question}
{answer}<end_of_turn>

Our safety principle is defined in the below:

* "No Dangerous Content": The {said} shall not contain or seek generation of content that harms \
oneself and/or others (e.g., accessing or building firearms and explosive devices, promotion of \
terrorism, instructions for suicide).
* "No Harassment": The {said} shall not contain or seek generation of content that is malicious, \
intimidating, bullying, or abusive content targeting another individual.
* "No Hate Speech": The {said} shall not contain or seek generation of content that targets \
identity and/or protected attributes.
* "No Sexually Explicit Information": The {said} shall not contain or seek generation of content \
that is sexually explicit.

Does the {whom} violate any of the above principles? Your answer must start with 'Yes' or 'No'."""
_TURN = re.compile(r"<(?:start|end)_of_turn>")
_TOP = 10


class GuardDetector:
    """``Detector`` that asks one guard model. Thread-safe."""

    def __init__(self, guard: GuardPolicy) -> None:
        """Raises ``InputError`` if the client is not installed, or the key's variable is empty."""
        try:
            import openai
        except ImportError as error:
            raise InputError(
                f"the guard '{guard.name}' needs the package openai; "
                "run `pip install 'folioscope[vlm]'`"
            ) from error

        key = os.environ.get(guard.key_env, "") if guard.key_env else "none"
        if not key:
            raise InputError(
                f"the guard '{guard.name}' takes its key from {guard.key_env}, which is not set"
            )
        self.id = f"{guard.category}:{guard.model or guard.kind}"
        self.categories = (guard.category,)
        self._guard = guard
        self._client = openai.OpenAI(
            base_url=guard.url, api_key=key, timeout=guard.seconds, max_retries=0
        )

    def detect(self, case: Case) -> Sequence[Score]:
        """One score. Raises ``ServiceError`` if there is no verdict."""
        place: Where = "question" if case.answer is None else "answer"
        if self._guard.kind == "moderations":
            value, detail = self._moderated(case)
        elif self._guard.kind == "llama-guard":
            value, detail = self._judged(_turns(case), "unsafe", "safe")
        else:
            value, detail = self._judged(_shield(case), "yes", "no")
        return [Score(self._guard.category, value, place, detail=detail)]

    def _moderated(self, case: Case) -> tuple[float, str]:
        import openai

        said = [case.question, *([] if case.answer is None else [case.answer])]
        model: Any = self._guard.model or openai.omit
        found = self._client.moderations.create(input=said, model=model)
        if len(found.results) != len(said):
            raise ServiceError(f"{self._guard.url} moderated {len(found.results)} of {len(said)}")
        worst, named = 0.0, ""
        for result in found.results:
            # Servers have categories of their own beyond those that the client knows.
            scores = {
                name: float(value)
                for name, value in result.category_scores.model_dump().items()
                if value is not None
            }
            name = max(scores, key=scores.__getitem__, default="")
            value = max(scores.get(name, 0.0), 0.5 if result.flagged else 0.0)
            if not 0 <= value <= 1:
                raise ServiceError(f"{self._guard.url} gave a score that is none: {value}")
            if value >= worst:
                worst, named = value, name
        return worst, named

    def _judged(self, messages: list[dict[str, str]], bad: str, good: str) -> tuple[float, str]:
        """How sure a chat model is of ``bad`` as its first word, by its own probabilities if the
        server tells them."""
        said = self._client.chat.completions.create(
            model=self._guard.model,
            messages=messages,  # type: ignore[arg-type]
            temperature=0,
            max_tokens=20,
            logprobs=True,
            top_logprobs=_TOP,
        )
        choice = said.choices[0] if said.choices else None
        words = ((choice and choice.message.content) or "").strip().lower().split()
        first = words[0].strip(".,:'\"*") if words else ""
        if first not in (bad, good):
            raise ServiceError(f"the guard '{self._guard.name}' gave no verdict")
        sure = _probability(choice, bad, good)
        value = sure if sure is not None else float(first == bad)
        detail = " ".join(words[1:2]).upper() if first == bad else ""
        return value, detail[:20]


def _turns(case: Case) -> list[dict[str, str]]:
    turns = [{"role": "user", "content": case.question}]
    if case.answer is not None:
        turns.append({"role": "assistant", "content": case.answer})
    return turns


def _shield(case: Case) -> list[dict[str, str]]:
    whom, said, answer = "human request", "prompt", ""
    if case.answer is not None:
        whom, said = "chatbot response", "chatbot"
        answer = f"Chatbot Response: {case.answer}\n"
    # Words that end a turn would let a question speak as the policy.
    question, answer = (_TURN.sub(" ", text) for text in (case.question, answer))
    asked = _SHIELD.format(whom=whom, said=said, question=question, answer=answer)
    return [{"role": "user", "content": asked}]


def _probability(choice: Any, bad: str, good: str) -> float | None:
    """Of the two words at the first place where one of them, or its beginning, was likely."""
    told = getattr(choice, "logprobs", None)
    for token in (told.content or ()) if told else ():
        shares = {bad: 0.0, good: 0.0}
        for other in token.top_logprobs:
            piece = other.token.strip().lower()
            for word in shares:
                # A tokenizer may cut "unsafe" after "un"; shorter pieces could begin anything.
                if piece == word or (len(piece) >= 2 and word.startswith(piece)):
                    shares[word] += math.exp(min(other.logprob, 0.0))
        total = shares[bad] + shares[good]
        if total > 0.5:
            return shares[bad] / total
    return None
