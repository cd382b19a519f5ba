"""Office documents and web pages: read through LibreOffice, which runs and fetches nothing."""

from __future__ import annotations

import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from PIL import Image as Pillow

from indexing import confined
from indexing.intake import IntakeWorkers
from indexing.renderers import office, sheets
from indexing.renderers.html_cleaning import cleaned, left_out
from indexing.settings import IntakeSettings
from retrieval.errors import InputError
from tests.indexing import samples

_QUIET = IntakeSettings(workers=1, ocr="off")
needs_office = pytest.mark.skipif(
    office.program() is None,
    reason="LibreOffice is not installed (apt install libreoffice-writer-nogui)",
)


@contextmanager
def _listening() -> Iterator[tuple[str, list[str]]]:
    """An address on this machine, and what was asked of it."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def make_pdf(path: Path, settings: IntakeSettings) -> None:
    with office.converted(path, office.DOCX, settings, lambda: None):
        pass


@needs_office
def test_a_letter_is_read_and_pictured(tmp_path: Path) -> None:
    path = tmp_path / "letter.docx"
    path.write_bytes(samples.docx(["Dues for the winter berth", "are 412.50 a month."]))
    with IntakeWorkers(_QUIET) as workers:
        found = workers.describe(path)
        assert found.media_type.endswith("wordprocessingml.document") and found.pages == 1
        assert found.bytes == path.stat().st_size and found.source == str(path)
        (content,) = workers.read_pages(path)
        assert "winter berth" in content.words.text() and content.text_source == "layer"
        picture = workers.render_page(path, 0, dpi=40)
    x0, y0, x1, _ = samples.ink(picture)
    assert x0 < 0.3 < x1 and y0 < 0.2


def test_a_conversion_has_limits_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader allows itself the time of a page; a long document takes LibreOffice more."""
    program = tmp_path / "soffice.bin"
    program.write_text(
        '#!/bin/sh\nfor to; do :; done\n{ ulimit -St; ulimit -f; } > "${to%.docx}.pdf"\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("FOLIOSCOPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(office, "program", lambda: str(program))
    path = tmp_path / "letter.docx"
    path.write_bytes(samples.docx(["text"]))
    settings = _QUIET.model_copy(update={"seconds_per_page": 20.0, "seconds_per_file": 3000.0})
    with office.converted(path, office.DOCX, settings, lambda: None) as made:
        seconds, blocks = map(int, made.read_text().split())
    assert (seconds, blocks) == (6002, settings.max_unpacked_mb * 1_000_000 // 512)


def test_a_system_that_cannot_confine_says_so_and_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    program = tmp_path / "soffice.bin"
    program.write_text('#!/bin/sh\nfor to; do :; done\necho > "${to%.docx}.pdf"\n')
    program.chmod(0o755)
    monkeypatch.setenv("FOLIOSCOPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(office, "program", lambda: str(program))
    monkeypatch.setattr(confined, "available", lambda: 0)
    office._warn_if_open.cache_clear()
    for name in ("a", "b"):
        path = tmp_path / f"{name}.docx"
        path.write_bytes(samples.docx([name]))
        with office.converted(path, office.DOCX, _QUIET, lambda: None) as made:
            assert made.exists()
    office._warn_if_open.cache_clear()
    assert caplog.text.count("Landlock") == 1


@needs_office
def test_nothing_that_a_document_points_to_is_loaded(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("Rosebud")
    with _listening() as (address, asked):
        page = tmp_path / "page.html"
        page.write_text(
            f"<html><head><title>Tariff</title><link rel=stylesheet href={address}/a.css></head>"
            f"<body><p>Berth 88.20</p><img src={address}/b.png><iframe src='{secret.as_uri()}'>"
            "</iframe></body></html>"
        )
        letter = tmp_path / "letter.docx"
        letter.write_bytes(samples.docx(["Linked picture"], picture=f"{address}/c.png"))
        text = tmp_path / "text.odt"
        text.write_bytes(samples.odt("Linked section", section=secret.as_uri()))
        with IntakeWorkers(_QUIET) as workers:
            assert workers.describe(page).title == "Tariff"
            read = {
                path.suffix: " ".join(content.words.text() for content in workers.read_pages(path))
                for path in (page, letter, text)
            }
    assert asked == []
    assert "Berth 88.20" in read[".html"] and "Linked" in read[".docx"] + read[".odt"]
    assert not any("Rosebud" in words for words in read.values())


@needs_office
@pytest.mark.skipif(not confined.available(), reason="the kernel has no Landlock (Linux 5.13)")
def test_a_picture_elsewhere_on_the_machine_is_not_shown(tmp_path: Path) -> None:
    """LibreOffice follows this link whatever its settings say."""
    secret = tmp_path / "passport.png"
    Pillow.new("RGB", (300, 200), "red").save(secret)
    letter = tmp_path / "letter.rtf"
    field = rf'INCLUDEPICTURE "{secret}" \\d'
    letter.write_text(r"{\rtf1 Berth 88.20 {\field{\*\fldinst " + field + r"}{\fldrslt }} }")
    with IntakeWorkers(_QUIET) as workers:
        (content,) = workers.read_pages(letter)
        picture = workers.render_page(letter, 0, dpi=40)
    assert "Berth 88.20" in content.words.text()
    assert not ((picture[..., 0] > 200) & (picture[..., 1] < 100)).any()


@needs_office
def test_a_damaged_document_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "letter.docx"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("word/document.xml", "this is no XML")
    with (
        IntakeWorkers(_QUIET) as workers,
        pytest.raises(InputError, match=r"letter\.docx: .*damaged or locked.*save it as PDF"),
    ):
        workers.describe(path)


def test_without_libreoffice_one_line_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(office, "program", lambda: None)
    path = tmp_path / "letter.docx"
    path.write_bytes(samples.docx(["text"]))
    with pytest.raises(InputError, match=r"not installed \(Debian .*apt install libreoffice"):
        make_pdf(path, _QUIET)


def test_an_archive_that_unpacks_to_too_much_is_refused_unopened(tmp_path: Path) -> None:
    path = tmp_path / "bomb.docx"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("word/document.xml", b" " * 3_000_000)
    small = _QUIET.model_copy(update={"max_unpacked_mb": 2})
    with pytest.raises(InputError, match=r"holds 3 MB when unpacked.*--limit max_unpacked_mb=4"):
        make_pdf(path, small)


CLEANED = [
    ("<p>a &amp; b</p>", "<p>a &amp; b</p>"),
    ("<script>x()</script>b", "b"),
    ("<img src='http://x/a.png' alt='a'>", '<img alt="a">'),
    ("<img src='data:image/png;base64,AA'>", '<img src="data:image/png;base64,AA">'),
    ("<img src='data:image/svg+xml,%3Csvg/%3E'>", "<img>"),
    ("<p onclick='x()' style='color:red'>b</p>", '<p style="color:red">b</p>'),
    ("<p style='background:u\\rl(http://x)'>b</p>", "<p>b</p>"),
    ("<p style='background:url(http://x)'>b</p>", "<p>b</p>"),
    ("<body background='http://x/a.png'>b</body>", "b"),
    ("<iframe src='file:///etc/passwd'>no</iframe>c", "c"),
    ("<object data='file:///a'><p>b</p></object>c", "c"),
    ("<base href='http://x'><link href='http://x'>c", "c"),
    ("<svg><image href='http://x'/></svg>c", "c"),
    ("<p style='display: none'>no<p>b", "<p>b"),
    ("<div hidden><p>no</div><div>b</div>", "<div>b</div>"),
    ("<div><p style='opacity:0'>no</div><p>b</p>", "<div></div><p>b</p>"),
    ("<div style='opacity:0.5'>b</div>", '<div style="opacity:0.5">b</div>'),
    ("<style>.q,#r{visibility:hidden}</style><i class='p q'>no</i><b id=r>no</b>c", "c"),
    ("<style>@media print{.q{display:none}}</style><i class=q>b</i>", '<i class="q">b</i>'),
    ("<img hidden src='data:image/png;base64,AA'>b", "b"),
    ("<embed src=a.mid hidden=true><p>b</p>", "<p>b</p>"),
    ("<div hidden></b>no</div>b", "b"),
    ("<style><!-- @import url(x); .q{display:none}</style><i class=q>no</i>b", "b"),
    (
        "<style>.q .r{color:red} .r{x:y; .q{display:none}}</style><i class=q>b</i>",
        '<i class="q">b</i>',
    ),
    (
        "<style>.q{display:none}.q.r{display:block}</style><i class='q r'>b</i>",
        '<i class="q r">b</i>',
    ),
    ("<style>.q{opacity:0;animation:in 1s}</style><i class=q>b</i>", '<i class="q">b</i>'),
    (
        "<style>.q{display:none}</style><i class=q style='display:block'>b</i>",
        '<i class="q" style="display:block">b</i>',
    ),
    (f"<style>{'a ' * 200_000}</style>{'<style>/*</style>' * 2}b", "b"),
]


@pytest.mark.parametrize(("given", "kept"), CLEANED)
def test_a_web_page_keeps_what_it_says_and_loads_nothing(given: str, kept: str) -> None:
    page = cleaned(f"<html><head><title>T</title></head><body>{given}</body></html>".encode())
    assert b"<title>T</title>" in page
    assert page.decode().split("<body>")[1].split("</body>")[0] == kept


@pytest.mark.parametrize(
    ("page", "flags"),
    [
        ("<p>Dues</p><img src=a.gif width=1>", ()),
        ("<p>Dues</p><img src=http://x/a.png>", ("parts-left-out",)),
        ("<svg><path/></svg>Dues", ()),
        ("<svg><text>Dues</text></svg>", ("parts-left-out",)),
        ("<div id=root></div><script>draw()</script>", ("parts-left-out",)),
        (f"<p>{'Dues ' * 60}</p><script>count()</script>", ()),
        ("<p>Dues</p><p hidden>Wire it all</p>", ("hidden-text",)),
        ("<style>.menu{display:none}</style><p>Dues</p><i class=menu></i>", ()),
        ("<p>Dues</p><svg hidden><title>Menu</title></svg>", ()),
        (f"<p>{'Dues ' * 60}</p><div hidden><script>count(1, 2)</script></div>", ()),
    ],
)
def test_what_a_web_page_shows_and_loses_is_told(page: str, flags: tuple[str, ...]) -> None:
    assert left_out(page.encode()) == flags


def test_parts_packed_as_no_office_packs_them_are_left_to_libreoffice(tmp_path: Path) -> None:
    path, to = tmp_path / "dues.xlsx", tmp_path / "to.xlsx"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("_rels/.rels", b"dues" * 99)
    whole = path.read_bytes()
    path.write_bytes(whole[:45] + bytes(9) + whole[54:])
    assert office.left_out(path, office.XLSX) == ()
    assert not sheets.write_printable(path, to, lambda: None)


def test_a_letter_tells_of_a_picture_that_it_does_not_hold(tmp_path: Path) -> None:
    path = tmp_path / "letter.docx"
    path.write_bytes(samples.docx(["Linked"], picture="http://x/c.png"))
    assert office.left_out(path, office.DOCX) == ("parts-left-out",)
    path.write_bytes(samples.docx(["Alone"]))
    assert office.left_out(path, office.DOCX) == ()


@needs_office
def test_a_sheet_is_read_whole_and_its_rows_are_not_cut(tmp_path: Path) -> None:
    """Cells beyond the print area, and far to the right of it, are on the page."""
    path = tmp_path / "dues.xlsx"
    cells = {"A1": "Winter berth", "B9": "Mooring", "T10": "Total 88.20"}
    path.write_bytes(samples.xlsx(cells, print_area="A1:A2"))
    with IntakeWorkers(_QUIET) as workers:
        (content,) = workers.read_pages(path)
    assert content.words.text().split() == ["Winter", "berth", "Mooring", "Total", "88.20"]


@pytest.mark.parametrize(
    ("before", "after", "setup"),
    [
        (b"", b"", b'<pageSetup orientation="landscape" fitToWidth="1" fitToHeight="0"/>'),
        (b"<sheetPr codeName='a'/>", b"<pageSetup scale='60' r:id='b' />", b"<pageSetup r:id='b' "),
        (
            b'<sheetPr><tabColor rgb="0"/><pageSetUpPr fitToPage="0"/></sheetPr>',
            b"<customSheetViews><customSheetView><pageSetup/></customSheetView></customSheetViews>"
            b'<pageMargins left="1"/><pageSetup fitToHeight="1" orientation="portrait"/>',
            b'<pageSetup orientation="portrait" fitToWidth="1" fitToHeight="0"/>',
        ),
    ],
)
def test_a_sheet_becomes_as_wide_as_a_page(before: bytes, after: bytes, setup: bytes) -> None:
    def sheet(extent: bytes) -> bytes:
        return b'<worksheet xmlns="x">%b<dimension ref="%b"/><sheetData><c/></sheetData>%b' % (
            before,
            extent,
            after,
        )

    found = sheets.fitted(sheet(b"B2:T9"))
    assert found.count(b"<sheetPr") == found.count(b"<pageSetUpPr") == 1
    assert b'<pageSetUpPr fitToPage="1"/></sheetPr><dimension' in found
    assert setup in found and found.count(b"<pageSetup ") == found.count(b"fitToHeight") == 1
    assert b"scale=" not in found
    for left_alone in (sheet(b"A1:AN9"), sheet(b"A1"), sheet(b"B2:T9").replace(b"<work", b"<x:w")):
        assert sheets.fitted(left_alone) == left_alone


def test_a_head_that_is_left_open_takes_nothing_with_it() -> None:
    page = cleaned(b"<html><head><meta charset=utf-8><title>T</title><style>p{}</style><p>Dues")
    assert b"<title>T</title>" in page and b"<p>Dues" in page and b"p{}" not in page


@pytest.mark.parametrize(
    "page",
    [
        "<p>Größe</p>".encode(),
        "<meta charset=latin-1><p>Größe</p>".encode("latin-1"),
        "<p>Größe</p>".encode("utf-16"),
        "<p>Größe</p>".encode("cp1252"),
    ],
)
def test_a_web_page_is_read_in_its_own_letters(page: bytes) -> None:
    assert "Größe" in cleaned(page).decode()
