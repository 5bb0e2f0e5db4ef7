"""Reading, matching and writing weights: every key of every file is accounted for."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from helpers.tiny import WEIGHTS, build_tiny, tiny_config
from timm.layers import resample_abs_pos_embed
from torch import Tensor

from timechat.errors import CheckpointError
from timechat.models import TimeChat, build_model
from timechat.models.checkpoints import (
    canonical_name,
    load_configured_weights,
    load_weights,
    part_of,
    save_file,
    trainable_state_dict,
    weight_path,
)
from timechat.models.weight_files import read_file, state_dict_of

State = dict[str, Tensor]


@pytest.fixture
def model() -> TimeChat:
    """The tiny model with random weights."""
    return build_model(tiny_config().model, load_weights=False)


@pytest.fixture(scope="module")
def golden_state() -> State:
    """All tensors of the golden file, by published name."""
    return torch.load(WEIGHTS, weights_only=True)["model"]


def own(model: TimeChat) -> State:
    """The model's tensors by published name."""
    return {canonical_name(name): tensor for name, tensor in model.state_dict().items()}


def of_parts(state: State, *parts: str) -> State:
    """The keys of some parts."""
    return {name: tensor for name, tensor in state.items() if part_of(name) in parts}


# Reading --------------------------------------------------------------------------------------------------------------


class Hostile:
    """Unpickling it would make a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, str]]:
        return open, (str(self.path), "w")


@pytest.mark.parametrize("protocol", ["torch", "pickle"])
def test_code_in_a_file_is_refused_and_not_run(tmp_path: Path, protocol: str) -> None:
    path, trace = tmp_path / "bad.pth", tmp_path / "executed"
    if protocol == "torch":
        torch.save({"model": Hostile(trace)}, path)
    else:
        path.write_bytes(pickle.dumps({"model": Hostile(trace)}))
    with pytest.raises(CheckpointError, match=r"model\.ckpt=.*bad\.pth: refused"):
        read_file(path, "model.ckpt")
    assert not trace.exists()


def test_missing_file_names_key_path_and_fix(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"model\.ckpt=.*gone\.pth: no such file; .*leave model\.ckpt out"):
        read_file(tmp_path / "gone.pth", "model.ckpt")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("content", [b"", b"hello, I am a text\n", b"\x80", b"PK\x03\x04", b"\x00" * 64, None])
def test_files_that_are_no_checkpoints(tmp_path: Path, content: bytes | None, suffix: str) -> None:
    """None stands for a folder."""
    path = tmp_path / f"weights{suffix}"
    path.mkdir() if content is None else path.write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"model\.ckpt=.*weights\{suffix}"):
        read_file(path, "model.ckpt")


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_damaged_files_raise_nothing_else(tmp_path: Path, suffix: str, legacy: bool) -> None:
    """Cut at many lengths, and with bytes turned over: a checkpoint, or a CheckpointError."""
    path = tmp_path / f"weights{suffix}"
    state = {"a": torch.arange(4.0), "b": torch.ones(2, 2)}
    if suffix == ".pth":
        torch.save({"model": state}, path, _use_new_zipfile_serialization=not legacy)
    else:
        safetensors.torch.save_file(state, path)
    good = path.read_bytes()
    generator = torch.Generator().manual_seed(0)
    failures = 0
    for i in range(120):
        damaged = bytearray(good[: len(good) * i // 60] if i < 60 else good)
        for at in torch.randint(len(good), (3 * (i >= 60),), generator=generator).tolist():
            damaged[at] ^= 0xFF
        path.write_bytes(damaged)
        try:
            state_dict_of(read_file(path, "model.ckpt"), "model.ckpt")
        except CheckpointError:
            failures += 1
    assert failures >= 60


def test_not_a_dict(tmp_path: Path) -> None:
    torch.save([torch.ones(1)], tmp_path / "list.pth")
    with pytest.raises(CheckpointError, match="contains a list, not a dict of tensors"):
        read_file(tmp_path / "list.pth", "model.ckpt")


@pytest.mark.parametrize(
    "content", [{}, {"model": {}}, {"model": 3}, {"model": {"a": "text"}}, {"a": torch.ones(1), "epoch": 3}]
)
def test_a_dict_of_something_else(content: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError, match=r"x\.pth: expected tensors by name, found"):
        state_dict_of(content, "x.pth")


def test_tensors_stand_under_model_or_bare() -> None:
    state = {"a": torch.ones(1)}
    assert state_dict_of({"model": state, "epoch": 3}, "") is state
    assert state_dict_of(state, "") is state


# Matching -------------------------------------------------------------------------------------------------------------


def test_the_golden_file_is_loaded_whole(model: TimeChat, golden_state: State) -> None:
    report = load_weights(model, golden_state, "x.pth")
    buffers = {"Qformer.bert.embeddings.position_ids", "video_Qformer.bert.embeddings.position_ids"}
    assert set(report.loaded) == set(golden_state) - buffers
    assert set(report.buffers) == buffers
    assert not report.unused + report.foreign + report.unexpected + report.resized
    mine = own(model)
    assert all(torch.equal(mine[name], golden_state[name]) for name in golden_state)


def test_names_of_newer_peft_are_understood(model: TimeChat, golden_state: State) -> None:
    """The layers that LoRA wraps are called `base_layer` there, and here in memory."""
    newer = {name: golden_state[canonical_name(name)] for name in model.state_dict()}
    assert any(".base_layer." in name for name in newer)
    load_weights(model, newer, "x.pth")
    assert torch.equal(own(model)["query_tokens"], golden_state["query_tokens"])
    wrapped = "llama_model.base_model.model.model.layers.0.self_attn.q_proj.weight"
    assert torch.equal(own(model)[wrapped], golden_state[wrapped])


def test_buffers_change_nothing(model: TimeChat, golden_state: State) -> None:
    """A file may carry buffers of another size, and those of libraries of old."""
    odd = {
        "Qformer.bert.embeddings.position_ids": torch.zeros(1, 512),
        "llama_model.base_model.model.model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(8),
        "visual_encoder.blocks.0.attn.relative_position_index": torch.ones(3, 3),
    }
    report = load_weights(model, golden_state | odd, "x.pth")
    assert set(odd) <= set(report.buffers)
    assert own(model)["Qformer.bert.embeddings.position_ids"].tolist() == [list(range(64))]


def test_keys_of_other_models_are_listed(
    model: TimeChat, golden_state: State, caplog: pytest.LogCaptureFixture
) -> None:
    """A Video-LLaMA file has an audio branch; BLIP-2's has the head of BERT."""
    foreign = {"audio_encoder.proj.weight": torch.ones(2), "Qformer.cls.predictions.bias": torch.ones(3)}
    with caplog.at_level(logging.INFO, "timechat"):
        report = load_weights(model, of_parts(golden_state, "query_tokens") | foreign, "x.pth")
    assert report.foreign == list(foreign)
    assert "x.pth: 1 tensors loaded, 2 foreign (foreign: Qformer.cls, audio_encoder.proj)" in caplog.text


def test_everything_that_does_not_fit_stands_in_one_error(model: TimeChat, golden_state: State) -> None:
    state = of_parts(golden_state, "llama_proj", "Qformer", "query_tokens", "LoRA")
    del state["llama_proj.bias"]
    del state["Qformer.bert.encoder.layer.1.output.dense.weight"]
    state["query_tokens"] = torch.ones(1, 9, 48)
    state["Qformer.bert.encoder.layer.9.output.dense.weight"] = torch.ones(2)
    with pytest.raises(CheckpointError) as caught:
        load_weights(model, state, "model.ckpt=x.pth")
    message = str(caught.value)
    assert message.startswith("model.ckpt=x.pth: does not fit the model:")
    assert "misshapen: query_tokens is [1, 9, 48] in the file, [1, 8, 48] in the model" in message
    missing = next(line for line in message.splitlines() if "missing:" in line)
    assert "llama_proj.bias" in missing
    assert "Qformer.bert.encoder.layer.1.output.dense.weight" in missing
    assert missing.count(",") == 1
    assert "unexpected: Qformer.bert.encoder.layer.9.output.dense.weight (model.allow_unexpected=true" in message


def test_allow_unexpected_warns_and_allows_nothing_else(
    model: TimeChat, golden_state: State, caplog: pytest.LogCaptureFixture
) -> None:
    state = of_parts(golden_state, "llama_proj") | {"llama_proj.scale": torch.ones(2)}
    load_weights(model, state, "x.pth", allow_unexpected=True)
    assert "x.pth: unexpected: llama_proj.scale" in caplog.text
    del state["llama_proj.bias"]
    with pytest.raises(CheckpointError, match=r"missing: llama_proj\.bias$"):
        load_weights(model, state, "x.pth", allow_unexpected=True)


def test_lora_in_the_file_but_not_in_the_model(golden_state: State) -> None:
    """Weights that would be lost silently are an error."""
    model = build_model(tiny_config(["model.lora=false"]).model, load_weights=False)
    with pytest.raises(CheckpointError, match=r"unexpected: llama_model.*lora_A"):
        load_weights(model, of_parts(golden_state, "LoRA"), "x.pth")


def test_what_blip_2_cuts_off_is_unused(model: TimeChat, golden_state: State) -> None:
    """The ViT's file has a last block, a norm and a head; one block more is a file for another depth."""
    vit = of_parts(golden_state, "visual_encoder")
    cut = {"visual_encoder.blocks.3.norm1.weight": torch.ones(88), "visual_encoder.head.weight": torch.ones(2, 88)}
    cut |= {"visual_encoder.norm.weight": torch.ones(88), "visual_encoder.fc_norm.bias": torch.ones(88)}
    assert set(load_weights(model, vit | cut, "x.pth").unused) == set(cut)
    with pytest.raises(CheckpointError, match=r"unexpected: visual_encoder\.blocks\.4"):
        load_weights(model, vit | {"visual_encoder.blocks.4.norm1.weight": torch.ones(88)}, "x.pth")


def test_a_vit_that_is_one_block_too_short_is_an_error(model: TimeChat, golden_state: State) -> None:
    vit = {n: t for n, t in of_parts(golden_state, "visual_encoder").items() if ".blocks.2." not in n}
    with pytest.raises(CheckpointError, match=r"missing: visual_encoder\.blocks\.2"):
        load_weights(model, vit, "x.pth")


def test_without_text_input_the_text_path_of_the_file_is_unused(golden_state: State) -> None:
    model = build_model(tiny_config(["model.qformer_text_input=false"]).model, load_weights=False)
    report = load_weights(model, of_parts(golden_state, "Qformer"), "x.pth")
    text = (".word_embeddings.", ".position_embeddings.", ".intermediate.", ".output.dense.", ".output.LayerNorm.")
    assert all(any(mark in name for mark in text) and ".attention." not in name for name in report.unused)
    assert len(report.unused) == 2 + 4 * 6


def test_with_text_input_the_text_path_must_be_there(model: TimeChat, golden_state: State) -> None:
    state = of_parts(golden_state, "Qformer")
    del state["Qformer.bert.embeddings.word_embeddings.weight"]
    with pytest.raises(CheckpointError, match=r"missing: Qformer\.bert\.embeddings\.word_embeddings\.weight"):
        load_weights(model, state, "x.pth")


def test_half_precision_files_load_into_the_precision_of_the_model(model: TimeChat, golden_state: State) -> None:
    load_weights(model, {"query_tokens": golden_state["query_tokens"].half()}, "x.pth")
    assert model.query_tokens.dtype == torch.float32
    assert torch.equal(model.query_tokens, golden_state["query_tokens"].half().float())


# Resizing -------------------------------------------------------------------------------------------------------------


def test_image_positions_are_interpolated_for_another_size(golden_state: State) -> None:
    model = build_model(tiny_config(["model.image_size=84"]).model, load_weights=False)
    report = load_weights(model, of_parts(golden_state, "visual_encoder"), "x.pth")
    assert report.resized == ["visual_encoder.pos_embed"]
    old, new = golden_state["visual_encoder.pos_embed"], model.visual_encoder.pos_embed
    assert new.shape == (1, 1 + 6 * 6, 88)
    assert torch.equal(new[:, 0], old[:, 0])
    assert torch.equal(new, resample_abs_pos_embed(old, [6, 6], num_prefix_tokens=1, antialias=False))


@pytest.mark.parametrize("shape", [(1, 7, 88), (1, 1, 88), (1, 10, 80), (17, 88), (2, 10, 88)])
def test_image_positions_that_are_no_square_grid_are_misshapen(
    model: TimeChat, golden_state: State, shape: tuple[int, ...]
) -> None:
    state = of_parts(golden_state, "visual_encoder") | {"visual_encoder.pos_embed": torch.ones(shape)}
    with pytest.raises(CheckpointError, match=r"misshapen: visual_encoder\.pos_embed"):
        load_weights(model, state, "x.pth")


@pytest.mark.parametrize(("positions", "expected"), [(24, [i // 2 for i in range(24)]), (6, range(0, 12, 2))])
def test_frame_positions_are_repeated_or_thinned(golden_state: State, positions: int, expected: list[int]) -> None:
    """Nearest neighbour, as the published code does it."""
    options = [f"model.max_frame_pos={positions}"]
    model = build_model(tiny_config(options).model, load_weights=False)
    name = "video_frame_position_embedding.weight"
    assert load_weights(model, {name: golden_state[name]}, "x.pth").resized == [name]
    assert torch.equal(model.video_frame_position_embedding.weight, golden_state[name][list(expected)])


def test_other_shapes_are_never_resized(model: TimeChat) -> None:
    with pytest.raises(CheckpointError, match=r"misshapen: video_frame_position_embedding\.weight is \[12, 40\]"):
        load_weights(model, {"video_frame_position_embedding.weight": torch.ones(12, 40)}, "x.pth")


# Configured files -----------------------------------------------------------------------------------------------------


def write(path: Path, state: State, bare: bool = False) -> str:
    """Save a state dict; returns the path as text."""
    torch.save(state if bare else {"model": state}, path)
    return str(path)


def constant(state: State, value: float) -> State:
    """The same names and shapes, filled with one number."""
    return {name: torch.full_like(tensor, value) for name, tensor in state.items()}


def test_files_are_loaded_in_the_published_order_and_each_for_its_parts(tmp_path: Path, golden_state: State) -> None:
    """ViT, Q-Former, projection, then whole checkpoints: the later file wins."""
    ours = {n: t for n, t in golden_state.items() if not n.endswith("position_ids")}
    prefix = "visual_encoder."
    vit = {n.removeprefix(prefix): t for n, t in constant(of_parts(ours, "visual_encoder"), 1).items()}
    every = {key: write(tmp_path / f"{key}.pth", constant(ours, value)) for key, value in (("q", 2), ("proj", 3))}
    options = [
        f"model.vit_model={write(tmp_path / 'vit.pth', vit, bare=True)}",
        f"model.q_former_model={every['q']}",
        f"model.llama_proj_model={every['proj']}",
        f"model.ckpt={write(tmp_path / 'ckpt.pth', constant(of_parts(ours, 'LoRA', 'video_Qformer'), 4))}",
        f"model.ckpt_2={write(tmp_path / 'ckpt_2.pth', constant(of_parts(ours, 'video_Qformer', 'query_tokens'), 5))}",
    ]
    found: dict[str | None, set[float]] = {}
    for name, p in build_tiny(options).named_parameters():
        found.setdefault(part_of(canonical_name(name)), set()).update(p.flatten()[:3].tolist())
    initial = {part: found.pop(part) for part in ("video_query_tokens", "video_frame_position_embedding")}
    del found["llama_model"]
    assert found == {
        "visual_encoder": {1.0},
        "ln_vision": {2.0},
        "Qformer": {2.0},
        "llama_proj": {3.0},
        "LoRA": {4.0},
        "video_Qformer": {5.0},
        "query_tokens": {5.0},
    }
    assert not any(value in {1.0, 2.0, 3.0, 4.0, 5.0} for values in initial.values() for value in values)


def test_the_frame_encoder_may_come_from_a_checkpoint_of_the_model(tmp_path: Path, golden_state: State) -> None:
    """With its norm, and without anything else of that checkpoint."""
    ours = {n: t for n, t in golden_state.items() if not n.endswith("position_ids")}
    other = write(tmp_path / "other.pth", constant(ours, 2))
    found: dict[str | None, set[float]] = {}
    for name, p in build_tiny([f"model.vit_model={other}", "model.ckpt="]).named_parameters():
        found.setdefault(part_of(canonical_name(name)), set()).update(p.flatten()[:3].tolist())
    assert found["visual_encoder"] == found["ln_vision"] == {2.0}
    assert not any(2.0 in found[part] for part in ("Qformer", "query_tokens", "video_Qformer", "llama_proj"))


def test_ckpt_wins_over_the_files_before_it(tmp_path: Path, golden_state: State) -> None:
    queries = of_parts(golden_state, "query_tokens")
    options = [
        f"model.q_former_model={write(tmp_path / 'q.pth', constant(queries, 2))}",
        f"model.ckpt={write(tmp_path / 'c.pth', constant(queries, 4))}",
    ]
    assert build_tiny(options).query_tokens.unique().tolist() == [4.0]


def test_parts_that_no_file_gave_are_named(
    tmp_path: Path, golden_state: State, caplog: pytest.LogCaptureFixture
) -> None:
    build_tiny([f"model.ckpt={write(tmp_path / 'c.pth', of_parts(golden_state, 'query_tokens', 'LoRA', 'Qformer'))}"])
    assert (
        "no weight file contains llama_proj, ln_vision, video_Qformer, video_frame_position_embedding, "
        "video_query_tokens, visual_encoder: they keep their random initial values"
    ) in caplog.text


def test_a_file_of_another_model_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path / "resnet.pth", {"layer1.0.conv1.weight": torch.ones(2)}, bare=True)
    with pytest.raises(CheckpointError, match=r"model\.ckpt=.*resnet\.pth: none of its 1 tensors belongs to TimeChat"):
        build_tiny([f"model.ckpt={path}"])


def test_eva_clip_g_stands_for_its_published_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match=r"model\.vit_model=ckpt/blip2/eva_vit_g\.pth: no such file"):
        build_tiny(["model.vit_model=eva_clip_g"])


@pytest.mark.parametrize(("named", "other"), [("blip2", "eva-vit-g"), ("eva-vit-g", "blip2")])
@pytest.mark.parametrize("absolute", [False, True])
def test_the_frame_encoder_is_looked_for_in_both_published_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str, other: str, absolute: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "mine" if absolute else Path("ckpt")
    path, there = (root / folder / "eva_vit_g.pth" for folder in (named, other))
    with pytest.raises(CheckpointError) as missing:
        build_tiny([f"model.vit_model={path}"])
    assert f"no such file; get it with: curl -L --create-dirs -o {path} https://storage.googleapis.com/" in str(
        missing.value
    )
    there.parent.mkdir(parents=True)
    there.touch()
    with pytest.raises(CheckpointError) as moved:
        build_tiny([f"model.vit_model={path}"])
    assert f"no such file; it exists as {there}: set model.vit_model={there}; " in str(moved.value)
    assert "curl" not in str(moved.value)
    if not absolute:  # the short name means the one that is there
        assert weight_path("eva_clip_g") == str(there)
        with pytest.raises(CheckpointError, match=f"model.vit_model={there}: not a readable checkpoint"):
            build_tiny(["model.vit_model=eva_clip_g"])


def test_reports_come_back_for_each_file(model: TimeChat) -> None:
    reports = load_configured_weights(model, tiny_config().model)
    assert [report.source for report in reports] == [f"model.ckpt={WEIGHTS}"]


# Writing --------------------------------------------------------------------------------------------------------------


def test_trainable_state_dict_is_what_is_trained_and_the_buffers() -> None:
    model = build_tiny(["model.freeze_qformer=true"])
    trained = {canonical_name(n) for n, p in model.named_parameters() if p.requires_grad}
    assert set(trainable_state_dict(model)) == trained | {
        "Qformer.bert.embeddings.position_ids",
        "video_Qformer.bert.embeddings.position_ids",
    }
    assert not any(part_of(name) in ("Qformer", "visual_encoder", "llama_model") for name in trained)


def test_saved_and_loaded_again_is_bit_equal(tmp_path: Path) -> None:
    """Also for a decoder that is trained whole, whose wrapped layers have longer names in memory."""
    options = ["model.freeze_llama=false"]
    model = build_tiny(options)
    with torch.no_grad():
        for p in model.parameters():
            if p.requires_grad:
                p.add_(torch.randn_like(p))
    path = tmp_path / "runs" / "checkpoint_0.pth"
    save_file({"model": trainable_state_dict(model), "epoch": 0}, path)
    assert not any(".base_layer." in name for name in torch.load(path, weights_only=True)["model"])
    again = build_tiny([*options, f"model.ckpt_2={path}"])
    assert {n: (t - own(again)[n]).abs().max().item() for n, t in own(model).items()} == dict.fromkeys(own(model), 0.0)


def test_a_failed_save_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "c.pth"
    save_file({"model": torch.ones(1)}, path)
    before = path.read_bytes()
    with pytest.raises((AttributeError, pickle.PicklingError)):
        save_file({"model": torch.zeros(1000), "bad": lambda: None}, path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["c.pth"]


def test_a_save_replaces_the_old_file(tmp_path: Path) -> None:
    for value in (1, 2):
        save_file({"value": value}, tmp_path / "c.pth")
    assert read_file(tmp_path / "c.pth", "") == {"value": 2}


def test_safetensors_are_read_too(tmp_path: Path, golden_state: State) -> None:
    path = tmp_path / "c.safetensors"
    safetensors.torch.save_file(of_parts(golden_state, "query_tokens"), path)
    assert torch.equal(build_tiny([f"model.ckpt={path}"]).query_tokens, golden_state["query_tokens"])


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("Qformer.bert.encoder.layer.0.output.dense.weight", "Qformer"),
        ("Qformer.cls.predictions.bias", None),
        ("video_Qformer.bert.embeddings.LayerNorm.bias", "video_Qformer"),
        ("llama_model.base_model.model.lm_head.weight", "llama_model"),
        ("llama_model.base_model.model.model.layers.0.self_attn.q_proj.lora_A.default.weight", "LoRA"),
        ("audio_Qformer.bert.encoder.layer.0.output.dense.weight", None),
        ("query_tokens", "query_tokens"),
        ("ln_vision.weight", "ln_vision"),
    ],
)
def test_part_of(name: str, part: str | None) -> None:
    assert part_of(name) == part
