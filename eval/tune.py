"""Which compression does for a collection: ``folioscope tune [QUESTIONS] --index DIR``.

The vectors of an index are compressed in every way in memory, all its pages (or a sample) are
scored exactly by each, and the rankings are measured against the questions. Without questions,
runs of words of sampled pages are asked for their page: easy questions, but the same for all
settings, so that what a setting loses still shows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from eval.benchmark import Benchmark
from eval.datasets import Question, by_one_name, read_questions
from eval.measures import paired_p_value, per_question
from eval.runs import Answered, Run
from indexing.index import Index
from retrieval.candidates import LexicalEvidence, Offsets
from retrieval.compression import DEFAULT, MOST_POOLED, Compression
from retrieval.errors import InputError
from retrieval.passages import best_passage
from retrieval.ranking import LATE, Lanes, RankingWeights
from retrieval.search import SearchSettings
from retrieval.store import Store
from retrieval.token_pooling import TEXT_RUN, pool_by
from retrieval.types import FloatArray, PageContent, QueryEmbedding

_AT_ONCE, _TOP, _DEPTH = 128, 10, 100
_SAMPLED, _SAMPLE_WORDS = 100, 8
# What a reader would not notice: a setting that loses no more may be recommended.
TOLERATED = 0.01
# Fewer questions than this cannot tell a loss from none, whatever they say on average.
ENOUGH = 30
REFERENCE = "fp32"
SETTINGS = (
    REFERENCE,
    "fp16",
    "int8",
    "binary",
    *(f"{kind}+pool{n}" for kind in ("int8", "binary") for n in range(2, MOST_POOLED + 1)),
)
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, eq=False)
class _Asked:
    """A question, its vectors, and where it may be answered: positions among the pages."""

    question: Question
    query: QueryEmbedding
    within: Offsets


def tune(
    index_folder: Path,
    questions_file: Path | None = None,
    *,
    names: Sequence[str] = (),
    pages: int = 1000,
    half: str | None = None,
    encode: bool = False,
    seed: int = 0,
    progress: Progress = lambda done, total: None,
) -> Benchmark:
    """One row a setting of ``names`` (``SETTINGS`` by default), with what it costs and finds.

    ``pages`` are those that answer the questions and others; ``half`` is dev or test. With
    ``encode`` the pages' words are encoded anew, for an index that has lost what is measured.
    ``facts`` has the recommendation and its reason. Raises ``InputError`` for an unknown
    setting, an index that has already lost what is to be measured, or no questions.
    """
    settings = [Compression.parse(name) for name in names or SETTINGS]
    settings = [Compression("fp32"), *(s for s in settings if s.name != REFERENCE)]
    index = Index.open(index_folder)
    with Store.open(index_folder) as store:
        kept = store.compression
        if encode and "image" in index.encoder.reads:
            raise InputError(
                "--encode reads the words that an index keeps; this one's encoder reads pictures"
            )
        if not encode and (kept.kind == "binary" or kept.factor > 1):
            raise InputError(
                f"the vectors of {index_folder} are {kept.name} already; tune with --encode, or on "
                "an index built with --compression fp16 or int8"
            )
        rng = np.random.default_rng(seed)
        questions = _questions(index, store, questions_file, half, rng)
        questions, names_of = _named(index, questions)
        offsets = _sample(store, questions, names_of, pages, rng)
        asked = _asked(index, store, questions, offsets, names_of)
        late, bytes_a_page = _score(index, store, offsets, asked, settings, encode, progress)
        rows = _rows(store, offsets, asked, settings, late, bytes_a_page, names_of, index.weights())
        chosen, why = recommend(rows, len(asked))
        facts = {
            "questions": len(asked),
            "pages": len(offsets),
            "of": "the file" if questions_file else "sampled words",
            "vectors": "encoded anew" if encode else f"the index's, {kept.name}",
            "dim": store.manifest.dim,
            **_gaps(asked, late[0]),
            "recommended": chosen,
            "because": why,
        }
    return Benchmark("tune", rows, facts)


def recommend(rows: Sequence[dict[str, Any]], questions: int) -> tuple[str, str]:
    """The setting of fewest bytes that loses nothing a reader would notice, and why.

    By fewer than ``ENOUGH`` questions nothing is recommended but the default, or what keeps more:
    an index cannot be compressed less later.
    """
    whole = rows[0]
    few = ""
    if questions < ENOUGH:
        safe = [row for row in rows if row["setting"] in (REFERENCE, "fp16", DEFAULT)]
        few = f"; {questions} questions are too few to recommend less ({ENOUGH} at least)"
        rows = safe
    fit = [
        row
        for row in rows
        if row["nDCG@5"] >= whole["nDCG@5"] - TOLERATED and (row["p"] is None or row["p"] > 0.05)
    ]
    best = min(fit, key=lambda row: (row["bytes_a_page"], -row["nDCG@5"]))
    less = [row for row in rows if row["bytes_a_page"] < best["bytes_a_page"]]
    why = (
        f"nDCG@5 {best['nDCG@5']:.3f} of {whole['nDCG@5']:.3f} at "
        f"{best['bytes_a_page']:,} of {whole['bytes_a_page']:,} bytes a page"
    )
    if less:
        nearest = max(less, key=lambda row: row["nDCG@5"])
        why += f"; the best of what is smaller, {nearest['setting']}, has {nearest['nDCG@5']:.3f}"
    return str(best["setting"]), why + few


def _gaps(asked: Sequence[_Asked], exact: FloatArray) -> dict[str, float]:
    """How far apart neighbours among the ten best pages are, by float32: what lies closer than
    a setting's error changes places."""
    found = np.concatenate(
        [
            -np.diff(np.sort(scores[one.within])[::-1][: _TOP + 1])
            for one, scores in zip(asked, exact, strict=True)
        ]
    )
    found = found[np.isfinite(found)]
    shares = (1, 5, 50)
    values = np.percentile(found, shares).tolist() if len(found) else [0.0] * len(shares)
    return {f"gap_percentile_{share}": gap for share, gap in zip(shares, values, strict=True)}


def _questions(
    index: Index, store: Store, file: Path | None, half: str | None, rng: np.random.Generator
) -> list[Question]:
    if file is not None:
        found = [q for q in read_questions(file) if half in (None, q.half)]
        if not found:
            raise InputError(f"{file}: no question is left")
        return found
    names = {row["doc_id"]: str(row["source"]) for row in index.documents()}
    some = rng.permutation(np.flatnonzero(store.pages.n_patches >= 2 * _SAMPLE_WORDS))[:_SAMPLED]
    found = []
    for record in store.fetch_boxes_and_words(np.sort(some).astype(np.int64)):
        texts = record.words.texts
        if len(texts) < 2 * _SAMPLE_WORDS:
            continue
        at = int(rng.integers(len(texts) - _SAMPLE_WORDS))
        found.append(
            Question(
                qid=str(record.page_id),
                text=" ".join(texts[at : at + _SAMPLE_WORDS]),
                doc=names[record.doc_id],
                pages=frozenset({record.number}),
            )
        )
    if not found:
        raise InputError(f"{index.path} has no pages with words to make questions of; name a file")
    return found


def _named(index: Index, questions: Sequence[Question]) -> tuple[list[Question], dict[int, str]]:
    """The questions with one name for each document, and these names by id."""
    docs = {doc for q in questions for doc in (q.doc, *(doc for doc, _ in q.relevant))}
    ids = {doc: index.find(doc) for doc in sorted(docs)}
    return by_one_name(questions, ids), {ids[name]: name for name in reversed(ids)}


def _sample(
    store: Store,
    questions: Sequence[Question],
    names: dict[int, str],
    pages: int,
    rng: np.random.Generator,
) -> Offsets:
    """The pages that answer, then others of their documents, then any, while there is room."""
    ids = {name: doc_id for doc_id, name in names.items()}
    answering = {(ids[doc], number) for q in questions for doc, number in q.relevant}
    live = np.flatnonzero(store.pages.n_patches > 0)
    docs, numbers = store.pages.doc_ids[live].tolist(), store.pages.numbers[live].tolist()
    answers = np.array([at in answering for at in zip(docs, numbers, strict=True)], bool)
    near = np.isin(docs, sorted(names))
    rank = np.where(answers, 0, np.where(near, 1, 2))
    order = rng.permutation(len(live))
    order = order[np.argsort(rank[order], kind="stable")]
    return np.sort(live[order[:pages]]).astype(np.int64)


def _asked(
    index: Index,
    store: Store,
    questions: Sequence[Question],
    offsets: Offsets,
    names: dict[int, str],
) -> list[_Asked]:
    ids = {name: doc_id for doc_id, name in names.items()}
    docs, numbers = store.pages.doc_ids[offsets], store.pages.numbers[offsets]
    pages = set(zip(docs.tolist(), numbers.tolist(), strict=True))
    found = []
    queries = index.encoder.encode_queries([q.text for q in questions])
    for question, query in zip(questions, queries, strict=True):
        if not any((ids[doc], number) in pages for doc, number in question.relevant):
            continue
        within = np.arange(len(offsets))
        if question.scope == "doc":
            within = np.flatnonzero(docs == ids[question.doc])
        found.append(_Asked(question, query, within))
    if not found:
        raise InputError("no question is answered by the sampled pages; give more --pages")
    return found


def _score(
    index: Index,
    store: Store,
    offsets: Offsets,
    asked: Sequence[_Asked],
    settings: Sequence[Compression],
    encode: bool,
    progress: Progress,
) -> tuple[FloatArray, list[int]]:
    """Late interaction ``[settings, questions, pages]``, and bytes a page by setting."""
    pictures = "image" in index.encoder.reads
    run = 0 if pictures else TEXT_RUN
    search = SearchSettings()
    passage = 0 if pictures else search.passage
    factors = sorted({setting.factor for setting in settings} - {1})
    late = np.empty((len(settings), len(asked), len(offsets)), np.float32)
    sizes = np.zeros(len(settings), np.int64)
    for begin in range(0, len(offsets), _AT_ONCE):
        block = slice(begin, begin + _AT_ONCE)
        vectors = (_encoded if encode else _kept)(index, store, offsets[block])
        pooled = [
            {1: v, **{f: m for f, (m, _) in pool_by(v, factors, run).items()}} for v in vectors
        ]
        for row, setting in enumerate(settings):
            kind = replace(setting, factor=1)
            kept = [kind.compress(page[setting.factor]) for page in pooled]
            codes = np.concatenate([page.codes for page in kept])
            sizes[row] += codes.nbytes
            starts = np.cumsum([0, *(len(page.codes) for page in kept)])
            scales = np.array([page.scale for page in kept], np.float32)
            window, stride = setting.window(passage, search.passage_stride)
            # The reference is numpy's own arithmetic, which owes nothing to our kernel.
            level = "numpy" if setting.name == REFERENCE else None
            for column, one in enumerate(asked):
                q, w = one.query.vectors, one.query.weights
                late[row, column, block] = best_passage(
                    q, w, codes, starts, scales, window=window, stride=stride, level=level
                )
        progress(min(begin + _AT_ONCE, len(offsets)), len(offsets))
    return late, [int(size // len(offsets)) for size in sizes]


def _pooled(vectors: FloatArray, factors: Sequence[int], run: int) -> dict[int, FloatArray]:
    return {factor: means for factor, (means, _) in pool_by(vectors, factors, run).items()}


def _kept(index: Index, store: Store, offsets: Offsets) -> list[FloatArray]:
    """The pages' vectors as the index has them."""
    patches = store.fetch_patches(offsets)
    return [patches.vectors(i, store.manifest.dim) for i in range(len(offsets))]


def _encoded(index: Index, store: Store, offsets: Offsets) -> list[FloatArray]:
    """The pages' vectors as the encoder makes them from their words."""
    pages = [
        PageContent(r.number, r.label, r.width, r.height, r.words)
        for r in store.fetch_boxes_and_words(offsets)
    ]
    return [page.vectors for page in index.encoder.encode_pages(pages)]


def _rows(
    store: Store,
    offsets: Offsets,
    asked: Sequence[_Asked],
    settings: Sequence[Compression],
    late: FloatArray,
    bytes_a_page: Sequence[int],
    names: dict[int, str],
    weights: RankingWeights,
) -> list[dict[str, Any]]:
    search = SearchSettings()
    lexical = [LexicalEvidence.find(store, a.question.text, None, search.candidates) for a in asked]
    questions = [a.question for a in asked]

    def ranked(scores: FloatArray, one: _Asked) -> Answered:
        order = one.within[np.argsort(-scores, kind="stable")[:_DEPTH]]
        at = [(int(store.pages.doc_ids[i]), int(store.pages.numbers[i])) for i in offsets[order]]
        pages = tuple((names.get(doc, str(doc)), number) for doc, number in at)
        return Answered(one.question.qid, pages, (), {}, {})

    rows: list[dict[str, Any]] = []
    first: dict[str, float] = {}
    best: list[Any] = []
    for setting, scores, size in zip(settings, late, bytes_a_page, strict=True):
        alone, fused, tops = {}, {}, []
        for one, evidence, page_scores in zip(asked, lexical, scores, strict=True):
            mine = page_scores[one.within]
            tops.append(one.within[np.argsort(-mine, kind="stable")[:_TOP]])
            lanes: Lanes = evidence.lanes(store, offsets[one.within], {LATE: mine})
            alone[one.question.qid] = ranked(mine, one)
            fused[one.question.qid] = ranked(lanes.fused(weights), one)
        best = best or tops
        both = per_question(questions, Run({}, fused), ("nDCG@5", "R@100"))
        late_alone = per_question(questions, Run({}, alone), ("nDCG@5",))["nDCG@5"]
        first = first or both["nDCG@5"]
        values = [both["nDCG@5"][q.qid] for q in questions]
        rows.append(
            {
                "setting": setting.name,
                "bytes_a_page": size,
                "nDCG@5": float(np.mean(values)),
                "p": paired_p_value([first[q.qid] for q in questions], values) if rows else None,
                "R@100": float(np.mean(list(both["R@100"].values()))),
                "late_alone_nDCG@5": float(np.mean(list(late_alone.values()))),
                "top_10_places_as_fp32": float(
                    np.mean(np.concatenate([a == b for a, b in zip(best, tops, strict=True)]))
                ),
                "top_10_pages_as_fp32": float(
                    np.mean([np.isin(a, b).mean() for a, b in zip(best, tops, strict=True)])
                ),
            }
        )
    return rows
