"""What a vision-language model is shown: pages' words with their places, pictures of them, and no
more than its budget of tokens."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from indexing.index import Index
from serving.answering.types import EvidencePage
from serving.answering.views import Picture, ViewSettings, views
from serving.safety.text import visible

Count = Callable[[str], int]
# The instructions, the marks and the head of every page, roughly.
_INSTRUCTIONS = 320
_PAGE_HEAD = 90
# The share of the budget that words may take; pictures get the rest and what words leave.
_WORDS = 0.5
_LINE = 24
_PIECE = re.compile(r"\d|[a-zA-Z]+|\S")


@dataclass(frozen=True, slots=True)
class ContextSettings:
    """``tokens`` is the budget for everything but the answer. A picture costs one token for
    every ``pixels_a_token`` pixels (28 x 28 for Qwen-VL; other families are near)."""

    tokens: int = 12_000
    pixels_a_token: int = 784
    pictures: bool = True
    views: ViewSettings = field(default_factory=ViewSettings)


@dataclass(frozen=True, slots=True)
class PageContext:
    """What is shown of one page; ``number`` is what the model calls it, from 1. ``tokens`` is
    what words and pictures cost."""

    number: int
    page: EvidencePage
    words: str
    pictures: tuple[Picture, ...]
    tokens: int


def estimate_tokens(text: str) -> int:
    """Tokens of ``text`` for a model whose tokenizer is not at hand: rather too many than too
    few. Digits and marks are counted one by one, as the tokenizers of most families cut them.

    >>> estimate_tokens("Revenue 1,577")
    7
    """
    return sum(math.ceil(len(piece) / 4) for piece in _PIECE.findall(text))


def build_context(
    pages: Sequence[EvidencePage],
    index: Index,
    settings: ContextSettings,
    *,
    question: str = "",
    count: Count = estimate_tokens,
) -> list[PageContext]:
    """The pages that fit the budget, best first; at least some words of the first.

    Words come first, more of them for a page found earlier, so that a page further down is not
    pushed out by the pictures of the first; what is left goes to pictures.
    """
    budget = settings.tokens - _INSTRUCTIONS - count(question)
    shown = _with_words(pages, max(budget, 200), settings.pictures, count)
    left = budget - sum(page.tokens for page in shown)
    if settings.pictures:
        for place, page in enumerate(shown):
            kept: list[Picture] = []
            spent = 0
            if left < _LINE:
                break
            if not page.page.pictures:
                continue
            for picture in views(page.page, index, settings.views):
                price = math.ceil(picture.size[0] * picture.size[1] / settings.pixels_a_token)
                if price <= left - spent:
                    kept.append(picture)
                    spent += price
            shown[place] = replace(page, pictures=tuple(kept), tokens=page.tokens + spent)
            left -= spent
    return shown


def usage_of(
    context: Sequence[PageContext], settings: ContextSettings, found: int
) -> dict[str, int]:
    """What a context takes of its budget, for the answer's ``usage``."""
    return {
        "budget_tokens": settings.tokens,
        "context_tokens": sum(page.tokens for page in context) + _INSTRUCTIONS,
        "pages": len(context),
        "pages_left_out": found - len(context),
        "pictures": sum(len(page.pictures) for page in context),
        "illegible_pictures": sum(not p.legible for page in context for p in page.pictures),
    }


def _with_words(
    pages: Sequence[EvidencePage], budget: int, pictures: bool, count: Count
) -> list[PageContext]:
    """Pages with their words only, within their share of ``budget``."""
    left = int(budget * _WORDS) if pictures else budget
    weights = 1 / np.arange(1, len(pages) + 1)
    shown: list[PageContext] = []
    for place, page in enumerate(pages):
        share = int(left * weights[place] / weights[place:].sum())
        if shown and share < _PAGE_HEAD + _LINE:
            break
        words, spent = _words(page, max(share - _PAGE_HEAD, _LINE), count)
        left -= spent + _PAGE_HEAD
        shown.append(PageContext(place + 1, page, words, (), spent + _PAGE_HEAD))
    return shown


def _words(page: EvidencePage, tokens: int, count: Count) -> tuple[str, int]:
    """The page's lines, each after its box in thousandths of the page, and what they cost; those
    nearest to the question if not all fit."""
    words = page.record.words
    if not len(words):
        return "", 0
    starts = np.flatnonzero(np.diff(words.lines, prepend=words.lines[0] - 1))
    ends = np.append(starts[1:], len(words))
    lines = []
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        boxes = words.boxes[start:end]
        box = [*boxes[:, :2].min(axis=0), *boxes[:, 2:].max(axis=0)]
        text = " ".join(visible(" ".join(words.texts[start:end])).split())
        strength = float(page.evidence[:, start:end].max()) if page.evidence.size else 0.0
        lines.append((strength, start, f"[{','.join(f'{v * 1000:.0f}' for v in box)}] {text}"))
    kept: list[tuple[int, str]] = []
    spent = 0
    for _, start, said in sorted(lines, key=lambda line: -line[0]):
        cost = count(said) + 1
        if spent + cost <= tokens:
            spent += cost
            kept.append((start, said))
    return "\n".join(said for _, said in sorted(kept)), spent
