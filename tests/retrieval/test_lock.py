"""One writer at a time, whoever and wherever it is, and none after it died."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from retrieval.errors import StorageError
from retrieval.lock import WriterLock

HOLDER = """
import sys
from pathlib import Path
from retrieval.lock import WriterLock
lock = WriterLock(Path(sys.argv[1])).acquire()
print("locked", flush=True)
sys.stdin.read()
"""


def start_holder(root: Path, script: str = HOLDER) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "locked\n"
    return process


def test_second_writer_is_told_who_the_first_is(tmp_path: Path) -> None:
    with start_holder(tmp_path) as holder:
        with pytest.raises(StorageError, match=f"process {holder.pid} on "):
            WriterLock(tmp_path).acquire()
        holder.communicate()
    with WriterLock(tmp_path):
        pass


def test_a_killed_writer_leaves_no_lock(tmp_path: Path) -> None:
    with start_holder(tmp_path) as holder:
        holder.send_signal(signal.SIGKILL)
    with WriterLock(tmp_path):
        pass


def test_the_same_process_cannot_write_twice(tmp_path: Path) -> None:
    with WriterLock(tmp_path), pytest.raises(StorageError, match=f"process {os.getpid()} "):
        WriterLock(tmp_path).acquire()


FORKING_HOLDER = """
import os, sys
from pathlib import Path
from retrieval.lock import WriterLock
lock = WriterLock(Path(sys.argv[1])).acquire()
if os.fork():
    sys.stdin.read()
else:
    print("locked", flush=True)
    sys.stdin.read()
"""


def test_a_worker_that_outlives_its_killed_parent_holds_no_lock(tmp_path: Path) -> None:
    with start_holder(tmp_path, FORKING_HOLDER) as holder:
        with pytest.raises(StorageError, match=f"process {holder.pid} "):
            WriterLock(tmp_path).acquire()
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        with WriterLock(tmp_path):
            pass


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="nowhere"):
        WriterLock(tmp_path / "nowhere").acquire()
