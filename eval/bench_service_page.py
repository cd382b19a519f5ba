"""The service end to end as a person sees it: ``folioscope bench service FOLDER --browser``.

Everything is done on the web page, in Chromium: all files are chosen, their progress is watched,
the server is killed while it indexes and started again, and the page, which is never loaded anew,
must go on by itself. Then it is asked questions, its citations are clicked, and a document is
deleted. What the page shows is held against the files and against what the server says.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from eval.benchmark import Benchmark
from eval.datasets import Question, read_questions
from eval.service_steps import Sources, Steps, add_damages, add_what_is_there, documents_of
from eval.serving_process import ServedIndex, empty_server
from eval.web_page import JobRow, Shown, WebPage, open_browser
from retrieval.errors import InputError, ServiceError
from serving.http.schemas import Document
from serving.http.uploads import safe_name

_MOST_ASKED = {"corpus": 60, "doc": 20}
_SAID = {"corpus": "all documents", "doc": "its document"}
_ASKED_MEANWHILE = 3
# Of one answer; the others count all the same.
_MOST_CLICKED = 3
_LIST_SECONDS = 60
_ANY_QUESTION = "What is this document about?"


def measure_service_page(
    sources: Path,
    questions_file: Path | None = None,
    *,
    kill_at: float = 0.4,
    screenshots: Path | None = None,
    seed: int = 0,
) -> Benchmark:
    """One row a step, as ``measure_service``; pictures of the page go into ``screenshots``.

    Raises ``InputError`` for a folder without files and where there is no browser,
    ``ServiceError`` if the server does not start.
    """
    found = Sources(sources)
    questions = [] if questions_file is None else read_questions(questions_file)
    if screenshots is not None:
        try:
            screenshots.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"cannot keep screenshots in {screenshots}: {error.strerror}; name a folder"
            ) from error
    with open_browser() as browser, empty_server() as server:
        steps = Steps()
        steps.add("ready, empty", server.start(), 1, 1)
        run = _Run(server, browser, found, questions, steps, screenshots, random.Random(seed))
        return run.measure(kill_at)


class _Run:
    """One run against one server that was started, on one page."""

    def __init__(
        self,
        server: ServedIndex,
        browser: Any,
        sources: Sources,
        questions: Sequence[Question],
        steps: Steps,
        screenshots: Path | None,
        rng: random.Random,
    ) -> None:
        self._server = server
        self._browser = browser
        self._sources = sources
        self._questions = [q for q in questions if q.doc in sources.sha256]
        self._steps = steps
        self._screenshots = screenshots
        self._rng = rng
        self._page = WebPage(browser, server.url)
        self._asked: list[Shown] = []
        self._taken: set[str] = set()

    def measure(self, kill_at: float) -> Benchmark:
        """All steps, in their order."""
        self._upload()
        self._watch(kill_at)
        self._restart()
        skipped, documents = self._all_listed()
        self._ask(documents)
        gone = self._delete(documents)
        complaints = [*self._page.complaints, *self._phone(gone)]
        self._steps.add("errors in the browser's console", 0.0, len(complaints), 0)
        self._server.stop()
        add_damages(self._steps, self._server)
        facts: dict[str, Any] = {
            "files": len(self._sources.files),
            "not_readable": skipped,
            "kill_at": kill_at,
            "browser": self._browser.version,
            "complaints": complaints[:5],
            "not_answered": dict(Counter(shown.problem for shown in self._asked if shown.problem)),
        }
        if self._asked:
            facts["held_for_review"] = sum(shown.held for shown in self._asked)
            facts["hits_shown_ms_p50"] = round(median(shown.hits_ms for shown in self._asked))
            facts["answer_shown_ms_p50"] = round(median(shown.answer_ms for shown in self._asked))
        return Benchmark("service-page", self._steps.rows, facts)

    def _picture(self, name: str, page: WebPage | None = None) -> None:
        """Take a picture of this name, the first time."""
        if self._screenshots is not None and name not in self._taken:
            self._taken.add(name)
            (page or self._page).tab.screenshot(path=self._screenshots / f"{name}.png")

    def _look_again(self) -> None:
        """Raises ``ServiceError`` if there is no server that could show more."""
        if not self._server.running:
            raise ServiceError("the server ended while the page was watched")
        self._page.look_again()

    def _upload(self) -> None:
        """All files at once."""
        self._page.tab.get_by_text("Nothing is indexed yet").wait_for()
        self._picture("welcome")
        self._page.go("Documents")
        began = time.monotonic()
        received = self._page.choose(list(self._sources.files.values()))
        spent = time.monotonic() - began
        self._steps.add("files chosen, received", spent, received, len(self._sources.files))

    def _watch(self, kill_at: float) -> None:
        """Watch the progress; then the server dies."""
        files = len(self._sources.files)
        began = time.monotonic()
        asked: list[Shown] = []
        while (done := _share(self._page.jobs(), files)) < kill_at:
            if self._page.counts()[0] and len(asked) < _ASKED_MEANWHILE:
                self._picture(f"while-indexing-{len(asked) + 1}")
                asked.append(self._page.ask(self._any_question()))
                self._page.go("Documents")
            self._look_again()
        if done >= 1:
            raise ServiceError(
                "all was indexed before the server was to be killed: give it more documents, or a "
                "lower --kill-at"
            )
        met = sum(bool(shown.hits) for shown in asked)
        self._steps.add("asked while it indexes, hits shown", 0.0, met, len(asked))
        listed = len(self._page.listed())
        self._picture("before-the-kill")
        self._page.expected_away = True
        self._server.kill()
        spent = time.monotonic() - began
        self._steps.add("per cent done when it was killed", spent, round(100 * done), 100)
        self._steps.add("page says that the server is away", self._page.wait_until_away(True), 1, 1)
        self._picture("server-away")
        self._steps.add("still listed meanwhile", 0.0, len(self._page.listed()), listed)

    def _restart(self) -> None:
        self._steps.add("ready again", self._server.start(), 1, 1)
        spent = self._page.wait_until_away(False)
        self._steps.add("page goes on, not loaded anew", spent, int(self._page.loaded_once), 1)

    def _all_listed(self) -> tuple[int, list[Document]]:
        """Wait until the page shows no job under way; files not readable, and the documents."""
        began = time.monotonic()
        while under_way := [job for job in self._page.jobs() if job.busy]:
            # Pages are counted once the files were inspected anew.
            if any(job.share for job in under_way if job.state == "running"):
                self._picture("going-on")
            self._look_again()
        spent = time.monotonic() - began
        with self._server.client() as client:
            documents = list(documents_of(client))
            # The list is renewed after the last job is shown as done.
            latest = time.monotonic() + _LIST_SECONDS
            while self._page.counts()[0] != len(documents) and time.monotonic() < latest:
                self._look_again()
            skipped = self._page.unusable()
            self._picture("documents")
            names = Counter(self._page.listed())
            expected = Counter(safe_name(path.name) for path in self._sources.files.values())
            there = (names & expected).total()
            self._steps.add("documents listed", spent, there, expected.total() - skipped)
            self._steps.add("listed twice or unasked", 0.0, names.total() - there, 0)
            shown, counted = self._page.counts()[1], client.status().pages
            self._steps.add("pages, as the page says", 0.0, shown, counted)
            add_what_is_there(self._steps, client, self._sources, skipped)
        return skipped, documents

    def _ask(self, documents: Sequence[Document]) -> None:
        ids = {document.sha256: document.id for document in documents}
        asked = [q for q in self._questions if self._sources.sha256[q.doc] in ids]
        clicked: list[bool] = []
        for scope, said in _SAID.items():
            mine = [q for q in asked if q.scope == scope]
            mine = self._rng.sample(mine, min(_MOST_ASKED[scope], len(mine)))
            began = time.monotonic()
            ranks: list[float] = []
            for question in mine:
                within = ids[self._sources.sha256[question.doc]] if scope == "doc" else None
                shown = self._page.ask(question.text, within)
                self._asked.append(shown)
                ranks.append(_rank(shown, question))
                clicked += self._click(shown)
            spent = time.monotonic() - began
            for most in (1, 5, 10) if mine else ():
                name = f"asked of {said}: page among the first {most}"
                self._steps.add(name, spent, sum(rank <= most for rank in ranks), len(mine))
        if not self._asked:
            self._asked.append(self._page.ask(_ANY_QUESTION))
            clicked += self._click(self._asked[0])
        met = [shown for shown in self._asked if shown.hits]
        self._steps.add("asked, hits shown", 0.0, len(met), len(self._asked))
        self._steps.add("page drawn, the best place on it", 0.0, sum(map(_drawn, met)), len(met))
        answers = sum(bool(shown.answer) for shown in self._asked)
        self._steps.add("answer shown", 0.0, answers, len(self._asked))
        self._steps.add("citation clicked, its place marked", 0.0, sum(clicked), len(clicked))

    def _click(self, shown: Shown) -> list[bool]:
        """Click an answer's citations; which of them show their place."""
        self._picture("results")
        found = [self._page.open_citation(i) for i in range(min(_MOST_CLICKED, shown.citations))]
        if found:
            self._picture("citation")
        return found

    def _delete(self, documents: Sequence[Document]) -> Document:
        """Delete a document; it must be gone after an orderly restart, for who comes anew too."""
        gone = self._rng.choice(documents)
        self._page.go("Documents")
        began = time.monotonic()
        self._page.delete(gone.name)
        self._picture("deleted")
        left = Counter(document.name for document in documents) - Counter([gone.name])
        same = Counter(self._page.listed()) == left
        self._steps.add("deleted, no longer listed", time.monotonic() - began, int(same), 1)
        # No job is under way, so the page has nothing to ask the server for meanwhile.
        self._server.stop()
        self._steps.add("ready after a stop", self._server.start(), 1, 1)
        anew = WebPage(self._browser, f"{self._server.url}/#documents")
        anew.tab.locator("#library tbody tr").first.wait_for()
        names = Counter(anew.listed())
        self._steps.add("deleted stays deleted", 0.0, int(names[gone.name] == left[gone.name]), 1)
        self._steps.add("others stay", 0.0, (names & left).total(), left.total())
        self._page.complaints += anew.complaints
        anew.tab.close()
        return gone

    def _phone(self, gone: Document) -> list[str]:
        """The same on a phone, in the dark; its complaints."""
        phone = WebPage(self._browser, f"{self._server.url}/#documents", phone=True)
        phone.tab.locator("#library tbody tr").first.wait_for()
        self._picture("phone-documents", phone)
        wide = phone.sideways()
        shown = phone.ask(self._any_question())
        self._picture("phone-page", phone)
        wide = max(wide, phone.sideways())
        if shown.hits:
            phone.tab.get_by_role("button", name="Close (Esc)").click()
        phone.tab.evaluate("scrollTo(0, 0)")
        self._picture("phone-results", phone)
        self._steps.add("pixels too wide for a phone", 0.0, max(wide, phone.sideways()), 0)
        phone.tab.close()
        return phone.complaints

    def _any_question(self) -> str:
        texts = [q.text for q in self._questions if q.scope == "corpus"]
        return self._rng.choice(texts) if texts else _ANY_QUESTION


def _share(jobs: Sequence[JobRow], files: int) -> float:
    """How much is done; a job under way counts by its bar, one that is no longer shown is done."""
    busy = [job for job in jobs if job.busy]
    left = sum(job.files * (1 - job.share) for job in busy)
    return 1 - left / files


def _rank(shown: Shown, question: Question) -> float:
    """The rank of the first page that answers, from 1; infinite if none was shown."""
    name = safe_name(Path(question.doc).name)
    for rank, (document, page) in enumerate(shown.hits, start=1):
        if document == name and page in question.pages:
            return rank
    return float("inf")


def _drawn(shown: Shown) -> bool:
    return shown.picture and shown.region
