"""Any sequence of adds, removals, commits, compactions and crashes agrees with a model."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    precondition,
    rule,
)

from retrieval.integrity import verify
from retrieval.store import Store, StoreWriter
from tests.retrieval.store_samples import (
    LANE,
    SPEC,
    add,
    contents,
    lane_bytes,
    make_page,
    write_vectors,
)

Rows = list[tuple[str, int, str, bytes, bytes]]
WORDS = ["cats", "dogs", "owls", ""]


class StoreMachine(RuleBasedStateMachine):
    live = Bundle("live")

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp()) / "index"
        self.pending: dict[int, Rows] = {}
        self.committed: dict[int, Rows] = {}
        self.writer: StoreWriter
        self.reader: Store | None = None
        self.seen: Rows = []

    @initialize()
    def create(self) -> None:
        self.writer = StoreWriter.open(self.root, create=SPEC)
        self.writer.commit()

    @rule(target=live, name=st.integers(0, 99), words=st.lists(st.sampled_from(WORDS), max_size=3))
    def add_document(self, name: int, words: list[str]) -> int:
        doc_id = add(self.writer, f"n{name}", words, seed=name)
        # Ids of an aborted writer were never visible and may come again; no others may.
        assert doc_id > max(self.committed, default=-1)
        pages = [make_page(i, word, seed=name) for i, word in enumerate(words)]
        self.pending[doc_id] = [
            (f"/files/n{name}.pdf", i, word, page.codes.tobytes(), lane_bytes(page.lanes[LANE]))
            for i, (word, page) in enumerate(zip(words, pages, strict=True))
        ]
        return doc_id

    @rule(doc_id=consumes(live))
    def remove_document(self, doc_id: int) -> None:
        if self.pending.pop(doc_id, None) is not None:
            self.writer.remove_document(doc_id)

    @rule(coarse=st.booleans())
    def commit(self, coarse: bool) -> None:
        self.writer.commit(write_vectors if coarse else None)
        self.committed = dict(self.pending)

    @rule()
    def compact(self) -> None:
        self.writer.compact()

    @rule()
    def read_vectors(self) -> None:
        vectors = sum(len(ids) for ids, _ in self.writer.page_vectors())
        assert vectors == 2 * sum(len(rows) for rows in self.pending.values())

    @rule()
    def reopen(self) -> None:
        self.writer.abort()
        self.writer = StoreWriter.open(self.root)
        self.pending = dict(self.committed)

    @precondition(lambda self: self.reader is None)
    @rule()
    def open_reader(self) -> None:
        self.reader = Store.open(self.root)
        self.seen = [row for doc in sorted(self.committed) for row in self.committed[doc]]

    @precondition(lambda self: self.reader is not None)
    @rule()
    def read(self) -> None:
        assert self.reader is not None
        assert list(contents(self.reader)) == self.seen
        for word in ("cat", "dog"):
            offsets, _ = self.reader.bm25_pages(word, 1000)
            expected = [i for i, row in enumerate(self.seen) if row[2] == word + "s"]
            assert sorted(offsets.tolist()) == expected
        ids = self.reader.pages.page_ids
        assert (np.diff(ids) > 0).all()

    @precondition(lambda self: self.reader is not None)
    @rule()
    def close_reader(self) -> None:
        assert self.reader is not None
        self.reader.close()
        self.reader = None

    @invariant()
    def manifest_counts(self) -> None:
        if hasattr(self, "writer"):
            counts = self.writer.manifest.counts
            assert counts["pages"] == sum(len(rows) for rows in self.committed.values())

    def teardown(self) -> None:
        if hasattr(self, "writer"):
            self.writer.abort()
            assert verify(self.root) == []
            # As it was when it was opened, and what is there at the end.
            if self.reader is not None:
                self.read()
                self.reader.close()
            self.open_reader()
            self.read()
            self.close_reader()
        shutil.rmtree(self.root.parent)


TestStoreMachine = StoreMachine.TestCase
TestStoreMachine.settings = settings(
    max_examples=12,
    stateful_step_count=15,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
