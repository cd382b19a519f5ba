"""What a file is, by its bytes; what its owner is told where it is none of ours."""

from __future__ import annotations

import hashlib
import os
import zipfile
from pathlib import Path

import pytest

from indexing.inspection import inspect_file, sniff
from indexing.source_files import expand_sources
from retrieval.errors import InputError
from tests.indexing import samples


@pytest.mark.parametrize(
    ("form", "name", "media_type"),
    [
        ("JPEG", "a.jpg", "image/jpeg"),
        ("JPEG", "a.jpeg", "image/jpeg"),
        ("PNG", "a.png", "image/png"),
        ("TIFF", "a.tif", "image/tiff"),
        ("WEBP", "a.webp", "image/webp"),
        ("AVIF", "a.avif", "image/avif"),
        ("GIF", "a.gif", "image/gif"),
        ("BMP", "a.bmp", "image/bmp"),
        ("JPEG2000", "a.jp2", "image/jp2"),
        ("PPM", "a.ppm", "image/x-portable-anymap"),
        ("PCX", "a.pcx", "image/x-pcx"),
        ("SGI", "a.sgi", "image/x-sgi"),
        ("DDS", "a.dds", "image/x-dds"),
        ("TGA", "a.tga", "image/x-tga"),
    ],
)
def test_a_picture_is_known_by_its_bytes(
    tmp_path: Path, form: str, name: str, media_type: str
) -> None:
    path = tmp_path / name
    path.write_bytes(samples.saved(samples.picture(), form))
    facts = inspect_file(path)
    assert (facts.media_type, facts.flags) == (media_type, ())
    assert sniff(path) == media_type


def test_size_and_checksum_are_of_the_whole_file(tmp_path: Path) -> None:
    content = samples.pdf(["one"]) + b"%" * (3 << 20)
    path = tmp_path / "a.pdf"
    path.write_bytes(content)
    facts = inspect_file(path)
    assert facts.bytes == len(content)
    assert facts.sha256 == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize(("name", "flags"), [("a.pdf", ("misnamed",)), ("a", ())])
def test_a_name_that_lies_is_noted_and_does_not_matter(
    tmp_path: Path, name: str, flags: tuple[str, ...]
) -> None:
    path = tmp_path / name
    path.write_bytes(samples.saved(samples.picture(), "PNG"))
    facts = inspect_file(path)
    assert (facts.media_type, facts.flags) == ("image/png", flags)


def test_a_file_beyond_the_limit_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "large.pdf"
    with path.open("wb") as file:
        file.truncate(3_000_001)
    with pytest.raises(InputError, match=r"3 MB, the limit is 2; .*--limit max_file_mb=4"):
        inspect_file(path, max_mb=2)


def test_a_pdf_may_begin_with_some_rubbish(tmp_path: Path) -> None:
    path = tmp_path / "mail.pdf"
    path.write_bytes(b"X-Header: rubbish\r\n" * 20 + samples.pdf(["one"]))
    assert inspect_file(path).media_type == "application/pdf"


REFUSED = [
    ("empty.pdf", b"", "empty (0 bytes)", "fetch or export it again"),
    ("zeros.pdf", b"\x00" * 5000, "only zero bytes", "fetch it again"),
    ("page.pdf", b"\xef\xbb\xbf\n<!DOCTYPE html><html>404", "web page", "fetch the document"),
    ("film.avi", b"RIFF\x00\x00\x00\x00AVI LIST" + b"\x01" * 64, "an AVI video", "as MP4"),
    ("letter.docx", b"PK\x03\x04" + b"\x01" * 64, "cut off or damaged", "fetch or export"),
    ("notes.pdf", b"Dear all, this is no PDF.", "plain text", "as PDF"),
    ("data.xml", b"<?xml version='1.0'?><a/>", "XML", "as PDF"),
    ("old.doc", b"\xd0\xcf\x11\xe0" + b"\x01" * 600, "old Office document", "as PDF"),
    ("vector.ps", b"%!PS-Adobe-3.0\n", "PostScript", "as PDF"),
    ("pages.gz", b"\x1f\x8b\x08" + b"\x01" * 64, "gzip archive", "unpack"),
    ("noise.pdf", bytes(range(128, 256)) * 4, "known type", "fetch or export it again"),
]


@pytest.mark.parametrize(
    ("name", "content", "what", "remedy"), REFUSED, ids=[r[0] for r in REFUSED]
)
def test_refusals_say_where_what_and_what_to_do(
    tmp_path: Path, name: str, content: bytes, what: str, remedy: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError) as refusal:
        inspect_file(path)
    message = str(refusal.value)
    assert message.startswith(f"{path}: ")
    assert what in message and remedy in message


OFFICE = [
    ("word/document.xml", "a.docx", "wordprocessingml.document"),
    ("ppt/presentation.xml", "a.pptx", "presentationml.presentation"),
    ("xl/workbook.xml", "a.xlsx", "spreadsheetml.sheet"),
]


@pytest.mark.parametrize(("inside", "name", "ending"), OFFICE, ids=[row[1] for row in OFFICE])
def test_office_documents_are_told_by_what_they_hold(
    tmp_path: Path, inside: str, name: str, ending: str
) -> None:
    path = tmp_path / name
    with zipfile.ZipFile(path, "w") as archive:
        # The part that tells comes late: no first bytes will do.
        archive.writestr("docProps/thumbnail.jpeg", b"\xff" * 9000)
        archive.writestr(inside, "content")
    facts = inspect_file(path)
    assert facts.media_type.endswith(ending) and facts.flags == ()
    other = path.rename(tmp_path / "report.pdf")
    assert inspect_file(other).flags == ("misnamed",)


def test_an_open_document_says_what_it_is_first(tmp_path: Path) -> None:
    path = tmp_path / "a.ods"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
    assert sniff(path) == "application/vnd.oasis.opendocument.spreadsheet"


def test_another_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "report.pdf"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("letter.txt", "content")
    with pytest.raises(InputError, match="is a ZIP archive; unpack it"):
        inspect_file(path)


@pytest.mark.parametrize(
    ("name", "head", "media_type"),
    [
        ("a.mp4", b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isommp41", "video/mp4"),
        ("a.mov", b"\x00\x00\x00\x14ftypqt  \x00\x00\x02\x00qt  ", "video/quicktime"),
        ("a.mov", b"\x00\x00\x00\x08wide\x00\x00\x00\x00mdat", "video/quicktime"),
        ("a.mkv", b"\x1a\x45\xdf\xa3\xa3\x42\x82\x88matroska", "video/x-matroska"),
        ("a.webm", b"\x1a\x45\xdf\xa3\xa3\x42\x82\x84webm", "video/webm"),
        ("a.heic", b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic", "image/heic"),
        ("a.heic", b"\x00\x00\x00\x18ftypmif1\x00\x00\x00\x00mif1heic", "image/heic"),
        ("a.avif", b"\x00\x00\x00\x18ftypmif1\x00\x00\x00\x00mif1avif", "image/avif"),
        ("a.rtf", b"{\\rtf1 x}", "application/rtf"),
        ("a.html", b"<?xml version='1.0'?>\n<!-- x --><!DOCTYPE html><html>", "text/html"),
    ],
)
def test_recordings_and_documents_by_their_first_bytes(
    tmp_path: Path, name: str, head: bytes, media_type: str
) -> None:
    path = tmp_path / name
    path.write_bytes(head + b"\x01" * 64)
    facts = inspect_file(path)
    assert (facts.media_type, facts.flags) == (media_type, ())


def test_a_folder_or_a_missing_file_is_no_document(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder"):
        inspect_file(tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        inspect_file(tmp_path / "gone.pdf")
    with pytest.raises(InputError, match="cannot be read"):
        sniff(tmp_path / "gone.pdf")


def test_what_a_folder_hides_from_its_reader_is_told(tmp_path: Path) -> None:
    """Links that lead nowhere or elsewhere; one that leads back into the folder hides nothing."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "far.pdf").write_bytes(b"x")
    folder = tmp_path / "named"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "a.pdf").write_bytes(b"x")
    (folder / "deep" / "up").symlink_to(folder)
    (folder / "gone.pdf").symlink_to(tmp_path / "nowhere.pdf")
    (folder / "loop.pdf").symlink_to(folder / "loop.pdf")
    (folder / "other").symlink_to(tmp_path / "elsewhere")
    found = expand_sources([folder])
    assert [path.name for path in found] == ["a.pdf", "gone.pdf", "loop.pdf", "other"]
    for name, why in (("gone.pdf", "leads nowhere"), ("loop.pdf", "leads nowhere")):
        with pytest.raises(InputError, match=why):
            inspect_file(folder / name)
    with pytest.raises(InputError, match="link to another folder"):
        inspect_file(folder / "other")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may look into every folder")
def test_a_folder_that_may_not_be_looked_into_is_told(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    try:
        assert expand_sources([tmp_path]) == [closed]
        with pytest.raises(InputError, match="cannot be looked into"):
            inspect_file(closed)
    finally:
        closed.chmod(0o700)


def test_sources_are_files_folders_and_patterns(tmp_path: Path) -> None:
    for name in ("b.pdf", "a.PNG", "deep/c.avif", "deep/d.txt", ".hidden/e.pdf"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
    found = [tmp_path / name for name in ("a.PNG", "b.pdf", "deep/c.avif")]
    assert expand_sources([tmp_path]) == found
    # A file that is named is taken whatever it is called, and each file only once.
    assert expand_sources([tmp_path / "deep/d.txt", tmp_path / "deep"]) == [
        tmp_path / "deep/d.txt",
        tmp_path / "deep/c.avif",
    ]
    assert expand_sources([str(tmp_path / "*.pdf")]) == [tmp_path / "b.pdf"]
    with pytest.raises(InputError, match="no file matches"):
        expand_sources([str(tmp_path / "*.tiff")])
    (tmp_path / "bare").mkdir()
    with pytest.raises(InputError, match="no documents in"):
        expand_sources([tmp_path / "bare"])
