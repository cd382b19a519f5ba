"""What one evaluation run is: from a TOML or YAML file, from options, or from both.

An option on the command line wins over the file, so that one file serves a series of runs that
differ in one thing.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from indexing.build import BuildSettings
from indexing.pipeline import PoolSettings
from indexing.settings import IntakeSettings
from retrieval.errors import InputError
from retrieval.search import SearchMode, SearchSettings


class BuildConfig(BaseModel):
    """How pages that a data set brings are indexed; ``None`` is the build's own choice."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    intake: IntakeSettings = Field(default_factory=IntakeSettings)
    pooling: Literal["kmeans", "strips", "mean"] | None = None
    page_vectors: int | None = Field(default=None, ge=1, le=64)
    coarse: str | None = None
    compression: str | None = None

    def settings(self) -> BuildSettings:
        """The same, as the build wants it."""
        pool = None
        if self.pooling or self.page_vectors:
            pool = PoolSettings(self.pooling or "kmeans", self.page_vectors or 16)
        return BuildSettings(
            intake=self.intake, pooling=pool, coarse=self.coarse, compression=self.compression
        )


class EvalConfig(BaseModel):
    """A run. Paths in a file are relative to it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dataset: str
    index: Path | None = None
    encoder: str = "text"
    split: str = "test"
    mode: SearchMode = "two-stage"
    depth: int = Field(default=100, ge=1, le=1000)
    candidates: int | None = Field(default=None, ge=1, le=10_000)
    kind: tuple[str, ...] = ()
    language: str | None = None
    scope: Literal["corpus", "doc"] | None = None
    half: Literal["dev", "test"] | None = None
    documents: Path | None = None
    answers: bool = False
    build: BuildConfig = Field(default_factory=BuildConfig)

    def search(self) -> SearchSettings:
        """How the index is searched."""
        return with_candidates(self.candidates)


def with_candidates(candidates: int | None, base: SearchSettings | None = None) -> SearchSettings:
    """Settings with another number of candidates; the pool that feeds them stays at least as
    large."""
    from dataclasses import replace

    settings = base or SearchSettings()
    if candidates is None:
        return settings
    limits = settings.candidates
    pool = max(candidates, limits.coarse_pool)
    return replace(settings, candidates=replace(limits, candidates=candidates, coarse_pool=pool))


def read_config(path: Path | None, options: dict[str, Any]) -> EvalConfig:
    """The file's settings with those ``options`` on top that are not None.

    Raises ``InputError`` that names the file and the setting.
    """
    given = _file(path) if path is not None else {}
    given.update({name: value for name, value in options.items() if value is not None})
    if "dataset" not in given:
        raise InputError("name the questions: --dataset FILE or FOLDER, or dataset in --config")
    try:
        return EvalConfig.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        option = options.get(where.partition(".")[0])
        source = f"{path}: {where}" if option is None else f"--{where} '{option}'"
        raise InputError(f"{source}: {first['msg']}") from error


def _file(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text("utf-8")
        found = tomllib.loads(text) if path.suffix == ".toml" else _yaml(path, text)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise InputError(f"{path}: is not valid TOML ({error})") from error
    if not isinstance(found, dict):
        raise InputError(f'{path}: must hold settings, such as dataset = "questions.csv"')
    for name in ("index", "documents"):
        if isinstance(found.get(name), str):
            found[name] = str(path.parent / found[name])
    if isinstance(found.get("dataset"), str):
        scheme, colon, rest = found["dataset"].rpartition(":")
        if (path.parent / rest).exists():
            found["dataset"] = f"{scheme}{colon}{path.parent / rest}"
    return found


def _yaml(path: Path, text: str) -> Any:
    if path.suffix not in (".yaml", ".yml"):
        raise InputError(f"{path}: settings are read from .toml, .yaml and .yml")
    try:
        import yaml
    except ImportError as error:
        raise InputError(
            f"{path}: reading YAML needs PyYAML, not installed here; "
            "run `pip install 'folioscope[eval]'`, or write TOML"
        ) from error
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"{path}: is not valid YAML ({error})") from error
