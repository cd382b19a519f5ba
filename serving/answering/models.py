"""The model that ``--vlm`` names: an endpoint's address, or ``local:MODEL``."""

from __future__ import annotations

from retrieval.errors import InputError
from serving.answering.pipeline import Model

_LOCAL = "local:"


def open_model(named: str, *, model: str = "", key: str = "none", seconds: float = 120.0) -> Model:
    """The model, ready to answer. ``model``, ``key`` and ``seconds`` are of an endpoint.

    Raises ``InputError`` for a name of neither form or a missing package, ``ServiceError`` for
    an endpoint that cannot be reached, ``EncoderError`` for a checkpoint that cannot be loaded.
    """
    if named.startswith(_LOCAL):
        from serving.answering.local_vlm import LocalModel

        return LocalModel.parse(named.removeprefix(_LOCAL))
    if "://" not in named:
        raise InputError(
            f"--vlm {named}: give the address of an OpenAI-compatible endpoint, as "
            "http://localhost:8000/v1, or local:MODEL for a folder or a hub name"
        )
    try:
        from serving.answering.vlm import EndpointModel, EndpointSettings

        return EndpointModel(EndpointSettings(named, model, key, seconds=seconds))
    except ModuleNotFoundError as error:
        raise InputError(
            f"a model needs the package '{error.name}', which is not installed; "
            "run `pip install 'folioscope[vlm]'`"
        ) from error
