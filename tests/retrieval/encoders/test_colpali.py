"""The ColPali family through its real classes: geometry, batches, budgets, pins, bad input."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retrieval.encoders import load_encoder
from retrieval.errors import EncoderError
from retrieval.types import PageContent, PageWords

pytestmark = [pytest.mark.models, pytest.mark.timeout(300)]

FAMILIES = ("colpali", "colqwen2", "colqwen2_5", "colqwen3", "colidefics3", "colmodernvbert")
GRIDS = ("colqwen2", "colqwen2_5", "colqwen3")
Make = Callable[[str], Path]
_loaded: dict[str, Any] = {}


def page(image: Any, number: int = 0) -> PageContent:
    return PageContent(number, str(number + 1), 612, 792, PageWords.empty(), image=image)


def noise(height: int, width: int, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(90, 160, (height // 8 + 1, width // 8 + 1, 3))
    return coarse.repeat(8, 0).repeat(8, 1)[:height, :width].astype(np.uint8)


def encoder(checkpoint: Make, name: str) -> Any:
    if name not in _loaded:
        _loaded[name] = load_encoder(f"colpali:{checkpoint(name)}")
    return _loaded[name]


@pytest.mark.parametrize("name", FAMILIES)
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_mark_on_the_page_changes_the_patch_that_covers_it(
    checkpoint: Make, name: str, data: st.DataObject
) -> None:
    model = encoder(checkpoint, name)
    height = data.draw(st.sampled_from((200, 280, 400)), "height")
    width = data.draw(st.sampled_from((200, 280, 330)), "width")
    plain = noise(height, width)
    (before,) = model.encode_pages([page(plain)])
    cell = data.draw(st.integers(0, len(before.boxes) - 1), "cell")
    x0, y0, x1, y1 = before.boxes[cell]
    marked = plain.copy()
    # the cell's inside: resampling smears the rim into the neighbours
    rows = slice(round((0.8 * y0 + 0.2 * y1) * height), round((0.2 * y0 + 0.8 * y1) * height) + 1)
    columns = slice(round((0.8 * x0 + 0.2 * x1) * width), round((0.2 * x0 + 0.8 * x1) * width) + 1)
    marked[rows, columns] = (255, 0, 0)
    (after,) = model.encode_pages([page(marked)])
    changed = np.linalg.norm(after.vectors - before.vectors, axis=1)
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    # Attention with random weights can move one of the patches that look at this one even more.
    lit = after.boxes[np.argsort(-changed)[:3]]
    assert any(box[0] <= x <= box[2] and box[1] <= y <= box[3] for box in lit)


@pytest.mark.parametrize("name", FAMILIES)
def test_vectors_are_unit_and_boxes_cover_the_page(checkpoint: Make, name: str) -> None:
    model = encoder(checkpoint, name)
    (found,) = model.encode_pages([page(noise(300, 200))])
    assert found.vectors.shape == (len(found.boxes), model.dim)
    np.testing.assert_allclose(np.linalg.norm(found.vectors, axis=1), 1, atol=1e-5)
    assert found.boxes.min() == 0
    assert found.boxes.max() == 1
    area = np.prod(found.boxes[:, 2:] - found.boxes[:, :2], axis=1).sum()
    # every spot once; with tiles, once by a tile and once by the picture of the whole page
    assert area == pytest.approx(2 if "grid" not in model._family.places.__name__ else 1, rel=1e-3)


@pytest.mark.parametrize("name", FAMILIES)
def test_embeddings_do_not_depend_on_the_batch(checkpoint: Make, name: str) -> None:
    pages = [page(noise(*size, seed), seed) for seed, size in enumerate([(300, 200)] * 3)]
    pages += [page(noise(200, 300, 9), 3), page(None, 4), page(noise(300, 200, 7), 5)]
    one = load_encoder(f"colpali:{checkpoint(name)}?batch=1").encode_pages(pages)
    many = load_encoder(f"colpali:{checkpoint(name)}?batch=8").encode_pages(pages)
    for alone, together in zip(one, many, strict=True):
        np.testing.assert_array_equal(alone.boxes, together.boxes)
        np.testing.assert_allclose(alone.vectors, together.vectors, atol=2e-6)
    assert len(one[4].vectors) == 0
    assert not np.allclose(one[0].vectors, one[1].vectors)


@pytest.mark.parametrize("name", FAMILIES)
def test_questions_have_a_vector_and_a_token_each(checkpoint: Make, name: str) -> None:
    model = encoder(checkpoint, name)
    question, longer, empty = model.encode_queries(["what is it?", "how much is it, then?", "  "])
    assert question.vectors.shape == (len(question.tokens), model.dim)
    assert question.weights.sum() == pytest.approx(1)
    assert "w" in question.tokens
    assert len(longer.tokens) > len(question.tokens)
    assert empty.tokens == ()
    again, _ = model.encode_queries(["what is it?", "x"])
    np.testing.assert_array_equal(question.vectors, again.vectors)


@pytest.mark.parametrize("name", GRIDS)
def test_the_budget_is_kept_and_fingerprinted(checkpoint: Make, name: str) -> None:
    whole = encoder(checkpoint, name)
    cell = 32 if name == "colqwen3" else 28
    small = load_encoder(f"colpali:{checkpoint(name)}?max_pixels={20 * cell * cell}")
    image = noise(1100, 850)
    (before,), (after,) = whole.encode_pages([page(image)]), small.encode_pages([page(image)])
    assert len(after.vectors) <= 20 < len(before.vectors) <= 64
    assert small.fingerprint != whole.fingerprint
    assert small.id.endswith(f"?max_pixels={20 * cell * cell}")
    assert load_encoder(small.id).fingerprint == small.fingerprint


def test_a_budget_for_tiles_is_a_number_of_tiles(checkpoint: Make) -> None:
    folder = checkpoint("colidefics3")
    small = load_encoder(f"colpali:{folder}?max_pixels={130 * 130}")
    (found,) = small.encode_pages([page(noise(400, 400))])
    assert len(found.vectors) == (2 * 2 + 1) * 16
    with pytest.raises(EncoderError, match="at least 4096"):
        load_encoder(f"colpali:{folder}?max_pixels=4000")


def test_a_budget_that_would_change_nothing_is_refused(checkpoint: Make) -> None:
    with pytest.raises(EncoderError, match="112 x 112: max_pixels would change nothing"):
        load_encoder(f"colpali:{checkpoint('colpali')}?max_pixels=100000")


def test_an_adapter_is_loaded_on_the_model_it_names(checkpoint: Make, tmp_path: Path) -> None:
    import colpali_engine.models as engine
    import torch
    from peft import LoraConfig, get_peft_model

    base = checkpoint("colqwen2")
    model = engine.ColQwen2.from_pretrained(base)
    model.name_or_path = str(base)
    torch.manual_seed(1)
    lora = LoraConfig(
        r=2,
        init_lora_weights=False,
        target_modules=r"(.*language_model.*(q_proj|v_proj)|.*custom_text_proj)$",
    )
    adapted = get_peft_model(model, lora)
    adapted.peft_config["default"].base_model_name_or_path = str(base)
    adapted.save_pretrained(tmp_path)
    with_adapter = load_encoder(f"colpali:{tmp_path}")
    plain = encoder(checkpoint, "colqwen2")
    image = noise(200, 200)
    (mine,) = with_adapter.encode_pages([page(image)])
    (theirs,) = plain.encode_pages([page(image)])
    assert with_adapter.fingerprint != plain.fingerprint
    assert not np.allclose(mine.vectors, theirs.vectors, atol=1e-3)
    with torch.inference_mode():
        processor = engine.ColQwen2Processor.from_pretrained(base)
        from PIL import Image

        inputs = processor.process_images([Image.fromarray(image)])
        straight = adapted.eval()(**inputs)[0]
        kept = straight[inputs["input_ids"][0] == processor.image_token_id].numpy()
    np.testing.assert_allclose(mine.vectors, kept, atol=1e-5)


def test_weights_that_changed_are_another_encoder(checkpoint: Make, tmp_path: Path) -> None:
    first = encoder(checkpoint, "colqwen2")
    copy = tmp_path / "copy"
    shutil.copytree(checkpoint("colqwen2"), copy)
    assert load_encoder(f"colpali:{copy}").fingerprint == first.fingerprint
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "note": "changed"}))
    assert load_encoder(f"colpali:{copy}").fingerprint != first.fingerprint


def test_a_checkpoint_that_lacks_weights_is_refused(checkpoint: Make, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    copy = tmp_path / "copy"
    shutil.copytree(checkpoint("colqwen2"), copy)
    weights = load_file(copy / "model.safetensors")
    kept = {name: value for name, value in weights.items() if "custom_text_proj" not in name}
    save_file(kept, copy / "model.safetensors", {"format": "pt"})
    with pytest.raises(EncoderError, match="lacks 2 weights of a ColQwen2"):
        load_encoder(f"colpali:{copy}")
    (copy / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(EncoderError, match="cannot be loaded"):
        load_encoder(f"colpali:{copy}")
    (copy / "model.safetensors").unlink()
    with pytest.raises(EncoderError, match="has no weights"):
        load_encoder(f"colpali:{copy}")
    (copy / "config.json").write_text('{"model_type": "bert"}')
    (copy / "model.safetensors").write_bytes(b"")
    with pytest.raises(EncoderError, match="of type 'bert'"):
        load_encoder(f"colpali:{copy}")
    (copy / "config.json").write_text('{"model_type": "colqwen2"}')
    with pytest.raises(EncoderError, match="no -hf at its end"):
        load_encoder(f"colpali:{copy}")


def test_the_hub_is_not_asked_when_offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(EncoderError, match="not in the hub's cache"):
        load_encoder("colpali:vidore/colqwen2-v1.0")


def test_a_cached_hub_model_is_pinned_to_its_commit(
    checkpoint: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import huggingface_hub.constants
    from huggingface_hub import file_download

    commit = "0123456789abcdef0123456789abcdef01234567"
    cache = tmp_path / "models--someone--tiny"
    shutil.copytree(checkpoint("colqwen2"), cache / "snapshots" / commit)
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text(commit)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    for module in (huggingface_hub.constants, file_download):
        monkeypatch.setattr(module, "HF_HUB_CACHE", str(tmp_path), raising=False)
    found = load_encoder("colpali:someone/tiny")
    assert found.id == f"colpali:someone/tiny@{commit}"
    assert load_encoder(found.id).fingerprint == found.fingerprint
    assert found.fingerprint == encoder(checkpoint, "colqwen2").fingerprint


def test_devices_that_are_not_there_are_refused(checkpoint: Make) -> None:
    import torch

    folder = checkpoint("colqwen2")
    if not torch.cuda.is_available():
        with pytest.raises(EncoderError, match="device=cuda: torch sees no such device"):
            load_encoder(f"colpali:{folder}?device=cuda")
    with pytest.raises(EncoderError, match="dtype=int4"):
        load_encoder(f"colpali:{folder}?dtype=int4")
    half = load_encoder(f"colpali:{folder}?dtype=bfloat16&device=cpu")
    assert half.fingerprint == encoder(checkpoint, "colqwen2").fingerprint
    (a,) = half.encode_pages([page(noise(200, 200))])
    (b,) = encoder(checkpoint, "colqwen2").encode_pages([page(noise(200, 200))])
    assert (a.vectors * b.vectors).sum(axis=1).min() > 0.99


def test_a_question_that_finds_no_memory(checkpoint: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked once more when torch's spare blocks are given back; then an error that says so."""
    model = encoder(checkpoint, "colqwen2")
    (before,) = model.encode_queries(["how much"])
    inner, full = model._model, [True]

    def sometimes(**inputs: Any) -> Any:
        if full and full.pop():
            raise MemoryError
        return inner(**inputs)

    monkeypatch.setattr(model, "_model", sometimes)
    (again,) = model.encode_queries(["how much"])
    np.testing.assert_array_equal(again.vectors, before.vectors)
    full.extend((True, True))
    with pytest.raises(EncoderError, match="no memory left for a question"):
        model.encode_queries(["how much"])
