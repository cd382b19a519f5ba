"""Office documents and web pages, converted to PDF by LibreOffice.

It runs without a window, with a profile of its own, in which macros are off and links are not
followed; where the kernel allows it, also without a network, and without any file but the document
and the system's own. The PDF is kept in the cache: the picture of a hit is drawn from it later.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shutil
import subprocess
import sys
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

from indexing import confined
from indexing.derived import derived, workspace
from indexing.media_types import DOC, DOCX, HTML, PPT, PPTX, RTF, XLS, XLSX
from indexing.renderers import html_cleaning
from indexing.renderers.sheets import PACKED, write_printable
from indexing.settings import IntakeSettings, raise_limit
from retrieval.errors import InputError

_log = logging.getLogger(__name__)
_VERSION = 3
_WATCH_SECONDS = 2.0
# The limit of processor time that a program inherits is the reader's, for a page. No file that it
# writes may be larger than what a document may unpack to: a small one can ask for a full disk.
_OWN_LIMITS = 'ulimit -S -t "$0"; ulimit -f "$1"; shift; exec "$@"'
# Nor is a file of the machine its business, whatever a document points to.
_CONFINED = (sys.executable, "-I", "-S", confined.__file__)
# No list of relations is longer.
_MOST_LINKS = 4_000_000
# A picture that an Office document shows and does not hold, as its lists of relations say it.
_LINKED_PICTURE = re.compile(
    rb"<Relationship\b(?=[^<>]*/image[\"'])(?=[^<>]*TargetMode=[\"']External[\"'])"
)
# A first start with a new profile may end by asking to be started again.
_RESTART = (79, 81)
_AGAIN = "open it in its own program and save it as PDF"
# The type is told by content; LibreOffice goes by the name, so it is given the right one.
_SUFFIXES = {
    DOCX: ".docx",
    PPTX: ".pptx",
    XLSX: ".xlsx",
    DOC: ".doc",
    PPT: ".ppt",
    XLS: ".xls",
    RTF: ".rtf",
    HTML: ".html",
    "application/vnd.oasis.opendocument.text": ".odt",
    "application/vnd.oasis.opendocument.presentation": ".odp",
    "application/vnd.oasis.opendocument.spreadsheet": ".ods",
}
_WRITER, _CALC, _IMPRESS = "writer", "calc", "impress"
_PARTS = {".pptx": _IMPRESS, ".ppt": _IMPRESS, ".odp": _IMPRESS} | {
    ".xlsx": _CALC,
    ".xls": _CALC,
    ".ods": _CALC,
}
_PLACES = (
    "/Applications/LibreOffice.app/Contents/MacOS/soffice",
    "/opt/libreoffice/program/soffice",
)
_ITEM = (
    '<item oor:path="/org.openoffice.Office.{path}"><prop oor:name="{name}" oor:op="fuse">'
    "<value>{value}</value></prop></item>"
)
# No macro runs, no active content, nothing is loaded from where a document points to.
_PROFILE = (
    ("Common/Security/Scripting", "MacroSecurityLevel", "3"),
    ("Common/Security/Scripting", "DisableMacrosExecution", "true"),
    ("Common/Security/Scripting", "DisableActiveContent", "true"),
    ("Common/Security/Scripting", "BlockUntrustedRefererLinks", "true"),
    ("Writer/Content/Update", "Link", "2"),
    ("Calc/Content/Update", "Link", "2"),
    ("Common/Misc", "FirstRun", "false"),
)


@cache
def program() -> str | None:
    """LibreOffice's own program, past the script that starts it; None if it is not installed."""
    found = shutil.which("soffice") or shutil.which("libreoffice")
    found = found or next((place for place in _PLACES if Path(place).exists()), None)
    if found is None:
        return None
    script = Path(found).resolve()
    own = script.with_name("soffice.bin")
    return str(own if own.exists() else script)


@contextlib.contextmanager
def converted(
    path: Path, media_type: str, settings: IntakeSettings, alive: Callable[[], None]
) -> Iterator[Path]:
    """The PDF that ``path`` prints as, which is kept for the block at least.

    Raises ``InputError`` if LibreOffice is missing, takes longer than ``seconds_per_file``, or
    cannot open it.
    """
    if zipfile.is_zipfile(path):
        _check_unpacked(path, settings)
    if program() is None:
        raise InputError(
            f"{path}: Office documents and web pages are read through LibreOffice, which is not "
            "installed (Debian and Ubuntu: apt install libreoffice-writer-nogui "
            "libreoffice-calc-nogui libreoffice-impress-nogui; macOS: brew install libreoffice); "
            "or save it as PDF"
        )
    suffix = _SUFFIXES[media_type]

    def make(to: Path) -> None:
        with workspace() as folder:
            source = folder / f"source{suffix}"
            if media_type == HTML:
                source.write_bytes(html_cleaning.cleaned(path.read_bytes()))
            elif media_type != XLSX or not write_printable(path, source, alive):
                shutil.copyfile(path, source)
            _convert(path, source, folder, settings, alive)
            made = source.with_suffix(".pdf")
            if not made.exists() or not made.stat().st_size:
                part = _PARTS.get(suffix, _WRITER)
                raise InputError(
                    f"{path}: LibreOffice cannot open it: it is damaged or locked, or its part "
                    f"libreoffice-{part} is not installed; {_AGAIN}"
                )
            shutil.move(made, to)

    with derived(path, f"pdf {_VERSION} {suffix}", ".pdf", settings.cache_mb, make) as pdf:
        yield pdf


def left_out(path: Path, media_type: str) -> tuple[str, ...]:
    """Flags of what the document at ``path`` shows elsewhere and not in its PDF. Raises
    ``InputError`` if it cannot be read."""
    if media_type == HTML:
        try:
            return html_cleaning.left_out(path.read_bytes())
        except OSError as error:
            raise InputError(
                f"{path}: cannot be read ({error.strerror}); check its rights"
            ) from error
    if media_type not in (DOCX, PPTX, XLSX):
        return ()
    try:
        with zipfile.ZipFile(path) as archive:
            found = any(
                _LINKED_PICTURE.search(archive.open(entry).read(_MOST_LINKS))
                for entry in archive.infolist()
                if entry.filename.endswith(".rels") and entry.compress_type in PACKED
            )
    except (OSError, zipfile.BadZipFile, ValueError, EOFError, RuntimeError, zlib.error):
        return ()  # what is wrong with it LibreOffice finds out
    return ("parts-left-out",) if found else ()


def _check_unpacked(path: Path, settings: IntakeSettings) -> None:
    """Refuse an archive that says it holds more than the limit, before anything is unpacked."""
    try:
        with zipfile.ZipFile(path) as archive:
            total = sum(entry.file_size for entry in archive.infolist())
    except (OSError, zipfile.BadZipFile, ValueError):
        return  # LibreOffice may know better
    if total > settings.max_unpacked_mb * 1_000_000:
        wanted = total // 1_000_000 + 1
        raise InputError(
            f"{path}: holds {wanted - 1:,} MB when unpacked, the limit is "
            f"{settings.max_unpacked_mb:,}; split it, or {raise_limit('max_unpacked_mb', wanted)}"
        )


def _convert(
    path: Path, source: Path, folder: Path, settings: IntakeSettings, alive: Callable[[], None]
) -> None:
    _warn_if_open()
    profile = folder / "profile"
    _write_profile(profile)
    command = [
        *("sh", "-c", _OWN_LIMITS, str(int(2 * settings.seconds_per_file) + 2)),
        str(settings.max_unpacked_mb * 1_000_000 // 512),
        *_without_network(),
        *_CONFINED,
        *(str(folder), str(Path(str(program())).parent.parent), "--"),
        str(program()),
        f"-env:UserInstallation={profile.as_uri()}",
        *("--headless", "--invisible", "--norestore", "--nolockcheck", "--nodefault"),
        # A web page as a document to print: as a page on a screen it comes out empty.
        *(("--infilter=HTML (StarWriter)",) if source.suffix == ".html" else ()),
        *("--convert-to", "pdf", "--outdir", str(folder), str(source)),
    ]
    # A proxy that does not exist: what slips past the profile reaches nothing.
    nowhere = dict.fromkeys(
        ("http_proxy", "https_proxy", "ftp_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy"),
        "http://127.0.0.1:9",
    )
    own = dict.fromkeys(("HOME", "TMPDIR"), str(folder))
    environment = {**os.environ, **nowhere, "no_proxy": "", "NO_PROXY": "", **own}
    deadline = time.monotonic() + settings.seconds_per_file
    for _ in range(2):
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        code = _watched(path, process, deadline, settings, alive)
        if code not in _RESTART:
            return


def _watched(
    path: Path,
    process: subprocess.Popen[bytes],
    deadline: float,
    settings: IntakeSettings,
    alive: Callable[[], None],
) -> int:
    """The exit code of ``process``, which is ended at ``deadline``."""
    try:
        while True:
            try:
                return process.wait(_WATCH_SECONDS)
            except subprocess.TimeoutExpired:
                alive()
            if time.monotonic() > deadline:
                limit = settings.seconds_per_file
                raise InputError(
                    f"{path}: converting it took longer than the limit of {limit:g} seconds; "
                    f"{_AGAIN}, or {raise_limit('seconds_per_file', 2 * limit)}"
                )
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _write_profile(profile: Path) -> None:
    user = profile / "user"
    user.mkdir(parents=True)
    items = "".join(_ITEM.format(path=p, name=n, value=v) for p, n, v in _PROFILE)
    (user / "registrymodifications.xcu").write_text(
        '<?xml version="1.0" encoding="UTF-8"?>\n<oor:items '
        'xmlns:oor="http://openoffice.org/2001/registry" '
        'xmlns:xs="http://www.w3.org/2001/XMLSchema" '
        f'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">{items}</oor:items>\n',
        "utf-8",
    )


@cache
def _warn_if_open() -> None:
    if not confined.available():
        _log.warning(
            "this system cannot keep LibreOffice from other files (Linux 5.13 on can, with "
            "Landlock): a document may show pictures that lie on this machine; read documents of "
            "strangers elsewhere, or in a container"
        )


@cache
def _without_network() -> tuple[str, ...]:
    """What to put before a command so that it has no network; nothing where that is not
    allowed."""
    tool = shutil.which("unshare")
    if tool is None:
        return ()
    command = (tool, "--user", "--map-current-user", "--net", "--")
    try:
        done = subprocess.run([*command, "true"], capture_output=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return ()
    return command if done.returncode == 0 else ()
