"""The indexing process of a collection: ``python -m serving.http.ingest INDEX ENCODER``.

It reads one request a line on stdin and writes one event a line on stdout, and it is nicer than
the server, so that building an index does not slow the answers of the one that is served. It
may be killed at any moment: what it committed is whole, what it did not is done again.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from indexing.build import BuildProgress, BuildReport
from indexing.index import Index
from indexing.source_files import plain_path
from retrieval.errors import FolioscopeError, InputError

_NICENESS = 10
_REPORT_SECONDS = 0.25
_WATCH_SECONDS = 0.5


def main() -> None:
    """Serve requests until stdin ends."""
    os.nice(_NICENESS)
    threading.Thread(target=_die_with, args=(os.getppid(),), daemon=True).start()
    # Only events may be on stdout, whatever a library prints.
    events = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)

    def say(**event: Any) -> None:
        events.write(json.dumps(event) + "\n")

    index: Index | None = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if index is None:
                index = Index.create(sys.argv[1], encoder=sys.argv[2])
            say(event="done", result=_work(index, request, say))
        except FolioscopeError as error:
            say(event="failed", kind=type(error).__name__, message=str(error))


def _die_with(parent: int) -> None:
    """End this process when the server is gone: the next one needs the writer's lock."""
    while os.getppid() == parent:
        time.sleep(_WATCH_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)


def _work(index: Index, request: Mapping[str, Any], say: Any) -> dict[str, Any]:
    progress = _Progress(say, len({file["path"] for file in request["add"]}))
    try:
        if request["kind"] == "reindex":
            result = _reread(index, request, progress)
        else:
            result = _change(index, request, progress)
        result["generation"] = index.refresh()
        result["documents"] = _made(index, request, result)
        return result
    finally:
        index.close()


class _Progress:
    """Says where a request for so many ``files`` stands, not too often. What an interrupted run of
    it committed counts as done."""

    def __init__(self, say: Any, files: int) -> None:
        self._say = say
        self._files = files
        self._last = 0.0

    def __call__(self, step: BuildProgress) -> None:
        if time.monotonic() - self._last < _REPORT_SECONDS and step.stage != "commit":
            return
        self._last = time.monotonic()
        inspected = step.stage != "inspect"
        dealt_with = self._files - step.documents_total if inspected else 0
        self._say(
            event="progress",
            stage=step.stage,
            documents_done=dealt_with + step.documents_done,
            documents_total=self._files,
            pages_done=step.pages_held + step.pages_done if inspected else 0,
            pages_total=step.pages_held + step.pages_total if inspected else 0,
        )


def _change(index: Index, request: Mapping[str, Any], progress: _Progress) -> dict[str, Any]:
    removed = [_remove(index, int(doc_id)) for doc_id in request["remove"]]
    files = {plain_path(Path(file["path"])): file["metadata"] for file in request["add"]}
    if not files:
        return {"pages_removed": sum(removed), "skipped": []}
    # Tenants may have the same file; each has its own document.
    report = index.add(
        list(files), metadata_of=lambda path: files[path], copies=True, progress=progress
    )
    return {"pages_removed": sum(removed), **_told(report)}


def _reread(index: Index, request: Mapping[str, Any], progress: _Progress) -> dict[str, Any]:
    """``replaced`` in the result are the ids under which the document was known before. Raises
    ``InputError`` if it cannot be read again; it is as it was then."""
    (file,), (wanted,) = request["add"], request["remove"]
    held = {row["doc_id"]: row for row in index.documents()}
    # A run that was interrupted after its commit replaced the document with another at its place.
    there = _by_file(index).get(plain_path(Path(file["path"])))
    doc_id = wanted if wanted in held else there
    if doc_id is None:
        gone = {"path": file["path"], "reason": "the document was removed before its turn came"}
        return {"pages_removed": 0, "skipped": [gone]}
    report = index.reread(doc_id, metadata=file["metadata"], progress=progress)
    if report.skipped:
        raise InputError(report.skipped[0].reason)
    replaced = sorted({int(wanted), doc_id})
    return {"pages_removed": held[doc_id]["pages"], "replaced": replaced, **_told(report)}


def _told(report: BuildReport) -> dict[str, Any]:
    return {
        "documents_added": report.documents_added,
        "pages_added": report.pages_added,
        "unchanged": report.unchanged,
        "skipped": [{"path": item.source, "reason": item.reason} for item in report.skipped],
    }


def _made(
    index: Index, request: Mapping[str, Any], result: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """The documents that the files of a request are now, those that were there before too."""
    skipped = {item["path"] for item in result["skipped"]}
    files = dict.fromkeys(plain_path(Path(file["path"])) for file in request["add"])
    held = _by_file(index)
    return [{"id": held[f], "name": f.name} for f in files if f in held and str(f) not in skipped]


def _by_file(index: Index) -> dict[Path, int]:
    """The newest document of each file."""
    rows = sorted(index.documents(), key=lambda row: int(row["doc_id"]))
    return {plain_path(Path(row["source"])): int(row["doc_id"]) for row in rows}


def _remove(index: Index, doc_id: int) -> int:
    """Pages removed; 0 if an interrupted run of the same request removed them before."""
    held = {row["doc_id"] for row in index.documents()}
    return index.remove(doc_id) if doc_id in held else 0


if __name__ == "__main__":
    main()
