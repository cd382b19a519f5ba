"""Measure how questions differ from the pages that answer them, for ``Statistics.question``."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from eval.datasets import Question, read_questions
from eval.synthetic.real_words import FUNCTION_WORDS, RARE, Words
from retrieval.context import plain_years
from retrieval.encoders import load_encoder
from retrieval.errors import InputError
from retrieval.store import Store
from retrieval.types import FloatArray

_FEWEST = 20


def measure_questions(
    store: Store, path: Path, words: Words, means: FloatArray
) -> dict[str, float]:
    """Averages over the development half of the questions in ``path``.

    ``means [words, d]`` is each word's mean vector in ``words``, which ``store`` holds.
    """
    questions = [q for q in read_questions(path) if q.half == "dev" and q.pages]
    if len(questions) < _FEWEST:
        raise InputError(f"{path} has {len(questions)} questions with pages; {_FEWEST} are needed")
    encoder = load_encoder(store.manifest.encoder_id)
    first = np.searchsorted(words.page, np.arange(words.page[-1] + 2))
    on_page, products, together, variances, tokens, functions = [], [], [], [], [], []
    weight = [0.0, 0.0]
    for question in questions:
        query = encoder.encode_queries([plain_years(question.text)])[0]
        number = np.array([words.numbers.get(token, -1) for token in query.tokens])
        known = (number >= 0) & (words.counts[number] >= RARE)
        function = known & (number < FUNCTION_WORDS)
        content = np.flatnonzero(known & ~function)
        tokens.append(len(number))
        functions.append(float(function.mean()))
        weight[0] += float(query.weights[function].sum())
        weight[1] += float(query.weights.sum())
        rest = query.vectors[content] - means[number[content]]
        variances += (rest**2).sum(axis=1).tolist()
        together += (rest @ rest.T)[np.triu_indices(len(rest), 1)].tolist()
        best = 0.0
        for offset in _pages_of(store, question):
            here = slice(first[offset], first[offset + 1])
            same = number[content][:, None] == words.word[here][None, :]
            best = max(best, float(same.any(axis=1).mean()) if len(content) else 0.0)
            theirs = words.vectors[here] - means[words.word[here]]
            for row in np.flatnonzero(same.any(axis=1)):
                products.append(float((theirs[same[row]] @ rest[row]).max()))
        on_page.append(best)
    if not products:
        raise InputError(f"no question of {path} shares a word with its page in {store.root}")
    found = {
        "tokens": float(np.mean(tokens)),
        "function_share": float(np.mean(functions)),
        "function_weight": weight[0] / max(weight[1], 1e-9),
        "variance": float(np.mean(variances)),
        "context": float(np.mean(together)),
        "same_word": float(np.mean(products)),
        "questions": float(len(questions)),
    }
    # How many of its content words a question finds on its page differs more between
    # questions than chance would have it.
    quartiles = np.quantile(on_page, np.linspace(0, 1, 5))
    return found | {f"on_page_{i}": float(value) for i, value in enumerate(quartiles)}


def _pages_of(store: Store, question: Question) -> list[int]:
    """Row offsets of the pages that answer a question."""
    named = [
        doc_id
        for doc_id, row in store.documents.items()
        if f"/{row.source}".endswith(f"/{question.doc}")
    ]
    offsets = store.pages.offsets_of_documents(np.array(named, np.int64))
    chosen = np.isin(store.pages.numbers[offsets], sorted(question.pages))
    return [int(offset) for offset in offsets[chosen]]
