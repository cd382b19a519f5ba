"""The policy: which checks run, from which score on each says review or block, and how those
thresholds were measured.

A policy is one JSON file. Its digest names it in every verdict, so that an answer, a case in the
review queue and the measurement behind its thresholds can be brought together years later.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from retrieval.errors import InputError
from serving.safety.types import Band, Stage

DEFAULT_POLICY = Path(__file__).with_name("policy.json")
# What becomes of a page in which something was found: ``hold`` takes it as said of the question.
PageAction = Literal["leave-out", "mark", "words-only", "hold"]
_Share = Annotated[float, Field(ge=0, le=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Rate(_Strict):
    """``hits`` of ``n``, with the 95 % interval of Clopper and Pearson."""

    hits: int
    n: int
    low: _Share
    high: _Share

    @property
    def value(self) -> float:
        """The share; 0 of none."""
        return self.hits / self.n if self.n else 0.0


class Calibration(_Strict):
    """What was measured when the thresholds were picked, on data nothing was trained on.

    ``recall`` counts harmful cases that are not let pass, ``false_positives`` benign ones;
    ``blocked`` and ``wrongly_blocked`` those above the block threshold. ``review_load`` is the
    share of benign cases that go to a person. ``ece`` is the expected calibration error of the
    scores, ``reliability`` its bins: mean score, share harmful, count.
    """

    date: str
    data: Mapping[str, str]
    detectors: tuple[str, ...]
    target_recall: _Share
    max_review: _Share
    reached: bool
    recall: Rate
    false_positives: Rate
    blocked: Rate
    wrongly_blocked: Rate
    review_load: Rate
    ece: float
    reliability: tuple[tuple[float, float, int], ...] = ()


class CategoryPolicy(_Strict):
    """Thresholds of one category; None never says so. ``pages`` is for findings in pages."""

    review: _Share | None = None
    block: _Share | None = None
    pages: PageAction = "leave-out"
    calibration: Calibration | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.review is not None and self.block is not None and self.review > self.block:
            raise ValueError(f"review ({self.review}) is above block ({self.block})")
        return self

    @property
    def acts(self) -> bool:
        """Whether any score is held back."""
        return (self.review, self.block) != (None, None)

    def band(self, value: float) -> Band:
        """The band of a score; one that is not a number is the worst."""
        if value != value:
            return "block"
        if self.block is not None and value >= self.block:
            return "block"
        return "review" if self.review is not None and value >= self.review else "allow"


class GuardPolicy(_Strict):
    """A guard model behind an endpoint. ``key_env`` names the environment variable that holds
    its API key, which is never written into a policy."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]
    kind: Literal["llama-guard", "shieldgemma", "moderations"]
    url: str
    model: str = ""
    key_env: str = ""
    stage: Stage = "heavy"
    seconds: Annotated[float, Field(gt=0)] = 10.0

    @property
    def category(self) -> str:
        """The category under which its scores have their thresholds."""
        return f"guard-{self.name}"


class HeadFile(_Strict):
    """A text classifier made by ``folioscope safety train``, in place of the one that is shipped.
    A ``path`` that is not absolute starts at the policy's folder."""

    path: str
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Policy(_Strict):
    """A policy. ``fast`` and ``heavy`` name the checks of each stage, ``optional`` those that are
    skipped where their packages are not installed; ``seconds`` is the time each check has,
    ``picture_seconds`` that of pictures, which take long when they are first seen."""

    schema_version: Literal[1] = 1
    name: str = "unnamed"
    revision: Annotated[int, Field(ge=1)] = 1
    fast: tuple[str, ...] = ("harm", "injection")
    heavy: tuple[str, ...] = ("harm", "injection")
    optional: tuple[str, ...] = ()
    seconds: Mapping[Stage, Annotated[float, Field(gt=0)]] = {"fast": 2.0, "heavy": 5.0}
    picture_seconds: Annotated[float, Field(gt=0)] = 30.0
    categories: Mapping[str, CategoryPolicy] = {}
    guards: tuple[GuardPolicy, ...] = ()
    heads: Mapping[str, HeadFile] = {}

    @property
    def calibrated(self) -> bool:
        """Whether every threshold that can hold something back was measured."""
        acting = [c for c in self.categories.values() if c.acts]
        return bool(acting) and all(c.calibration is not None for c in acting)

    def unmeasured(self, checks: Mapping[str, Set[str]]) -> tuple[str, ...]:
        """The categories whose thresholds hold something back and were not measured with just
        these ``checks``, the ids of those that give each category."""
        return tuple(
            sorted(
                name
                for name, ids in checks.items()
                if (own := self.categories[name]).acts
                and (own.calibration is None or not ids <= set(own.calibration.detectors))
            )
        )

    @property
    def id(self) -> str:
        """Name, revision and digest: ``default/3-1a2b3c4d5e6f``."""
        return f"{self.name}/{self.revision}-{self.digest[:12]}"

    @property
    def digest(self) -> str:
        """SHA-256 of what the policy says; a classifier counts by its own, wherever it lies."""
        kept = self.model_dump(mode="json", exclude={"heads": {"__all__": {"path"}}})
        said = json.dumps(kept, sort_keys=True)
        return hashlib.sha256(said.encode()).hexdigest()


def read_policy(path: Path | None = None) -> Policy:
    """The policy in a file, or the one that is shipped. Raises ``InputError``."""
    path = path or DEFAULT_POLICY
    try:
        policy = Policy.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(f"cannot read the safety policy {path}: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise InputError(f"the safety policy {path}: {where}: {first['msg']}") from error
    heads = {
        name: head.model_copy(update={"path": str(path.parent / head.path)})
        for name, head in policy.heads.items()
    }
    return policy.model_copy(update={"heads": heads}) if heads else policy


def write_policy(policy: Policy, path: Path) -> None:
    """Replace the file at once or not at all. Raises ``InputError``."""
    made = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        made.write_text(policy.model_dump_json(indent=1) + "\n", "utf-8")
        made.replace(path)
    except OSError as error:
        made.unlink(missing_ok=True)
        raise InputError(f"cannot write the safety policy {path}: {error.strerror}") from error
