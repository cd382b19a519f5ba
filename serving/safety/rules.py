"""Signs of a prompt injection that can be named: who is addressed, what is asked, how it is hidden.

Each rule has a strength between 0 and 1: our judgement of how seldom an honest document says such a
thing, made from published attack families and no test data; several in one place add up. What the
strengths are worth is measured (``ways``, docs/BENCHMARKS.md). A reviewer reads the rules' names:
a flagged page explains itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from serving.safety.text import Plain, plain

_MODEL = (
    r"(?:a\.?i\.?|ais?|llms?|(?:large )?language models?|chat ?gpt|gpt(?:-\w+)?|chat ?bots?|"
    r"(?:virtual|ai|digital|helpful) assistants?|copilot|ai (?:agents?|models?|systems?))"
)
_ORDERS = (
    r"(?:instructions?|prompts?|rules?|directions?|directives?|guidelines?|commands?|"
    r"constraints?|restrictions?|programming|context|messages?|text|training|policies|policy)"
)
_THEIRS = (
    r"(?:previous|prior|above|earlier|preceding|foregoing|all|any|your|system'?s?|initial|"
    r"original|existing|other|everything)"
)


@dataclass(frozen=True, slots=True)
class Rule:
    """``strength`` in (0, 1): how sure one match makes."""

    name: str
    strength: float
    pattern: re.Pattern[str]


def _rule(name: str, strength: float, *patterns: str) -> Rule:
    return Rule(name, strength, re.compile("|".join(f"(?:{p})" for p in patterns)))


# Patterns see lower case, single spaces, hidden characters undone.
RULES = (
    _rule(
        "overrides instructions",
        0.95,
        rf"\b(?:ignore|disregard|forget|override|bypass|overrule|discard|neglect|drop)\b"
        rf"[^.!?;]{{0,25}}\b{_THEIRS}\b[^.!?;]{{0,25}}\b{_ORDERS}\b",
        rf"\b(?:do not|don't|stop|never) (?:follow|obey|follow(?:ing)?|obeying|comply with)\b"
        rf"[^.!?;]{{0,20}}\b{_THEIRS}\b[^.!?;]{{0,20}}\b{_ORDERS}\b",
        r"\bnew (?:system )?instructions? (?:for you|follow|below|are)\b",
        r"\bthe (?:real|actual|true) (?:task|instruction|request) (?:is|follows)\b",
        r"\b(?:ignore|disregard|forget|discard) (?:all |everything |whatever |anything )"
        r"(?:that )?(?:you (?:were|have been|had been) (?:told|given|taught)|came before|above)\b",
    ),
    _rule(
        "says that the task is done",
        0.7,
        r"\b(?:task|request|job) (?:is |was |has been )?(?:now )?(?:completed?|done|finished)\b"
        r"[^?]{0,40}\b(?:your|the) (?:next|new|second|real) (?:task|job|instruction|request)\b",
    ),
    _rule(
        "role marker",
        0.9,
        r"<\|?/?(?:im_start|im_end|system|assistant|endoftext|start_header_id|eot_id)\|?>",
        r"\[/?inst\]|<</?sys>>|<start_of_turn>|\[/?system\]",
        r"###? ?(?:system|assistant|instruction|response) ?:",
        r"(?:^|\n) ?(?:system|assistant) ?(?:prompt|message)? ?: ?(?:you\b|ignore\b|new\b)",
    ),
    _rule(
        "gives the model another role",
        0.8,
        r"\byou are (?:now|no longer) (?:a|an|the|in|bound|limited|restricted|under|free|dan)\b",
        rf"\bfrom now on,? (?:you (?:are|will|must|should|act|only)|act as|(?:the )?{_MODEL})",
        r"\b(?:developer|debug|god|jailbreak|unrestricted|dan) mode\b[^.!?;]{0,30}"
        r"\b(?:on|enabled?|activated?|now)\b",
        r"\bact as (?:an? )?(?:unrestricted|uncensored|unfiltered|evil|dan)\b",
        r"\bwithout (?:any )?(?:restrictions|filters|censorship|moral|ethical)[^.!?;]{0,20}"
        r"\b(?:answer|respond|reply|guidelines|constraints)\b",
    ),
    _rule(
        "asks for the prompt",
        0.85,
        r"\b(?:reveal|print|repeat|show|output|leak|display|disclose|tell me|recite|expose)\b"
        r"[^.!?;]{0,30}\b(?:system prompt|initial (?:prompt|instructions)|hidden (?:prompt|instruct"
        r"ions)|your (?:system |initial |original )?(?:instructions|prompt)|developer message)\b",
    ),
    _rule(
        "addresses the model",
        0.7,
        rf"\b(?:attention|dear|hey|hello|hi|notice|message|note|instructions?|important)\b"
        rf"(?: to| for|,|:| -)* (?:all |any |the |every )?{_MODEL}\b",
        rf"\bif you(?:'re| are) (?:an? |the )?{_MODEL}\b",
        rf"\b(?:any|every|all|the) {_MODEL} (?:that |who |which )?(?:is |are )?"
        r"(?:reading|processing|summari[sz]ing|parsing|reviewing|evaluating|analy[sz]ing)\b",
        rf"\b{_MODEL},? (?:you )?(?:must|should|please|shall|are required to)\b",
        r"\bas an? (?:ai|large) (?:language )?model\b",
    ),
    _rule(
        "sends data away",
        0.85,
        r"!\[[^\]]{0,80}\]\( ?https?://[^)\s]{4,}[?&=][^)\s]*\)",
        r"\b(?:send|post|forward|upload|exfiltrate|transmit|submit|append|e-?mail)\b[^.!?;]{0,50}"
        r"\b(?:conversation|chat history|chat log|api keys?|passwords?|credentials|secrets?|"
        r"user'?s? (?:data|messages?|question|input)|private data|context)\b[^!?]{0,60}"
        r"(?:https?://|\S+@\S+|\burl\b|\bserver\b|\bendpoint\b|\bwebhook\b)",
    ),
    _rule(
        "asks for secrecy",
        0.6,
        r"\b(?:do not|don't|never|without) (?:tell|telling|inform(?:ing)?|mention(?:ing)?|alert"
        r"(?:ing)?|notify(?:ing)?|reveal(?:ing)?|disclos(?:e|ing))\b[^.!?;]{0,30}"
        r"\b(?:the |this |that )?(?:user|human|asker|this (?:instruction|message|text|note))\b",
    ),
    _rule(
        "dictates the answer",
        0.5,
        r"\b(?:always|only|must|simply|instead|just) (?:respond|reply|answer|output|say|return)\b"
        r"[^.!?;]{0,25}(?:with|that|exactly|[\"'“:])",
        r"\b(?:respond|reply|answer) (?:only |exactly |solely )?with (?:the )?(?:following|exact|"
        r"word|phrase|sentence|text|single)\b",
        r"\byour (?:answer|response|reply|output|summary|next (?:answer|response)) "
        r"(?:must|should|shall|has to|will) (?:be|start|begin|include|contain|end|say)\b",
        r"\b(?:in|to) (?:your|the) (?:answer|response|reply|summary),? "
        r"(?:include|add|insert|append|recommend|say|state|write)\b",
    ),
    _rule(
        "orders a tool",
        0.6,
        r"\b(?:call|invoke|execute|trigger) the [\w.`'\" -]{1,40}(?:tool|function|plugin|api)\b"
        r"[^.!?;]{0,20}\b(?:with|and|to)\b",
    ),
)
# What honest documents hardly have, whatever their words say.
_FEW_HIDDEN = 3
_TAGS, _BASE64, _LOOKALIKE, _TURNED, _NO_WIDTH = 0.99, 0.95, 0.6, 0.4, 0.3


@dataclass(frozen=True, slots=True)
class Signs:
    """What was found in a text: the names of the rules, and how sure they make together."""

    names: tuple[str, ...]
    strength: float


def folded(text: str) -> str:
    """As the patterns want it."""
    return " ".join(text.lower().replace("’", "'").split())  # noqa: RUF001


def signs_of(text: str | Plain) -> Signs:
    """The signs of an injection in ``text``."""
    read = plain(text) if isinstance(text, str) else text
    found: dict[str, float] = {}
    said = folded(read.text)
    for rule in RULES:
        if rule.pattern.search(said):
            found[rule.name] = rule.strength
    for hidden in read.decoded:
        if any(rule.pattern.search(folded(hidden)) for rule in RULES):
            found["hidden in base64"] = _BASE64
    if read.tags >= _FEW_HIDDEN:
        found["invisible letters"] = _TAGS
    if read.mixed_words >= _FEW_HIDDEN:
        found["lookalike letters"] = _LOOKALIKE
    if read.direction >= _FEW_HIDDEN and found:
        found["turned direction"] = _TURNED
    if read.no_width >= _FEW_HIDDEN and found:
        found["characters without width"] = _NO_WIDTH
    rest = 1.0
    for strength in found.values():
        rest *= 1 - strength
    return Signs(tuple(found), 1 - rest)
