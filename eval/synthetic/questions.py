"""Questions to the made-up collection: each asks for one page, in words that seldom stand there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from eval.synthetic.pages import Collection, MadePage, page_counts, unit
from eval.synthetic.statistics import CONTENT, PASSAGE_WORDS, draw
from eval.synthetic.words import pick
from retrieval.encoders.base import Reads
from retrieval.errors import EncoderError
from retrieval.types import PageContent, PageEmbedding, QueryEmbedding

_FEWEST_TOKENS, _MOST_TOKENS = 3, 64


@dataclass(frozen=True, slots=True, eq=False)
class MadeQuestion:
    """A question's text and vectors; it was made from page ``number`` of document ``document``
    (both from 0)."""

    text: str
    embedding: QueryEmbedding
    document: int
    number: int


def make_questions(
    collection: Collection, pages: int, count: int, seed: int = 0
) -> list[MadeQuestion]:
    """``count`` questions about pages drawn evenly from a collection of ``pages`` pages."""
    sizes = page_counts(collection.statistics, pages, collection.seed)
    ends = np.cumsum(sizes)
    random = np.random.default_rng([seed, 20])
    made = []
    for offset in random.choice(pages, min(count, pages), replace=False).tolist():
        document = int(np.searchsorted(ends, offset, side="right"))
        number = offset - int(ends[document] - sizes[document])
        page = collection.document(document, int(sizes[document]))[number]
        made.append(_question(collection, document, page, random))
    return made


def _question(
    collection: Collection, document: int, page: MadePage, random: np.random.Generator
) -> MadeQuestion:
    """Words of one passage, or of anything; their vectors share a little with the page's."""
    vocabulary, said = collection.vocabulary, collection.statistics.question
    n = min(_MOST_TOKENS, _FEWEST_TOKENS + int(random.exponential(said["tokens"] - _FEWEST_TOKENS)))
    words = vocabulary.numbers(
        pick(vocabulary.clusters_cdf, random.random(n)),
        pick(vocabulary.cluster_cdf, random.random(n)),
    )
    is_function = random.random(n) < said["function_share"]
    words[is_function] = pick(vocabulary.function_cdf, random.random(int(is_function.sum())))
    quartiles = np.array([said[f"on_page_{i}"] for i in range(5)], np.float32)
    on_page = float(draw(quartiles, random.random(1))[0])
    shared = np.zeros((n, collection.statistics.dim), np.float32)
    here = np.flatnonzero(vocabulary.kinds(page.words) == CONTENT)
    if len(here):
        near = here[np.abs(here - random.choice(here)) <= PASSAGE_WORDS // 2]
        place = random.choice(near, n)
        rest = page.vectors - vocabulary.vectors[page.words]
        from_page = ~is_function & (random.random(n) < on_page)
        words[from_page] = page.words[place[from_page]]
        # What a question's word shares with the same word on the page was measured as a product.
        variance = sum(part[CONTENT] for part in collection.statistics.shares.values())
        shared = np.float32(said["same_word"] / variance) * rest[place]
    together = collection.coloured_context(random.standard_normal((1, shared.shape[1]), np.float32))
    alone = collection.coloured_rest(random.standard_normal(shared.shape, np.float32))
    left = max(0.0, said["variance"] - said["context"] - float((shared**2).sum(1).mean()))
    vectors = unit(
        vocabulary.vectors[words]
        + shared
        + np.float32(said["context"] ** 0.5) * together
        + np.float32(left**0.5) * alone
    )
    counts = {kind: max(1, int((is_function == kind).sum())) for kind in (True, False)}
    weight = said["function_weight"]
    weights = np.where(is_function, weight / counts[True], (1 - weight) / counts[False])
    tokens = tuple(vocabulary.texts[word] for word in words.tolist())
    embedding = QueryEmbedding(vectors, tokens, (weights / weights.sum()).astype(np.float32))
    return MadeQuestion(" ".join(tokens), embedding, document, page.number)


class PreparedEncoder:
    """Knows the vectors of some questions, and cannot encode anything else."""

    reads: frozenset[Reads] = frozenset()

    def __init__(
        self, id: str, fingerprint: str, dim: int, questions: Sequence[MadeQuestion]
    ) -> None:
        self.id, self.fingerprint, self.dim = id, fingerprint, dim
        self._known: Mapping[str, QueryEmbedding] = {q.text: q.embedding for q in questions}

    def encode_pages(self, pages: Sequence[PageContent]) -> list[PageEmbedding]:
        """Raises ``EncoderError``: these pages were made with their vectors."""
        raise EncoderError("pages of the made-up collection come with their vectors")

    def encode_queries(self, queries: Sequence[str]) -> list[QueryEmbedding]:
        """The prepared vectors. Raises ``EncoderError`` for any other question."""
        try:
            return [self._known[query] for query in queries]
        except KeyError as error:
            raise EncoderError(f"no vectors were made for the question {error}") from error
