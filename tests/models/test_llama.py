"""The decoder: LoRA, RoPE scaling, precision, splicing, padding, errors."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers
from helpers.tiny import LLAMA, build_tiny, llama_folder
from peft.tuners.lora import LoraLayer
from torch.testing import assert_close

from timechat.device import resolve_dtype
from timechat.errors import CheckpointError, ConfigError
from timechat.models import llama as lm


@pytest.fixture(scope="module")
def llama() -> transformers.LlamaForCausalLM:
    """The tiny LLaMA."""
    return lm.build_llama(LLAMA, precision="fp32").eval()


def plain_logits(llama: Any, embeds: torch.Tensor) -> torch.Tensor:
    """Scores through this module's own two halves."""
    return lm.logits(llama, torch.stack(lm.hidden_states(llama, list(embeds))))


@torch.no_grad()
def test_decode_and_logits_are_the_whole_decoder(llama: transformers.LlamaForCausalLM) -> None:
    embeds = torch.randn(2, 6, 64)
    assert_close(plain_logits(llama, embeds), llama(inputs_embeds=embeds).logits)


@torch.no_grad()
@pytest.mark.parametrize(("max_txt_len", "factor"), [(2048, 1), (2049, 2)])
def test_rope_is_stretched_by_two_above_2048_tokens(
    llama: transformers.LlamaForCausalLM, max_txt_len: int, factor: int
) -> None:
    """Linear scaling: position p behaves as p / 2, as positions given by hand show."""
    scaled = lm.build_llama(LLAMA, precision="fp32", max_txt_len=max_txt_len).eval()
    embeds = torch.randn(1, 8, 64)
    positions = torch.arange(8)[None] / factor
    rotary = llama.model.rotary_emb(embeds, positions)
    ours = scaled.model.rotary_emb(embeds, torch.arange(8)[None])
    assert_close(torch.stack(ours), torch.stack(rotary))
    same = torch.allclose(plain_logits(scaled, embeds), plain_logits(llama, embeds), atol=1e-5)
    assert same == (factor == 1)


@torch.no_grad()
@pytest.mark.parametrize(("max_txt_len", "factor"), [(2048, 1), (4096, 2)])
def test_rotary_angles_are_those_of_the_formula(max_txt_len: int, factor: int) -> None:
    """cos and sin of p / factor x 10000^(-2i/d), the first half of the width repeated; d is 16."""
    rotary = lm.build_llama(LLAMA, precision="fp32", max_txt_len=max_txt_len).model.rotary_emb
    frequencies = 10000.0 ** (-torch.arange(0, 16, 2, dtype=torch.float64) / 16)
    positions = torch.tensor([0, 1, 7, 2047, 4095])
    angles = (positions.double()[:, None] / factor * frequencies).repeat(1, 2)
    cos, sin = rotary(torch.zeros(1, 1, 64), positions[None])
    assert_close(cos[0].double(), angles.cos(), rtol=0, atol=5e-4)  # fp32 angles up to 4095
    assert_close(sin[0].double(), angles.sin(), rtol=0, atol=5e-4)
    assert_close(cos[0, :3].double(), angles[:3].cos(), rtol=0, atol=1e-6)


def test_scaling_keeps_the_base_of_the_folder(tmp_path: Path) -> None:
    folder = llama_folder(tmp_path / "llama", rope_theta=5000.0)
    scaled = lm.build_llama(folder, precision="fp32", max_txt_len=4096)
    assert scaled.config.rope_parameters["rope_theta"] == 5000.0


@torch.no_grad()
def test_embeddings_of_videos_take_the_marked_places(llama: transformers.LlamaForCausalLM) -> None:
    ids = torch.tensor([[1, 700, 700, 5], [1, 2, 700, 6]])
    videos = [torch.randn(2, 64), torch.randn(1, 64)]
    out = lm.embed_with_video(llama, ids, ids == 700, videos)
    table = llama.model.embed_tokens.weight
    expected = torch.stack(
        [torch.stack([table[1], *videos[0], table[5]]), torch.stack([table[1], table[2], *videos[1], table[6]])]
    )
    assert_close(out, expected)


def test_a_video_that_does_not_fit_its_places_is_an_error(llama: transformers.LlamaForCausalLM) -> None:
    """Also when the sum fits: rows must not borrow from each other."""
    ids = torch.tensor([[1, 700, 700], [1, 700, 5]])
    with pytest.raises(ConfigError, match=r"\[2, 1\] video tokens.*\[1, 2\] embeddings"):
        lm.embed_with_video(llama, ids, ids == 700, [torch.randn(1, 64), torch.randn(2, 64)])


def test_left_pad() -> None:
    rows = [torch.ones(1, 2), 2 * torch.ones(3, 2)]
    embeds, mask = lm.left_pad(rows)
    assert embeds[:, :, 0].tolist() == [[0, 0, 1], [2, 2, 2]]
    assert mask.tolist() == [[False, False, True], [True, True, True]]


@torch.no_grad()
def test_a_left_padded_row_continues_as_it_does_alone(llama: transformers.LlamaForCausalLM) -> None:
    rows = [torch.randn(n, 64) for n in (3, 9)]
    options = {"max_new_tokens": 6, "do_sample": False, "pad_token_id": 0}
    together = lm.generate(llama, *lm.left_pad(rows), **options)
    for row, ids in zip(rows, together, strict=True):
        alone = lm.generate(llama, *lm.left_pad([row]), **options)[0]
        assert ids[: len(alone)].tolist() == alone.tolist()


def test_lora_wraps_the_four_projections_and_freezes_the_rest(llama: transformers.LlamaForCausalLM) -> None:
    wrapped = lm.add_lora(lm.build_llama(LLAMA, precision="fp32"), r=4, alpha=8, dropout=0.25)
    trainable = {name: p.shape for name, p in wrapped.named_parameters() if p.requires_grad}
    prefix = "base_model.model.model.layers"
    projections = [f"{prefix}.{i}.self_attn.{p}_proj.lora" for i in range(2) for p in "qkvo"]
    assert set(trainable) == {f"{p}_{ab}.default.weight" for p in projections for ab in "AB"}
    assert trainable[f"{prefix}.0.self_attn.q_proj.lora_A.default.weight"] == (4, 64)
    layer = wrapped.get_base_model().model.layers[0].self_attn.q_proj
    assert layer.scaling["default"] == 2.0
    assert layer.lora_dropout["default"].p == 0.25
    assert lm.hidden_size(wrapped) == lm.hidden_size(llama) == 64
    assert lm.vocab_size(wrapped) == lm.vocab_size(llama) == 700


def test_lora_in_inference_mode_trains_nothing() -> None:
    wrapped = lm.add_lora(lm.build_llama(LLAMA, precision="fp32"), inference_mode=True)
    assert not any(p.requires_grad for p in wrapped.parameters())


def test_lora_stays_in_full_precision_over_half_precision_weights() -> None:
    """AdamW must not update bf16 weights: small steps would be lost."""
    wrapped = lm.add_lora(lm.build_llama(LLAMA, precision="bf16"))
    assert {p.dtype for p in wrapped.parameters() if p.requires_grad} == {torch.float32}
    assert {p.dtype for p in wrapped.parameters() if not p.requires_grad} == {torch.bfloat16}


def test_autocast_casts_what_adapters_get_to_the_same_numbers() -> None:
    """Losses and gradients are equal to the bit, and no adapter gets a copy in fp32."""
    found, kinds = [], []
    for left in (False, True):
        torch.manual_seed(0)
        wrapped = lm.add_lora(lm.build_llama(LLAMA, precision="bf16"), r=4, dropout=0.0)
        for part in (part for name, part in wrapped.named_modules() if name.endswith("lora_A.default")):
            part.register_forward_pre_hook(lambda part, inputs, left=left: kinds.append((left, inputs[0].dtype)))
        for name, parameter in wrapped.named_parameters():
            if "lora_B" in name:  # 0 to begin with
                torch.nn.init.normal_(parameter, std=0.1)
        if left:
            lm.leave_casts_to_autocast(wrapped)
        rows = [torch.randn(length, 64, dtype=torch.bfloat16) for length in (9, 5)]
        with torch.autocast("cpu", torch.bfloat16):
            loss = torch.cat(lm.hidden_states(wrapped, rows)).float().square().mean()
        loss.backward()
        found.append([loss.detach(), *(p.grad for p in wrapped.parameters() if p.requires_grad)])
    assert all(map(torch.equal, *found))
    assert set(kinds) == {(False, torch.float32), (True, torch.bfloat16)}


def test_beams_are_searched_outside_autocast() -> None:
    """In 16 bits, after training under autocast: the adapters cast for that search alone."""
    wrapped = lm.add_lora(lm.build_llama(LLAMA, precision="bf16"), r=4).eval()
    lm.leave_casts_to_autocast(wrapped)
    options = transformers.GenerationConfig(pad_token_id=0, max_new_tokens=3, num_beams=2)
    embeds = torch.randn(5, 64, dtype=torch.bfloat16)
    assert lm.generate(wrapped, *lm.left_pad([embeds]), generation_config=options).shape[0] == 1
    layers = [part for part in wrapped.modules() if isinstance(part, LoraLayer)]
    assert {layer.cast_input_dtype_enabled for layer in layers} == {False}


def test_layers_in_8_bits_keep_their_casts() -> None:
    """Answers call these layers, without autocast."""
    wrapped = lm.add_lora(lm.build_llama(LLAMA, precision="bf16"), r=4)
    layers = [part for part in wrapped.modules() if isinstance(part, LoraLayer)]
    layers[0].base_layer.__class__ = type("Linear8bitLt", (torch.nn.Linear,), {})
    lm.leave_casts_to_autocast(wrapped)
    assert [layer.cast_input_dtype_enabled for layer in layers] == [True] + [False] * (len(layers) - 1)


def test_auto_is_fp32_for_a_decoder_that_learns_whole() -> None:
    """What learns is fp32, and what is frozen is not held in more than it was."""
    for options, whole in ((["model.freeze_llama=false"], torch.float32), ([], torch.bfloat16)):
        model = build_tiny([*options, "model.llama_precision=auto"])
        kinds = {name: p.dtype for name, p in model.llama_model.named_parameters()}
        assert {kind for name, kind in kinds.items() if ".lora_" in name} == {torch.float32}
        assert {kind for name, kind in kinds.items() if ".lora_" not in name} == {whole}


def test_grad_checkpointing_changes_no_gradient() -> None:
    """Of no layer, of all, of the first one; what is kept says of how many."""
    grads, kept = [], []
    for checkpointing in (False, True, 1):
        torch.manual_seed(0)
        llama = lm.build_llama(LLAMA, precision="fp32")
        llama.requires_grad_(False)
        if checkpointing:
            lm.enable_grad_checkpointing(llama, checkpointing)
        wrapped = lm.add_lora(llama, dropout=0.0).train()
        tensors: list[torch.Tensor] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t, into=tensors: (into.append(t), t)[1], lambda t: t):
            loss = plain_logits(wrapped, torch.randn(1, 5, 64)).square().mean()
        loss.backward()
        kept.append(len(tensors))
        grads.append([p.grad for p in wrapped.parameters() if p.requires_grad])
    assert_close(grads[1], grads[0])
    assert_close(grads[2], grads[0])
    assert len(llama.model.layers) == 2
    assert kept[0] > kept[2] > kept[1]
    assert max(g.abs().max() for g in grads[0]) > 0


@pytest.mark.parametrize(
    ("bf16", "expected"), [(True, torch.bfloat16), (False, torch.float16)], ids=["new GPU", "old GPU"]
)
def test_auto_precision_on_a_gpu(monkeypatch: pytest.MonkeyPatch, bf16: bool, expected: torch.dtype) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: bf16)
    assert resolve_dtype("auto") == expected


def test_precisions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    names = ("auto", "bf16", "fp16", "fp32")
    kinds = [torch.bfloat16, torch.bfloat16, torch.float16, torch.float32]
    assert [resolve_dtype(name) for name in names] == kinds
    with pytest.raises(ConfigError, match="'int8': choose one of auto, fp32"):
        resolve_dtype("int8")


def test_a_folder_without_config(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"model\.llama_model=.*no config\.json"):
        lm.build_llama(tmp_path)


def test_a_folder_of_another_model(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    with pytest.raises(ConfigError, match="model_type 'gpt2', not llama"):
        lm.build_llama(tmp_path)


def test_a_folder_with_a_broken_config(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{not json")
    with pytest.raises(ConfigError, match=r"model\.llama_model=.*config\.json cannot be read"):
        lm.build_llama(tmp_path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pad_token_id": 700}, "has pad_token_id=700, which is beyond vocab_size=700; write null there"),
        ({"attn_implementation": "no_such"}, "describes no LLaMA that can be built .*no_such"),
        ({"hidden_act": "no_such"}, "describes no LLaMA that can be built .*no_such"),
        ({"num_attention_heads": 7}, "cannot be read .*hidden size"),
        ({"hidden_size": "wide"}, "cannot be read .*hidden_size"),
        ({"dtype": "float99"}, "cannot be read .*float99"),
    ],
)
def test_a_config_that_cannot_be_built(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    folder = llama_folder(tmp_path / "llama", **settings)
    for load_weights in (True, False):
        with pytest.raises(ConfigError, match=rf"(?s)model\.llama_model=.*llama: its config\.json {message}"):
            lm.build_llama(folder, load_weights=load_weights)


def test_an_attention_that_is_not_installed(tmp_path: Path) -> None:
    if transformers.utils.is_flash_attn_2_available():
        pytest.skip("it is installed here")
    folder = llama_folder(tmp_path / "llama", attn_implementation="flash_attention_2")
    message = r"its config\.json has attn_implementation='flash_attention_2', which is not installed .*write \"sdpa\""
    with pytest.raises(ConfigError, match=rf"(?s){message}"):
        lm.build_llama(folder)
    sane = llama_folder(tmp_path / "sane", attn_implementation="sdpa", pad_token_id=699)
    assert lm.build_llama(sane, precision="fp32").config.pad_token_id == 699


@pytest.mark.parametrize("damage", ["missing", "cut", "text"])
def test_a_folder_with_damaged_weights(tmp_path: Path, damage: str) -> None:
    folder = llama_folder(tmp_path / "llama")
    weights = folder / "model.safetensors"
    if damage == "missing":
        weights.unlink()
    else:
        weights.write_bytes(weights.read_bytes()[:5000] if damage == "cut" else b"hello")
    with pytest.raises(CheckpointError, match=r"model\.llama_model=.*(contains no weights|not a readable checkpoint)"):
        lm.build_llama(folder, precision="fp32")


def test_weights_of_another_size_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"have other shapes in 6 tensors.*mlp\.down_proj"):
        lm.build_llama(llama_folder(tmp_path / "llama", intermediate_size=96), precision="fp32")


def test_weights_of_fewer_layers_are_an_error(tmp_path: Path) -> None:
    """Layers that no file contains would silently stay random."""
    with pytest.raises(CheckpointError, match=r"lack 9.*layers\.2"):
        lm.build_llama(llama_folder(tmp_path / "llama", num_hidden_layers=3), precision="fp32")


def test_eight_bits_need_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"model\.low_resource=true.*needs a CUDA GPU"):
        lm.build_llama(LLAMA, low_resource=True)


def test_eight_bits_name_the_package_that_they_need(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'timechat\[low-resource\]'"):
        lm.build_llama(LLAMA, low_resource=True)


@torch.no_grad()
def test_another_lora_alpha_for_a_while(llama: transformers.LlamaForCausalLM) -> None:
    """As if the adapters had been added with it, until the block ends."""
    embeds = torch.randn(1, 6, 64)

    def with_lora(alpha: int) -> Any:
        made = lm.add_lora(lm.build_llama(LLAMA, precision="fp32"), r=4, alpha=alpha).eval()
        for name, weight in made.named_parameters():
            if ".lora_B." in name:
                torch.nn.init.constant_(weight, 0.01)
            elif ".lora_A." in name:
                torch.nn.init.constant_(weight, 0.02)
        return made

    model, expected = with_lora(8), plain_logits(with_lora(20), embeds)
    before = plain_logits(model, embeds)
    with lm.lora_alpha(model, 20):
        assert_close(plain_logits(model, embeds), expected)
    assert torch.equal(plain_logits(model, embeds), before)
    assert not torch.allclose(before, expected)
    with lm.lora_alpha(model, None), lm.lora_alpha(llama, 3):
        assert torch.equal(plain_logits(model, embeds), before)


def test_eight_bits_go_to_the_named_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """No GPU here: what is asked of transformers is looked at."""
    asked = SimpleNamespace(options={})

    def from_pretrained(folder: Path, **options: Any) -> tuple[None, dict[str, Any]]:
        asked.options = options
        raise ValueError("stop here")  # what was asked is all there is to see

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    monkeypatch.setattr(transformers.LlamaForCausalLM, "from_pretrained", from_pretrained)
    with pytest.raises(ConfigError, match="stop here"):
        lm.build_llama(LLAMA, low_resource=True, device_8bit=3)
    assert asked.options["device_map"] == {"": 3}
    assert asked.options["quantization_config"].load_in_8bit
