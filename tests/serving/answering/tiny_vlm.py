"""Tiny vision-language checkpoints, random but for what they say: one fixed reply.

Layouts, processors and templates are those of the published families; only sizes are small. The
blocks' outputs are zeroed and the head is set by hand, so that each piece of the reply follows
the one before, whatever the prompt: what is tested is loading, prompting, streaming and stopping.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoModelForImageTextToText,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
    SmolVLMConfig,
    SmolVLMImageProcessor,
    SmolVLMProcessor,
    SmolVLMVideoProcessor,
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
_QWEN_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% else %}{{ c['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_SMOL_TOKENS = (
    "<unk>",
    "<pad>",
    "<|im_start|>",
    "<fake_token_around_image>",
    "<image>",
    "<end_of_utterance>",
    "<global-img>",
    *(f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)),
)
_SMOL_TEMPLATE = (
    "<|im_start|>{% for m in messages %}{{ m['role'] | capitalize }}:{% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}<image>{% else %}{{ c['text'] }}{% endif %}{% endfor %}"
    "<end_of_utterance>\n{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"
)
_TEXT = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "tie_word_embeddings": False,
}


def _tokenizer(specials: Sequence[str], reply: Sequence[str], **roles: str) -> Any:
    """Single characters, ``specials`` and the pieces of the reply; ids are their places."""
    characters = [chr(code) for code in range(32, 127)]
    listed = [*specials, *characters, "\n", *(f"{i}\0{piece}" for i, piece in enumerate(reply))]
    cut = Tokenizer(models.WordLevel({t: i for i, t in enumerate(listed)}, unk_token=specials[0]))
    cut.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    # Pieces are numbered, so that the same text twice is two tokens; the number is not shown.
    cut.decoder = decoders.Sequence(
        [*(decoders.Replace(f"{i}\0", "") for i in range(len(reply))), decoders.Fuse()]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=cut,
        additional_special_tokens=list(specials),
        unk_token=specials[0],
        **roles,
    )


def _say(model: Any, tokenizer: Any, after: str, reply: Sequence[str], end: str | None) -> None:
    """Make ``reply`` follow the character ``after``; without ``end`` the last piece repeats."""
    chain = [after, *(f"{i}\0{piece}" for i, piece in enumerate(reply))]
    ids = [tokenizer.convert_tokens_to_ids(token) for token in chain]
    following = [*ids[1:], ids[-1] if end is None else tokenizer.convert_tokens_to_ids(end)]
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj.weight")) and "visual" not in name:
                weight.zero_()
        embeddings = model.get_input_embeddings().weight
        head = model.get_output_embeddings().weight
        head.zero_()
        for place, (token, next_token) in enumerate(zip(ids, following, strict=True)):
            embeddings[token].zero_()
            embeddings[token, place] = 1.0
            head[next_token, place] = 10.0


def write_qwen(folder: Path, reply: Sequence[str], end: bool = True, window: int = 32768) -> None:
    """A Qwen2.5-VL."""
    torch.manual_seed(0)
    tokenizer = _tokenizer(_QWEN_TOKENS, reply, pad_token="<|endoftext|>", eos_token="<|im_end|>")
    vision = {"depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2}
    config = Qwen2_5_VLConfig(
        text_config={
            **_TEXT,
            "vocab_size": len(tokenizer),
            "max_position_embeddings": window,
            "bos_token_id": 1,
            "eos_token_id": 3,
            "rope_scaling": {"type": "mrope", "mrope_section": [1, 1, 2]},
        },
        vision_config={**vision, "out_hidden_size": 32, "fullatt_block_indexes": [1]},
        tie_word_embeddings=False,
        image_token_id=6,
        video_token_id=7,
        vision_start_token_id=4,
        vision_end_token_id=5,
    )
    pictures = Qwen2VLImageProcessor(
        size={"shortest_edge": 4 * 784, "longest_edge": 64 * 784}, patch_size=14
    )
    processor = Qwen2_5_VLProcessor(
        pictures, tokenizer, Qwen2VLVideoProcessor(), chat_template=_QWEN_TEMPLATE
    )
    model = AutoModelForImageTextToText.from_config(config)
    _say(model, tokenizer, "\n", reply, "<|im_end|>" if end else None)
    model.generation_config.eos_token_id = 3
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


def write_smolvlm(
    folder: Path, reply: Sequence[str], end: bool = True, window: int = 32768
) -> None:
    """A SmolVLM."""
    torch.manual_seed(0)
    tokenizer = _tokenizer(_SMOL_TOKENS, reply, pad_token="<pad>", eos_token="<end_of_utterance>")
    config = SmolVLMConfig(
        text_config={
            **_TEXT,
            "model_type": "llama",
            "vocab_size": len(tokenizer),
            "max_position_embeddings": window,
            "pad_token_id": 1,
            "eos_token_id": 5,
        },
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 64,
            "patch_size": 8,
        },
        tie_word_embeddings=False,
        image_token_id=4,
        scale_factor=2,
        pad_token_id=1,
    )
    pictures = SmolVLMImageProcessor(
        size={"longest_edge": 192}, max_image_size={"longest_edge": 64}, do_image_splitting=True
    )
    processor = SmolVLMProcessor(
        pictures,
        tokenizer,
        SmolVLMVideoProcessor(),
        image_seq_len=16,
        chat_template=_SMOL_TEMPLATE,
    )
    model = AutoModelForImageTextToText.from_config(config)
    _say(model, tokenizer, ":", reply, "<end_of_utterance>" if end else None)
    model.generation_config.eos_token_id = 5
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


WRITERS: Mapping[str, Callable[..., None]] = {"qwen": write_qwen, "smolvlm": write_smolvlm}
