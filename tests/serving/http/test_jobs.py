"""The queue of indexing jobs: what is cancelled is not done, and no fault ends the queue."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from serving.http import jobs as module
from serving.http.collections import Collection
from serving.http.database import Database
from serving.http.jobs import Job, Jobs, JobWorker
from serving.http.settings import ServerSettings

WORK: dict[str, Any] = {"add": [], "remove": [0]}


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(tmp_path / "server.sqlite")
    yield opened
    opened.close()


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Processes that were begun; none of them comes to be."""
    found: list[object] = []

    def begin(command: object, **_: object) -> NoReturn:
        found.append(command)
        raise OSError("no process here")

    monkeypatch.setattr(subprocess, "Popen", begin)
    return found


def worker_of(queue: Jobs) -> JobWorker:
    return JobWorker(queue, "default", Path("nowhere"), "text", lambda job, result: None)


def test_a_worker_that_never_began_is_closed_all_the_same(database: Database) -> None:
    """So that a server whose index cannot be opened ends with that error, and lets go of all."""
    worker_of(Jobs(database)).close()


def test_a_job_cancelled_before_its_process_has_it_is_not_done(
    database: Database, begun: list[object]
) -> None:
    idle = threading.Event()

    class CancelledAtOnce(Jobs):
        def take(self, collection: str) -> Job | None:
            job = super().take(collection)
            if job is None:
                idle.set()
            else:
                worker.cancel(job.id)
            return job

    queue = CancelledAtOnce(database)
    worker = worker_of(queue)
    job = queue.put("default", "remove", "key", WORK)
    worker.start()
    assert idle.wait(60)
    worker.close()
    found = queue.get(job.id)
    assert found is not None and found.state == "cancelled" and not begun


def test_records_that_fail_for_a_while_do_not_end_the_queue(
    database: Database, begun: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PAUSE", 0.0)
    monkeypatch.setattr(module, "_MOST_TRIES", 1)
    idle = threading.Event()

    class FailsTwice(Jobs):
        left = 2

        def _fail(self) -> None:
            self.left -= 1
            if self.left >= 0:
                raise sqlite3.OperationalError("database or disk is full")

        def take(self, collection: str) -> Job | None:
            job = super().take(collection)
            self._fail()
            if job is None:
                idle.set()
            return job

    queue = FailsTwice(database)
    job = queue.put("default", "remove", "key", WORK)
    worker = worker_of(queue)
    worker.start()
    assert idle.wait(60)
    worker.close()
    # It was taken and left behind twice, then tried.
    found = queue.get(job.id)
    assert found is not None and found.state == "failed" and len(begun) == 1


def test_a_key_sees_its_jobs_however_many_others_have(database: Database) -> None:
    queue = Jobs(database)
    mine = queue.put("default", "remove", "mine", WORK)
    for _ in range(3):
        queue.put("default", "remove", "theirs", WORK)
    assert [job.id for job in queue.newest("default", 2, owner="mine")] == [mine.id]
    assert len(queue.newest("default", 2)) == 2


def test_files_that_wait_to_be_read_are_known(database: Database) -> None:
    queue = Jobs(database)
    first, second = ({"add": [{"path": p, "metadata": {}}], "remove": []} for p in ("/a", "/b"))
    done = queue.put("default", "add", "key", first)
    queue.put("default", "add", "key", second)
    queue.put("other", "add", "key", first)
    queue.finish(done.id, "done", {})
    assert queue.to_add("default") == {"/b"}


def test_a_file_that_was_uploaded_again_stays(database: Database, settings: ServerSettings) -> None:
    """Its document was removed, and the same file sent again before that was done."""
    queue = Jobs(database)
    collection = Collection("default", settings.indexes["default"], settings, queue)
    collection.reload()
    again, gone = (settings.state / "uploads" / "default" / x / x / "a.pdf" for x in "ab")
    for path in (again, gone):
        path.parent.mkdir(parents=True)
        path.touch()
    discard = {**WORK, "discard": [str(again), str(gone)]}
    removed = queue.put("default", "remove", "key", discard)
    queue.put("default", "add", "key", {"add": [{"path": str(again)}], "remove": []})
    collection._finished(removed, {})
    collection.close()
    assert again.exists() and not gone.exists()


def test_files_that_nothing_holds_are_swept_after_an_hour(
    database: Database, settings: ServerSettings
) -> None:
    queue = Jobs(database)
    collection = Collection("default", settings.indexes["default"], settings, queue)
    collection.reload()
    uploads = settings.state / "uploads" / "default"
    failed, skipped, waiting, fresh, other = (uploads / x / x / "a.pdf" for x in "abcde")
    left = uploads / ".upload-x"
    for path in (failed, skipped, waiting, fresh, other):
        path.parent.mkdir(parents=True)
        path.touch()
    left.touch()
    for path in (failed, skipped, waiting, other, left):
        os.utime(path, (1, 1))
    for path in (failed, waiting, fresh):
        job = queue.put("default", "add", "key", {"add": [{"path": str(path)}], "remove": []})
        queue.finish(job.id, "failed", {})
    job = queue.put("default", "add", "key", {"add": [{"path": str(skipped)}], "remove": []})
    queue.finish(job.id, "done", {"skipped": [{"path": str(skipped), "reason": "broken"}]})
    queue.put("default", "add", "key", {"add": [{"path": str(waiting)}], "remove": []})
    collection._sweep()
    collection.close()
    assert not any(path.exists() for path in (failed, failed.parent, skipped, left))
    # Sent again; sent just now; of another index perhaps, which was served before.
    assert all(path.exists() for path in (waiting, fresh, other))


def test_a_commit_that_fails_does_not_stop_those_behind_it(database: Database) -> None:
    with database.transaction() as connection:
        connection.execute("CREATE TABLE mothers (id INTEGER PRIMARY KEY)")
        connection.execute(
            "CREATE TABLE children (of INTEGER REFERENCES mothers DEFERRABLE INITIALLY DEFERRED)"
        )
    # Outside of a transaction, where alone it takes effect.
    database._connection.execute("PRAGMA foreign_keys = ON")
    with pytest.raises(sqlite3.IntegrityError), database.transaction() as connection:
        connection.execute("INSERT INTO children VALUES (7)")
    assert len(Jobs(database).newest("default")) == 0
    assert database.rows("SELECT * FROM children") == []


def test_a_full_disk_is_told_as_what_it_is(database: Database) -> None:
    database._connection.execute("PRAGMA max_page_count = 20")
    full: list[Any] = ["x" * 500_000] * 5
    with (
        pytest.raises(sqlite3.OperationalError, match="full"),
        database.transaction() as connection,
    ):
        connection.execute("INSERT INTO audit VALUES (1, ?, ?, ?, ?, ?)", full)
    assert Jobs(database).put("default", "remove", "key", WORK).state == "queued"
