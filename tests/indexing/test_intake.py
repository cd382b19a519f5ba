"""Documents through the worker processes: what is read, what is refused, what it costs when a
parser dies on a page."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from indexing.intake import IntakeWorkers, describe, read_pages, render_page
from indexing.settings import IntakeSettings
from retrieval.errors import InputError, ServiceError
from retrieval.types import PageContent
from tests.indexing import samples


@pytest.fixture(scope="module")
def workers() -> Iterator[IntakeWorkers]:
    """One worker without OCR, kept over the tests of this module."""
    with IntakeWorkers(IntakeSettings(workers=1, ocr="off")) as shared:
        yield shared


CRASH_WHEN_DRAWN = """
import os, pymupdf
draw = pymupdf.Page.get_pixmap
pymupdf.Page.get_pixmap = lambda page, **how: os.abort() if page.number == 1 else draw(page, **how)
"""


def written(tmp_path: Path, content: bytes, name: str = "a.pdf") -> Path:
    path = tmp_path / name
    path.write_bytes(content)
    return path


def texts(pages: Iterator[PageContent]) -> list[str]:
    return [page.words.text() for page in pages]


def children() -> list[int]:
    """The reader processes of this process."""
    found = []
    for task in Path("/proc/self/task").iterdir():
        for child in (task / "children").read_text().split():
            command = Path(f"/proc/{child}/cmdline").read_bytes()
            if b"indexing.worker" in command:
                found.append(int(child))
    return found


def test_a_document_is_described_and_read(workers: IntakeWorkers, tmp_path: Path) -> None:
    path = written(tmp_path, samples.pdf(["first", "", "third"], title="On  Tides"))
    facts = workers.describe(path, {"year": 2021})
    assert (facts.source, facts.pages, facts.title) == (str(path), 3, "On Tides")
    assert (facts.media_type, facts.metadata) == ("application/pdf", {"year": 2021})
    pages = list(workers.read_pages(path))
    assert [page.number for page in pages] == [0, 1, 2]
    assert texts(iter(pages)) == ["first", "", "third"]
    assert [page.text_source for page in pages] == ["layer", "none", "layer"]
    assert all(page.image is None and page.flags == () for page in pages)


def test_only_the_pages_asked_for_are_read(workers: IntakeWorkers, tmp_path: Path) -> None:
    path = written(tmp_path, samples.pdf(["first", "second", "third"]))
    assert texts(workers.read_pages(path, pages=range(1, 3))) == ["second", "third"]


def test_pictures_of_pages_come_when_wanted(workers: IntakeWorkers, tmp_path: Path) -> None:
    path = written(tmp_path, samples.pdf([samples.PARAGRAPH]))
    (page,) = workers.read_pages(path, want_image=True)
    assert page.image is not None and page.image.dtype == np.uint8
    assert workers.render_page(path, 0, dpi=72).shape == (200, 300, 3)


def test_the_module_functions_do_the_same_for_one_call(tmp_path: Path) -> None:
    path = written(tmp_path, samples.pdf(["first"]))
    settings = IntakeSettings(ocr="off")
    assert describe(path, settings).pages == 1
    assert texts(read_pages(path, settings)) == ["first"]
    assert render_page(path, 0, dpi=36, settings=settings).shape == (100, 150, 3)


def test_a_reader_may_stop_in_the_middle_of_a_document(
    workers: IntakeWorkers, tmp_path: Path
) -> None:
    path = written(tmp_path, samples.pdf([f"page {i}" for i in range(9)]))
    pages = workers.read_pages(path)
    assert next(pages).words.text() == "page 0"
    pages.close()  # type: ignore[attr-defined]
    assert texts(workers.read_pages(path, pages=range(8, 9))) == ["page 8"]


def test_a_pdf_with_a_password_opens_with_it_alone(tmp_path: Path) -> None:
    path = written(tmp_path, samples.pdf(["secret"], password="sesame"))
    for password, said in ((None, "needs a password"), ("wrong", "does not open it")):
        with pytest.raises(InputError, match=f"a.pdf: the PDF is locked.*{said}"):
            describe(path, IntakeSettings(password=password))
    settings = IntakeSettings(password="sesame", ocr="off")
    assert texts(read_pages(path, settings)) == ["secret"]


def test_a_pdf_with_an_empty_password_opens(workers: IntakeWorkers, tmp_path: Path) -> None:
    path = written(tmp_path, samples.pdf(["for all to read"], owner="boss"))
    assert texts(workers.read_pages(path)) == ["for all to read"]


def test_a_page_that_takes_too_long_costs_itself_only(tmp_path: Path) -> None:
    path = written(tmp_path, samples.endless_pdf(3, endless=1))
    settings = IntakeSettings(workers=1, ocr="off", seconds_per_page=1.5)
    with IntakeWorkers(settings) as workers:
        pages = list(workers.read_pages(path))
    assert [page.words.text() for page in pages] == ["page 0", "", "page 2"]
    assert [page.flags for page in pages] == [(), ("page-failed",), ()]


def test_the_text_of_a_page_that_cannot_be_drawn_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The worker draws pages with a library that crashes on the second one.
    (tmp_path / "sitecustomize.py").write_text(CRASH_WHEN_DRAWN)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    path = written(tmp_path, samples.pdf(["first", "second", "third"]))
    with IntakeWorkers(IntakeSettings(workers=1, ocr="off")) as workers:
        pages = list(workers.read_pages(path, want_image=True))
    assert texts(iter(pages)) == ["first", "second", "third"]
    assert [page.flags for page in pages] == [(), ("render-failed",), ()]


def test_a_document_that_spins_keeps_what_was_read(tmp_path: Path) -> None:
    path = written(tmp_path, samples.endless_pdf(4, endless=1))
    settings = IntakeSettings(workers=1, ocr="off", seconds_per_page=3.0, wasted_seconds=0.5)
    with IntakeWorkers(settings) as workers:
        pages = list(workers.read_pages(path))
    assert [page.words.text() for page in pages] == ["page 0", "", "", ""]
    assert [page.flags[:1] for page in pages] == [
        (),
        ("page-failed",),
        ("page-skipped",),
        ("page-skipped",),
    ]


def test_pages_beyond_the_limit_are_cut_and_said(tmp_path: Path) -> None:
    path = written(tmp_path, samples.pdf(["first", "second", "third"]))
    info = describe(path, IntakeSettings(max_pages=2))
    assert (info.pages, info.flags) == (2, ("pages-cut",))


def test_a_page_with_errors_says_so(workers: IntakeWorkers, tmp_path: Path) -> None:
    broken = samples.raw_pages([samples.show("whole"), samples.show("torn") + b" /Gone gs ]"])
    pages = list(workers.read_pages(written(tmp_path, broken)))
    assert [page.flags for page in pages] == [(), ("page-damaged",)]


def test_a_document_whose_only_page_takes_too_long_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, samples.endless_pdf(1, endless=0))
    settings = IntakeSettings(workers=1, ocr="off", seconds_per_page=1.5)
    with (
        IntakeWorkers(settings) as workers,
        pytest.raises(InputError, match=r"a\.pdf: cannot read its only page.*limit of 1.5 seconds"),
    ):
        list(workers.read_pages(path))


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds the worker by /proc")
@pytest.mark.parametrize("fault", [signal.SIGSEGV, signal.SIGABRT, signal.SIGKILL])
def test_a_worker_that_crashes_is_replaced_and_costs_one_page(
    tmp_path: Path, fault: signal.Signals
) -> None:
    path = written(tmp_path, samples.endless_pdf(3, endless=1))
    before = set(children())
    with IntakeWorkers(IntakeSettings(workers=1, ocr="off", seconds_per_page=16)) as workers:
        pages = workers.read_pages(path)
        assert next(pages).words.text() == "page 0"
        # Page 1 has no end: whenever the fault strikes, it strikes there.
        (worker,) = set(children()) - before
        os.kill(worker, fault)
        assert [page.flags for page in pages] == [("page-failed",), ()]
        (replaced,) = set(children()) - before
        assert replaced != worker
    assert set(children()) == before


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds the worker by /proc")
def test_a_worker_that_dies_between_documents_is_nobodys_fault(tmp_path: Path) -> None:
    path = written(tmp_path, samples.pdf(["first"]))
    before = set(children())
    with IntakeWorkers(IntakeSettings(workers=1, ocr="off")) as workers:
        workers.describe(path)
        (worker,) = set(children()) - before
        os.kill(worker, signal.SIGKILL)
        os.waitid(os.P_PID, worker, os.WEXITED | os.WNOWAIT)
        assert texts(workers.read_pages(path)) == ["first"]


def test_memory_beyond_the_limit_costs_the_picture_not_the_worker(tmp_path: Path) -> None:
    greedy = written(tmp_path, samples.hollow_png(19_000, 19_000), "greedy.png")
    modest = written(tmp_path, samples.pdf(["modest"]))
    with IntakeWorkers(IntakeSettings(workers=1, ocr="off", worker_memory_mb=512)) as workers:
        with pytest.raises(InputError, match=r"greedy\.png: .*memory"):
            list(workers.read_pages(greedy))
        assert texts(workers.read_pages(modest)) == ["modest"]


def test_a_worker_that_cannot_start_is_said_not_to_be_the_files_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, samples.pdf(["first"]))
    monkeypatch.setattr("sys.executable", "/bin/false")
    with pytest.raises(ServiceError, match="does not start"):
        describe(path)


def test_documents_are_read_by_several_threads_at_once(tmp_path: Path) -> None:
    paths = [
        written(tmp_path, samples.pdf([f"{name} {i}" for i in range(5)]), f"{name}.pdf")
        for name in ("oak", "elm", "ash")
    ]
    found: dict[Path, list[str]] = {}

    def read(path: Path) -> None:
        found[path] = texts(workers.read_pages(path))

    with IntakeWorkers(IntakeSettings(workers=2, ocr="off")) as workers:
        threads = [threading.Thread(target=read, args=(path,)) for path in paths]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == {path: [f"{path.stem} {i}" for i in range(5)] for path in paths}


BROKEN: list[tuple[str, bytes, str]] = [
    ("empty.pdf", b"", "empty"),
    ("zeros.pdf", b"\x00" * 2000, "zero bytes"),
    ("invalid.pdf", b"%PDF-1.3\nThis is not a valid PDF file\n%%EOF", "damaged beyond repair"),
    ("pageless.pdf", samples.empty_pdf(), "no pages"),
    ("lost.pdf", samples.unreadable_pdf(), "cannot read its only page"),
    ("locked.pdf", samples.pdf(["x"], password="sesame"), "needs a password"),
    ("bomb.png", samples.hollow_png(60_000, 60_000), "million pixels"),
    ("hollow.png", samples.hollow_png(40, 40), "cannot read its only page"),
    ("head.png", samples.saved(samples.picture(), "PNG")[:20], "damaged"),
    ("head.jpg", samples.saved(samples.picture(), "JPEG")[:30], "damaged"),
    ("tag.tif", b"II*\x00\x08\x00\x00\x00\x00\x00" + b"\x00" * 8, "damaged"),
    ("head.avif", samples.saved(samples.picture(), "AVIF")[:40], "damaged"),
    ("web.pdf", b"<html><body>Not found</body></html>", "web page"),
]


@pytest.mark.parametrize(("name", "content", "reason"), BROKEN, ids=[row[0] for row in BROKEN])
def test_what_cannot_be_read_is_refused_with_a_reason(
    workers: IntakeWorkers, tmp_path: Path, name: str, content: bytes, reason: str
) -> None:
    path = written(tmp_path, content, name)
    with pytest.raises(InputError) as refusal:
        list(workers.read_pages(path))
    message = str(refusal.value)
    assert message.startswith(f"{path}: ") and reason in message
    assert "please report" not in message
    # Cause, then remedy, in one line.
    assert ";" in message and "\n" not in message


def test_damage_that_leaves_something_costs_what_is_damaged(
    workers: IntakeWorkers, tmp_path: Path
) -> None:
    whole = samples.pdf(["first", "second"])
    cut = written(tmp_path, whole[: int(len(whole) * 0.9)])
    assert "repaired" in workers.describe(cut).flags
    assert texts(workers.read_pages(cut)) == ["first", "second"]


def test_pages_that_are_not_there_are_not_waited_for(
    workers: IntakeWorkers, tmp_path: Path
) -> None:
    path = written(tmp_path, samples.lying_pdf(3, claimed=500_000))
    facts = workers.describe(path)
    assert (facts.pages, facts.flags) == (3, ("opened-by-pdfium", "pages-missing"))
    assert texts(workers.read_pages(path)) == ["page 0", "page 1", "page 2"]


def test_a_picture_that_ends_early_gives_what_there_is(
    workers: IntakeWorkers, tmp_path: Path
) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (200, 300), np.uint8)
    whole = samples.saved(Image.fromarray(noise), "JPEG", quality=90)
    path = written(tmp_path, whole[: len(whole) // 2], "half.jpg")
    (page,) = workers.read_pages(path, want_image=True)
    assert page.flags == ("cut-off",)
    assert page.image is not None
    assert np.ptp(page.image[:80]) > 100 and np.ptp(page.image[-40:]) < 10


def test_a_png_that_ends_before_its_pixels_is_not_taken_for_a_blank_page(
    workers: IntakeWorkers, tmp_path: Path
) -> None:
    whole = tmp_path / "whole.png"
    Image.new("RGB", (900, 420), "white").save(whole)
    cut = tmp_path / "cut.png"
    cut.write_bytes(whole.read_bytes()[:60])
    with pytest.raises(InputError, match="cannot read its only page"):
        list(workers.read_pages(cut))


def test_nothing_is_printed_by_the_libraries(
    workers: IntakeWorkers,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = written(tmp_path, samples.pdf(["first"])[:-200])
    with caplog.at_level(logging.WARNING):
        list(workers.read_pages(path))
    assert capfd.readouterr() == ("", "")
    assert not caplog.records
