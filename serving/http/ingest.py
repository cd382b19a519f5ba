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

from indexing.build import BuildProgress
from indexing.index import Index
from indexing.source_files import plain_path
from retrieval.errors import FolioscopeError

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
    removed = [_remove(index, int(doc_id)) for doc_id in request["remove"]]
    files = {plain_path(Path(file["path"])): file["metadata"] for file in request["add"]}
    result: dict[str, Any] = {"pages_removed": sum(removed), "documents": [], "skipped": []}
    if files:
        last = 0.0

        def progress(step: BuildProgress) -> None:
            nonlocal last
            if time.monotonic() - last >= _REPORT_SECONDS or step.stage == "commit":
                last = time.monotonic()
                say(
                    event="progress",
                    stage=step.stage,
                    documents_done=step.documents_done,
                    documents_total=step.documents_total,
                    pages_done=step.pages_done,
                    pages_total=step.pages_total,
                )

        # Tenants may have the same file; each has its own document.
        report = index.add(
            list(files), metadata_of=lambda path: files[path], copies=True, progress=progress
        )
        result["documents_added"] = report.documents_added
        result["pages_added"] = report.pages_added
        result["unchanged"] = report.unchanged
        result["skipped"] = [
            {"path": item.source, "reason": item.reason} for item in report.skipped
        ]
    result["generation"] = index.refresh()
    index.close()
    return result


def _remove(index: Index, doc_id: int) -> int:
    """Pages removed; 0 if an interrupted run of the same request removed them before."""
    if all(document["doc_id"] != doc_id for document in index.documents()):
        return 0
    return index.remove(doc_id)


if __name__ == "__main__":
    main()
