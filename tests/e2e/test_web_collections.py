"""The web page over two collections: what is shown and said is of the one that is chosen; and what
is typed is where it was meant to be."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from eval.serving_process import ServedIndex
from serving.client import Client
from serving.http.auth import Keys
from serving.http.database import RECORDS, Database

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
_TYPED = "and/or 3/4 a/b"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the server keeps all of it."""
    return tmp_path_factory.mktemp("two")


@pytest.fixture(scope="module")
def url(folder: Path, sample_documents: Path) -> Iterator[str]:
    """A server of two collections. Each has had a job that ended; the second's came to nothing."""
    (folder / "broken.pdf").write_bytes(b"%PDF-1.7 no")
    more = ["-i", f"other={folder / 'other'}"]
    running = ServedIndex(folder / "default", log=folder / "log", options=more)
    try:
        running.start()
        with Client(running.url, collection="default") as client:
            client.upload([sample_documents / "invoice-ff-2025-0318.pdf"], wait=240)
        with Client(running.url, collection="other") as client:
            client.upload([folder / "broken.pdf"], wait=240)
        yield running.url
    finally:
        running.kill()


@pytest.fixture
def page(browser: Browser, url: str) -> Iterator[Page]:
    """The page as it opens."""
    opened = browser.new_page()
    opened.goto(url)
    yield opened
    opened.close()


def test_jobs_of_another_collection_are_neither_shown_nor_told(page: Page) -> None:
    page.get_by_role("link", name="Documents").click()
    expect(page.locator(".job.done")).to_contain_text("1 document, 1 page added")
    page.get_by_label("Collection").select_option("other")
    expect(page.locator(".job")).to_have_count(1)
    expect(page.locator(".job.failed")).to_contain_text("broken.pdf")
    expect(page.locator(".job.failed .said")).not_to_be_empty()
    page.get_by_label("Collection").select_option("default")
    expect(page.locator(".job.done")).to_have_count(1)
    # To a screen reader they ended before the collection was chosen.
    expect(page.locator("#told")).to_be_empty()


def test_what_is_typed_is_in_the_question(page: Page) -> None:
    """From the first letter on, before the server has answered; a slash is a slash there."""
    page.keyboard.type(_TYPED)
    question = page.get_by_label("Your question")
    expect(question).to_have_value(_TYPED)
    page.get_by_text("Narrow the search").click()
    page.get_by_label("Filter").press_sequentially("path = 'a/b'")
    expect(page.get_by_label("Filter")).to_have_value("path = 'a/b'")
    page.get_by_role("link", name="Documents").click()
    page.keyboard.type(f"/{_TYPED}")
    expect(question).to_have_value(_TYPED * 2)


def test_who_goes_by_keyboard_stays_where_they_were(page: Page) -> None:
    """The viewer is made anew at each step; its buttons keep the focus all the same."""
    page.get_by_label("Your question").fill("What is the total of the invoice?")
    page.keyboard.press("Enter")
    viewer = page.get_by_role("complementary", name="Page")
    expect(viewer.locator(".page:not(.loading)")).to_be_visible()
    for label in ("Larger (+)", "Turn the page (r)", "Heatmap on or off (h)"):
        viewer.get_by_label(label).focus()
        page.keyboard.press("Enter")
        expect(viewer.get_by_label(label)).to_be_focused()
    expect(viewer.locator(".sheet > .page")).to_be_visible()
    viewer.locator(".regions button").first.focus()
    page.keyboard.press("Enter")
    expect(viewer.locator(".regions button.active")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator(".hit button").first).to_be_focused()


def test_files_that_are_not_taken_stay_listed_with_the_reason(page: Page) -> None:
    page.get_by_role("link", name="Documents").click()
    files = [{"name": name, "mimeType": "", "buffer": b""} for name in ("a.pdf", "b.pdf")]
    page.locator("#view-documents input[type=file]").set_input_files(files)
    refused = page.locator("#view-documents .refused")
    expect(refused.locator("strong")).to_have_text(["a.pdf", "b.pdf"])
    expect(refused).to_contain_text("a.pdf is empty")
    page.get_by_role("link", name="Search").click()
    page.get_by_role("link", name="Documents").click()
    expect(refused).to_contain_text("b.pdf is empty")
    refused.get_by_role("button", name="Close").click()
    expect(refused).to_be_empty()


def test_a_key_is_asked_for_and_a_wrong_one_is_told(
    browser: Browser, url: str, folder: Path
) -> None:
    database = Database(folder / "default.server" / RECORDS)
    token = Keys(database).create("reader", ["read"])[1]
    page = browser.new_page()
    held: list[Route] = []

    def hold(route: Route) -> None:
        """An answer to the wrong key that comes when the right one is used already."""
        wrong = "folio_x_y" in route.request.headers.get("authorization", "")
        held.append(route) if wrong else route.continue_()

    page.route("**/v1/review?**", hold)
    try:
        page.goto(url)
        dialog = page.get_by_role("dialog", name="API key")
        told = dialog.get_by_text("does not know this key")
        expect(told).to_be_hidden()
        for key, known in (("folio_x_y", False), (token, True)):
            dialog.get_by_label("Key", exact=True).fill(key)
            page.keyboard.press("Enter")
            if not known:
                expect(told).to_be_visible()
        expect(page.locator("#welcome")).to_contain_text("1 document")
        for route in held:
            with page.expect_response("**/v1/review?**"):
                route.fulfill(status=401)
        assert held
        expect(dialog).to_be_hidden()
    finally:
        page.close()
        with database.transaction() as connection:
            connection.execute("DELETE FROM keys")  # the other tests have none
        database.close()
