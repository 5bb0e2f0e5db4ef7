"""Exports: merged LLaMA, whole model, adapter; what comes back is what went out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import peft
import pytest
import torch
from helpers.exports import answers, differing, names_in, plain, scores, state_of
from helpers.tiny import BERT, LLAMA, WEIGHTS, Golden, build_tiny, golden_batch, tiny_config
from helpers.tiny import llama_folder as llama_copy
from safetensors.torch import load_file

from timechat.config import load_config
from timechat.errors import CheckpointError, ConfigError
from timechat.models import TimeChat, build_model, llama_folder
from timechat.models.checkpoints import part_of
from timechat.models.export import RECORD_FILE, export_llama, export_peft, export_safetensors

Exporter = Callable[..., None]


@pytest.fixture(scope="module")
def golden() -> Golden:
    return Golden.load()


@pytest.fixture(scope="module")
def model() -> TimeChat:
    """The tiny golden model, fp32; its LoRA is not zero. No test changes it."""
    return build_tiny()


@pytest.fixture(scope="module")
def own_base(model: TimeChat, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the same model whose LLaMA folder holds its base weights; the golden checkpoint brings others."""
    folder = tmp_path_factory.mktemp("own_base") / "all"
    export_safetensors(model, folder)
    return folder


# Merged LLaMA ---------------------------------------------------------------------------------------------------------


def test_merged_llama_gives_the_scores_of_the_model_with_lora(tmp_path: Path, model: TimeChat) -> None:
    export_llama(model, tmp_path / "llama")
    merged = plain(tmp_path / "llama")
    torch.testing.assert_close(scores(merged), scores(model.llama_model), rtol=0, atol=1e-5)
    with model.llama_model.disable_adapter():
        assert (scores(merged) - scores(model.llama_model)).abs().max() > 0.01
    assert not any("lora" in name or "base_layer" in name for name in load_file(tmp_path / "llama/model.safetensors"))


def test_merged_llama_serves_as_llama_model_without_lora(tmp_path: Path, model: TimeChat, golden: Golden) -> None:
    """Answers, video embeddings and losses are equal; the LoRA of the checkpoint has to be allowed as unexpected."""
    export_llama(model, tmp_path / "llama")
    options = [f"model.llama_model={tmp_path / 'llama'}", "model.lora=false", "model.allow_unexpected=true"]
    merged = build_tiny(options)
    assert answers(merged, golden) == answers(model, golden)
    videos, seconds = golden.videos(), golden.expected["timestamps"]
    batch = golden_batch(golden, model.tokenizer)
    with torch.no_grad():
        for ours, theirs in zip(merged.encode_video(videos, seconds), model.encode_video(videos, seconds), strict=True):
            assert torch.equal(ours, theirs)
        torch.testing.assert_close(merged(batch), model(batch), rtol=0, atol=1e-5)


def test_the_folder_is_complete(tmp_path: Path, model: TimeChat) -> None:
    export_llama(model, tmp_path / "llama")
    assert names_in(tmp_path / "llama") == sorted([*names_in(LLAMA), RECORD_FILE])
    copied = set(names_in(LLAMA)) - {"config.json", "model.safetensors"}
    assert all((tmp_path / "llama" / name).read_bytes() == (LLAMA / name).read_bytes() for name in copied)
    assert (tmp_path / "llama/model.safetensors").stat().st_mode == (tmp_path / "llama/config.json").stat().st_mode


@pytest.mark.parametrize("exporter", [export_llama, export_safetensors, export_peft])
def test_the_model_in_memory_is_not_changed(tmp_path: Path, own_base: Path, exporter: Exporter) -> None:
    model = build_model(load_config(own_base, ["model.llama_precision=bf16"]).model)
    before, config = state_of(model), model.llama_model.get_base_model().config.to_dict()
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    exporter(model, tmp_path / "x")
    assert differing(before, state_of(model)) == []
    assert [name for name, p in model.named_parameters() if p.requires_grad] == trained
    assert model.llama_model.get_base_model().config.to_dict() == config
    assert not model.llama_model.peft_config["default"].inference_mode


def test_half_precision_is_merged_in_full_precision_and_rounded_once(tmp_path: Path) -> None:
    model = build_tiny(["model.llama_precision=bf16"])
    export_llama(model, tmp_path / "llama")
    merged = load_file(tmp_path / "llama/model.safetensors")
    assert {tensor.dtype for tensor in merged.values()} == {torch.bfloat16}
    state, name = state_of(model), "model.layers.1.self_attn.v_proj"
    parts = ("weight", "lora_A.default.weight", "lora_B.default.weight")
    weight, a, b = (state[f"llama_model.base_model.model.{name}.{part}"] for part in parts)
    expected = weight.float() + b @ a
    assert torch.equal(merged[f"{name}.weight"], expected.bfloat16())
    assert plain(tmp_path / "llama").dtype == torch.bfloat16


def test_alpha_scales_what_is_merged(tmp_path: Path) -> None:
    model = build_tiny(["model.lora_alpha=8"])
    export_llama(model, tmp_path / "llama")
    torch.testing.assert_close(scores(plain(tmp_path / "llama")), scores(model.llama_model), rtol=0, atol=1e-5)


def test_large_models_are_sharded(
    tmp_path: Path, model: TimeChat, golden: Golden, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llama_folder, "MAX_SHARD_BYTES", 200_000)
    export_llama(model, tmp_path / "llama")
    shards = sorted((tmp_path / "llama").glob("*.safetensors"))
    assert len(shards) > 2
    assert all(sum(t.nbytes for t in load_file(shard).values()) <= 200_000 for shard in shards)
    index = json.loads((tmp_path / "llama/model.safetensors.index.json").read_text())
    assert set(index["weight_map"].values()) == {shard.name for shard in shards}
    torch.testing.assert_close(scores(plain(tmp_path / "llama")), scores(model.llama_model), rtol=0, atol=1e-5)
    export_safetensors(model, tmp_path / "all")
    assert answers(build_model(load_config(tmp_path / "all").model), golden) == answers(model, golden)


def test_scaled_positions_go_with_the_merged_llama(tmp_path: Path) -> None:
    """Above 2048 tokens positions are halved; the plain folder says so, the whole model says it by max_txt_len."""
    model = build_tiny(["model.max_txt_len=2560"])
    export_llama(model, tmp_path / "llama")
    torch.testing.assert_close(scores(plain(tmp_path / "llama")), scores(model.llama_model), rtol=0, atol=1e-5)
    export_safetensors(model, tmp_path / "all")
    rope = plain(tmp_path / "all/llama").config.rope_parameters
    assert rope["rope_type"] == "default"
    again = build_model(load_config(tmp_path / "all").model)
    assert torch.equal(scores(again.llama_model), scores(model.llama_model))


NEWER, OLDER = ("rope_parameters",), ("rope_scaling", "rope_theta")


@pytest.mark.parametrize("without", [(), NEWER, OLDER], ids=["both", "older keys", "newer keys"])
def test_scaled_positions_are_read_by_every_transformers(tmp_path: Path, without: tuple[str, ...]) -> None:
    """Version 5 reads `rope_parameters`, earlier ones `rope_scaling`, which up to 4.42 has to be exactly this."""
    model = build_tiny(["model.max_txt_len=2560", f"model.llama_model={llama_copy(tmp_path / 'b', rope_theta=500.0)}"])
    export_llama(model, tmp_path / "llama")
    file = tmp_path / "llama/config.json"
    settings = json.loads(file.read_text())
    assert (settings["rope_scaling"], settings["rope_theta"]) == ({"type": "linear", "factor": 2.0}, 500.0)
    file.write_text(json.dumps({key: value for key, value in settings.items() if key not in without}))
    torch.testing.assert_close(scores(plain(tmp_path / "llama")), scores(model.llama_model), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("new", "old"),
    [
        ({}, {"rope_theta": 10000.0, "rope_scaling": None}),
        ({"rope_type": "default", "rope_theta": 5e5}, {"rope_theta": 5e5, "rope_scaling": None}),
        (
            {"rope_type": "dynamic", "type": "dynamic", "factor": 4.0},
            {"rope_theta": 10000.0, "rope_scaling": {"type": "dynamic", "factor": 4.0}},
        ),
        (
            {"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0},
            {"rope_theta": 5e5, "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0}},
        ),
    ],
)
def test_the_older_keys_of_other_positions(new: dict[str, object], old: dict[str, object]) -> None:
    assert llama_folder.older_rope(new) == old


def test_tied_embeddings_stay_one_tensor(tmp_path: Path) -> None:
    tied = plain(LLAMA)
    tied.config.tie_word_embeddings = True
    tied.lm_head.weight = tied.model.embed_tokens.weight
    tied.save_pretrained(tmp_path / "tied")
    (tmp_path / "tied/tokenizer.model").write_bytes((LLAMA / "tokenizer.model").read_bytes())
    model = build_tiny([f"model.llama_model={tmp_path / 'tied'}"])
    export_llama(model, tmp_path / "llama")
    assert "lm_head.weight" not in load_file(tmp_path / "llama/model.safetensors")
    torch.testing.assert_close(scores(plain(tmp_path / "llama")), scores(model.llama_model), rtol=0, atol=1e-5)


# Whole model ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        ["model.llama_precision=auto", "model.vit_precision=fp16", "model.freeze_qformer=true"],
        ["model.lora=false", "model.freeze_llama=false", "model.allow_unexpected=true"],
        ["model.freeze_llama=false", "model.lora_alpha=8", "model.max_frame_pos=20"],
        ["model.qformer_text_input=false", "model.vit_precision=auto"],
    ],
    ids=["published precisions", "without LoRA", "decoder trained whole", "without text input"],
)
def test_the_whole_model_comes_back_bit_for_bit(tmp_path: Path, golden: Golden, options: list[str]) -> None:
    model = build_tiny(options)
    with torch.no_grad():  # every parameter that could be trained differs from the files that it came from
        for p in model.parameters():
            if p.requires_grad:
                p.add_(torch.randn_like(p), alpha=0.01)
    export_safetensors(model, tmp_path / "all")
    cfg = load_config(tmp_path / "all").model
    inputs = [cfg[key] for key in ("llama_model", "qformer_tokenizer", "ckpt", "vit_model", "ckpt_2") if cfg[key]]
    assert all(Path(path).is_relative_to(tmp_path) for path in inputs if path != str(BERT))
    again = build_model(cfg)
    assert differing(state_of(model), state_of(again)) == []
    assert [p.requires_grad for p in again.parameters()] == [p.requires_grad for p in model.parameters()]
    assert answers(again, golden) == answers(model, golden)


def test_what_is_in_the_folder(tmp_path: Path, model: TimeChat) -> None:
    """Every tensor once, by published name."""
    export_safetensors(model, tmp_path / "all")
    folders = {path.name for path in (tmp_path / "all").iterdir()}
    assert folders == {"config.json", RECORD_FILE, "llama", "model.safetensors", "qformer_tokenizer"}
    rest, llama = load_file(tmp_path / "all/model.safetensors"), load_file(tmp_path / "all/llama/model.safetensors")
    published = torch.load(WEIGHTS, weights_only=True)["model"]
    own = {name: t for name, t in published.items() if part_of(name) not in ("llama_model", None)}
    assert differing(rest, own) == []
    prefix = "llama_model.base_model.model."
    base = {name.removeprefix(prefix): t for name, t in published.items() if part_of(name) == "llama_model"}
    assert differing(llama, {name: t for name, t in base.items() if not name.endswith("inv_freq")}) == []
    assert (tmp_path / "all/qformer_tokenizer/vocab.txt").read_bytes() == (BERT / "vocab.txt").read_bytes()


def test_the_config_names_what_is_in_the_folder_alone(tmp_path: Path) -> None:
    """No weight file is loaded on top, and no precision depends on the machine, as `auto` does."""
    auto = ["model.llama_precision=auto", "model.vit_precision=auto"]
    files = [f"model.{key}={WEIGHTS}" for key in ("q_former_model", "llama_proj_model", "ckpt_2")]
    export_safetensors(build_tiny([*auto, *files]), tmp_path / "all")
    cfg = load_config(tmp_path / "all").model
    assert {cfg.llama_precision, cfg.vit_precision} <= {"bf16", "fp16"}
    assert [cfg[key] for key in ("vit_model", "q_former_model", "llama_proj_model", "ckpt_2")] == [""] * 4


def test_a_relative_output_is_relative_to_the_working_directory(
    tmp_path: Path, model: TimeChat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    export_safetensors(model, "exports/all")
    cfg = load_config("exports/all").model
    assert (cfg.llama_model, cfg.ckpt) == ("exports/all/llama", "exports/all/model.safetensors")
    assert differing(state_of(build_model(cfg)), state_of(model)) == []


# Adapter --------------------------------------------------------------------------------------------------------------


def test_the_adapter_gives_the_scores_of_the_model(tmp_path: Path, own_base: Path) -> None:
    model = build_model(load_config(own_base, ["model.lora_alpha=8"]).model)
    export_peft(model, tmp_path / "adapter")
    assert names_in(tmp_path / "adapter") == ["adapter_config.json", "adapter_model.safetensors", RECORD_FILE]
    config = json.loads((tmp_path / "adapter/adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"]) == (32, 8)
    assert sorted(config["target_modules"]) == ["k_proj", "o_proj", "q_proj", "v_proj"]
    base = config["base_model_name_or_path"]
    assert base == str(own_base / "llama")
    adapted = peft.PeftModel.from_pretrained(plain(base), tmp_path / "adapter").eval()
    assert torch.equal(scores(adapted), scores(model.llama_model))


def test_an_adapter_to_another_base_is_refused(tmp_path: Path, model: TimeChat) -> None:
    """The golden checkpoint brings base weights of its own: on its LLaMA folder, LoRA alone means nothing."""
    with pytest.raises(
        ConfigError, match=r"model\.llama_model=.*llama: 21 of its tensors, .* are not those below LoRA"
    ):
        export_peft(model, tmp_path / "adapter")
    assert list(tmp_path.iterdir()) == []


def test_an_adapter_cannot_say_that_positions_are_scaled(
    tmp_path: Path, own_base: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = build_model(load_config(own_base, ["model.max_txt_len=2560"]).model)
    export_peft(model, tmp_path / "adapter")
    assert "give the base model rope_parameters={'rope_type': 'linear', 'factor': 2.0" in caplog.text
    assert "(before transformers 5: rope_scaling={'type': 'linear', 'factor': 2.0})" in caplog.text


# Errors ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "exporter", "message"),
    [
        (["model.lora=false"], export_llama, r"model\.lora=false: .* to export as llama"),
        (["model.lora=false"], export_peft, r"model\.lora=false: .* to export as peft"),
        (["model.low_resource=true"], export_safetensors, r"model\.low_resource=true .* cannot be exported"),
    ],
)
def test_what_cannot_be_exported(tmp_path: Path, options: list[str], exporter: Exporter, message: str) -> None:
    model = build_model(tiny_config().model, load_weights=False)
    model.cfg = tiny_config(options).model
    with pytest.raises(ConfigError, match=message):
        exporter(model, tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_files_is_never_touched_unless_it_is_an_export(tmp_path: Path, model: TimeChat) -> None:
    folder = tmp_path / "x"
    folder.mkdir()
    export_safetensors(model, folder)  # an empty folder will do
    with pytest.raises(ConfigError, match=r"x: is not empty; .* --overwrite"):
        export_llama(model, folder)
    assert (folder / "qformer_tokenizer/vocab.txt").is_file()
    export_llama(model, folder, overwrite=True)
    assert not (folder / "qformer_tokenizer/vocab.txt").exists()
    assert json.loads((folder / RECORD_FILE).read_text())["format"] == "llama"
    (folder / RECORD_FILE).unlink()
    with pytest.raises(ConfigError, match=r"--overwrite replaces earlier exports"):
        export_llama(model, folder, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_an_export_does_not_replace_what_it_is_read_from(tmp_path: Path, model: TimeChat) -> None:
    export_safetensors(model, tmp_path / "all")
    again = build_model(load_config(tmp_path / "all").model)
    with pytest.raises(ConfigError, match=r"model\.llama_model, model\.ckpt, model\.qformer_tokenizer is read from"):
        export_llama(again, tmp_path / "all", overwrite=True)


def test_a_failed_export_leaves_nothing_and_keeps_the_old_one(
    tmp_path: Path, model: TimeChat, monkeypatch: pytest.MonkeyPatch
) -> None:
    export_llama(model, tmp_path / "x")
    before = names_in(tmp_path)

    def full_disk(*args: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(llama_folder.shutil, "copyfile", full_disk)
    with pytest.raises(CheckpointError, match=r"x: cannot be written \(No space left on device\)"):
        export_llama(model, tmp_path / "x", overwrite=True)
    assert names_in(tmp_path) == before


def test_an_output_that_cannot_be_a_folder(tmp_path: Path, model: TimeChat) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"file: is a file"):
        export_llama(model, tmp_path / "file")
    with pytest.raises(CheckpointError, match=r"file/x: cannot be written"):
        export_llama(model, tmp_path / "file/x")
