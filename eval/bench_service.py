"""The service end to end: ``folioscope bench service FOLDER``.

Starts the real server on an empty index and uploads every file of a folder. While it indexes and
is asked questions, the server and its indexing process are killed without warning; then it is
started again. Afterwards every document must be there once, whole and searchable; answers must
come, hits first; what is deleted must stay deleted after another start.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from eval.benchmark import Benchmark
from eval.datasets import Question, read_questions
from eval.service_steps import Sources, Steps, add_damages, add_what_is_there, documents_of
from eval.serving_process import ServedIndex, empty_server
from retrieval.errors import ServiceError
from serving.client import ApiError, Client
from serving.http.schemas import Document, JobOut

_AT_ONCE = 20
_ENDED = ("done", "failed", "cancelled")
_REFUSED = (429, 503)
# Between two questions of the one who asks while documents are indexed, in seconds.
_PAUSE = 0.25
_LOOK = 0.3
_MOST_ASKED = 20
_ANY_QUESTION = "What is this document about?"


def measure_service(
    sources: Path, questions_file: Path | None = None, *, kill_at: float = 0.4, seed: int = 0
) -> Benchmark:
    """One row a step: how many of how many, and the seconds it took.

    ``kill_at`` is the share of the upload after which the server is killed. Questions, if there
    are some, name documents by their path below ``sources``. Raises ``InputError`` for a folder
    without files, ``ServiceError`` if the server does not start.
    """
    found = Sources(sources)
    questions = [] if questions_file is None else read_questions(questions_file)
    with empty_server() as server:
        return _Run(server, found, questions, random.Random(seed)).measure(kill_at)


class _Run:
    """One run against one server."""

    def __init__(
        self,
        server: ServedIndex,
        sources: Sources,
        questions: Sequence[Question],
        rng: random.Random,
    ) -> None:
        self._server = server
        self._sources = sources
        self._questions = [q for q in questions if q.doc in sources.sha256]
        self._rng = rng
        self._failures: Counter[str] = Counter()
        self._steps = Steps()
        self._row = self._steps.add

    def measure(self, kill_at: float) -> Benchmark:
        """All steps, in their order."""
        self._row("ready, empty", self._server.start(), 1, 1)
        jobs = self._upload_until(kill_at)
        self._row("ready again", self._server.start(), 1, 1)
        skipped, listed = self._all_there(jobs)
        with self._server.client() as client:
            ids = {document.sha256: document.id for document in listed}
            self._search(client, listed, ids)
            self._ask(client, listed)
            gone = self._rng.choice(listed)
            began = time.monotonic()
            state = client.remove(gone.id, wait=120).state
            self._row("deleted", time.monotonic() - began, int(state == "done"), 1)
            pages = client.status().pages
        self._server.stop()
        self._row("ready after a stop", self._server.start(), 1, 1)
        with self._server.client() as client:
            left = {document.id for document in documents_of(client)}
            kept = left & {document.id for document in listed if document is not gone}
            self._row("deleted stays deleted", 0.0, int(gone.id not in left), 1)
            self._row("others stay", 0.0, len(kept), len(listed) - 1)
            self._row("pages as before the stop", 0.0, client.status().pages, pages)
        self._server.stop()
        add_damages(self._steps, self._server)
        facts: dict[str, Any] = {"files": len(self._sources.files), "not_readable": skipped}
        facts |= {"kill_at": kill_at, "not_answered": dict(self._failures)}
        return Benchmark("service", self._steps.rows, {**facts, "pages": pages + gone.pages})

    def _asked(self, when: str, asker: _Asker) -> None:
        self._row(f"asked {when}, answered", 0.0, asker.answered, asker.asked)
        self._failures += asker.failures

    def _upload_until(self, kill_at: float) -> list[str]:
        """Upload all, then kill the server in the middle of its work; the jobs' ids."""
        files = list(self._sources.files.values())
        with self._server.client() as client:
            began = time.monotonic()
            jobs = [
                client.upload(files[at : at + _AT_ONCE]).id for at in range(0, len(files), _AT_ONCE)
            ]
            self._row("uploaded", time.monotonic() - began, len(files), len(files))
            began = time.monotonic()
            with _Asker(self._server, self._questions) as asker:
                done = _wait(client, jobs, until=kill_at)
                asker.expect_the_end()
                self._server.kill()
        self._row("jobs done when it was killed", time.monotonic() - began, done, len(jobs))
        self._asked("before the kill", asker)
        return jobs

    def _all_there(self, jobs: Sequence[str]) -> tuple[int, list[Document]]:
        """Wait for the jobs; how many files cannot be read, and the documents."""
        with self._server.client() as client, _Asker(self._server, self._questions) as asker:
            began = time.monotonic()
            _wait(client, jobs, until=1.0)
            seconds = time.monotonic() - began
            ended = [client.job(job) for job in jobs]
            listed = list(documents_of(client))
            skipped = sum(len(job.result.skipped) for job in ended if job.result)
        self._row("jobs done", seconds, sum(j.state == "done" for j in ended), len(jobs))
        self._asked("after it", asker)
        with self._server.client() as client:
            add_what_is_there(self._steps, client, self._sources, skipped)
        return skipped, listed

    def _search(self, client: Client, listed: Sequence[Document], ids: dict[str, int]) -> None:
        began = time.monotonic()
        found = [client.search(d.title or d.name, 1, doc_id=d.id).hits for d in listed]
        self._row(
            "documents searchable", time.monotonic() - began, sum(map(bool, found)), len(listed)
        )
        asked = [q for q in self._questions if self._sources.sha256[q.doc] in ids]
        for scope, said in (("corpus", "all documents"), ("doc", "its document")):
            mine = [q for q in asked if q.scope == scope]
            if not mine:
                continue
            began = time.monotonic()
            ranks = [_rank(client, q, ids[self._sources.sha256[q.doc]]) for q in mine]
            spent = time.monotonic() - began
            for most in (1, 5, 10):
                name = f"asked of {said}: page among the first {most}"
                self._row(name, spent, sum(rank <= most for rank in ranks), len(mine))

    def _ask(self, client: Client, listed: Sequence[Document]) -> None:
        """Some questions: what comes, in which order, and whether its citations hold."""
        texts = [q.text for q in self._questions] or [
            f"What is the total in {document.name}?" for document in listed
        ]
        asked = self._rng.sample(texts, min(_MOST_ASKED, len(texts)))
        began = time.monotonic()
        streams = [list(client.ask_stream(text)) for text in asked]
        spent = time.monotonic() - began
        kinds = [[event.kind for event in events] for events in streams]
        in_order = sum(k[-1:] == ["answer"] and k[0] in ("hits", "answer") for k in kinds)
        self._row("answers, hits first", spent, in_order, len(asked))
        answers = [e.answer for events in streams for e in events if e.answer is not None]
        citations = [c for a in answers for claim in a.claims for c in claim.citations]
        holding = sum(not citation.problems for citation in citations)
        self._row("citations that hold", 0.0, holding, len(citations))


class _Asker:
    """Asks one question after the other, until its block ends."""

    def __init__(self, server: ServedIndex, questions: Sequence[Question]) -> None:
        self._server = server
        self._texts = [q.text for q in questions[:100]] or [_ANY_QUESTION]
        self._stop = threading.Event()
        self._killed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="asker")
        self.asked = 0
        self.answered = 0
        self.failures: Counter[str] = Counter()

    def __enter__(self) -> _Asker:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def expect_the_end(self) -> None:
        """From now on an answer that does not come is no failure."""
        self._killed.set()

    def _run(self) -> None:
        number = 0
        with self._server.client() as client:
            while not self._stop.wait(_PAUSE):
                number += 1
                try:
                    client.search(self._texts[number % len(self._texts)])
                except ApiError as error:
                    if error.status not in _REFUSED:
                        self.asked += 1
                        self.failures[error.code] += 1
                except ServiceError:
                    if not self._killed.is_set():
                        self.asked += 1
                        self.failures["unreachable"] += 1
                else:
                    self.asked += 1
                    self.answered += 1


def _wait(client: Client, jobs: Sequence[str], *, until: float) -> int:
    """Wait until this share of the jobs is done; how many have ended."""
    states: dict[str, JobOut] = {}
    while True:
        # Those that ended stay so: asking for them again would only load the server.
        for job in [job for job in jobs if job not in states or states[job].state not in _ENDED]:
            states[job] = client.job(job)
        ended = sum(job.state in _ENDED for job in states.values())
        if ended == len(jobs) or (until < 1 and _share(states.values()) >= until):
            return ended
        time.sleep(_LOOK)


def _share(jobs: Collection[JobOut]) -> float:
    """How much of the jobs is done; one under way counts by its pages."""
    done = 0.0
    for job in jobs:
        if job.state in _ENDED:
            done += 1
        elif job.pages_total:
            done += min(1.0, job.pages_done / job.pages_total)
    return done / len(jobs)


def _rank(client: Client, question: Question, doc_id: int) -> float:
    """The rank of the first page that answers, from 1; infinite if none was found."""
    within = doc_id if question.scope == "doc" else None
    for hit in client.search(question.text, 10, doc_id=within).hits:
        if hit.doc_id == doc_id and hit.page in question.pages:
            return hit.rank
    return float("inf")
