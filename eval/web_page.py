"""The web page as a person uses it: in Chromium, by what it shows and what can be clicked."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retrieval.errors import InputError, ServiceError

if TYPE_CHECKING:
    from playwright.sync_api import Browser

_CHROMIUMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_DESK = {"width": 1440, "height": 900}
_PHONE = {"width": 390, "height": 844}
# Of a busy machine; a quiet one needs a hundredth of it.
_PATIENCE_MS = 180_000
_LOOK_MS = 300
# What the browser itself, not the page, says of a request that no server answered.
_NO_SERVER = "net::ERR_"
_JOBS = """rows => rows.map(row => {
    const bar = row.querySelector('progress');
    return {
        state: row.classList[1], what: row.querySelector('.what').innerText,
        said: row.querySelector('.said').innerText,
        share: bar && bar.hasAttribute('value') ? bar.position : 0,
    };
})"""
_ANSWERED = """() => {
    const answer = document.getElementById('answer');
    return document.querySelector('.toast:not(.good)')
        || (!answer.hidden && !answer.innerText.includes('not checked yet'));
}"""


@contextmanager
def open_browser() -> Iterator[Browser]:
    """Headless Chromium, the system's or Playwright's own. Raises ``InputError`` without one, and
    ``ServiceError`` where a page within the block does not come to show what is waited for."""
    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError as error:
        raise InputError(
            "the web page is driven through Playwright: pip install 'folioscope[dev]'"
        ) from error
    found = next(filter(None, map(shutil.which, _CHROMIUMS)), None)
    with sync_playwright() as playwright:
        try:
            # Root may not use Chromium's own sandbox; the pages are ours.
            browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        except Error as error:
            said = error.message.splitlines()[0]
            raise InputError(
                f"Chromium does not start ({said}): apt-get install chromium, "
                "or playwright install chromium"
            ) from error
        try:
            yield browser
        except Error as error:
            said = error.message.splitlines()[0]
            raise ServiceError(f"the web page does not do what it should: {said}") from error
        finally:
            browser.close()


@dataclass(frozen=True, slots=True)
class JobRow:
    """A job as the page shows it. ``share`` of its bar is filled, from 0 to 1."""

    state: str
    what: str
    said: str
    share: float

    @property
    def busy(self) -> bool:
        """Whether it is not done yet."""
        return self.state in ("queued", "running")

    @property
    def files(self) -> int:
        """How many files it names."""
        many = re.fullmatch(r"([\d,]+) files", self.what)
        return int(many[1].replace(",", "")) if many else 1


@dataclass(frozen=True, slots=True)
class Shown:
    """What the page shows of a question: hits as ``(name, 0-based page)``, whether the first
    one's picture and its best region are drawn, and the answer with its citations; milliseconds
    until hits and answer were there, and what went wrong. ``held``: the answer waits for review."""

    hits: Sequence[tuple[str, int]]
    picture: bool
    region: bool
    answer: str
    citations: int
    hits_ms: float
    answer_ms: float
    held: bool = False
    problem: str = ""


class WebPage:
    """One tab. ``complaints`` are the errors of its console, but for those of the browser about a
    server that is ``expected_away``."""

    def __init__(self, browser: Browser, url: str, *, phone: bool = False) -> None:
        self.tab = browser.new_page(
            viewport=_PHONE if phone else _DESK,  # type: ignore[arg-type]
            color_scheme="dark" if phone else "light",
            has_touch=phone,
        )
        self.tab.set_default_timeout(_PATIENCE_MS)
        self.complaints: list[str] = []
        self.expected_away = False
        self.tab.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.tab.on("console", self._heard)
        self.tab.on("dialog", lambda dialog: dialog.accept())
        self.tab.goto(url)
        self.tab.evaluate("window.sameAsOpened = true")

    @property
    def loaded_once(self) -> bool:
        """Whether it was never loaded anew."""
        return self.tab.evaluate("window.sameAsOpened === true") is True

    def _heard(self, said: Any) -> None:
        no_server = self.expected_away and _NO_SERVER in said.text
        if said.type == "error" and not no_server:
            self.complaints.append(said.text)

    def go(self, view: str) -> None:
        """Click on ``Search`` or ``Documents`` at the top."""
        self.tab.get_by_role("link", name=view).click()
        self.tab.locator(f"#view-{view.lower()}").wait_for()

    def choose(self, files: Sequence[Path]) -> int:
        """Give files to the place for them; how many were received, once the page says so and
        shows their jobs."""
        self.tab.locator("#view-documents input[type=file]").set_input_files(list(files))
        said = self.tab.locator(".toast.good", has_text="received")
        said.wait_for()
        received = int(said.inner_text().split()[0].replace(",", ""))
        while sum(job.files for job in self.jobs()) < received:
            self.look_again()
        return received

    def jobs(self) -> list[JobRow]:
        """The jobs shown."""
        rows = self.tab.locator(".job").evaluate_all(_JOBS)
        return [JobRow(**row) for row in rows]

    def look_again(self) -> None:
        """Let some time pass."""
        self.tab.wait_for_timeout(_LOOK_MS)

    def listed(self) -> list[str]:
        """The names of the documents in the list."""
        labels: list[str] = self.tab.locator("#library tbody tr button").evaluate_all(
            "buttons => buttons.map(button => button.ariaLabel)"
        )
        return [label.removeprefix("Delete ") for label in labels]

    def counts(self) -> tuple[int, int]:
        """Documents and pages, as the heading of the list says."""
        said = self.tab.locator("#library h2").inner_text()
        found = re.fullmatch(r"([\d,]+) documents?, ([\d,]+) pages?", said)
        if found is None:
            return 0, 0
        documents, pages = (int(number.replace(",", "")) for number in found.groups())
        return documents, pages

    def unusable(self) -> int:
        """How many files the page says could not be used."""
        return self.tab.locator("#library .skipped li").count()

    def wait_until_away(self, away: bool) -> float:
        """Wait until it says that the server is away, or no longer; the seconds."""
        began = time.monotonic()
        self.tab.wait_for_function(
            "away => away === (document.getElementById('connection').innerText !== '')", arg=away
        )
        self.expected_away = away
        return time.monotonic() - began

    def ask(self, question: str, within: int | None = None) -> Shown:
        """Type a question, of all documents or of one, and read what comes."""
        self.go("Search")
        if within is not None and not self.tab.locator("#doc").is_visible():
            self.tab.get_by_text("Narrow the search").click()
        if self.tab.locator("#doc").is_visible():
            self.tab.locator("#doc").select_option("" if within is None else str(within))
        self.tab.evaluate("document.getElementById('toasts').replaceChildren()")
        self.tab.get_by_label("Your question").fill(question)
        began = time.monotonic()
        self.tab.keyboard.press("Enter")
        self.tab.wait_for_function(
            "() => document.querySelector('.hit:not(.ghost), .toast:not(.good)')"
            " || !document.querySelector('.hit.ghost')"
        )
        hits_ms = (time.monotonic() - began) * 1000
        self.tab.wait_for_function(_ANSWERED)
        answer_ms = (time.monotonic() - began) * 1000
        wrong = self.tab.locator(".toast:not(.good)")
        problem = wrong.first.inner_text() if wrong.count() else ""
        labels: list[str] = self.tab.locator(".hit .thumb").evaluate_all(
            "buttons => buttons.map(button => button.ariaLabel)"
        )
        drawn = self._drawn() if labels else False
        return Shown(
            hits=[_named(label) for label in labels],
            picture=drawn,
            region=self.tab.locator("#viewer .region.best").count() > 0,
            answer=self.tab.locator("#answer").inner_text() if not problem else "",
            citations=self.tab.locator("#answer .cite").count(),
            hits_ms=hits_ms,
            answer_ms=answer_ms,
            held=self.tab.locator("#answer a[href='#review']").count() > 0,
            problem=problem,
        )

    def _drawn(self) -> bool:
        """Whether the large page got its picture."""
        if self.tab.locator("#viewer").is_hidden():
            self.tab.locator(".hit .thumb").first.click()
        self.tab.locator("#viewer .page:not(.loading)").wait_for()
        return self.tab.locator("#viewer .page.broken").count() == 0

    def open_citation(self, number: int) -> bool:
        """Click a citation, from 0; whether its page is shown with one place highlighted."""
        cite = self.tab.locator("#answer .cite").nth(number)
        said = re.fullmatch(
            r"Citation \d+: (.*), page (\d+)", cite.get_attribute("aria-label") or ""
        )
        cite.click()
        page = self.tab.locator("#viewer .page")
        marked = self.tab.locator("#viewer .region.active").count() == 1
        if said is None or not page.count():
            return False
        return marked and page.get_attribute("aria-label") == f"Page {said[2]} of {said[1]}"

    def delete(self, name: str) -> None:
        """Find a document in the list, delete it, and wait until it is no longer listed."""
        box = self.tab.get_by_label("Find in this list")
        if box.is_visible():
            box.fill(name)
        button = self.tab.get_by_role("button", name=f"Delete {name}", exact=True)
        button.click()
        button.wait_for(state="detached")
        if box.is_visible():
            box.fill("")

    def sideways(self) -> int:
        """By how many pixels the page is wider than the window."""
        wide: int = self.tab.evaluate("document.documentElement.scrollWidth - innerWidth")
        return max(0, wide)


def _named(label: str) -> tuple[str, int]:
    """The document and the 0-based page that a hit's button names."""
    found = re.fullmatch(r"Open page (\d+) of (.*)", label)
    return (found[2], int(found[1]) - 1) if found else (label, -1)
