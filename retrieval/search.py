"""The two-stage searcher over one generation of an index."""

from __future__ import annotations

import difflib
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.asking import MODES as MODES
from retrieval.asking import SearchMode as SearchMode
from retrieval.asking import check_question
from retrieval.candidates import (
    CandidateSettings,
    LexicalEvidence,
    Offsets,
    best_by_page_vectors,
    find_candidates,
)
from retrieval.coarse import CoarseIndex
from retrieval.context import plain_years
from retrieval.device import choose_scorer
from retrieval.encoders.base import PageEncoder
from retrieval.errors import InputError, StorageError
from retrieval.lanes import Asked, EncoderLane
from retrieval.manifest import LaneRecord, Manifest
from retrieval.maxsim import similarities
from retrieval.ranking import RankingWeights, order, weights_as_dict
from retrieval.reading_turn import as_read, quarters_to_read, turned, turned_box
from retrieval.regions import find_regions
from retrieval.resident import RecordReader, pick
from retrieval.store import LaneStore, PageRecord, RaggedPatches, Store
from retrieval.store_filter import select
from retrieval.store_lanes import LanePlaces
from retrieval.store_rows import DocumentRow
from retrieval.types import (
    FloatArray,
    Hit,
    MetadataValue,
    QueryEmbedding,
    Region,
    SearchResult,
)

MAX_K = 1000
_SNIPPET = 240
# Searches whose BM25 is under way at a time; they wait rather than work.
_MOST_WAITING = 64


@dataclass(frozen=True, slots=True)
class SearchSettings:
    """``passage`` is the window of late interaction in patches, 0 for the whole page;
    ``device`` is where it is computed: auto, cpu or cuda.
    ``regions`` is how many places a hit has at most. 0 leaves them out, and with them most of
    what is left to do once a hundred pages are ranked. An index whose multivectors take at most
    ``resident_mb`` megabytes is read into memory at the first search; 0 keeps to the disk."""

    passage: int = 128
    passage_stride: int = 32
    regions: int = 5
    device: str = "auto"
    cache_mb: float = 256.0
    resident_mb: float = 0.0
    weights: RankingWeights = field(default_factory=RankingWeights)
    candidates: CandidateSettings = field(default_factory=CandidateSettings)


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """What a picture of a hit needs: similarities ``[q, n]`` of the question's tokens to the
    page's patches, the tokens' weights ``[q]``, and the patches' boxes ``[n, 4]``."""

    similarities: FloatArray
    weights: FloatArray
    boxes: FloatArray


@dataclass(slots=True)
class _Clock:
    """Milliseconds by stage."""

    started: float = field(default_factory=time.perf_counter)
    last: float = field(default_factory=time.perf_counter)
    spent: dict[str, float] = field(
        default_factory=lambda: dict.fromkeys(("encode", "coarse", "fetch", "rerank"), 0.0)
    )

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.spent[stage] += (now - self.last) * 1000
        self.last = now

    def read(self) -> dict[str, float]:
        total = (time.perf_counter() - self.started) * 1000
        return {key: round(value, 3) for key, value in (*self.spent.items(), ("total", total))}


class Searcher:
    """Answers questions from one open ``Store``; safe to share between threads."""

    def __init__(
        self,
        store: Store,
        coarse: CoarseIndex,
        encoder: PageEncoder,
        settings: SearchSettings | None = None,
        *,
        others: Mapping[str, tuple[PageEncoder, CoarseIndex]] | None = None,
    ) -> None:
        """``others`` are the further encoders of the index by lane, each with its coarse index.

        Raises ``StorageError`` if the index was built by other encoders.
        """
        _check_encoder(store, "", store.manifest, encoder)
        others = others or {}
        if others.keys() != store.lanes.keys():
            raise StorageError(
                f"the index {store.root} has the further encoders {sorted(store.lanes)}, "
                f"{sorted(others)} were given; give one for each"
            )
        self.store = store
        self.coarse = coarse
        self.encoder = encoder
        self.settings = settings or SearchSettings()
        self._waiting = ThreadPoolExecutor(_MOST_WAITING, thread_name_prefix="bm25")
        passage = (self.settings.passage, self.settings.passage_stride)
        memory = (self.settings.cache_mb, self.settings.resident_mb)
        scorer = choose_scorer(self.settings.device)
        self.records = RecordReader(store, self.settings.cache_mb / 4)
        self._lanes = [EncoderLane.open("", encoder, coarse, store, *passage, scorer, *memory)]
        for name, lane in store.lanes.items():
            other, its_coarse = others[name]
            _check_encoder(store, f" in lane '{name}'", lane.record, other)
            self._lanes.append(
                EncoderLane.open(name, other, its_coarse, lane, *passage, scorer, *memory)
            )

    def search(
        self,
        question: str,
        k: int = 10,
        *,
        filter: str | None = None,
        doc: str | int | None = None,
        where: Mapping[str, MetadataValue] | None = None,
        mode: SearchMode = "two-stage",
        explain: bool = False,
    ) -> SearchResult:
        """The k best pages for ``question``, each with the places on it that match.

        ``filter`` is a condition over metadata and document columns, ``doc`` one document's
        id, path or file name; documents must also have the metadata ``where``, which no
        ``filter`` can talk its way around. ``exhaustive`` scores every page that is not blank
        and is what ``two-stage`` is measured against; ``coarse`` and ``bm25`` are single lanes.
        Raises ``InputError`` for an empty question, a bad filter or an unknown document.
        """
        question = check_question(question, mode)
        if not 1 <= k <= MAX_K:
            raise InputError(f"k must be between 1 and {MAX_K}, not {k}")
        clock = _Clock()
        docs = self._allowed_documents(filter, doc, where)
        lexical = self._ask_bm25(question, docs) if mode in ("two-stage", "exhaustive") else None
        query = self.encode(question)
        if not query.tokens:
            raise InputError(f"the question {question!r} has no words; ask in words")
        asked = self.asked(question, query)
        clock.lap("encode")
        allowed = None if docs is None else self.store.pages.offsets_of_documents(docs)
        ranked = self._rank(question, asked, docs, lexical, allowed, mode, k, clock)
        hits = self._hits(asked, ranked, k, clock)
        return SearchResult(
            query=question,
            index_generation=self.store.manifest.generation,
            timing_ms=clock.read(),
            hits=hits,
            explain=self._explain(query, ranked, docs) if explain else None,
        )

    @property
    def coarse_memory_bytes(self) -> int:
        """What the coarse vectors of all encoders take."""
        return sum(lane.coarse.memory_bytes for lane in self._lanes)

    def encode(self, question: str) -> QueryEmbedding:
        """The question's vectors, fiscal-year shorthand written out."""
        return self._lanes[0].questions.encode(plain_years(question))

    def evidence(self, question: str, page_id: int) -> Evidence:
        """What on one page speaks for ``question``, for heatmaps."""
        ((_, (found,)),) = self.evidence_on_pages([question], [page_id])
        return found

    def evidence_on_pages(
        self, questions: Sequence[str], page_ids: Sequence[int]
    ) -> list[tuple[PageRecord, list[Evidence]]]:
        """Each page, and what on it speaks for each question; everything is read once.

        Raises ``InputError`` for a page that is not in the index.
        """
        offsets = self.store.pages.offsets_of(np.asarray(page_ids, np.int64))
        for page_id, offset in zip(page_ids, offsets, strict=True):
            if offset < 0:
                raise InputError(f"page {page_id} is not in the index {self.store.root}")
        if not len(offsets):
            return []
        records = self.records.fetch(offsets)
        patches = self._lanes[0].patches.fetch(offsets)
        found = [self._evidence(self.asked(q), offsets, records, patches) for q in questions]
        return [(record, list(of)) for record, *of in zip(records, *found, strict=True)]

    def hit(self, page_id: int, question: str | None = None) -> Hit:
        """One page as if a search had found it; with a ``question``, its places on the page.

        Raises ``InputError`` if the page is not in the index.
        """
        offsets = self.store.pages.offsets_of(np.array([page_id], np.int64))
        if offsets[0] < 0:
            raise InputError(f"page {page_id} is not in the index {self.store.root}")
        ranked = _Ranked(offsets, np.zeros(1, np.float32), {}, {}, None)
        return self._hits(self.asked(question or ""), ranked, 1, _Clock())[0]

    def find_document(self, doc: str | int) -> int:
        """The id of the document that ``doc`` names: an id, a path, or the end of a path.

        Raises ``InputError`` if none or several match.
        """
        documents = self.store.documents
        if isinstance(doc, int) or (doc.isdecimal() and len(doc) < 20):
            if int(doc) in documents:
                return int(doc)
            if isinstance(doc, int):
                raise InputError(f"there is no document {doc} in the index {self.store.root}")
        name = str(doc).replace("\\", "/").rstrip("/")
        exact = [i for i, row in documents.items() if row.source == name]
        found = exact or [i for i, row in documents.items() if row.source.endswith("/" + name)]
        if len(found) == 1:
            return found[0]
        if found:
            listed = ", ".join(f"{i} ({documents[i].source})" for i in found[:5])
            raise InputError(f"'{doc}' names {len(found)} documents: {listed}; use an id")
        names = {row.source.rsplit("/", 1)[-1] for row in documents.values()}
        close = difflib.get_close_matches(name.rsplit("/", 1)[-1], names, 3)
        hint = f"did you mean {' or '.join(close)}?" if close else "see `folioscope index status`"
        raise InputError(f"no document '{doc}' in the index {self.store.root}; {hint}")

    def _allowed_documents(
        self,
        filter: str | None,
        doc: str | int | None,
        where: Mapping[str, MetadataValue] | None,
    ) -> NDArray[np.int64] | None:
        docs: NDArray[np.int64] | None = None
        if where:
            # The filter sees nothing else, so that its errors cannot tell of other documents.
            mine = self.documents_where(where)
            docs = np.array(sorted(mine), np.int64) if filter is None else select(mine, filter)
        elif filter is not None:
            docs = self.store.select_documents(filter)
        if doc is None:
            return docs
        one = np.array([self.find_document(doc)], np.int64)
        return one if docs is None else np.intersect1d(docs, one)

    def documents_where(self, where: Mapping[str, MetadataValue]) -> dict[int, DocumentRow]:
        """The documents whose metadata have all of these keys and values, by id."""
        return {
            doc_id: row
            for doc_id, row in self.store.documents.items()
            if all(row.metadata.get(key) == value for key, value in where.items())
        }

    def _rank(
        self,
        question: str,
        asked: Sequence[Asked],
        docs: NDArray[np.int64] | None,
        lexical: Future[LexicalEvidence] | None,
        allowed: Offsets | None,
        mode: SearchMode,
        k: int,
        clock: _Clock,
    ) -> _Ranked:
        store, settings = self.store, self.settings
        limits = settings.candidates
        if mode == "coarse":
            offsets, scores = best_by_page_vectors(store, asked, allowed, settings.weights, k)
            clock.lap("coarse")
            return _Ranked(offsets, scores, {"coarse": scores}, {}, None)
        if lexical is None:
            offsets, scores = store.bm25_pages(plain_years(question), k, docs)
            clock.lap("coarse")
            return _Ranked(offsets, scores, {"bm25": scores}, {"bm25": offsets}, None)
        patches: RaggedPatches | None = None
        sources: Mapping[str, Offsets] = {}
        if mode == "exhaustive":
            every = np.arange(len(store.pages), dtype=np.int64) if allowed is None else allowed
            # A blank page answers nothing, yet its document's share and its shortness could lift
            # it above pages that do. No source of candidates proposes it either.
            says_something = np.any([one.lane.store.n_patches[every] > 0 for one in asked], axis=0)
            offsets = every[says_something | np.isin(every, lexical.result().offsets)]
            clock.lap("coarse")
            late = {
                one.lane.name: one.scan(offsets, store.pages.page_ids[offsets]) for one in asked
            }
        else:
            limits_k = max(k, limits.candidates)
            if limits_k != limits.candidates:
                limits = _with_candidates(limits, limits_k)
            found = find_candidates(store, asked, lexical.result, allowed, settings.weights, limits)
            offsets, sources = found.offsets, found.sources
            clock.lap("coarse")
            read = [one.lane.patches.fetch(offsets) for one in asked]
            patches = read[0]
            clock.lap("fetch")
            page_ids = store.pages.page_ids[offsets]
            late = {
                one.lane.name: one.exactly(patches, page_ids)
                for one, patches in zip(asked, read, strict=True)
            }
        lanes = lexical.result().lanes(store, offsets, late)
        fused = lanes.fused(settings.weights)
        best = order(fused, store.pages.page_ids[offsets], k)
        shares = {name: value[best] for name, value in lanes.shares(settings.weights).items()}
        kept = None if patches is None else pick(patches, best)
        clock.lap("rerank")
        return _Ranked(offsets[best], fused[best], shares, sources, kept)

    def _ask_bm25(self, question: str, docs: NDArray[np.int64] | None) -> Future[LexicalEvidence]:
        """Lance searches in threads of its own while this one encodes and looks up vectors."""
        limits = self.settings.candidates
        return self._waiting.submit(LexicalEvidence.find, self.store, question, docs, limits)

    def asked(self, question: str, query: QueryEmbedding | None = None) -> list[Asked]:
        """The question in every lane; ``query`` where the first lane's was just made."""
        text = plain_years(question)
        first = query or self._lanes[0].questions.recall(text)
        asked = [Asked.ask(self._lanes[0], first)]
        for lane in self._lanes[1:]:
            kept = lane.questions
            theirs = kept.recall(text) if query is None else kept.encode(text)
            asked.append(Asked.ask(lane, theirs))
        return asked

    def _hits(
        self, asked: Sequence[Asked], ranked: _Ranked, k: int, clock: _Clock
    ) -> tuple[Hit, ...]:
        offsets = ranked.offsets[:k]
        records = self.records.fetch(offsets)
        if not self.settings.regions:
            clock.lap("fetch")
            return tuple(self._hit(i, ranked, record, ()) for i, record in enumerate(records))
        patches = ranked.patches or self._lanes[0].patches.fetch(offsets)
        clock.lap("fetch")
        hits = []
        for i, found in enumerate(self._evidence(asked, offsets, records, patches)):
            regions = _regions(found, records[i], self.settings.regions)
            hits.append(self._hit(i, ranked, records[i], regions))
        clock.lap("rerank")
        return tuple(hits)

    def _evidence(
        self,
        asked: Sequence[Asked],
        offsets: Offsets,
        records: Sequence[PageRecord],
        patches: RaggedPatches | None,
    ) -> Iterator[Evidence]:
        """What speaks for a question on each page: patches of the first encoder that has any.

        A scan without words has none of an encoder that reads words.
        """
        if patches is None:
            patches = self._lanes[0].patches.fetch(offsets)
        for i, record in enumerate(records):
            one = next((o for o in asked if o.lane.store.n_patches[offsets[i]]), asked[0])
            place: PageRecord | LanePlaces = record
            boxes, of = record.patch_boxes, RaggedPatches.pick(patches, i)
            if isinstance(one.lane.store, LaneStore):
                (place,) = one.lane.store.fetch_places(offsets[i : i + 1])
                boxes, of = place.boxes, one.lane.patches.fetch(offsets[i : i + 1])
            sims = similarities(one.query.vectors, of.codes, float(of.scales[0]))
            yield Evidence(place.spread(sims), one.query.weights, boxes)

    def _hit(self, i: int, ranked: _Ranked, record: PageRecord, regions: tuple[Region, ...]) -> Hit:
        document = self.store.documents[record.doc_id]
        # So many words are at least as many letters.
        text = regions[0].text if regions else " ".join(record.words.texts[:_SNIPPET])
        return Hit(
            rank=i + 1,
            score=float(ranked.scores[i]),
            scores={name: float(share[i]) for name, share in ranked.shares.items()},
            page_id=record.page_id,
            doc_id=record.doc_id,
            source=document.source,
            title=document.title,
            page=record.number,
            label=record.label,
            metadata=document.metadata,
            flags=tuple(dict.fromkeys((*document.own_flags, *record.flags))),
            regions=regions,
            snippet=" ".join(text.split())[:_SNIPPET],
            size=(record.width, record.height),
            times=record.times,
            part=record.part,
            found_by=tuple(
                name for name, found in ranked.sources.items() if ranked.offsets[i] in found
            ),
        )

    def _explain(
        self, query: QueryEmbedding, ranked: _Ranked, docs: NDArray[np.int64] | None
    ) -> Mapping[str, Any]:
        return {
            "tokens": [
                {"token": token, "weight": round(float(weight), 4)}
                for token, weight in zip(query.tokens, query.weights, strict=True)
            ],
            "weights": weights_as_dict(self.settings.weights),
            "lanes": sorted(ranked.shares),
            "documents_allowed": None if docs is None else len(docs),
            "pages": len(self.store.pages),
        }


def _regions(found: Evidence, record: PageRecord, limit: int) -> tuple[Region, ...]:
    """The places on a page; of one that lies sideways, found along its lines."""
    quarters = quarters_to_read(record.words, record.flags)
    if not quarters:
        return find_regions(
            found.similarities, found.weights, found.boxes, record.words, limit=limit
        )
    boxes, words = turned(found.boxes, quarters), as_read(record.words, quarters)
    regions = find_regions(found.similarities, found.weights, boxes, words, limit=limit)
    return tuple(replace(region, box=turned_box(region.box, -quarters)) for region in regions)


@dataclass(frozen=True, slots=True, eq=False)
class _Ranked:
    """Pages best first: row offsets, scores, each lane's share, the pages that each source put
    first by itself, and patches if at hand."""

    offsets: Offsets
    scores: FloatArray
    shares: Mapping[str, FloatArray]
    sources: Mapping[str, Offsets]
    patches: RaggedPatches | None


def _check_encoder(
    store: Store, where: str, record: Manifest | LaneRecord, encoder: PageEncoder
) -> None:
    if encoder.fingerprint != record.encoder_fingerprint:
        raise StorageError(
            f"the index {store.root} was built{where} by encoder '{record.encoder_id}' "
            f"({record.encoder_fingerprint[:12]}), not by this '{encoder.id}' "
            f"({encoder.fingerprint[:12]}); install the version that built it, or build anew"
        )


def _with_candidates(limits: CandidateSettings, candidates: int) -> CandidateSettings:
    return replace(limits, candidates=candidates, coarse_pool=max(candidates, limits.coarse_pool))
