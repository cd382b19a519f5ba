"""What the operator may say: flags, then FOLIOSCOPE_ variables, then a TOML file, then defaults."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from indexing.settings import cores
from retrieval.errors import InputError

_COLLECTION = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


class ServerSettings(BaseSettings):
    """How the server runs; unknown keys of the file are refused.

    ``indexes`` maps collection names to index folders. ``state`` holds uploads, jobs, keys and
    the audit log. Sizes are in MB, times in seconds.
    """

    model_config = SettingsConfigDict(
        env_prefix="FOLIOSCOPE_", env_nested_delimiter="__", extra="forbid", frozen=True
    )

    indexes: dict[str, Path] = Field(min_length=1)
    state: Path
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    read_only: bool = False
    allowed_hosts: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()
    encoder: str = "text"

    search_threads: int = Field(default_factory=cores, ge=1, le=256)
    picture_threads: int = Field(default=1, ge=1, le=64)
    waiting: int = Field(default=64, ge=0, description="Requests that may wait for a thread.")
    search_seconds: float = Field(default=10.0, gt=0)
    answer_seconds: float = Field(default=120.0, gt=0)
    requests_per_minute: int = Field(default=600, ge=1, description="Of one key or address.")

    answer_threads: int = Field(default=2, ge=1, le=256)
    vlm_url: str | None = Field(
        default=None, description="An OpenAI-compatible endpoint, or local:MODEL."
    )
    safety: str = Field(default="on", description="on, off, or a policy file.")
    vlm_model: str = ""
    vlm_key: str = Field(default="none", repr=False)

    upload_mb: int = Field(default=200, ge=1, description="Of one file.")
    request_mb: int = Field(default=1000, ge=1, description="Of one upload of several files.")
    upload_files: int = Field(default=200, ge=1)
    picture_cache_mb: int = Field(default=64, ge=1)
    page_cache_mb: int = Field(
        default=256, ge=0, description="Of pages read last, for each collection and encoder."
    )

    audit_recall: float = Field(default=0.0, ge=0, le=1, description="Share of queries re-run.")
    recall_warning: float = Field(default=0.95, ge=0, le=1)

    @field_validator("indexes", "state")
    @classmethod
    def _absolute(cls, folders: dict[str, Path] | Path) -> dict[str, Path] | Path:
        """The process that indexes has another working folder, so no path may depend on it."""
        if isinstance(folders, Path):
            return _plain(folders)
        return {name: _plain(folder) for name, folder in folders.items()}

    @field_validator("indexes")
    @classmethod
    def _names(cls, indexes: dict[str, Path]) -> dict[str, Path]:
        for name in indexes:
            if not _COLLECTION.fullmatch(name):
                raise ValueError(
                    f"a collection is named by lower-case letters, digits, - and _: not '{name}'"
                )
        return indexes

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags win over the environment, the environment over the file."""
        return (init_settings, env_settings, TomlConfigSettingsSource(settings_cls))

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        return is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Whether ``host``, a name or address, is this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def load_settings(file: Path | None, **flags: Any) -> ServerSettings:
    """The settings from flags (None: not given), environment and ``file``.

    Raises ``InputError`` naming each setting that is wrong.
    """
    if file is not None and not file.is_file():
        raise InputError(f"{file}: no such settings file")

    class FromFile(ServerSettings):
        model_config = SettingsConfigDict(toml_file=file)

    try:
        return FromFile(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(map(str, e['loc'])) or 'settings'}: {e['msg']}" for e in error.errors()
        )
        raise InputError(f"cannot use the server's settings: {wrong}") from error
    except ValueError as error:
        raise InputError(f"{file}: not a TOML file ({error})") from error


def _plain(folder: Path) -> Path:
    """Absolute, and without "..": files below it are compared by their paths."""
    whole = folder.expanduser().absolute()
    return whole.resolve() if ".." in whole.parts else whole
