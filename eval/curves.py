"""What two stages cost and lose, on one's own questions: ``folioscope eval curves``.

Three curves. **Stage one**: which share of the best ten pages by exhaustive search, by
exhaustive MaxSim alone, and of the pages that answer is among the first k that stage one hands on;
and the same by page vectors alone. **Candidates**: quality and time of the whole search as k
grows, against exhaustive search, whose difference is the two-stage loss. **Compression**:
quality, and agreement with the index as it is, when the candidates' patches are kept as
``folioscope index build --compression`` would keep them.

Everything is asked through ``Index.search``, as a user would; times are those of searches for
ten pages, one after the other.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eval.config import with_candidates
from eval.datasets import Page, Question
from eval.measures import interval, per_question
from eval.runs import Answered, Run
from indexing.index import Index
from retrieval.compression import CompressedPage, Compression
from retrieval.context import plain_years
from retrieval.errors import InputError
from retrieval.passages import best_passage
from retrieval.ranking import RankingWeights
from retrieval.search import SearchMode, SearchSettings
from retrieval.store import RaggedPatches, Store
from retrieval.token_pooling import TEXT_RUN
from retrieval.types import FloatArray, Hit, QueryEmbedding

KS = (10, 20, 50, 100, 200)
# What the compression curve compares.
COMPRESSIONS = (
    "fp16",
    "int8",
    "int8+pool2",
    "int8+pool3",
    "int8+pool5",
    "binary",
    "binary+pool2",
    "binary+pool3",
)
# Candidates compressed a question: to pool a page's vectors takes longer than to score them, and
# what is further down seldom reaches the first ten.
_RECOMPRESSED = 50
_BEST = 10
_QUALITY = ("nDCG@5", "nDCG@10")
_PERCENTILES = (50, 95, 99)
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Setup:
    """What the curves are measured with: ``names`` calls documents as the questions do."""

    index: Path
    questions: Sequence[Question]
    ids: Mapping[str, int]
    names: Mapping[int, str]
    filter: str | None = None

    def search(
        self, index: Index, question: Question, k: int, mode: SearchMode = "two-stage"
    ) -> tuple[tuple[Hit, ...], Mapping[str, float]]:
        """The hits of one question and their times."""
        within = question.scope == "doc"
        found = index.search(
            question.text,
            k,
            mode=mode,
            doc=self.ids.get(question.doc) if within else None,
            filter=None if within else self.filter,
        )
        return found.hits, found.timing_ms

    def page(self, hit: Hit) -> Page:
        """A hit's page as the questions name it."""
        return self.names.get(hit.doc_id, hit.source), hit.page


@dataclass(slots=True)
class _Taken:
    """Rankings by question id, and times by stage."""

    ranked: dict[str, list[Page]] = field(default_factory=dict)
    times: dict[str, list[float]] = field(default_factory=dict)

    def time(self, spent: Mapping[str, float]) -> None:
        for stage, value in spent.items():
            self.times.setdefault(stage, []).append(value)


def sample(questions: Sequence[Question], count: int | None) -> list[Question]:
    """``count`` of the questions (None: all), the same ones every time."""
    ordered = sorted(questions, key=lambda q: sha256(q.qid.encode()).digest())
    return sorted(ordered[:count], key=lambda q: q.qid)


def measure_curves(
    setup: Setup, ks: Sequence[int] = KS, *, compressed: int = 20, say: Say | None = None
) -> dict[str, Any]:
    """All three curves, as JSON has them; compressions are compared on ``compressed`` of the
    questions (0: not at all). Raises ``InputError`` if there is nothing to ask."""
    tell = say or (lambda _: None)
    questions = [question for question in setup.questions if question.relevant]
    if not questions or not ks:
        raise InputError("the curves need questions with pages that answer them, and some k")
    ks = sorted(set(ks))
    exact = _asked(setup, questions, SearchSettings(), _BEST, "exhaustive", tell)
    plain = SearchSettings(weights=RankingWeights(bm25=0.0, document=0.0, length=0.0))
    late = _asked(setup, questions, plain, _BEST, "exhaustive", tell)
    vectors = _asked(setup, questions, SearchSettings(), ks[-1], "coarse", tell)
    stage_one, candidates = [], []
    reference = _quality(questions, exact.ranked)
    for k in ks:
        settings = with_candidates(k)
        handed = _asked(setup, questions, settings, k, "two-stage", tell)
        timed = _asked(setup, questions, settings, _BEST, "two-stage", tell)
        cut = {qid: ranked[:k] for qid, ranked in vectors.ranked.items()}
        stage_one.append(
            {
                "k": k,
                "exhaustive_top10": _kept(exact.ranked, handed.ranked),
                "maxsim_top10": _kept(late.ranked, handed.ranked),
                "answering": _answering(questions, handed.ranked),
                "vectors_maxsim_top10": _kept(late.ranked, cut),
                "vectors_answering": _answering(questions, cut),
            }
        )
        quality = _quality(questions, timed.ranked)
        candidates.append(
            {
                "k": k,
                **_summary(quality),
                "loss": _loss(reference, quality),
                "latency_ms": _latency(timed.times),
            }
        )
    return {
        "questions": len(questions),
        "stage_one": stage_one,
        "candidates": candidates,
        "exhaustive": {**_summary(reference), "latency_ms": _latency(exact.times)},
        "compression": _compression(setup, sample(questions, compressed), tell),
    }


def _asked(
    setup: Setup,
    questions: Sequence[Question],
    settings: SearchSettings,
    k: int,
    mode: SearchMode,
    tell: Say,
) -> _Taken:
    taken = _Taken()
    limit = settings.candidates.candidates
    with Index.open(setup.index, search=settings) as index:
        index.search("warm up", 1)
        for number, question in enumerate(questions, 1):
            tell(f"{mode}, {limit} candidates: {number} of {len(questions)}")
            hits, spent = setup.search(index, question, k, mode)
            taken.ranked[question.qid] = [setup.page(hit) for hit in hits]
            taken.time(spent)
    return taken


def _kept(best: Mapping[str, list[Page]], found: Mapping[str, list[Page]]) -> float:
    shares = [
        len(set(pages) & set(found[qid])) / len(pages) for qid, pages in best.items() if pages
    ]
    return float(np.mean(shares)) if shares else 0.0


def _answering(questions: Sequence[Question], found: Mapping[str, list[Page]]) -> float:
    """Mean share of the answering pages that were found. Not a measure of order, so not asked
    of trec_eval."""
    return _kept({q.qid: list(q.relevant) for q in questions}, found)


def _quality(
    questions: Sequence[Question], ranked: Mapping[str, list[Page]]
) -> dict[str, dict[str, float]]:
    answered = {qid: Answered(qid, tuple(pages), (), {}, {}) for qid, pages in ranked.items()}
    return per_question(questions, Run({}, answered), _QUALITY)


def _summary(quality: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    values = {name: list(found.values()) for name, found in quality.items()}
    return {
        **{name: float(np.mean(found)) for name, found in values.items()},
        "intervals": {name: interval(found) for name, found in values.items()},
    }


def _loss(
    reference: Mapping[str, Mapping[str, float]], quality: Mapping[str, Mapping[str, float]]
) -> dict[str, Any]:
    """What is lost against the reference: mean and interval of the paired differences."""
    pairs = {
        name: [found - quality[name][qid] for qid, found in reference[name].items()]
        for name in _QUALITY
    }
    return {
        name: {"mean": float(np.mean(found)), "interval": interval(found)}
        for name, found in pairs.items()
    }


def _latency(times: Mapping[str, list[float]]) -> dict[str, dict[str, float]]:
    return {
        stage: {f"p{p}": round(float(np.percentile(found, p)), 2) for p in _PERCENTILES}
        for stage, found in times.items()
    }


@dataclass(slots=True)
class _Kept:
    """What one compression gave, over all questions, and the pages it was applied to, by id."""

    setting: Compression
    ranked: dict[str, list[Page]] = field(default_factory=dict)
    same: list[float] = field(default_factory=list)
    scoring_ms: list[float] = field(default_factory=list)
    pages: dict[int, CompressedPage] = field(default_factory=dict)

    def row(self, questions: Sequence[Question]) -> dict[str, Any]:
        """One row of the curve."""
        asked = [question for question in questions if question.qid in self.ranked]
        sizes = [page.codes.nbytes for page in self.pages.values()]
        return {
            "compression": self.setting.name,
            "bytes_a_page": round(float(np.mean(sizes)), 1),
            "same_top10": float(np.mean(self.same)),
            **_summary(_quality(asked, self.ranked)),
            "scoring_ms": round(float(np.median(self.scoring_ms)), 3),
            "questions": len(asked),
        }


def _compression(setup: Setup, asked: Sequence[Question], tell: Say) -> list[dict[str, Any]]:
    """The same candidates in the order that each compression gives; other lanes count as they
    did. Nothing where the index itself is coarser than what would be compared with it."""
    settings = SearchSettings()
    kept = [_Kept(Compression.parse(name)) for name in COMPRESSIONS]
    with Index.open(setup.index, search=settings) as index, Store.open(setup.index) as store:
        if store.compression.factor > 1 or store.compression.kind == "binary":
            return []
        picture = "image" in index.encoder.reads
        for number, question in enumerate(asked, 1):
            tell(f"compression: {number} of {len(asked)}")
            hits, _ = setup.search(index, question, settings.candidates.candidates)
            hits = tuple(hit for hit in hits if "late" in hit.scores)[:_RECOMPRESSED]
            if not hits:
                continue
            (query,) = index.encoder.encode_queries([plain_years(question.text)])
            ids = np.array([hit.page_id for hit in hits], np.int64)
            pages = store.fetch_patches(store.pages.offsets_of(ids))
            best = {hit.page_id for hit in hits[:_BEST]}
            lanes = {
                name: np.array([hit.scores[name] for hit in hits], np.float32)
                for name in hits[0].scores
            }
            for row in kept:
                late = _rescored(query, ids, pages, row, settings, picture)
                # Summed as ranking sums them, so that equal pages stay equal.
                total = np.sum(list({**lanes, "late": late}.values()), axis=0, dtype=np.float32)
                order = np.lexsort((ids, -total))
                ranked = [hits[i] for i in order]
                row.ranked[question.qid] = [setup.page(hit) for hit in ranked]
                row.same.append(len(best & {h.page_id for h in ranked[:_BEST]}) / len(best))
    return [row.row(asked) for row in kept if row.same]


def _rescored(
    query: QueryEmbedding,
    ids: NDArray[np.int64],
    pages: RaggedPatches,
    kept: _Kept,
    settings: SearchSettings,
    picture: bool,
) -> FloatArray:
    """Late interaction of every page with its vectors as ``kept`` has them, ``[n] float32``."""
    for i, page_id in enumerate(ids.tolist()):
        if page_id not in kept.pages:
            vectors = pages.vectors(i, query.vectors.shape[1])
            run = 0 if picture else TEXT_RUN
            kept.pages[page_id] = kept.setting.compress(vectors, run)
    found = [kept.pages[page_id] for page_id in ids.tolist()]
    starts = np.cumsum([0, *(len(page.codes) for page in found)]).astype(np.int64)
    passage = 0 if picture else settings.passage
    window, stride = kept.setting.window(passage, settings.passage_stride)
    codes = np.concatenate([page.codes for page in found])
    scales = np.array([page.scale for page in found], np.float32)
    began = time.perf_counter()
    late = best_passage(
        query.vectors, query.weights, codes, starts, scales, window=window, stride=stride
    )
    kept.scoring_ms.append((time.perf_counter() - began) * 1000)
    return np.where(np.isfinite(late), late, 0).astype(np.float32)
