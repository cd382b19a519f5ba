"""Tiny checkpoints of the ColPali family, random and written with ``save_pretrained``.

The layouts are those of the published checkpoints; only the sizes are small. The tokenizers cut
text into characters, so that any prompt can be read back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import colpali_engine.models as engine
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    Idefics3Config,
    Idefics3ImageProcessor,
    ModernVBertConfig,
    PaliGemmaConfig,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2VLConfig,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
    Qwen3VLConfig,
    Qwen3VLVideoProcessor,
    SiglipImageProcessor,
)

_QWEN_TOKENS = (
    "<unk>",
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
_QWEN_IDS = {
    "image_token_id": 6,
    "video_token_id": 7,
    "vision_start_token_id": 4,
    "vision_end_token_id": 5,
}
_TEXT = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
}


def tokenizer(specials: Sequence[str], **roles: str) -> Any:
    """A tokenizer of single characters and ``specials``, whose ids are their places."""
    characters = [chr(code) for code in range(32, 127)]
    vocabulary = {token: i for i, token in enumerate([*specials, *characters, "\n"])}
    cut = Tokenizer(models.WordLevel(vocabulary, unk_token=specials[0]))
    cut.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    return PreTrainedTokenizerFast(
        tokenizer_object=cut,
        additional_special_tokens=list(specials),
        unk_token=specials[0],
        **roles,
    )


def _qwen_tokenizer() -> Any:
    return tokenizer(_QWEN_TOKENS, pad_token="<|endoftext|>", eos_token="<|im_end|>")


def _qwen_text(**more: Any) -> dict[str, Any]:
    return {**_TEXT, "vocab_size": 128, "bos_token_id": 1, "eos_token_id": 3, **more}


def _qwen_pictures(patch: int) -> Any:
    cell = 4 * patch * patch
    return Qwen2VLImageProcessor(
        size={"shortest_edge": 4 * cell, "longest_edge": 64 * cell}, patch_size=patch
    )


def _save(folder: Path, model: Any, processor: Any) -> None:
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


def write_colqwen2(folder: Path) -> None:
    torch.manual_seed(0)
    config = Qwen2VLConfig(
        text_config=_qwen_text(rope_scaling={"type": "mrope", "mrope_section": [1, 1, 2]}),
        vision_config={"depth": 2, "embed_dim": 32, "hidden_size": 32, "num_heads": 2},
        **_QWEN_IDS,
    )
    processor = engine.ColQwen2Processor(
        _qwen_pictures(14), _qwen_tokenizer(), Qwen2VLVideoProcessor()
    )
    _save(folder, engine.ColQwen2(config), processor)


def write_colqwen2_5(folder: Path) -> None:
    torch.manual_seed(0)
    vision = {"depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2}
    config = Qwen2_5_VLConfig(
        text_config=_qwen_text(rope_scaling={"type": "mrope", "mrope_section": [1, 1, 2]}),
        vision_config={**vision, "out_hidden_size": 32, "fullatt_block_indexes": [1]},
        **_QWEN_IDS,
    )
    processor = engine.ColQwen2_5_Processor(
        _qwen_pictures(14), _qwen_tokenizer(), Qwen2VLVideoProcessor()
    )
    _save(folder, engine.ColQwen2_5(config), processor)


def write_colqwen3(folder: Path) -> None:
    torch.manual_seed(0)
    vision = {"depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2}
    config = Qwen3VLConfig(
        text_config=_qwen_text(
            head_dim=8, rope_scaling={"rope_type": "default", "mrope_section": [1, 1, 2]}
        ),
        vision_config={
            **vision,
            "out_hidden_size": 32,
            "num_position_embeddings": 64,
            "deepstack_visual_indexes": [0],
        },
        **_QWEN_IDS,
    )
    processor = engine.ColQwen3Processor(
        _qwen_pictures(16), _qwen_tokenizer(), Qwen3VLVideoProcessor()
    )
    _save(folder, engine.ColQwen3(config), processor)


def write_colpali(folder: Path) -> None:
    torch.manual_seed(0)
    specials = ("<unk>", "<pad>", "<bos>", "<eos>", "<image>")
    text = tokenizer(specials, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>")
    pictures = SiglipImageProcessor(size={"height": 112, "width": 112})
    pictures.image_seq_length = 64
    processor = engine.ColPaliProcessor(pictures, text)
    config = PaliGemmaConfig(
        text_config={**_TEXT, "model_type": "gemma", "vocab_size": 2048, "head_dim": 8},
        vision_config={
            "model_type": "siglip_vision_model",
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 112,
            "patch_size": 14,
        },
        projection_dim=32,
        image_token_index=4,
        hidden_size=32,
    )
    _save(folder, engine.ColPali(config), processor)


_TILE_TOKENS = (
    "<unk>",
    "<pad>",
    "<|im_start|>",
    "<|begin_of_text|>",
    "<fake_token_around_image>",
    "<image>",
    "<end_of_utterance>",
    "<global-img>",
    *(f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)),
)


def _tile_pictures() -> Any:
    return Idefics3ImageProcessor(
        size={"longest_edge": 192}, max_image_size={"longest_edge": 64}, do_image_splitting=True
    )


def _tile_tokenizer() -> Any:
    return tokenizer(_TILE_TOKENS, pad_token="<pad>", eos_token="<end_of_utterance>")


def _tile_vision() -> dict[str, Any]:
    return {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 64,
        "patch_size": 8,
    }


def write_colidefics3(folder: Path) -> None:
    torch.manual_seed(0)
    config = Idefics3Config(
        text_config={**_TEXT, "model_type": "llama", "vocab_size": 256, "pad_token_id": 1},
        vision_config=_tile_vision(),
        image_token_id=5,
        scale_factor=2,
        pad_token_id=1,
    )
    processor = engine.ColIdefics3Processor(_tile_pictures(), _tile_tokenizer(), image_seq_len=16)
    _save(folder, engine.ColIdefics3(config), processor)


def write_colmodernvbert(folder: Path) -> None:
    torch.manual_seed(0)
    config = ModernVBertConfig(
        text_config={
            "model_type": "modernbert",
            "vocab_size": 256,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "pad_token_id": 1,
            "bos_token_id": 2,
            "eos_token_id": 6,
            "cls_token_id": 2,
            "sep_token_id": 6,
        },
        vision_config={**_tile_vision(), "model_type": "siglip_vision_model"},
        image_token_id=5,
        pixel_shuffle_factor=2,
    )
    processor = engine.ColModernVBertProcessor(
        _tile_pictures(), _tile_tokenizer(), image_seq_len=16
    )
    _save(folder, engine.ColModernVBert(config), processor)


WRITERS: Mapping[str, Callable[[Path], None]] = {
    "colpali": write_colpali,
    "colqwen2": write_colqwen2,
    "colqwen2_5": write_colqwen2_5,
    "colqwen3": write_colqwen3,
    "colidefics3": write_colidefics3,
    "colmodernvbert": write_colmodernvbert,
}
