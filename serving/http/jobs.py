"""Indexing jobs: kept in SQLite, done one at a time for each collection, resumed after a crash."""

from __future__ import annotations

import json
import logging
import secrets
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from retrieval.errors import StorageError
from retrieval.lock import LockedError
from serving.http.database import Database
from serving.http.problems import public

JobKind = Literal["add", "remove", "reindex"]
JobState = Literal["queued", "running", "done", "failed", "cancelled"]
FINISHED = ("done", "failed", "cancelled")
_log = logging.getLogger("folioscope.jobs")
_ROOT = Path(__file__).resolve().parents[2]
# How often a job may take the indexing process with it, or find that the index cannot be written,
# before it is given up.
_MOST_TRIES = 5
# Seconds until jobs are looked for again after the records could not be read or written.
_PAUSE = 5.0
# The same while another program writes the index.
_LOCKED_PAUSE = 2.0
# Seconds after which an idle worker tidies again.
_IDLE_AGAIN = 3600.0
_CANCELLED = "cancelled"
_CRASHED = "the indexing process ended unexpectedly on it, several times"


@dataclass(frozen=True, slots=True)
class Job:
    """``work`` is what the indexing process gets; ``owner`` is the key that asked for it."""

    id: str
    collection: str
    kind: JobKind
    state: JobState
    owner: str
    work: Mapping[str, Any]
    progress: Mapping[str, Any]
    result: Mapping[str, Any] | None
    created: float
    started: float | None
    ended: float | None


class Jobs:
    """The queue of all collections."""

    def __init__(self, database: Database, *, resume: bool = True) -> None:
        """``resume`` is for the one server that does the jobs."""
        self._database = database
        if resume:
            with database.transaction() as connection:
                # A server that was killed left these running; what they committed is skipped anew.
                connection.execute("UPDATE jobs SET state = 'queued' WHERE state = 'running'")

    def put(self, collection: str, kind: JobKind, owner: str, work: Mapping[str, Any]) -> Job:
        """Queue a job; it is on disk when this returns."""
        job_id = secrets.token_hex(8)
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT INTO jobs (id, collection, kind, state, owner, work, created)"
                " VALUES (?, ?, ?, 'queued', ?, ?, ?)",
                (job_id, collection, kind, owner, json.dumps(dict(work)), time.time()),
            )
        return self._must(job_id)

    def get(self, job_id: str) -> Job | None:
        """The job of this id."""
        rows = self._database.rows("SELECT * FROM jobs WHERE id = ?", job_id)
        return _job(rows[0]) if rows else None

    def newest(self, collection: str, limit: int = 100, *, owner: str | None = None) -> list[Job]:
        """The newest jobs of a collection, or those that one key asked for."""
        return [
            _job(row)
            for row in self._database.rows(
                "SELECT * FROM jobs WHERE collection = ? AND owner = coalesce(?, owner)"
                " ORDER BY created DESC, id LIMIT ?",
                collection,
                owner,
                limit,
            )
        ]

    def to_add(self, collection: str) -> set[str]:
        """The files that unfinished jobs of a collection have to read."""
        rows = self._database.rows(
            "SELECT work FROM jobs WHERE collection = ? AND state IN ('queued', 'running')",
            collection,
        )
        return {file["path"] for row in rows for file in json.loads(row["work"])["add"]}

    def in_vain(self, collection: str) -> set[str]:
        """The uploaded files that ended jobs of a collection have not indexed, or not again."""
        rows = self._database.rows(
            "SELECT state, work, result FROM jobs WHERE collection = ? AND kind != 'remove'"
            " AND state IN ('failed', 'cancelled', 'done')",
            collection,
        )
        found: set[str] = set()
        for row in rows:
            if row["state"] == "done":
                found |= {file["path"] for file in json.loads(row["result"]).get("skipped", ())}
            else:
                found |= {file["path"] for file in json.loads(row["work"])["add"]}
        return found

    def known_now(self, collection: str, doc_id: int) -> int:
        """The id of a document that jobs have read anew, and so replaced, since it was named."""
        while rows := self._database.rows(
            "SELECT max(json_extract(result, '$.documents[0].id')) AS id FROM jobs"
            " WHERE collection = ? AND kind = 'reindex' AND state = 'done'"
            " AND EXISTS (SELECT 1 FROM json_each(result, '$.replaced') WHERE value = ?)",
            collection,
            doc_id,
        ):
            if rows[0]["id"] is None or rows[0]["id"] <= doc_id:
                break
            doc_id = int(rows[0]["id"])
        return doc_id

    def waiting(self, collection: str) -> int:
        """Jobs that are not finished."""
        rows = self._database.rows(
            "SELECT count(*) AS n FROM jobs WHERE collection = ?"
            " AND state IN ('queued', 'running')",
            collection,
        )
        return int(rows[0]["n"])

    def take(self, collection: str) -> Job | None:
        """The oldest queued job, now running. Asked by the collection's one worker: what is
        running by then was left behind by an error, and is queued again."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE jobs SET state = 'queued' WHERE collection = ? AND state = 'running'",
                (collection,),
            )
            row = connection.execute(
                "SELECT id FROM jobs WHERE collection = ? AND state = 'queued'"
                " ORDER BY created, id LIMIT 1",
                (collection,),
            ).fetchone()
            if row is None:
                return None
            connection.execute(
                "UPDATE jobs SET state = 'running', started = ? WHERE id = ?",
                (time.time(), row["id"]),
            )
        return self._must(row["id"])

    def tell(self, job_id: str, progress: Mapping[str, Any]) -> None:
        """Note how far a job is."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE jobs SET progress = ? WHERE id = ?", (json.dumps(dict(progress)), job_id)
            )

    def finish(self, job_id: str, state: JobState, result: Mapping[str, Any]) -> None:
        """End a job, unless it was cancelled meanwhile."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE jobs SET state = ?, result = ?, ended = ?"
                " WHERE id = ? AND state IN ('queued', 'running')",
                (state, json.dumps(dict(result)), time.time(), job_id),
            )

    def requeue(self, job_id: str) -> None:
        """Put a job that was interrupted back."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE jobs SET state = 'queued' WHERE id = ? AND state = 'running'", (job_id,)
            )

    def _must(self, job_id: str) -> Job:
        job = self.get(job_id)
        if job is None:
            raise KeyError(job_id)
        return job


def _job(row: sqlite3.Row) -> Job:
    return Job(
        id=row["id"],
        collection=row["collection"],
        kind=row["kind"],
        state=row["state"],
        owner=row["owner"],
        work=json.loads(row["work"]),
        progress=json.loads(row["progress"]),
        result=None if row["result"] is None else json.loads(row["result"]),
        created=row["created"],
        started=row["started"],
        ended=row["ended"],
    )


def _reason(job: Job, reason: str) -> str:
    """Why a job ended without its work, and what that means for the document it was about."""
    if job.kind != "reindex":
        return reason
    # It may have been committed just before it was cancelled.
    return f"the document is kept as it was{' or replaced' * (reason == _CANCELLED)}: {reason}"


def _outcome(result: Mapping[str, Any]) -> tuple[JobState, Mapping[str, Any]]:
    """How a job ended that went to its end: one that came to nothing has failed, and says why."""
    skipped = result["skipped"]
    changed = sum(result.get(of, 0) for of in ("documents_added", "unchanged", "pages_removed"))
    if changed or not skipped:
        return "done", result
    reason = public(skipped[0]["reason"], skipped[0]["path"])
    if len(skipped) > 1:
        reason = f"none of its {len(skipped)} files could be read; the first of them: {reason}"
    return "failed", {**result, "reason": reason}


class _IndexBusyError(Exception):
    """The index cannot be written at the moment."""


class _LockedError(_IndexBusyError):
    """Another program writes it, and will have done some day."""


class JobWorker:
    """A thread that does the jobs of one collection through its indexing process."""

    def __init__(
        self,
        jobs: Jobs,
        collection: str,
        index: Path,
        encoder: str,
        finished: Callable[[Job, Mapping[str, Any]], None],
        idle: Callable[[], None] = lambda: None,
    ) -> None:
        """``finished`` is called with a job and its result before the job counts as done,
        ``idle`` when no job is left, and each hour from then on."""
        self._jobs = jobs
        self._collection = collection
        self._index_path = index
        self._command = [sys.executable, "-m", "serving.http.ingest", str(index), encoder]
        self._finished = finished
        self._idle = idle
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._process: subprocess.Popen[str] | None = None
        self._current: str | None = None
        self._guard = threading.Lock()
        self._thread = threading.Thread(target=self._run, name=f"jobs-{collection}", daemon=True)

    def start(self) -> None:
        """Begin; what an earlier server left undone comes first."""
        self._thread.start()

    def wake(self) -> None:
        """There is a job."""
        self._wake.set()

    def cancel(self, job_id: str) -> None:
        """End a job. What it committed so far stays."""
        job = self._jobs.get(job_id)
        if job is not None:
            self._jobs.finish(job_id, "cancelled", {"reason": _reason(job, _CANCELLED)})
        with self._guard:
            if self._current == job_id:
                self._kill()

    def close(self) -> None:
        """Stop; a running job is queued again, for the next server."""
        self._stop.set()
        self._wake.set()
        with self._guard:
            self._kill()
        if self._thread.ident is not None:
            self._thread.join(timeout=10)

    def _run(self) -> None:
        tries: dict[str, int] = {}
        while not self._stop.is_set():
            try:
                job = self._jobs.take(self._collection)
                if job is not None:
                    self._try(job, tries)
                    continue
                with self._guard:
                    self._kill()  # idle: its memory is better used by searches
                self._idle()
                self._wake.wait(_IDLE_AGAIN)
            except Exception:  # the boundary of the thread: without it no job would be done again
                _log.exception("the jobs of %s stopped, and go on", self._collection)
                self._wake.wait(_PAUSE)
            self._wake.clear()

    def _try(self, job: Job, tries: dict[str, int]) -> None:
        try:
            self._do(job)
        except _LockedError as error:
            if job.progress.get("stage") != "wait":  # said once
                _log.warning("job %s waits: %s", job.id, error)
                self._jobs.tell(job.id, {"stage": "wait"})
            self._jobs.requeue(job.id)
            self._stop.wait(_LOCKED_PAUSE)
        except Exception as error:  # whatever it is, it must not cost the jobs behind this one
            tries[job.id] = tries.get(job.id, 0) + 1
            _log.warning("job %s, try %d: %r", job.id, tries[job.id], error)
            if self._stop.is_set() or tries[job.id] < _MOST_TRIES:
                self._jobs.requeue(job.id)
                # A full disk may be cleared.
                self._stop.wait(min(30.0, 2.0 ** tries[job.id] / 2))
            else:
                reason = str(error) if isinstance(error, _IndexBusyError) else _CRASHED
                self._jobs.finish(job.id, "failed", {"reason": _reason(job, reason)})

    def _do(self, job: Job) -> None:
        """Raises ``OSError`` if the process ends before the job does."""
        with self._guard:
            if self._stop.is_set():
                raise OSError("the server stops")
            if not self._is_running(job):
                return  # cancelled since it was taken
            self._current = job.id
            process = self._process or self._begin()
        try:
            if process.stdin is None or process.stdout is None:
                raise OSError("no pipes")
            named = [self._jobs.known_now(job.collection, i) for i in job.work["remove"]]
            request = {"kind": job.kind, **job.work, "remove": named}
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
            for line in process.stdout:
                event = json.loads(line)
                if event["event"] == "progress":
                    self._jobs.tell(job.id, event)
                    continue
                if event["event"] == "done":
                    self._finished(job, event["result"])
                    self._jobs.finish(job.id, *_outcome(event["result"]))
                    return
                files = (file["path"] for file in job.work.get("add", ()))
                reason = public(event["message"], self._index_path, *files)
                if event["kind"] == LockedError.__name__:
                    raise _LockedError(reason)
                _log.warning("job %s: %s", job.id, event["message"])
                if event["kind"] == StorageError.__name__:
                    raise _IndexBusyError(reason)
                self._jobs.finish(job.id, "failed", {"reason": _reason(job, reason)})
                return
            raise OSError(f"exit status {process.wait()}")
        except _IndexBusyError:
            raise
        except Exception:
            # What the process has still to say is of this job, so the next one needs another.
            with self._guard:
                self._kill()
            if self._is_running(job):
                raise
        finally:
            with self._guard:
                self._current = None

    def _is_running(self, job: Job) -> bool:
        found = self._jobs.get(job.id)
        return found is not None and found.state == "running"

    def _begin(self) -> subprocess.Popen[str]:
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=_ROOT
        )
        return self._process

    def _kill(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
