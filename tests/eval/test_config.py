"""One file for a series of runs; options win over it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from eval.config import read_config, with_candidates
from retrieval.errors import InputError

TOML = """
dataset = "questions.csv"
index = "my-index"
mode = "exhaustive"
candidates = 40
kind = ["table", "chart"]
[build]
pooling = "strips"
page_vectors = 8
compression = "binary"
[build.intake]
ocr = "off"
"""
YAML = """
dataset: questions.csv
index: my-index
mode: exhaustive
candidates: 40
kind: [table, chart]
build:
  pooling: strips
  page_vectors: 8
  compression: binary
  intake: {ocr: "off"}
"""


@pytest.mark.parametrize(("name", "text"), [("run.toml", TOML), ("run.yaml", YAML)])
def test_a_file_says_everything_a_run_is(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / "questions.csv").touch()
    (tmp_path / name).write_text(text)
    config = read_config(tmp_path / name, {"mode": None})
    # Paths are those beside the file, wherever the command runs.
    assert config.dataset == str(tmp_path / "questions.csv")
    assert config.index == tmp_path / "my-index"
    assert (config.mode, config.kind) == ("exhaustive", ("table", "chart"))
    assert config.search().candidates.candidates == 40
    build = config.build.settings()
    assert build.pooling is not None
    assert build.compression == "binary"
    assert (build.pooling.method, build.pooling.vectors, build.intake.ocr) == ("strips", 8, "off")


def test_options_win(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(TOML)
    config = read_config(tmp_path / "run.toml", {"mode": "bm25", "dataset": "b.csv", "depth": 7})
    assert (config.mode, config.dataset, config.depth) == ("bm25", "b.csv", 7)
    assert config.candidates == 40


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("run.toml", "dataset = ", r"run\.toml: is not valid TOML"),
        ("run.yaml", "a: [", r"run\.yaml: is not valid YAML"),
        ("run.yaml", "- a\n", r"run\.yaml: must hold settings"),
        ("run.ini", "[a]", r"run\.ini: settings are read from"),
        ("run.toml", 'dataset = "a"\ndeepth = 3', r"run\.toml: deepth: Extra inputs"),
        ("run.toml", 'dataset = "a"\n[build]\npage_vectors = 65', r"build\.page_vectors: .*64"),
        ("run.toml", 'mode = "coarse"', "name the questions"),
    ],
)
def test_a_bad_file_is_named(tmp_path: Path, name: str, text: str, said: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=said):
        read_config(tmp_path / name, {})


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_config(tmp_path / "none.toml", {})


@pytest.mark.parametrize(("candidates", "pool"), [(None, 500), (10, 500), (5000, 5000)])
def test_the_pool_is_never_smaller_than_what_it_feeds(candidates: Any, pool: int) -> None:
    limits = with_candidates(candidates).candidates
    assert (limits.candidates, limits.coarse_pool) == (candidates or 100, pool)
