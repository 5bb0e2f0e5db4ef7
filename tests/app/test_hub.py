"""Saved models: the same bits from a folder, after a move, from the hub's cache; hostile folders are refused."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from helpers.exports import answers, differing, names_in, state_of
from helpers.tiny import BERT, LLAMA, Golden, build_tiny, tiny_config
from safetensors.torch import load_file, save_file

import timechat
from timechat.app.api import VideoLanguageModel
from timechat.config import load_config
from timechat.errors import CheckpointError, ConfigError, TimeChatError
from timechat.models import build_model, llama_folder

REPO = "org/tiny"
FILES = [
    *("README.md", "config.json", "llama", "llama/config.json", "llama/model.safetensors", "llama/tokenizer.model"),
    *("model.safetensors", "qformer_tokenizer", "qformer_tokenizer/vocab.txt"),
]


def tiny(options: tuple[str, ...] = ()) -> VideoLanguageModel:
    """The golden model as `timechat.load` gives it."""
    return VideoLanguageModel(tiny_config(["run.device=cpu", *options]), build_tiny(options))


@pytest.fixture(scope="module")
def model() -> VideoLanguageModel:
    """No test changes it."""
    return tiny()


@pytest.fixture(scope="module")
def saved(model: VideoLanguageModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its folder; no test changes it."""
    folder = tmp_path_factory.mktemp("saved") / "model"
    model.save_pretrained(folder)
    return folder


@pytest.fixture
def copied(saved: Path, tmp_path: Path) -> Path:
    """A copy of it, to be spoiled."""
    return Path(shutil.copytree(saved, tmp_path / "copy"))


def edit(file: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change a JSON file."""
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def logits(model: VideoLanguageModel, golden: Golden) -> list[torch.Tensor]:
    """What the decoder sees of the golden videos."""
    with torch.no_grad():
        return model.encode_video(golden.videos(), golden.expected["timestamps"])


# There and back -------------------------------------------------------------------------------------------------------


def test_what_is_in_the_folder(saved: Path) -> None:
    names = set(names_in(saved))
    assert names == {*FILES, *(f"llama/{path.name}" for path in LLAMA.iterdir())}
    config = json.loads((saved / "config.json").read_text())
    assert config["files"] == {
        "qformer_tokenizer": "qformer_tokenizer",
        "llama_model": "llama",
        "ckpt": "model.safetensors",
    }
    assert config["model"]["arch"] == "timechat"
    assert config["import"] == []
    assert str(LLAMA) not in (saved / "config.json").read_text()
    assert (saved / "model.safetensors").stat().st_mode == (saved / "config.json").stat().st_mode
    card = (saved / "README.md").read_text()
    assert "library_name: timechat" in card
    assert "timechat.load(" in card


def test_a_moved_folder_gives_the_same_model_bit_for_bit(
    model: VideoLanguageModel, copied: Path, golden: Golden, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And from any working directory, with nothing of the original within reach."""
    monkeypatch.chdir(copied.parent)
    monkeypatch.setattr("timechat.text.tokenizers.vocabulary_from_hub", None)
    again = timechat.load("copy", device="cpu")
    assert isinstance(again, VideoLanguageModel)
    assert not again.model.training
    assert {str(Path(again.cfg.model[key]).parts[0]) for key in ("llama_model", "ckpt", "qformer_tokenizer")} == {
        "copy"
    }
    assert differing(state_of(model.model), state_of(again.model)) == []
    assert all(map(torch.equal, logits(model, golden), logits(again, golden)))
    assert answers(again.model, golden) == answers(model.model, golden)


@pytest.mark.parametrize(
    "options",
    [
        ("model.llama_precision=bf16", "model.vit_precision=bf16", "model.max_txt_len=2560"),
        ("model.qformer_text_input=false",),
        ("model.lora=false", "model.freeze_llama=false", "model.allow_unexpected=true"),
    ],
    ids=["half precision, long texts", "no timestamp sentences", "without LoRA"],
)
def test_other_models_come_back(tmp_path: Path, golden: Golden, options: tuple[str, ...]) -> None:
    model = tiny(options)
    model.save_pretrained(tmp_path / "x")
    again = VideoLanguageModel.from_pretrained(tmp_path / "x", device="cpu")
    assert again.cfg.model.qformer_tokenizer in ("", str(tmp_path / "x/qformer_tokenizer"))
    assert differing(state_of(model.model), state_of(again.model)) == []
    assert answers(again.model, golden) == answers(model.model, golden)


def test_large_models_are_sharded(tmp_path: Path, model: VideoLanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """A larger or smaller one in the same folder leaves no old shard behind."""
    model.save_pretrained(tmp_path / "x")
    monkeypatch.setattr(llama_folder, "MAX_SHARD_BYTES", 500_000)
    model.save_pretrained(tmp_path / "x")
    assert len(list((tmp_path / "x").glob("model-*.safetensors"))) > 1
    assert not (tmp_path / "x/model.safetensors").exists()
    again = timechat.load(tmp_path / "x", device="cpu")
    assert differing(state_of(model.model), state_of(again.model)) == []
    monkeypatch.undo()
    again.save_pretrained(tmp_path / "x")  # onto the files that it was loaded from
    assert set(names_in(tmp_path / "x")) == {*FILES, *(f"llama/{path.name}" for path in LLAMA.iterdir())}
    assert differing(state_of(model.model), state_of(timechat.load(tmp_path / "x", device="cpu").model)) == []


def test_other_files_of_the_folder_stay(tmp_path: Path, model: VideoLanguageModel) -> None:
    (tmp_path / "README.md").write_text("mine")
    (tmp_path / "notes.txt").write_text("mine")
    model.save_pretrained(tmp_path)
    assert (tmp_path / "README.md").read_text() == (tmp_path / "notes.txt").read_text() == "mine"
    assert (tmp_path / "config.json").is_file()


def test_a_failed_save_keeps_the_old_model(
    copied: Path, model: VideoLanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(*args: object) -> None:
        raise OSError("No space left on device")

    before = names_in(copied.parent)
    monkeypatch.setattr(llama_folder.shutil, "copyfile", full_disk)
    with pytest.raises(CheckpointError, match=r"copy: cannot be written \(No space left on device\)"):
        model.save_pretrained(copied)
    assert names_in(copied.parent) == before


def test_what_cannot_be_saved(tmp_path: Path) -> None:
    model = VideoLanguageModel(tiny_config(["run.device=cpu"]), build_model(tiny_config().model, load_weights=False))
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="file: is a file; name a folder"):
        model.save_pretrained(tmp_path / "file")
    model.cfg.model.low_resource = True
    with pytest.raises(ConfigError, match=r"model\.low_resource=true"):
        model.save_pretrained(tmp_path / "x")


def test_options_override_what_was_saved(saved: Path) -> None:
    again = timechat.load(saved, options=["model.llama_precision=bf16", "model.num_frm=3"], device="cpu")
    assert again.model.llama_model.dtype == torch.bfloat16
    assert again.cfg.model.num_frm == 3


def test_every_tool_takes_the_folder_for_a_config(saved: Path) -> None:
    assert load_config(saved).model.llama_model == str(saved / "llama")


# Guests ---------------------------------------------------------------------------------------------------------------


def test_a_guest_with_parameters_and_files_of_its_own(
    tmp_path: Path, golden: Golden, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.yaml").write_text(
        "import: [helpers.guest_models]\nmodel: {arch: scaled_timechat, first_scale: 2.5}\n"
    )
    (tmp_path / "hello.txt").write_text("hello")
    base = tiny_config().model
    sizes = {key: base[key] for key in ("image_size", "vit_precision", "max_frame_pos", "window_size", "stride")}
    options = [f"model.{key}={value}" for key, value in {**sizes, "greeting": tmp_path / "hello.txt"}.items()]
    cfg = load_config(tmp_path / "config.yaml", ["run.device=cpu", *options])
    cfg.model = {**cfg.model, **{key: base[key] for key in base if key != "arch"}}
    model = VideoLanguageModel(cfg, build_model(cfg.model))
    with torch.no_grad():
        model.model.scale.fill_(1.75)
        model.model.shift.fill_(0.25)
    model.save_pretrained(tmp_path / "x")
    (tmp_path / "hello.txt").unlink()
    assert json.loads((tmp_path / "x/config.json").read_text())["import"] == ["helpers.guest_models"]
    again = timechat.load(tmp_path / "x", device="cpu")
    assert type(again.model).__name__ == "ScaledTimeChat"
    assert again.model.greeting == "hello"
    assert again.cfg.model.first_scale == 2.5
    assert differing(state_of(model.model), state_of(again.model)) == []
    assert answers(again.model, golden) == answers(model.model, golden)
    monkeypatch.delattr(type(model.model), "write_files")
    with pytest.raises(ConfigError, match=r"model\.greeting=.*ScaledTimeChat\.write_files has to write this file"):
        again.save_pretrained(tmp_path / "y")
    assert not (tmp_path / "y").exists()


# The hub --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def cache(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the hub that holds the model as `org/tiny`, as links to blobs; nothing can be downloaded."""
    repo, commit = tmp_path / "hub/models--org--tiny", "0" * 40
    (repo / "refs").mkdir(parents=True)
    (repo / "refs/main").write_text(commit)
    for number, file in enumerate(sorted(path for path in saved.rglob("*") if path.is_file())):
        blob, link = repo / f"blobs/{number}", repo / "snapshots" / commit / file.relative_to(saved)
        blob.parent.mkdir(exist_ok=True)
        link.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, blob)
        link.symlink_to(os.path.relpath(blob, link.parent))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return repo


def test_a_hub_id_is_read_from_the_cache(cache: Path, model: VideoLanguageModel, golden: Golden) -> None:
    for again in (timechat.load(REPO, device="cpu"), VideoLanguageModel.from_pretrained(REPO, local_files_only=True)):
        assert differing(state_of(model.model), state_of(again.model)) == []
    assert answers(again.model, golden) == answers(model.model, golden)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("org/other", "org/other: no such file or folder, and the hub cannot be reached"),
        ("no such folder", "no such folder: no such file or folder, and no model on the hub that can be had"),
        ("nowhere.yaml", "nowhere.yaml: no such config file"),
    ],
)
def test_nothing_is_there(cache: Path, source: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        timechat.load(source)


def test_a_repository_that_holds_something_else(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*args: object, **options: object) -> None:
        raise huggingface_hub.errors.EntryNotFoundError("404")

    monkeypatch.setattr("timechat.app.hub.hf_hub_download", missing)
    with pytest.raises(ConfigError, match=r"org/7b: this repository has no config\.json, .* as model\.ckpt"):
        timechat.load("org/7b")


def test_push_uploads_what_save_writes(model: VideoLanguageModel, saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pushed: dict[str, Any] = {}

    def create_repo(self: Any, repo_id: str, **options: Any) -> Any:
        return huggingface_hub.RepoUrl(f"https://huggingface.co/{repo_id}")

    def upload_folder(self: Any, *, folder_path: Path, **options: Any) -> str:
        pushed.update(options, names=names_in(folder_path), card=(folder_path / "README.md").read_text())
        pushed["weights"] = load_file(folder_path / "model.safetensors")
        return "address"

    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", create_repo)
    monkeypatch.setattr(huggingface_hub.HfApi, "upload_folder", upload_folder)
    assert model.push_to_hub(REPO, private=True, commit_message="first") == "address"
    assert (pushed["repo_id"], pushed["commit_message"]) == (REPO, "first")
    assert pushed["names"] == names_in(saved)
    assert f'timechat.load("{REPO}")' in pushed["card"]
    assert differing(pushed["weights"], load_file(saved / "model.safetensors")) == []


# Strangers' folders ---------------------------------------------------------------------------------------------------


def set_file(key: str, value: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda content: content["files"].__setitem__(key, value)


def set_model(key: str, value: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda content: content["model"].__setitem__(key, value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_file("llama_model", str(LLAMA)), r"files\.llama_model=.* points outside"),
        (set_file("llama_model", "../../llama"), r"points outside"),
        (set_file("llama_model", "gone"), r"files\.llama_model='gone' is not in the folder"),
        (set_file("llama_model", 3), r"must map keys of the section model to names of files"),
        (set_file("system_prompt", "llama"), r"files\.system_prompt: is not a key that names a file"),
        (set_model("qformer_tokenizer", str(BERT)), r"model\.qformer_tokenizer: names a file, which only `files` may"),
        (set_model("ckpt_2", "evil.pth"), r"model\.ckpt_2: names a file"),
        (set_model("system_prompt", "${oc.env:HOME}"), r"an interpolation"),
        (set_model("windowsize", 3), r"unknown key model\.windowsize \(did you mean 'window_size'\?\)"),
        (set_model("stride", "x"), r"model\.stride='x' must be a whole number"),
        (set_model("arch", "evil"), r"unknown model 'evil'"),
        (set_model("arch", "vit"), r"unknown model 'vit'"),
        (lambda content: content.pop("model"), r"has no section model"),
        (lambda content: content.update(run={"device": "cpu"}), r"unknown section 'run'"),
        (lambda content: content.update({"import": "os"}), r"import='os' must be a list of modules"),
        (lambda content: content.update({"import": ["no_such_module_x"]}), r"no module 'no_such_module_x'"),
    ],
)
def test_a_config_that_leads_astray(copied: Path, change: Callable[[dict[str, Any]], Any], message: str) -> None:
    edit(copied / "config.json", change)
    with pytest.raises(ConfigError, match=message):
        timechat.load(copied, device="cpu")


@pytest.mark.parametrize("content", ["{", "[]", "null", "[" * 100_000, "\ufeff{}"])
def test_a_config_that_is_none(copied: Path, content: str) -> None:
    (copied / "config.json").write_text(content)
    with pytest.raises(ConfigError, match=r"copy/config\.json: "):
        timechat.load(copied)


def test_a_folder_of_something_else(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no config\.json there"):
        timechat.load(tmp_path)


@pytest.mark.parametrize("module", ["copy.evil", "evil"])
def test_code_in_the_folder_is_not_run(copied: Path, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither beside it, as a part of the folder, nor from inside of it."""
    inside = Path(shutil.move(copied, copied.parent / "a_model_of_mine"))
    (inside / "evil.py").write_text("raise SystemExit('run')")
    name = module.replace("copy", inside.name)
    edit(inside / "config.json", lambda content: content.update({"import": [name]}))
    monkeypatch.chdir(inside if module == "evil" else inside.parent)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    with pytest.raises(ConfigError, match=rf"import: {name} would run code of this folder"):
        timechat.load(inside)


def test_nobody_is_asked_whether_code_of_the_decoder_may_run(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (copied / "llama/evil.py").write_text("raise SystemExit('run')")
    (copied / "llama/config.json").write_text('{"model_type": "evil", "auto_map": {"AutoConfig": "evil.Config"}}')
    monkeypatch.setattr("builtins.input", lambda *question: "y")
    with pytest.raises(ConfigError, match=r"its config\.json cannot be read"):
        timechat.load(copied)


def test_pickles_are_refused(copied: Path) -> None:
    weights = copied / "llama/model.safetensors"
    torch.save(load_file(weights), copied / "llama/pytorch_model.bin")
    weights.unlink()
    with pytest.raises(ConfigError, match=r"pytorch_model\.bin: .* \.safetensors alone"):
        timechat.load(copied)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "llama/tokenizer.model", "qformer_tokenizer"])
def test_links_that_lead_out_are_refused(copied: Path, name: str) -> None:
    outside = copied.parent / "outside"
    shutil.move(copied / name, outside)
    (copied / name).symlink_to(outside)
    with pytest.raises(ConfigError, match=r"is a link to .*outside, outside of the folder"):
        timechat.load(copied)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("ln_vision.weight"), r"missing: ln_vision\.weight"),
        (
            lambda state: [state.pop(n) for n in list(state) if n.startswith("llama_proj")],
            r"lacks 2 .*proj\.bias",
        ),
        (lambda state: state.update({"evil": torch.zeros(1)}), r"has no place for 1 tensors, such as evil"),
        (lambda state: state.update({"Qformer.bert.evil": torch.zeros(1)}), r"unexpected: Qformer\.bert\.evil"),
        (lambda state: state.update({"llama_proj.bias": torch.zeros(3)}), r"misshapen: llama_proj\.bias"),
    ],
)
def test_every_tensor_is_accounted_for(copied: Path, change: Callable[[Any], Any], message: str) -> None:
    state = load_file(copied / "model.safetensors")
    change(state)
    save_file(state, copied / "model.safetensors")
    with pytest.raises(CheckpointError, match=message):
        timechat.load(copied, device="cpu")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("model.safetensors", b"junk"),
        ("llama/model.safetensors", b""),
        ("llama/tokenizer.model", b"junk"),
        ("llama/config.json", b'{"model_type": "evil", "auto_map": {"AutoConfig": "evil.Config"}}'),
        ("llama/config.json", b'{"model_type": "llama", "hidden_size": "x", "vocab_size": []}'),
        ("llama/config.json", b'{"model_type": "llama", "num_attention_heads": 0}'),
        ("qformer_tokenizer/vocab.txt", b"\xff\xfe"),
    ],
)
def test_damaged_files_are_typed_errors(copied: Path, name: str, content: bytes) -> None:
    (copied / name).write_bytes(content)
    with pytest.raises(TimeChatError, match="copy"):
        timechat.load(copied, device="cpu")
