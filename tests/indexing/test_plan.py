"""``folioscope index plan``: sizes that add up, and what is said when an encoder is missing."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from folioscope import app
from indexing import plan as planning
from indexing.plan import SETTINGS, plan
from retrieval.encoders import PageEncoder
from retrieval.errors import EncoderError
from tests.retrieval.search_samples import TopicEncoder


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(encoder_id: str) -> PageEncoder:
        if encoder_id == "text":
            return TopicEncoder()
        raise EncoderError(f"unknown encoder '{encoder_id}'; this installation has: text")

    monkeypatch.setattr(planning, "load_encoder", load)


@pytest.mark.usefixtures("small")
def test_settings_differ_by_their_patches_alone() -> None:
    found = plan(10_000, patches=64)
    rows = {row.setting: row for row in found.settings}
    assert tuple(rows) == SETTINGS and found.dim == 16
    # int8 keeps a scale of two bytes beside each vector.
    assert rows["int8"].patch_bytes_a_page == 64 * (16 + 2)
    assert rows["binary"].patch_bytes_a_page == 64 * 2
    assert rows["int8+pool3"].patch_bytes_a_page == 2 * 11 * (16 + 2)
    less = rows["fp32"].disk_gb - rows["int8"].disk_gb
    assert less * 1e9 == pytest.approx(10_000 * 64 * (16 * 3 - 2))
    assert rows["fp32"].memory_mb == rows["binary"].memory_mb
    assert rows["int8"].build_hours is not None and rows["int8"].question_ms > 0


@pytest.mark.usefixtures("small")
def test_sizes_grow_with_pages() -> None:
    few, many = (plan(n, patches=8, names=["int8"]) for n in (1_000, 1_000_000))
    assert (few.coarse_kind, many.coarse_kind) == ("sq8", "ivf_pq4fs")
    assert many.settings[0].disk_gb > 900 * few.settings[0].disk_gb
    assert many.settings[0].question_ms > few.settings[0].question_ms


@pytest.mark.usefixtures("small")
def test_an_encoder_that_is_not_installed_has_sizes_but_no_rate() -> None:
    command = ["index", "plan", "--pages", "1000", "--encoder", "colpali:some/model", "--json"]
    done = CliRunner().invoke(app, [*command, "--compression", "int8", "--compression", "binary"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert [row["patch_bytes_a_page"] for row in found["settings"]] == [133_900, 16_480]
    assert found["settings"][0]["build_hours"] is None and "not known" in found["note"]
    assert found["note"].startswith("1,030 vectors of 128 a page are assumed")
    with pytest.raises(EncoderError, match="unknown encoder 'magic'"):
        plan(10, "magic")
