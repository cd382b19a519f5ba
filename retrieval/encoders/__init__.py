"""Encoders: one file a family, known by name through the registry in ``base``."""

from retrieval.encoders.base import (
    PageEncoder,
    encoder_families,
    load_encoder,
    register_encoder,
)

__all__ = ["PageEncoder", "encoder_families", "load_encoder", "register_encoder"]


def _text(argument: str) -> PageEncoder:
    from retrieval.encoders.text import TextEncoder

    return TextEncoder.load(argument)


register_encoder("text", _text)
