"""Weight files in the form in which they are published, from a config with the published keys to answers, and back."""

from __future__ import annotations

import json
import logging
import math
import os
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import parity
from helpers.tiny import BERT, LLAMA, TINY, WEIGHTS, Golden, build_tiny, golden_batch
from omegaconf import OmegaConf
from torch import Tensor
from torch.testing import assert_close

from timechat.config import load_config
from timechat.errors import CheckpointError, ConfigError
from timechat.models import build_model
from timechat.models.checkpoints import canonical_name, load_weights, part_of, save_file, trainable_state_dict

State = dict[str, Tensor]
GOLDEN_DIR = TINY.parent
FOREIGN = {
    "Qformer.cls.predictions.bias": torch.ones(88),
    "llm_proj.weight": torch.ones(4, 48),
    "t5_proj.bias": torch.ones(4),
    "audio_query_tokens": torch.ones(1, 8, 48),
    "audio_Qformer.bert.encoder.layer.0.attention.self.query.weight": torch.ones(48, 48),
    "audio_llama_proj.weight": torch.ones(64, 48),
    "audio_position_embedding.weight": torch.ones(8, 48),
    "audio_encoder.modality_preprocessors.audio.cls_token": torch.ones(1, 1, 8),
}
BUFFERS = {
    "Qformer.bert.embeddings.position_ids": torch.arange(512)[None],
    "video_Qformer.bert.embeddings.position_ids": torch.arange(512)[None],
    "llama_model.base_model.model.model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(8),
}
VIDEO = ("video_Qformer", "video_query_tokens", "video_frame_position_embedding", "llama_proj")


@pytest.fixture(scope="module")
def golden_state() -> State:
    """All parameters of the golden file, by published name."""
    state = torch.load(WEIGHTS, weights_only=True)["model"]
    return {name: tensor for name, tensor in state.items() if not name.endswith("position_ids")}


def of_parts(state: State, *parts: str) -> State:
    """The keys of some parts."""
    return {name: tensor for name, tensor in state.items() if part_of(name) in parts}


def write_eva(path: Path, state: State) -> None:
    """Names without prefix; one block more than is used, followed by norm and head."""
    prefix = "visual_encoder."
    vit = {name.removeprefix(prefix): tensor for name, tensor in of_parts(state, "visual_encoder").items()}
    last = {
        name.replace("blocks.2.", "blocks.3."): torch.ones_like(t) for name, t in vit.items() if "blocks.2." in name
    }
    index = {"blocks.0.attn.relative_position_index": torch.zeros(17, 17, dtype=torch.long)}
    torch.save(vit | last | index | {"norm.weight": torch.ones(88), "head.weight": torch.ones(9, 88)}, path)


def write_llama(folder: Path, state: State) -> None:
    """The decoder's weights as a Hugging Face folder of .bin shards with an index; old ones carry `inv_freq`."""
    folder.mkdir()
    for file in LLAMA.iterdir():
        if file.suffix != ".safetensors":
            (folder / file.name).write_bytes(file.read_bytes())
    prefix = "llama_model.base_model.model."
    weights = {name.removeprefix(prefix): tensor for name, tensor in of_parts(state, "llama_model").items()}
    weights["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(8)
    index = {}
    for i in range(3):
        name = f"pytorch_model-{i + 1:05d}-of-00003.bin"
        shard = {key: weights[key] for key in sorted(weights)[i::3]}
        torch.save(shard, folder / name)
        index |= dict.fromkeys(shard, name)
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": index}))


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory, golden_state: State) -> Path:
    """The five published files, made of the golden weights. Earlier files have noise where a later one wins."""
    root = tmp_path_factory.mktemp("published")
    ckpt = root / "ckpt"
    for name in ("eva-vit-g", "instruct-blip", "Video-LLaMA-2-7B-Finetuned", "timechat", "bert-base-uncased"):
        (ckpt / name).mkdir(parents=True)
    (ckpt / "bert-base-uncased" / "vocab.txt").write_bytes((BERT / "vocab.txt").read_bytes())
    write_eva(ckpt / "eva-vit-g" / "eva_vit_g.pth", golden_state)
    blip = of_parts(golden_state, "ln_vision") | noise(of_parts(golden_state, "Qformer", "query_tokens"))
    foreign = {name: tensor for name, tensor in FOREIGN.items() if not name.startswith("audio")}
    position_ids = "Qformer.bert.embeddings.position_ids"
    blip |= foreign | {position_ids: BUFFERS[position_ids]}
    torch.save({"model": blip}, ckpt / "instruct-blip" / "instruct_blip_vicuna7b_trimmed.pth")
    video_llama = ckpt / "Video-LLaMA-2-7B-Finetuned"
    write_llama(video_llama / "llama-2-7b-chat-hf", golden_state)
    video = noise(of_parts(golden_state, *VIDEO)) | {n: t for n, t in FOREIGN.items() if n.startswith("audio")}
    torch.save({"model": video, "epoch": 3}, video_llama / "VL_LLaMA_2_7B_Finetuned.pth")
    trained = of_parts(golden_state, "Qformer", "query_tokens", "LoRA", *VIDEO) | BUFFERS
    content = {"model": trained, "optimizer": {"state": {}}, "scaler": {}, "config": {"run": {}}, "epoch": 2}
    torch.save(content, ckpt / "timechat" / "timechat_7b.pth")
    return root


def noise(state: State) -> State:
    """Other numbers under the same names."""
    return {name: torch.randn_like(tensor) for name, tensor in state.items()}


def published_config(file: str, root: Path, *options: str) -> Any:
    """The model of a published YAML file, with the sizes of the tiny one; its paths are below the working directory."""
    tiny = OmegaConf.load(TINY / "config.yaml").model
    keys = ("image_size", "vit", "vit_precision", "qformer", "num_query_token", "num_video_query_token")
    sizes = {key: tiny[key] for key in (*keys, "max_frame_pos", "window_size", "stride", "llama_precision")}
    written = OmegaConf.load(GOLDEN_DIR / "published_style" / file)
    written = OmegaConf.create({"model": OmegaConf.merge(written.model, sizes)})
    OmegaConf.save(written, root / file)
    return load_config(root / file, options).model


@pytest.fixture
def at_root(chain: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory that published configs are written for."""
    monkeypatch.chdir(chain)
    return chain


def accounted(report: Any) -> list[str]:
    """Every key that a report mentions, in no list twice."""
    lists = (report.loaded, report.buffers, report.unused, report.foreign, report.unexpected)
    return sorted(name for names in lists for name in names)


def keys_of(path: Path, prefix: str = "") -> list[str]:
    """Every key of a file, as reports name it."""
    content = torch.load(path, weights_only=True)
    return sorted(prefix + name for name in content.get("model", content))


# Loading --------------------------------------------------------------------------------------------------------------


def test_the_published_evaluation_config_builds_the_published_model(at_root: Path, golden: Golden) -> None:
    """eval.yaml as published: five files, three of them overruled in part; the numbers are the published ones."""
    model = build_model(published_config("eval.yaml", at_root))
    parity.check_vit(golden, model)
    parity.check_video_embeds(golden, model)
    parity.check_loss(golden, model)
    parity.check_greedy_text(golden, model)
    reports = {report.source.split("=")[0]: report for report in model.load_reports}
    assert list(reports) == ["model.vit_model", "model.q_former_model", "model.ckpt"]
    for key, report in reports.items():
        prefix = "visual_encoder." if key == "model.vit_model" else ""
        assert accounted(report) == keys_of(at_root / report.source.split("=")[1], prefix)
    eva, blip, ours = reports.values()
    assert eva.buffers == ["visual_encoder.blocks.0.attn.relative_position_index"]
    assert {name.split(".", 3)[1] for name in eva.unused} == {"blocks", "norm", "head"}
    assert {name for name in eva.unused if "blocks." in name} == {n for n in eva.unused if ".blocks.3." in n}
    assert {part_of(name) for name in blip.loaded} == {"Qformer", "query_tokens", "ln_vision"}
    assert set(blip.foreign) == {"Qformer.cls.predictions.bias", "llm_proj.weight", "t5_proj.bias"}
    assert set(ours.buffers) == set(BUFFERS)
    assert not ours.foreign + ours.unused + ours.unexpected


def test_the_published_training_config_starts_from_video_llama(
    at_root: Path, golden_state: State, caplog: pytest.LogCaptureFixture
) -> None:
    """train.yaml as published: LoRA is in no file and starts as nothing; audio branches are listed."""
    model = build_model(published_config("train.yaml", at_root))
    report = model.load_reports[-1]
    assert {part_of(name) for name in report.loaded} == set(VIDEO)
    assert set(report.foreign) == {name for name in FOREIGN if name.startswith("audio")}
    path = at_root / "ckpt" / "Video-LLaMA-2-7B-Finetuned" / "VL_LLaMA_2_7B_Finetuned.pth"
    assert accounted(report) == keys_of(path)
    assert "no weight file contains LoRA: they keep their random initial values" in caplog.text
    lora_b = [p for name, p in model.named_parameters() if ".lora_B." in name]
    assert len(lora_b) == 8
    assert not any(p.any() for p in lora_b)
    own = {canonical_name(name): p for name, p in model.named_parameters()}
    name = "llama_model.base_model.model.model.layers.1.self_attn.o_proj.weight"
    assert torch.equal(own[name], golden_state[name])


def test_foreign_prefixes_are_listed_in_the_log(at_root: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "timechat"):
        build_model(published_config("train.yaml", at_root))
    assert "3 foreign (foreign: Qformer.cls, llm_proj.weight, t5_proj.bias)" in caplog.text
    assert "audio_encoder.modality_preprocessors, audio_llama_proj.weight, " in caplog.text


def test_the_last_word_has_the_projection_of_its_own(tmp_path: Path, golden_state: State) -> None:
    """`ckpt`, then `ckpt_2`, then `llama_proj_model`, of which only the projection is read."""
    options = []
    for value, key in enumerate(("q_former_model", "ckpt", "ckpt_2", "llama_proj_model"), start=1):
        state = {n: torch.full_like(t, value) for n, t in of_parts(golden_state, "llama_proj", "query_tokens").items()}
        torch.save({"model": state}, tmp_path / f"{key}.pth")
        options.append(f"model.{key}={tmp_path / key}.pth")
    model = build_tiny(options)
    assert model.query_tokens.unique().tolist() == [3.0]
    assert model.llama_proj.weight.unique().tolist() == [4.0]
    assert build_tiny(options[:3]).llama_proj.weight.unique().tolist() == [3.0]
    unused = [set(report.unused) for report in model.load_reports]
    assert unused == [{"llama_proj.weight", "llama_proj.bias"}, set(), set(), {"query_tokens"}]


@pytest.mark.parametrize("frames", [20, 12, 7])
def test_frame_positions_of_another_number_of_frames(frames: int, golden_state: State, golden: Golden) -> None:
    """The nearest row below, counted in whole numbers; the grown table serves longer videos."""
    model = build_tiny([f"model.max_frame_pos={frames}"])
    table = golden_state["video_frame_position_embedding.weight"]
    assert table.unique(dim=0).shape == (12, 48)
    expected = torch.stack([table[i * 12 // frames] for i in range(frames)])
    assert torch.equal(model.video_frame_position_embedding.weight, expected)
    assert (model.load_reports[0].resized == ["video_frame_position_embedding.weight"]) == (frames != 12)
    video = golden.videos()[0][torch.arange(frames) % 10]
    assert len(model.encode_video([video], [[1.0 * i for i in range(frames)]])[0]) == model.num_video_tokens(frames)
    with pytest.raises(ConfigError, match=rf"{frames + 1} frames, more than model\.max_frame_pos={frames}; raise"):
        model.encode_video([torch.cat([video, video[:1]])], [[0.0] * (frames + 1)])


def cubic_matrix(old: int, new: int) -> Tensor:
    """Interpolation of a row of `old` numbers to `new` ones, [new, old]: cubic convolution (Keys 1981) with a = -0.75.

    Four neighbours for each new number, however small the row becomes; beyond the ends its first and last repeat.
    """
    matrix = torch.zeros(new, old, dtype=torch.float64)
    for i in range(new):
        place = (i + 0.5) * old / new - 0.5
        for j in range(math.floor(place) - 1, math.floor(place) + 3):
            d = abs(place - j)
            near, far = 1.25 * d**3 - 2.25 * d**2 + 1, -0.75 * (d**3 - 5 * d**2 + 8 * d - 4)
            matrix[i, min(max(j, 0), old - 1)] += near if d <= 1 else far
    return matrix


@pytest.mark.parametrize("size", [28, 42, 84, 168])
def test_positions_of_another_image_size(size: int, golden_state: State) -> None:
    """Plain bicubic, never antialiased; the class token's position stays. The weights are for 4 x 4 patches."""
    model = build_tiny([f"model.image_size={size}"])
    assert model.load_reports[0].resized == ["visual_encoder.pos_embed"]
    old, new = golden_state["visual_encoder.pos_embed"].double(), model.visual_encoder.pos_embed.double()
    side, weights = size // 14, cubic_matrix(4, size // 14)
    rows = torch.einsum("ay,yxe->axe", weights, old[0, 1:].view(4, 4, 88))
    expected = torch.einsum("bx,axe->abe", weights, rows)
    assert_close(new[0, 1:].view(side, side, 88), expected, rtol=0, atol=1e-5)
    assert torch.equal(new[:, 0], old[:, 0])
    out = model.encode_video([torch.zeros(2, 3, size, size, dtype=torch.uint8)], [[0.0, 1.0]])[0]
    assert torch.isfinite(out).all()


# LoRA -----------------------------------------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("alpha", [32, 8, 64])
def test_another_lora_alpha_scales_what_lora_adds(alpha: int, golden: Golden, golden_state: State) -> None:
    """Against the decoder without LoRA, to whose weights alpha / r x B A is added by hand; r is 32."""
    with_lora, plain = build_tiny([f"model.lora_alpha={alpha}"]), build_tiny(["model.lora=false", "model.ckpt="])
    state = {name.replace("base_model.model.", ""): t for name, t in golden_state.items() if ".lora_" not in name}
    for name in [name for name in golden_state if name.endswith(".lora_A.default.weight")]:
        a, b = golden_state[name], golden_state[name.replace("lora_A", "lora_B")]
        target = name.replace("lora_A.default.", "").replace("base_model.model.", "")
        assert b.abs().max() > 0
        state[target] = state[target] + alpha / 32 * b @ a
    load_weights(plain, state, "merged by hand")
    seconds = golden.expected["timestamps"]
    losses = [model(golden_batch(golden, model.tokenizer))["loss"].item() for model in (with_lora, plain)]
    assert losses[0] == pytest.approx(losses[1], abs=2e-5)
    assert (abs(losses[0] - golden.expected["loss"]) < 2e-5) == (alpha == 32)
    ask = {"max_new_tokens": 12, "system": golden.expected["system"]}
    answers = [m.generate(golden.videos(), seconds, parity.prompts(golden), **ask) for m in (with_lora, plain)]
    assert answers[0] == answers[1]


def rename(state: State, style: str) -> State:
    """The names of the golden file, as peft wrote them before or after."""
    if style == "new":
        return {re.sub(r"([qkvo]_proj)\.weight$", r"\1.base_layer.weight", name): t for name, t in state.items()}
    return {name.replace(".default.weight", ".weight"): tensor for name, tensor in state.items()}


@pytest.mark.parametrize("style", ["first", "new"])
def test_names_of_every_peft_load(style: str, tmp_path: Path, golden: Golden, golden_state: State) -> None:
    renamed = rename(golden_state, style)
    assert len(set(renamed) - set(golden_state)) == {"first": 16, "new": 8}[style]
    torch.save({"model": renamed}, tmp_path / "c.pth")
    model = build_tiny([f"model.ckpt={tmp_path / 'c.pth'}"])
    assert sorted(model.load_reports[0].loaded) == sorted(golden_state)
    parity.check_loss(golden, model)


def test_one_weight_under_two_names_is_an_error(golden_state: State) -> None:
    model = build_tiny()
    state = golden_state | rename(of_parts(golden_state, "LoRA"), "first")
    with pytest.raises(CheckpointError, match=r"x\.pth.*\n  twice, under old and new names: .*lora_A.*and 6 more"):
        load_weights(model, state, "x.pth")


# Code in files --------------------------------------------------------------------------------------------------------


class Hostile:
    """Unpickling it would run a command."""

    def __init__(self, trace: Path):
        self.trace = trace

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.system, (f"touch {self.trace}",)


def test_the_trap_works(tmp_path: Path) -> None:
    """Read as pickle reads, it does run."""
    pickle.loads(pickle.dumps(Hostile(tmp_path / "executed")))
    assert (tmp_path / "executed").exists()


@pytest.mark.parametrize("legacy", [True, False], ids=["torch before 1.6", "zip"])
@pytest.mark.parametrize("key", ["vit_model", "q_former_model", "ckpt", "ckpt_2", "llama_proj_model"])
def test_a_checkpoint_with_code_is_refused(tmp_path: Path, key: str, legacy: bool) -> None:
    path, trace = tmp_path / "bad.pth", tmp_path / "executed"
    content = {"model": {"query_tokens": torch.ones(1, 8, 48)}, "args": Hostile(trace)}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(CheckpointError, match=rf"model\.{key}=.*bad\.pth: refused, .* contains code"):
        build_tiny([f"model.{key}={path}"])
    assert not trace.exists()


def test_a_llama_shard_with_code_is_refused(tmp_path: Path, golden_state: State) -> None:
    folder, trace = tmp_path / "llama", tmp_path / "executed"
    write_llama(folder, golden_state)
    torch.save({"model.norm.weight": Hostile(trace)}, folder / "pytorch_model-00002-of-00003.bin")
    with pytest.raises(CheckpointError, match=r"model\.llama_model=.*00002-of-00003\.bin: refused, .* contains code"):
        build_tiny([f"model.llama_model={folder}"])
    assert not trace.exists()


# Back -----------------------------------------------------------------------------------------------------------------


def test_there_and_back_again(at_root: Path, tmp_path: Path, golden: Golden) -> None:
    """Saved under published names, a model comes back as `ckpt` over the same base, bit for bit."""
    cfg = published_config("train.yaml", at_root, "model.ckpt=ckpt/timechat/timechat_7b.pth")
    model = build_model(cfg)
    with torch.no_grad():
        for p in model.parameters():
            if p.requires_grad:
                p.mul_(1.01)
    save_file({"model": trainable_state_dict(model), "epoch": 0}, tmp_path / "checkpoint_0.pth")
    published = torch.load(at_root / "ckpt" / "timechat" / "timechat_7b.pth", weights_only=True)["model"]
    mine = torch.load(tmp_path / "checkpoint_0.pth", weights_only=True)["model"]
    rotary = {name for name in published if ".rotary_emb." in name}
    assert set(mine) == set(published) - rotary
    assert {n: t.dtype for n, t in mine.items()} == {n: published[n].dtype for n in mine}
    again = build_model(published_config("train.yaml", at_root, f"model.ckpt={tmp_path / 'checkpoint_0.pth'}"))
    state = again.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    with pytest.raises(AssertionError):
        parity.check_loss(golden, again)
