"""Folioscope through its own writer, store and searcher.

``vectors``: page vectors and exact MaxSim over whole pages, no words and no places, which is what
the peers do. ``vectors and places``: and where on each page. ``all lanes``: what ``folioscope
search`` does, which ranks by more than MaxSim.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from eval.peers.protocol import Engine, Setting
from eval.peers.workload import FloatArray, Pages, Question
from indexing.build import coarse_builder
from indexing.pipeline import PoolSettings
from retrieval.candidates import CandidateSettings
from retrieval.coarse import CoarseIndex
from retrieval.compression import Compression
from retrieval.context import document_context
from retrieval.encoders.base import Reads
from retrieval.errors import StorageError
from retrieval.pooling import pool_page
from retrieval.ranking import RankingWeights
from retrieval.search import Searcher, SearchSettings
from retrieval.store import CreateSpec, PageRow, Store, StoreWriter
from retrieval.types import (
    DocumentInfo,
    PageContent,
    PageEmbedding,
    PageWords,
    QueryEmbedding,
)

_CANDIDATES = (50, 100, 200, 400, 800)
# Quicker: fewer pages read, of few or none that are looked at by the signs of their patches.
_QUICK_CANDIDATES, _QUICK_SIGNS = (10, 20, 30, 50), (0, 16_000, 32_000)
_SIGNS = CandidateSettings().signed_patches
# Every page scored from memory, as far as a machine of 24 GB goes well.
_RESIDENT_UP_TO, _RESIDENT_MB = 100_000, 4000.0
# Pages that the coarse vectors propose, of which the signs of their patches choose.
_POOL = 1000
# Where a scan takes long: that many more patches looked at by their signs.
_THOROUGH_FROM, _THOROUGH_CANDIDATES, _THOROUGH_SIGNS = 20_000, 400, (1_280_000, 2_560_000)
# Where nothing may be missed: the signs of all pages, and that many pages read.
_CLOSEST_CANDIDATES = (100, 200, 300, 400, 800)
_PATCHES_A_PAGE = 128
_CHECKPOINT_PAGES = 20_000
_LETTER, _WORDS_A_LINE = (612.0, 792.0), 12


class _Given:
    """Stands for the encoder: the question at hand comes with its vectors."""

    id, fingerprint = "given", hashlib.sha256(b"given").hexdigest()
    reads: frozenset[Reads] = frozenset()

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self.vectors: FloatArray = np.zeros((0, dim), np.float32)

    def encode_pages(self, pages: Sequence[PageContent]) -> list[PageEmbedding]:
        """Not called: pages come with their vectors too."""
        raise NotImplementedError

    def encode_queries(self, queries: Sequence[str]) -> list[QueryEmbedding]:
        """The question's vectors, each counting alike."""
        n = len(self.vectors)
        weights = np.full(n, 1 / max(1, n), np.float32)
        return [QueryEmbedding(self.vectors, ("",) * n, weights) for _ in queries]


class Folioscope(Engine):
    """An index folder with 16 pooled vectors a page and int8 patches, the default."""

    package = "folioscope"
    compression = Compression()

    def __init__(self) -> None:
        self._searchers: dict[tuple[str, int, int], Searcher] = {}

    def build(self, folder: Path, pages: Pages) -> None:
        self.add(folder, pages)

    def add(self, folder: Path, pages: Pages) -> None:
        create = CreateSpec(
            encoder_id=_Given.id,
            encoder_fingerprint=_Given.fingerprint,
            dim=pages.dim,
            compression=self.compression.in_manifest,
            settings={"pooling": asdict(PoolSettings()), "coarse": "auto"},
        )
        with StoreWriter.open(folder, create=create) as writer:
            uncommitted = 0
            for document, members in _documents(pages):
                info, context = _described(pages, document, members)
                writer.add_document(info, context, _rows(pages, members, self.compression))
                uncommitted += len(members)
                if uncommitted >= _CHECKPOINT_PAGES:
                    writer.commit()
                    uncommitted = 0
            writer.commit(coarse_builder("auto"))

    def open(self, folder: Path) -> None:
        store = Store.open(folder)
        if store.coarse_path is None:
            raise StorageError(f"{folder} has no coarse index; build it to its end")
        self._store, self._coarse = store, CoarseIndex.read(store.coarse_path)
        self._encoder = _Given(store.manifest.dim)

    def settings(self, pages: int, text: bool) -> Sequence[Setting]:
        counts = [n for n in _CANDIDATES if n < pages] or [pages]
        curve = [
            _by_vectors(n, signs) for n in _QUICK_CANDIDATES for signs in _QUICK_SIGNS if n < pages
        ]
        curve += [Setting("vectors", {"lanes": "vectors", "candidates": n}) for n in counts]
        if pages > _THOROUGH_FROM:
            curve += [_by_vectors(_THOROUGH_CANDIDATES, signs) for signs in _THOROUGH_SIGNS]
        if pages <= _RESIDENT_UP_TO:
            curve.append(Setting("vectors", {"lanes": "in memory", "candidates": pages}))
        usual = min(100, pages)
        for lanes in ("vectors and places", "all lanes") if text else ("vectors and places",):
            curve.append(Setting(lanes, {"lanes": lanes, "candidates": usual}))
        return curve

    def search(self, question: Question, k: int, knobs: Mapping[str, Any]) -> Sequence[int]:
        signs = int(knobs.get("signs", _SIGNS))
        searcher = self._searcher(str(knobs["lanes"]), int(knobs["candidates"]), signs)
        more = {"mode": "exhaustive"} if knobs["lanes"] == "in memory" else {}
        return [hit.page_id for hit in self._asked(searcher, question, k, **more)]

    def delete(self, folder: Path, ids: Sequence[int]) -> None:
        """Documents are what is removed, so whole documents must be named."""
        with Store.open(folder) as store:
            documents = np.unique(store.pages.doc_ids[store.pages.offsets_of(np.array(ids))])
        with StoreWriter.open(folder) as writer:
            for document in documents.tolist():
                writer.remove_document(document)
            writer.commit(keep_coarse=True)

    def search_documents(
        self, question: Question, k: int, documents: Sequence[int]
    ) -> Sequence[int]:
        searcher = self._searcher("vectors", 100)
        listed = ", ".join(map(str, documents))
        return [
            hit.page_id
            for hit in self._asked(searcher, question, k, filter=f"report IN ({listed})")
        ]

    def places(self, question: Question, page: int) -> Sequence[tuple[float, float, float, float]]:
        self._encoder.vectors = question.vectors
        hit = self._searcher("vectors and places", 100).hit(page, "given")
        return [region.box for region in hit.regions]

    def _asked(self, searcher: Searcher, question: Question, k: int, **more: str) -> Any:
        self._encoder.vectors = question.vectors
        return searcher.search(question.text or "given", k, **more).hits  # type: ignore[arg-type]

    def _searcher(self, lanes: str, candidates: int, signs: int = _SIGNS) -> Searcher:
        key = (lanes, candidates, signs)
        if key not in self._searchers:
            # One at a time: each keeps pages of its own.
            self._searchers = {
                key: Searcher(self._store, self._coarse, self._encoder, _settings(*key))
            }
        return self._searchers[key]


class FolioscopeHalf(Folioscope):
    """The same with patches in float16, and the settings that miss nothing."""

    compression = Compression("fp16")

    def settings(self, pages: int, text: bool) -> Sequence[Setting]:
        signs = pages * _PATCHES_A_PAGE
        closest: list[Setting] = []
        if pages <= _THOROUGH_FROM:
            closest = [_by_vectors(n, signs) for n in _CLOSEST_CANDIDATES if n < pages]
        if pages <= _RESIDENT_UP_TO:
            closest.append(Setting("vectors", {"lanes": "in memory", "candidates": pages}))
        return closest


def _by_vectors(candidates: int, signs: int) -> Setting:
    return Setting("vectors", {"lanes": "vectors", "candidates": candidates, "signs": signs})


def _settings(lanes: str, candidates: int, signs: int) -> SearchSettings:
    if lanes == "all lanes":
        return SearchSettings(
            candidates=CandidateSettings(candidates=candidates, coarse_pool=max(_POOL, candidates))
        )
    return SearchSettings(
        passage=0,
        regions=5 if lanes == "vectors and places" else 0,
        resident_mb=_RESIDENT_MB if lanes == "in memory" else 0.0,
        weights=RankingWeights(bm25=0.0, document=0.0, length=0.0),
        candidates=CandidateSettings(
            candidates=candidates,
            coarse_pool=max(_POOL, 4 * candidates, signs // _PATCHES_A_PAGE)
            if signs
            else candidates,
            bm25_pool=0,
            documents=0,
            best_documents=0,
            pages_of_best_documents=0,
            signed_patches=signs,
        ),
    )


def _documents(pages: Pages) -> Iterator[tuple[int, range]]:
    """Every document's number, and the pages it has."""
    cuts = np.flatnonzero(np.diff(pages.documents)) + 1
    for first, last in pairwise([0, *cuts.tolist(), len(pages)]):
        yield int(pages.documents[first]), range(first, last)


def _described(pages: Pages, document: int, members: range) -> tuple[DocumentInfo, str]:
    name = f"report-{document:07d}.pdf"
    words = pages.texts[members[0]].split()
    info = DocumentInfo(
        source=f"/peers/{name}",
        sha256=hashlib.sha256(f"{name} {members}".encode()).hexdigest(),
        media_type="application/pdf",
        title=" ".join(words[:6]),
        pages=len(members),
        bytes=1000 * len(members),
        metadata={"report": document},
    )
    return info, document_context(info.source, info.title, info.metadata, words)


def _rows(pages: Pages, members: Iterable[int], compression: Compression) -> Iterator[PageRow]:
    for number, i in enumerate(members):
        vectors = pages.page(i)
        boxes = _boxes(len(vectors))
        words = tuple(pages.texts[i].split())
        if len(words) != len(vectors):
            words = ("",) * len(vectors)
        lines = (np.arange(len(vectors)) // _WORDS_A_LINE).astype(np.int32)
        content = PageContent(number, str(number + 1), *_LETTER, PageWords(words, boxes, lines))
        kept = compression.compress(vectors)
        yield PageRow(
            content=content,
            codes=kept.codes,
            scale=kept.scale,
            patch_boxes=boxes,
            page_vectors=pool_page(vectors, boxes, PoolSettings().vectors),
            bm25_text=pages.texts[i],
        )


def _boxes(n: int) -> FloatArray:
    """Where n words would stand, line by line."""
    line, column = np.divmod(np.arange(n), _WORDS_A_LINE)
    height = 1 / max(60, n // _WORDS_A_LINE + 1)
    left = column / _WORDS_A_LINE
    corners = (left, line * height, left + 0.9 / _WORDS_A_LINE, (line + 0.8) * height)
    return np.stack(corners, axis=1).astype(np.float32)
