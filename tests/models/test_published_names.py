"""The full-size model, without its memory: names, shapes and what is trained are those of the published one."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from helpers.tiny import BERT, LLAMA_2_7B, build_tiny, llama_folder, tiny_config

from timechat.config import load_config
from timechat.models import TimeChat, build_model
from timechat.models.checkpoints import canonical_name, part_of, trainable_state_dict

NAMES = Path(__file__).parents[1] / "golden" / "published_names.json.gz"
QFORMER = {"Qformer", "query_tokens"}
VIDEO = {"video_Qformer", "video_query_tokens", "video_frame_position_embedding"}
ALWAYS_FROZEN = {"visual_encoder", "ln_vision", "llama_model"}
TRAINED = {*QFORMER, *VIDEO, "llama_proj", "LoRA"}


@pytest.fixture(scope="module")
def full_size(tmp_path_factory: pytest.TempPathFactory) -> TimeChat:
    """The published stage-2 model on the meta device."""
    folder = tmp_path_factory.mktemp("full")
    llama = llama_folder(folder / "llama", **LLAMA_2_7B)
    file = folder / "config.yaml"
    model = {"llama_model": str(llama), "qformer_tokenizer": str(BERT), "freeze_qformer": False}
    file.write_text(json.dumps({"model": model}))
    with torch.device("meta"):
        return build_model(load_config(file).model, load_weights=False)


@pytest.mark.parametrize(("key", "trainable"), [("trainable", True), ("frozen", False)])
def test_names_and_shapes(full_size: TimeChat, key: str, trainable: bool) -> None:
    published = json.loads(gzip.decompress(NAMES.read_bytes()))[key]
    named = full_size.named_parameters()
    ours = {canonical_name(n): list(p.shape) for n, p in named if p.requires_grad == trainable}
    assert ours == published


def test_sizes(full_size: TimeChat) -> None:
    """The numbers of the published stage-2 model."""
    assert sum(p.numel() for p in full_size.parameters() if p.requires_grad) == 241_392_384
    assert sum(p.numel() for p in full_size.parameters() if not p.requires_grad) == 7_724_312_960


def test_nothing_was_allocated(full_size: TimeChat) -> None:
    assert {p.device.type for p in full_size.parameters()} == {"meta"}


def test_precisions_of_the_published_size(full_size: TimeChat) -> None:
    """Half precision where nothing is trained, full precision where something is."""
    kinds = {part_of(canonical_name(n)): p.dtype for n, p in full_size.named_parameters()}
    assert kinds.pop("visual_encoder") == torch.float16
    assert kinds.pop("llama_model") in (torch.bfloat16, torch.float16)
    assert set(kinds.values()) == {torch.float32}


def test_buffers_are_those_of_published_checkpoints(full_size: TimeChat) -> None:
    parameters = {name for name, _ in full_size.named_parameters()}
    assert set(full_size.state_dict()) - parameters == {
        "Qformer.bert.embeddings.position_ids",
        "video_Qformer.bert.embeddings.position_ids",
    }


def test_what_is_saved_has_the_names_shapes_and_precisions_that_the_published_code_loads(full_size: TimeChat) -> None:
    """All of its trained parameters, its buffers, nothing else."""
    published = json.loads(gzip.decompress(NAMES.read_bytes()))["trainable"]
    buffers = {"Qformer.bert.embeddings.position_ids": [1, 512], "video_Qformer.bert.embeddings.position_ids": [1, 512]}
    saved = trainable_state_dict(full_size)
    assert {name: list(tensor.shape) for name, tensor in saved.items()} == published | buffers
    kinds = {name: tensor.dtype for name, tensor in saved.items()}
    assert {kinds.pop(name) for name in buffers} == {torch.int64}
    assert set(kinds.values()) == {torch.float32}


def parts(model: TimeChat, trainable: bool) -> set[str | None]:
    """Parts with at least one trainable (or frozen) parameter."""
    return {part_of(canonical_name(n)) for n, p in model.named_parameters() if p.requires_grad == trainable}


@pytest.mark.parametrize(
    ("options", "trained"),
    [
        ([], TRAINED),
        (["model.freeze_vit=false"], {*TRAINED, "visual_encoder", "ln_vision"}),
        (["model.freeze_qformer=true"], TRAINED - QFORMER),
        (["model.frozen_video_Qformer=true"], TRAINED - VIDEO),
        (["model.frozen_llama_proj=true"], TRAINED - {"llama_proj"}),
        (["model.lora_inference_mode=true"], TRAINED - {"LoRA"}),
        (["model.freeze_llama=false"], {*TRAINED, "llama_model"}),
        (["model.lora=false"], TRAINED - {"LoRA"}),
        (["model.lora=false", "model.freeze_llama=false"], {*TRAINED, "llama_model"} - {"LoRA"}),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, list) else "",
)
def test_each_switch_moves_its_part_whole(options: Sequence[str], trained: set[str]) -> None:
    """Names of the two Q-Formers, queries and positions go together; no part is trained by half."""
    model = build_model(tiny_config(options).model, load_weights=False)
    assert parts(model, True) == trained
    assert not parts(model, True) & parts(model, False)


def test_frozen_parts_stay_in_evaluation_mode_and_get_no_gradient() -> None:
    model = build_tiny(["model.freeze_qformer=true"]).train()
    modes = {name: {module.training for module in part.modules()} for name, part in model.named_children()}
    frozen = ("visual_encoder", "ln_vision", "Qformer")
    assert all(modes[name] == {False} for name in frozen)
    assert all(modes[name] == {True} for name in modes if name not in frozen)
    frames = torch.randint(0, 256, (4, 3, 56, 56), dtype=torch.uint8)
    model.encode_video([frames], [[0.0, 1.0, 2.0, 3.0]])[0].sum().backward()
    for name, p in model.named_parameters():
        assert p.requires_grad or p.grad is None, name
    assert model.video_query_tokens.grad is not None


def test_every_part_is_in_evaluation_mode_at_first_and_again_after_training() -> None:
    model = build_model(tiny_config().model, load_weights=False)
    assert not any(module.training for module in model.modules())
    assert not any(module.training for module in model.train().eval().modules())
