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


def _colpali(argument: str) -> PageEncoder:
    from retrieval.encoders.colpali import ColpaliEncoder

    encoder = ColpaliEncoder.load(argument)
    if encoder.tiles is None:
        return encoder
    from retrieval.encoders.tiled import TiledEncoder

    return TiledEncoder(encoder, encoder.reader_input, encoder.tiles)


def _http(argument: str) -> PageEncoder:
    from retrieval.encoders.remote import RemoteEncoder

    return RemoteEncoder.load(argument)


register_encoder("text", _text)
register_encoder("colpali", _colpali)
register_encoder("http", _http)
