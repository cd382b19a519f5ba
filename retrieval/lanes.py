"""The encoders of an open index, and one question put to each of them.

An index has one lane an encoder: pooled vectors that find pages, signs that look at thousands of
them more closely, and multivectors that score a hundred exactly. All three give late interaction
in the same units, so that a page's standing does not depend on how closely it was looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval.coarse import CoarseIndex
from retrieval.device import Scorer
from retrieval.encoded_questions import EncodedQuestions
from retrieval.encoders.base import PageEncoder
from retrieval.ranking import LANE, LATE
from retrieval.resident import PatchReader, pick
from retrieval.signs import Signs
from retrieval.store import LaneStore, RaggedPatches, Store
from retrieval.types import FloatArray, QueryEmbedding

PageIds = NDArray[np.int64]
Prior = Callable[[PageIds], FloatArray]

# Pages, evenly spread, whose scores say what a question's scores are like in a lane.
_SAMPLE = 256
# How far late interaction spreads over pages with the embedded encoder: the unit of all lanes.
_SPREAD = 0.05
_SCAN_PAGES = 256


@dataclass(frozen=True, slots=True, eq=False)
class EncoderLane:
    """One encoder of an open index. ``store`` is where its vectors are: the index itself for
    the first encoder, called ``late``; the others are called ``late:NAME``.

    ``window`` and ``stride`` are the passages that late interaction looks for.
    """

    name: str
    questions: EncodedQuestions
    coarse: CoarseIndex
    store: Store | LaneStore
    signs: Signs
    patches: PatchReader
    scorer: Scorer
    window: int
    stride: int

    @staticmethod
    def open(
        name: str,
        encoder: PageEncoder,
        coarse: CoarseIndex,
        store: Store | LaneStore,
        passage: int,
        stride: int,
        scorer: Scorer,
        cache_mb: float,
        resident_mb: float,
    ) -> EncoderLane:
        """``name`` is empty for the first encoder; ``scorer`` is that of all lanes."""
        # A picture's patches are no text: their order is a raster's, and a page is one passage.
        passage = 0 if "image" in encoder.reads else passage
        window, stride = store.compression.window(passage, stride)
        called = LANE + name if name else LATE
        if scorer.is_gpu:
            coarse.use_gpu()
        patches = PatchReader(store, cache_mb, resident_mb)
        return EncoderLane(
            called,
            EncodedQuestions(encoder),
            coarse,
            store,
            store.signs,
            patches,
            scorer.of_lane(called),
            window,
            stride,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """A question in one lane. Scores are calibrated: ``(score - level) * gain``."""

    lane: EncoderLane
    query: QueryEmbedding
    level: float = 0.0
    gain: float = 1.0

    @staticmethod
    def ask(lane: EncoderLane, query: QueryEmbedding) -> Asked:
        """``query`` in ``lane``.

        The first lane is the measure of the others. Cosines of another encoder lie elsewhere
        and spread differently, from question to question too; what counts is by how much a page
        stands out from pages in general, so level and gain come from the scores of a sample.
        """
        asked = Asked(lane, query)
        if lane.name == LATE:
            return asked
        known = lane.signs.page_ids
        sample = known[np.linspace(0, len(known) - 1, min(_SAMPLE, len(known))).astype(np.int64)]
        scores = asked.by_signs(sample)[1] if len(sample) else np.zeros(0, np.float32)
        if not len(scores):
            scores = asked.by_page_vectors(_SAMPLE)[1]
        scores = scores[np.isfinite(scores)]
        if len(scores) < 2 or float(scores.std()) < 1e-6:
            return Asked(lane, query, float(scores.mean()) if len(scores) else 0.0, 1.0)
        return Asked(lane, query, float(scores.mean()), _SPREAD / float(scores.std()))

    def calibrated(self, scores: FloatArray) -> FloatArray:
        """Scores of this lane in the units of all; a page without patches is an average one."""
        found: FloatArray = np.where(
            np.isfinite(scores), (scores - np.float32(self.level)) * np.float32(self.gain), 0.0
        ).astype(np.float32)
        return found

    def by_page_vectors(
        self, k: int, page_ids: PageIds | None = None, prior: Prior | None = None
    ) -> tuple[PageIds, FloatArray]:
        """The k best pages by pooled vectors (of ``page_ids``), and their calibrated scores."""
        ids, scores = self.lane.coarse.candidates(
            self.query.vectors, self.query.weights, k, page_ids, prior
        )
        return ids, self.calibrated(scores)

    def by_signs(self, page_ids: PageIds) -> tuple[PageIds, FloatArray]:
        """Those of the pages whose signs are there, ascending, and their calibrated scores."""
        lane = self.lane
        ids, scores = lane.signs.score(
            self.query.vectors,
            self.query.weights,
            page_ids,
            window=lane.window,
            stride=lane.stride,
        )
        return ids, self.calibrated(scores)

    def exactly(self, patches: RaggedPatches, page_ids: PageIds) -> FloatArray:
        """Calibrated late interaction of pages that were read, ``[k]``."""
        lane = self.lane
        scores = lane.scorer.score(
            self.query, patches, page_ids, window=lane.window, stride=lane.stride
        )
        return self.calibrated(scores)

    def scan(self, offsets: NDArray[np.int64], page_ids: PageIds) -> FloatArray:
        """Calibrated late interaction of any number of pages, read a few at a time."""
        kept = self.lane.patches.kept()
        if kept is not None:
            every = self.lane.store.pages.page_ids
            if 2 * len(offsets) < len(every):
                return self.exactly(pick(kept, offsets), page_ids)
            # Copying most pages together takes as long as scoring all where they lie.
            found: FloatArray = self.exactly(kept, every)[offsets]
            return found
        scores = np.empty(len(offsets), np.float32)
        for start in range(0, len(offsets), _SCAN_PAGES):
            here = slice(start, start + _SCAN_PAGES)
            patches = self.lane.store.fetch_patches(offsets[here])
            scores[here] = self.exactly(patches, page_ids[here])
        return scores


def split_lanes(late: Mapping[str, FloatArray]) -> tuple[FloatArray, dict[str, FloatArray]]:
    """The first lane's scores, and those of the others by name."""
    return late[LATE], {name: scores for name, scores in late.items() if name != LATE}
