"""What a server says before it starts, and what its commands say where there is none."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner, Result

from folioscope import app as command
from retrieval.errors import InputError, StorageError
from retrieval.manifest import MANIFEST_NAME
from serving.http.app import create_app, make_state
from serving.http.database import RECORDS
from serving.http.settings import ServerSettings, load_settings


def _run(*words: str | Path) -> Result:
    return CliRunner().invoke(command, [str(word) for word in words])


def test_reading_an_index_that_is_not_there_makes_nothing(tmp_path: Path) -> None:
    result = _run("serve", "-i", tmp_path / "missing", "--read-only")
    assert isinstance(result.exception, StorageError) and result.exception.exit_code == 3
    assert "no index at" in str(result.exception) and "Serving" not in result.output
    assert not list(tmp_path.iterdir())


def test_a_port_in_use_is_told_before_anything_is_made(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        result = _run("serve", "-i", tmp_path / "index", "--port", port)
    assert isinstance(result.exception, InputError)
    assert port in str(result.exception) and "--port" in str(result.exception)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("words", [["list"], ["audit"], ["revoke", "x"], ["create", "x"]])
def test_keys_of_no_server_are_refused(tmp_path: Path, words: list[str]) -> None:
    result = _run("keys", *words, "--state", tmp_path / "nowhere")
    assert isinstance(result.exception, StorageError)
    assert "no server's records" in str(result.exception)
    assert ("--new" in str(result.exception)) == (words[0] == "create")
    assert not list(tmp_path.iterdir())


def test_the_first_key_begins_the_records_where_that_is_meant(tmp_path: Path) -> None:
    (tmp_path / "index").mkdir()
    (tmp_path / "index" / MANIFEST_NAME).touch()
    (tmp_path / "empty").mkdir()
    assert _run("keys", "create", "x", "--state", tmp_path / "index.server").exit_code == 0
    assert _run("keys", "create", "x", "--state", tmp_path / "empty").exit_code == 0
    assert _run("keys", "create", "x", "--state", tmp_path / "new", "--new").exit_code == 0
    in_index = _run("keys", "create", "x", "--state", tmp_path / "index")
    assert isinstance(in_index.exception, StorageError)


def test_a_key_for_a_collection_never_served_is_warned_of(tmp_path: Path) -> None:
    state = tmp_path / "state"
    make_state(
        ServerSettings(indexes={"reports": tmp_path / "index"}, state=state)
    ).database.close()
    known = _run("keys", "create", "x", "--collection", "reports", "--state", state)
    wrong = _run("keys", "create", "x", "--collection", "report", "--state", state)
    assert known.exit_code == wrong.exit_code == 0
    assert "warning" not in known.stderr
    assert "served: reports" in wrong.stderr and wrong.stdout.startswith("folio_")


def test_one_server_does_the_jobs_and_any_number_read(tmp_path: Path) -> None:
    writing = ServerSettings(indexes={"default": tmp_path / "index"}, state=tmp_path / "state")
    first = make_state(writing)
    job = first.jobs.put("default", "remove", "key", {"add": [], "remove": [0]})
    first.jobs.take("default")
    try:
        second = _run("serve", "-i", tmp_path / "index", "--state", tmp_path / "state")
        assert isinstance(second.exception, StorageError)
        assert "--read-only" in str(second.exception) and "Serving" not in second.output
        reading = make_state(writing.model_copy(update={"read_only": True}))
        reading.database.close()
        held = first.jobs.get(job.id)
        assert held is not None and held.state == "running"
    finally:
        assert first.lock is not None
        first.lock.release()
    # Who begins instead takes up what was left.
    again = make_state(writing)
    held = again.jobs.get(job.id)
    assert held is not None and held.state == "queued"


@pytest.mark.slow
def test_an_index_that_cannot_be_opened_is_told_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "index").mkdir()
    (tmp_path / "index" / MANIFEST_NAME).write_text("garbage")
    command = [sys.executable, "-m", "folioscope", "serve", "-i", "index", "--port", "0"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == StorageError.exit_code
    *_, said = done.stderr.splitlines()
    assert said.startswith("error: ") and "folioscope index repair" in done.stderr
    assert "Traceback" not in done.stderr


def test_records_that_are_none_are_told_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / RECORDS).write_text("garbage" * 10)
    app = create_app(ServerSettings(indexes={"x": tmp_path / "x"}, state=tmp_path / "state"))
    with pytest.raises(StorageError, match="not a database"), TestClient(app):
        pass
    assert isinstance(app.state.failure, StorageError), "who runs it finds it there"


def test_what_a_server_keeps_is_its_own(tmp_path: Path) -> None:
    settings = ServerSettings(indexes={"default": tmp_path / "index"}, state=tmp_path / "state")
    make_state(settings).keys.create("x", ["read"])
    kept = [settings.state, *settings.state.glob("server.sqlite*")]
    assert len(kept) == 4
    assert not [path for path in kept if path.stat().st_mode & 0o077]


def test_paths_of_settings_depend_on_no_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = load_settings(None, indexes={"default": Path("index")}, state=Path("state"))
    assert settings.state == tmp_path / "state"
    assert settings.indexes == {"default": tmp_path / "index"}
