"""Collections: an index being served, its uploads, its jobs, and how it moves on to a new
generation without failing a query."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from indexing.index import Index
from retrieval.encoders import load_encoder
from retrieval.errors import FolioscopeError, StorageError
from retrieval.manifest import MANIFEST_NAME, read_manifest
from retrieval.search import SearchSettings
from retrieval.store_rows import DocumentRow
from retrieval.types import MetadataValue
from serving.http.auth import Principal
from serving.http.batching import BatchingEncoder
from serving.http.jobs import Job, Jobs, JobWorker
from serving.http.problems import Problem
from serving.http.settings import ServerSettings
from serving.http.uploads import Uploads

_log = logging.getLogger("folioscope.http")
_WARM_UP = "what is this about"


class Collection:
    """One index behind the API. ``index`` is the newest generation that is ready to search."""

    def __init__(self, name: str, path: Path, settings: ServerSettings, jobs: Jobs) -> None:
        self.name = name
        self.path = path
        self._encoder = settings.encoder
        self._search = SearchSettings(cache_mb=settings.page_cache_mb)
        self.uploads = Uploads(settings.state / "uploads" / name, settings.upload_mb * 1_000_000)
        self._jobs = jobs
        self._seen: tuple[int, int, int] | None = None
        self._index: Index | None = None
        self._reloading = threading.Lock()
        self.worker: JobWorker | None = None
        if not settings.read_only:
            self.worker = JobWorker(jobs, name, path, settings.encoder, self._finished, self._sweep)

    @property
    def index(self) -> Index:
        """The generation being served. Raises ``Problem`` 503 if there is none."""
        if self._index is None:
            raise Problem(
                503,
                "index-not-ready",
                f"The collection '{self.name}' cannot be searched yet.",
                "Upload documents, or wait for the first ones to be indexed.",
                {"Retry-After": "5"},
            )
        return self._index

    @property
    def ready(self) -> bool:
        """Whether it can be searched."""
        return self._index is not None

    def start(self) -> None:
        """Open the index, or begin an empty one where we may write."""
        if not (self.path / MANIFEST_NAME).exists():
            if self.worker is None:
                raise StorageError(
                    f"there is no index at {self.path}; build it with `folioscope index build`, "
                    "or serve without --read-only to begin an empty one"
                )
            Index.create(self.path, encoder=self._encoder)
        self.reload()
        if self.worker is not None:
            self.worker.start()

    def reload(self) -> bool:
        """Serve the newest generation if there is a new one; whether there was.

        The new one is opened and warmed beside the old one, which serves until then; a search
        under way ends in the generation in which it began.
        """
        with self._reloading:
            seen = self._look()
            if seen == self._seen and self._index is not None:
                return False
            manifest = read_manifest(self.path)
            encoder = (
                BatchingEncoder.around(load_encoder(manifest.encoder_id))
                if self._index is None
                else self._index.encoder
            )
            # Those at hand: a model that reads pictures is gigabytes, beside the one that serves.
            others = {
                name: other
                for name, other in (self._index.others if self._index else {}).items()
                if name in manifest.lanes
                and other.fingerprint == manifest.lanes[name].encoder_fingerprint
            }
            fresh = Index.open(self.path, search=self._search, encoder=encoder, others=others)
            generation = fresh.refresh()
            if fresh.documents_where({}):
                fresh.search(_WARM_UP, 1)
            self._index, self._seen = fresh, seen
            _log.info("collection %s: serving generation %d", self.name, generation)
            return True

    def reload_or_keep(self) -> None:
        """``reload``, but what cannot be opened leaves the old generation serving."""
        try:
            self.reload()
        except FolioscopeError as error:
            _log.error("collection %s: cannot open the new generation: %s", self.name, error)
        except Exception:  # the boundary of who watches for generations, who must go on
            _log.exception("collection %s: cannot open the new generation", self.name)

    def close(self) -> None:
        """Stop indexing and let go of the index."""
        if self.worker is not None:
            self.worker.close()
        if self._index is not None:
            self._index.close()

    def documents(self, principal: Principal) -> Mapping[int, DocumentRow]:
        """The documents that ``principal`` may see, by id."""
        return self.index.documents_where(principal.pinned)

    def document(self, principal: Principal, doc_id: int) -> DocumentRow:
        """One of them. Raises ``Problem`` 404, also for those that are another's."""
        row = self.documents(principal).get(doc_id)
        if row is None:
            said = f"There is no document {doc_id}."
            raise Problem(404, "no-such-document", said, "GET /v1/documents lists them.")
        return row

    def _look(self) -> tuple[int, int, int]:
        """What changes whenever the manifest is replaced."""
        try:
            found = (self.path / MANIFEST_NAME).stat()
        except OSError as error:
            raise StorageError(f"there is no index at {self.path}") from error
        return found.st_ino, found.st_mtime_ns, found.st_size

    def _finished(self, job: Job, result: Mapping[str, Any]) -> None:
        self.reload_or_keep()
        # The same file may have been uploaded again since, and wait to be indexed.
        held = self._held()
        for path in map(Path, job.work.get("discard", ())):
            if str(path) not in held:
                self.uploads.discard(path)

    def _held(self) -> set[str]:
        """The files of documents, and of jobs that are not done."""
        held = self._jobs.to_add(self.name)
        return held | {row.source for row in self.index.documents_where({}).values()}

    def _sweep(self) -> None:
        try:
            # What is served may be older than what was indexed.
            if self._seen == self._look():
                in_vain = self._jobs.in_vain(self.name)
                for path in self.uploads.sweep(in_vain, self._held, time.time()):
                    _log.info("collection %s: nothing holds %s any more", self.name, path.name)
        except (OSError, FolioscopeError) as error:
            _log.warning("collection %s: uploads not tidied: %s", self.name, error)


class Collections:
    """All collections of a server, by name."""

    def __init__(self, settings: ServerSettings, jobs: Jobs) -> None:
        self._all = {
            name: Collection(name, path, settings, jobs) for name, path in settings.indexes.items()
        }

    def __iter__(self) -> Iterator[Collection]:
        return iter(self._all.values())

    def get(self, principal: Principal, name: str | None) -> Collection:
        """The collection that ``name`` means to ``principal``; None where there is one only.

        Raises ``Problem`` 404, also for those that the key does not reach.
        """
        visible = [c for c in self._all.values() if principal.sees(c.name)]
        if name is None and len(visible) == 1:
            return visible[0]
        for collection in visible:
            if collection.name == name:
                return collection
        names = ", ".join(collection.name for collection in visible) or "none"
        what = "Say which collection." if name is None else f"There is no collection '{name}'."
        raise Problem(404, "no-such-collection", what, f"Known: {names}.")


def pinned(metadata: Mapping[str, MetadataValue], principal: Principal) -> dict[str, MetadataValue]:
    """``metadata`` with what the key pins; a client cannot say otherwise."""
    return {**metadata, **principal.pinned}
