"""``--encoder colpali:MODEL``: models that read the picture of a page, through colpali-engine.

ColPali (Faysse et al. 2024, arXiv:2407.01449) and its successors give one vector a patch of the
page; a question gives one a token, and late interaction compares them. Which class, prompt and
processor belong to a checkpoint is colpali-engine's knowledge; where each patch lies on the
page, how much fits into memory, and what an index must remember of all this is here.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from retrieval.encoders.base import Reads
from retrieval.encoders.batching import Batcher
from retrieval.encoders.checkpoint import Checkpoint, missing_extra, resolve
from retrieval.encoders.device import TorchMemory, choose_device, choose_dtype
from retrieval.encoders.families import Family, family_of
from retrieval.encoders.options import parse
from retrieval.errors import EncoderError
from retrieval.types import FloatArray, PageContent, PageEmbedding, QueryEmbedding

OPTIONS = {
    "max_pixels": "most pixels a page is seen at",
    "device": "cuda, cuda:1, mps or cpu",
    "dtype": "bfloat16, float16 or float32",
    "batch": "pages at once",
    "tiles": "most tiles a page with small print is seen in beside the whole",
}
_REVISION = "colpali-1"


class ColpaliEncoder:
    """``PageEncoder`` over pictures of pages. Load with ``ColpaliEncoder.load``.

    Safe to share between threads, which take turns at the model.
    """

    reads: frozenset[Reads] = frozenset({"image"})

    def __init__(
        self,
        model: Any,
        processor: Any,
        family: Family,
        *,
        id: str,
        fingerprint: str,
        dim: int,
        device: str,
        batch: int | None = None,
        tiles: int | None = None,
    ) -> None:
        self.id = id
        self.fingerprint = fingerprint
        self.dim = dim
        self.device = device
        self.tiles = tiles
        self.reader_input = family.input(processor)
        self._model = model
        self._processor = processor
        self._family = family
        self._memory = TorchMemory(device)
        self._batcher = Batcher(self._memory, batch)
        self._lock = threading.Lock()

    @classmethod
    def load(cls, argument: str) -> ColpaliEncoder:
        """The encoder that ``argument`` names: ``MODEL[@REVISION][?option=value&...]``.

        MODEL is a folder or a hub name. ``max_pixels`` is part of the fingerprint. The device
        and its precision are not: an index built on a GPU can be searched on a laptop, whose
        vectors differ by less than the index's own rounding.

        ``tiles`` is for whoever makes a ``TiledEncoder`` of it. Raises ``EncoderError`` for
        packages, weights, options or devices that are not there.
        """
        wanted = parse("colpali", argument, OPTIONS)
        max_pixels = wanted.integer("max_pixels")
        batch = wanted.integer("batch")
        tiles = wanted.integer("tiles")
        engine = _engine()
        checkpoint = resolve(wanted.target, wanted.revision)
        family = family_of(checkpoint.config(), wanted.target)
        device = choose_device(wanted.options.get("device"))
        dtype = choose_dtype(wanted.options.get("dtype"), device)
        processor = _load_processor(engine, family, checkpoint)
        if max_pixels is not None:
            family.limit(processor, max_pixels)
        model = _moved(_load_model(engine, family, checkpoint, dtype), device).eval()
        suffix = "" if max_pixels is None else f"?max_pixels={max_pixels}"
        return cls(
            model,
            processor,
            family,
            id=f"colpali:{checkpoint.name}{suffix}",
            fingerprint=_fingerprint(checkpoint, family, processor),
            dim=int(model.dim),
            device=device,
            batch=batch,
            tiles=tiles,
        )

    def encode_pages(self, pages: Sequence[PageContent]) -> list[PageEmbedding]:
        """One vector a patch of each page's picture; none for a page that has no picture.

        Pages of one size go together, so that no page is padded: what comes out does not
        depend on the company. Raises ``EncoderError`` if a single page does not fit.
        """
        found = [
            PageEmbedding(np.zeros((0, self.dim), np.float32), np.zeros((0, 4), np.float32))
            for _ in pages
        ]
        sizes: dict[tuple[int, ...], list[int]] = {}
        for i, page in enumerate(pages):
            if page.image is not None and page.image.size:
                sizes.setdefault(page.image.shape, []).append(i)
        for alike in sizes.values():
            embedded = self._batcher.run([pages[i] for i in alike], self._encode_batch)
            for i, embedding in zip(alike, embedded, strict=True):
                found[i] = embedding
        return found

    def encode_queries(self, queries: Sequence[str]) -> list[QueryEmbedding]:
        """One vector a token of the model's own question prompt, all of equal weight.

        The tokens that the model adds to every question ("query augmentation") count too: it
        was trained with them.
        """
        return [self._encode_query(query) for query in queries]

    def _encode_batch(self, pages: Sequence[PageContent]) -> list[PageEmbedding]:
        from PIL import Image

        pictures = [Image.fromarray(page.image) for page in pages if page.image is not None]
        inputs = self._processor.process_images(pictures)
        ids = inputs["input_ids"].numpy()
        grids = inputs["image_grid_thw"].numpy() if "image_grid_thw" in inputs else None
        vectors = self._forward(inputs)
        embeddings = []
        for i in range(len(pages)):
            at, boxes = self._family.places(
                self._processor, ids[i], None if grids is None else grids[i]
            )
            embeddings.append(PageEmbedding(_unit(vectors[i, at]), boxes))
        return embeddings

    def _encode_query(self, query: str) -> QueryEmbedding:
        if not query.strip():
            return QueryEmbedding(np.zeros((0, self.dim), np.float32), (), np.zeros(0, np.float32))
        inputs = self._processor.process_queries(texts=[query])
        ids = inputs["input_ids"][0]
        vectors = _unit(self._asked(inputs)[0])
        tokens = tuple(self._processor.tokenizer.convert_ids_to_tokens(ids.tolist()))
        weights = np.full(len(tokens), 1 / len(tokens), np.float32)
        return QueryEmbedding(vectors, tokens, weights)

    def _asked(self, inputs: Any) -> FloatArray:
        """``_forward`` for a question: what torch keeps for its next allocation of another size is
        given back once, since nothing about a question can be made smaller."""
        try:
            return self._forward(inputs)
        except Exception as error:  # libraries raise RuntimeError of all kinds for this
            if not self._memory.is_exhausted(error):
                raise
        # Not within the handler: the traceback holds the tensors that did not fit.
        self._memory.clear()
        try:
            return self._forward(inputs)
        except Exception as error:  # as above
            if not self._memory.is_exhausted(error):
                raise
            raise EncoderError(
                f"{self.device} has no memory left for a question; stop what else uses it, or set "
                "CUDA_VISIBLE_DEVICES to nothing, so that the processor encodes questions"
            ) from error

    def _forward(self, inputs: Any) -> FloatArray:
        """The model's vectors for every token, ``[batch, length, dim] float32``."""
        import torch

        with self._lock, torch.inference_mode():
            on_device = {name: value.to(self.device) for name, value in inputs.items()}
            vectors: FloatArray = self._model(**on_device).float().cpu().numpy()
        return vectors


def _unit(vectors: FloatArray) -> FloatArray:
    """Unit rows: the models normalise in half precision, which is off by up to half a percent."""
    if not np.isfinite(vectors).all():
        raise EncoderError(
            "the model gave vectors that are not finite; use dtype=bfloat16 or dtype=float32"
        )
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: FloatArray = vectors / np.maximum(norms, np.float32(1e-6))
    return unit


def _engine() -> Any:
    try:
        import colpali_engine.models as engine
        from transformers.utils.logging import disable_progress_bar
    except ImportError as error:
        raise missing_extra() from error
    except RuntimeError as error:  # a torchvision built for another torch says so like this
        raise EncoderError(
            f"colpali-engine cannot be loaded ({error}); install matching torch and torchvision"
        ) from error
    disable_progress_bar()
    return engine


def _class(engine: Any, name: str) -> Any:
    found = getattr(engine, name, None)
    if found is None:
        raise EncoderError(
            f"this colpali-engine has no {name}; run `pip install -U colpali-engine`"
        )
    return found


def _load_processor(engine: Any, family: Family, checkpoint: Checkpoint) -> Any:
    try:
        return _class(engine, family.processor).from_pretrained(str(checkpoint.processor))
    except EncoderError:
        raise
    except Exception as error:  # transformers raises whatever a broken file led to
        raise EncoderError(
            f"the processor in {checkpoint.processor} cannot be loaded ({_said(error)}); "
            "download the model whole"
        ) from error


def _load_model(engine: Any, family: Family, checkpoint: Checkpoint, dtype: Any) -> Any:
    """The model with every weight from the checkpoint: transformers would fill a missing one
    with random numbers and say so only in a log."""
    try:
        model, report = _class(engine, family.model).from_pretrained(
            str(checkpoint.model), dtype=dtype, output_loading_info=True
        )
        if checkpoint.adapter is not None:
            model.load_adapter(str(checkpoint.adapter))
    except EncoderError:
        raise
    except Exception as error:  # as above
        raise EncoderError(
            f"the weights in {checkpoint.model} cannot be loaded ({_said(error)}); "
            "download the model whole"
        ) from error
    missing = sorted(map(str, report.get("missing_keys", ()))) or _unset(model)
    if missing:
        raise EncoderError(
            f"{checkpoint.model} lacks {len(missing)} weights of a {family.model} "
            f"({missing[0]}, ...); it may be the model that a retriever was made from: name the "
            "retriever"
        )
    return model


def _moved(model: Any, device: str) -> Any:
    """``model`` on ``device``. Raises ``EncoderError`` if it does not fit there."""
    memory = TorchMemory(device)
    try:
        return model.to(device)
    except Exception as error:  # libraries raise RuntimeError of all kinds for this
        if not memory.is_exhausted(error):
            raise
        raise EncoderError(
            f"the model does not fit into the memory of {device}; stop what else uses it, take a "
            "smaller model, or use device=cpu"
        ) from error


def _unset(model: Any) -> list[str]:
    """Weights that no file supplied and no other weight stands for.

    ColPali's output head, whose logits nobody reads, is the embedding table under another name;
    colpali-engine's class hides that from the loader, which leaves the head without memory.
    """
    inner: Any = getattr(model, "model", None)
    if hasattr(inner, "tie_weights") and any(weight.is_meta for weight in model.parameters()):
        inner.tie_weights()
    return [name for name, weight in model.named_parameters() if weight.is_meta]


def _said(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _fingerprint(checkpoint: Checkpoint, family: Family, processor: Any) -> str:
    """Hex digest over weights, prompts and how pictures are prepared, the budget included."""
    prompts = [
        str(getattr(processor, name, ""))
        for name in ("visual_prompt_prefix", "query_prefix", "query_augmentation_token")
    ]
    images = processor.image_processor.to_dict()
    seed = json.dumps(
        [_REVISION, family.model, prompts, images, checkpoint.fingerprint()],
        sort_keys=True,
        default=str,
    )
    return hashlib.sha256(seed.encode()).hexdigest()
