"""Weight files as people have them: wrapped, renamed, zipped again, beside other objects, or a folder of peft."""

from __future__ import annotations

import argparse
import bz2
import gzip
import json
import lzma
import re
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import safetensors.torch
import torch
from helpers.exports import differing, state_of
from helpers.tiny import WEIGHTS, build_tiny, llama_folder, tiny_config
from omegaconf import OmegaConf
from torch import Tensor, nn

from timechat.errors import CheckpointError, ConfigError
from timechat.models import TimeChat, build_model
from timechat.models.checkpoints import load_weights, save_file, trainable_state_dict
from timechat.models.export import export_peft, export_safetensors
from timechat.models.llama import LORA_TARGETS, build_llama
from timechat.models.weight_files import open_weights, read_file

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def golden_state() -> State:
    """All tensors of the golden file, by published name."""
    return torch.load(WEIGHTS, weights_only=True)["model"]


@pytest.fixture(scope="module")
def model() -> TimeChat:
    """The tiny golden model; no test changes it."""
    return build_tiny()


def loaded(content: dict[str, Any], path: Path) -> TimeChat:
    """The tiny model from a file with this content."""
    torch.save(content, path)
    return build_tiny([f"model.ckpt={path}"])


# Entries and prefixes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "prefix"),
    [
        ("model", "module."),
        ("state_dict", "model."),
        ("module", ""),
        ("model_state_dict", "_orig_mod."),
        ("model_state", "module._orig_mod."),
    ],
)
def test_entries_and_prefixes_of_wrappers_are_taken_off(
    tmp_path: Path, golden_state: State, model: TimeChat, entry: str, prefix: str
) -> None:
    content = {entry: {prefix + name: tensor for name, tensor in golden_state.items()}, "epoch": 3}
    found = loaded(content, tmp_path / "c.pth")
    assert differing(state_of(found), state_of(model)) == []
    report = str(found.load_reports[0])
    assert (f"from its entry {entry}" in report) == (entry != "model")
    assert ("without the prefix" in report) == bool(prefix)


def test_entries_in_entries(tmp_path: Path, golden_state: State, model: TimeChat) -> None:
    found = loaded({"state_dict": {"model": golden_state}}, tmp_path / "c.pth")
    assert differing(state_of(found), state_of(model)) == []
    assert "from its entry state_dict.model" in str(found.load_reports[0])


def test_an_entry_that_holds_itself_is_no_checkpoint(tmp_path: Path) -> None:
    content: dict[str, Any] = {}
    content["model"] = content
    torch.save(content, tmp_path / "c.pth")
    with pytest.raises(CheckpointError, match=r"expected tensors by name, found \['model'\]"):
        open_weights(tmp_path / "c.pth", "model.ckpt")


def test_a_compiled_part_has_its_own_names(golden_state: State, model: TimeChat) -> None:
    """`model.Qformer = torch.compile(model.Qformer)` puts its mark into the middle of names."""
    empty = build_model(tiny_config().model, load_weights=False)
    names = {name.replace("Qformer.", "Qformer._orig_mod.", 1): tensor for name, tensor in golden_state.items()}
    load_weights(empty, names, "x.pth")
    assert torch.equal(empty.Qformer.bert.embeddings.LayerNorm.weight, model.Qformer.bert.embeddings.LayerNorm.weight)


def test_the_frame_encoders_file_may_have_a_prefix(tmp_path: Path, golden_state: State, model: TimeChat) -> None:
    own = {n.removeprefix("visual_encoder."): t for n, t in golden_state.items() if n.startswith("visual_encoder.")}
    torch.save({"state_dict": {f"module.{name}": tensor for name, tensor in own.items()}}, tmp_path / "vit.pth")
    found = build_tiny(["model.ckpt=", f"model.vit_model={tmp_path / 'vit.pth'}"])
    assert torch.equal(found.visual_encoder.pos_embed, model.visual_encoder.pos_embed)
    assert "from its entry state_dict; without the prefix module." in str(found.load_reports[0])


def test_with_and_without_a_prefix_is_twice() -> None:
    model = build_model(tiny_config().model, load_weights=False)
    state = {"query_tokens": torch.ones(1, 8, 48), "module.query_tokens": torch.ones(1, 8, 48)}
    with pytest.raises(CheckpointError, match="twice, under old and new names: query_tokens"):
        load_weights(model, state, "x.pth")


# Zipped again ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("with_folders", [False, True])
def test_a_file_that_was_zipped_again(tmp_path: Path, compression: int, order: int, with_folders: bool) -> None:
    state = {"a": torch.arange(1000.0), "b": torch.arange(1000.0).flip(0), "c": torch.ones(3, 5).half()}
    torch.save({"model": state}, tmp_path / "c.pth")
    with zipfile.ZipFile(tmp_path / "c.pth") as old, zipfile.ZipFile(tmp_path / "again.pth", "w", compression) as new:
        if with_folders:
            new.writestr(f"{old.namelist()[0].split('/')[0]}/", b"")
        for name in old.namelist()[::order]:
            new.writestr(name, old.read(name))
    opened = open_weights(tmp_path / "again.pth", "model.ckpt")
    assert opened.notes == ["zipped again, so read at once"]
    whole = read_file(tmp_path / "again.pth", "run.resume")["model"]
    for name, tensor in state.items():
        assert torch.equal(opened[name].read(), tensor)
        assert torch.equal(whole[name], tensor)
    assert open_weights(tmp_path / "c.pth", "model.ckpt").notes == []


@pytest.mark.parametrize(
    ("pack", "message"),
    [
        (gzip.compress, r"gzip: gunzip -c .*c\.pth > unpacked\.pth, and name what comes out"),
        (bz2.compress, "bzip2: bunzip2 -c"),
        (lzma.compress, "xz: unxz -c"),
        (lambda content: b"\x28\xb5\x2f\xfd" + content, "zstd: unzstd -c"),
        (lambda content: b"7z\xbc\xaf\x27\x1c" + content, "7-Zip: 7z x"),
    ],
    ids=["gzip", "bzip2", "xz", "zstd", "7z"],
)
def test_a_file_that_was_packed_is_told_how_to_unpack(
    tmp_path: Path, pack: Callable[[bytes], bytes], message: str
) -> None:
    torch.save({"model": {"w": torch.ones(2)}}, tmp_path / "plain.pth")
    (tmp_path / "c.pth").write_bytes(pack((tmp_path / "plain.pth").read_bytes()))
    for read in (open_weights, read_file):
        with pytest.raises(CheckpointError, match=rf"model\.ckpt=.*c\.pth: is packed with {message}"):
            read(tmp_path / "c.pth", "model.ckpt")


def test_a_file_in_an_archive_is_told_how_to_unpack(tmp_path: Path) -> None:
    torch.save({"model": {"w": torch.ones(2)}}, tmp_path / "plain.pth")
    with zipfile.ZipFile(tmp_path / "c.pth", "w") as archive:
        archive.write(tmp_path / "plain.pth", "plain.pth")
    with tarfile.open(tmp_path / "d.pth", "w") as archive:
        archive.add(tmp_path / "plain.pth", "plain.pth")
    for name, message in (("c.pth", "zip: unzip .*c.pth, and"), ("d.pth", "tar: tar -xf .*d.pth, and")):
        with pytest.raises(CheckpointError, match=f"is packed with {message}"):
            open_weights(tmp_path / name, "model.ckpt")


# Beside the weights ---------------------------------------------------------------------------------------------------

NUMPY = {
    "float": np.float64(0.5),
    "int": np.int64(3),
    "bool": np.bool_(True),
    "text": np.str_("a"),
    "half": np.float16(2),
    "array": np.arange(6, dtype=np.int32).reshape(2, 3),
}


@pytest.mark.parametrize(("legacy", "module"), [(True, "numpy.core"), (True, "numpy._core"), (False, "numpy._core")])
def test_numbers_and_arrays_of_numpy(tmp_path: Path, legacy: bool, module: str) -> None:
    """Also as numpy 1 wrote them (not in a zip, whose checksum would not fit)."""
    path = tmp_path / "c.pth"
    torch.save({"model": {"w": torch.ones(2)}, **NUMPY}, path, _use_new_zipfile_serialization=not legacy)
    path.write_bytes(path.read_bytes().replace(b"numpy._core.", f"{module}.".encode()))
    assert torch.equal(open_weights(path, "model.ckpt")["w"].read(), torch.ones(2))
    content = read_file(path, "run.resume")
    assert all(np.array_equal(content[name], value) for name, value in NUMPY.items())


class Unknown:
    """A class of somebody's script."""


@pytest.mark.parametrize(
    ("value", "name", "instead"),
    [
        (OmegaConf.create({"lr": 1.0}), "omegaconf.dictconfig.DictConfig", "OmegaConf.to_container"),
        (argparse.Namespace(lr=1.0), "argparse.Namespace", r"vars\(args\)"),
        (Path("x"), "pathlib.PosixPath", r"str\(path\)"),
        (np.array([{}], dtype=object), "numpy.dtypes.ObjectDType", r"array\.tolist"),
        (Unknown(), "test_foreign_files.Unknown", r"state_dict\(\)"),
    ],
    ids=["DictConfig", "Namespace", "Path", "objects", "unknown"],
)
@pytest.mark.parametrize("legacy", [True, False])
def test_an_object_of_a_class_is_named_with_the_way_out(
    tmp_path: Path, value: Any, name: str, instead: str, legacy: bool
) -> None:
    path = tmp_path / "c.pth"
    torch.save({"model": {"w": torch.ones(2)}, "args": value}, path, _use_new_zipfile_serialization=not legacy)
    for read in (open_weights, read_file):
        with pytest.raises(CheckpointError, match=f"model.ckpt=.*c.pth: refused.*({name}).*({instead})") as caught:
            read(path, "model.ckpt")
        message = str(caught.value)
        assert "\x1b" not in message
        assert "\n" not in message


def test_the_command_of_the_message_keeps_the_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"model": {"w": torch.ones(2)}, "args": argparse.Namespace(lr=1.0)}, "it's c.pth")
    with pytest.raises(CheckpointError) as caught:
        open_weights("it's c.pth", "model.ckpt")
    exec(str(caught.value).rpartition('python -c "')[2].removesuffix('"'))
    assert torch.equal(open_weights("weights.pth", "model.ckpt")["w"].read(), torch.ones(2))


# Numbers --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_numbers_that_are_none_are_named(tmp_path: Path, golden_state: State, value: float) -> None:
    bad = golden_state["llama_proj.weight"].clone()
    bad[3, 1] = value
    with pytest.raises(CheckpointError, match=r"NaN or infinite \(in float32\): llama_proj\.weight; the file is"):
        loaded({"model": golden_state | {"llama_proj.weight": bad}}, tmp_path / "c.pth")


def test_what_overflows_in_the_models_precision_is_named(tmp_path: Path, golden_state: State) -> None:
    large = golden_state["visual_encoder.pos_embed"] + 1e6
    torch.save({"model": golden_state | {"visual_encoder.pos_embed": large}}, tmp_path / "c.pth")
    build_tiny([f"model.ckpt={tmp_path / 'c.pth'}"])
    with pytest.raises(CheckpointError, match=r"NaN or infinite \(in float16\): visual_encoder\.pos_embed"):
        build_tiny([f"model.ckpt={tmp_path / 'c.pth'}", "model.vit_precision=fp16"])


def test_whole_numbers_in_the_place_of_fractions_are_named(tmp_path: Path, golden_state: State) -> None:
    bad = {"query_tokens": golden_state["query_tokens"].to(torch.int8)}
    with pytest.raises(CheckpointError, match=r"of another kind: query_tokens is int8 in the file, float32 in the m"):
        loaded({"model": golden_state | bad}, tmp_path / "c.pth")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.fill_(torch.nan), r"model\.norm\.weight holds NaN or infinite numbers in torch\.float32"),
        (lambda t: t.to(torch.int8), r"model\.norm\.weight is torch\.int8; quantized folders cannot be read"),
    ],
)
def test_a_llama_folders_numbers_are_checked(tmp_path: Path, change: Callable[[Tensor], Tensor], message: str) -> None:
    folder = llama_folder(tmp_path / "llama")
    state = safetensors.torch.load_file(folder / "model.safetensors")
    state["model.norm.weight"] = change(state["model.norm.weight"].clone())
    safetensors.torch.save_file(state, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=message):
        build_llama(folder, precision="fp32")


# Tied embeddings ------------------------------------------------------------------------------------------------------


@pytest.fixture
def tied(tmp_path: Path) -> Path:
    """The tiny LLaMA folder with one table for embeddings and head."""
    folder = llama_folder(tmp_path / "tied", tie_word_embeddings=True)
    state = safetensors.torch.load_file(folder / "model.safetensors")
    del state["lm_head.weight"]
    safetensors.torch.save_file(state, folder / "model.safetensors")
    return folder


@pytest.mark.parametrize("freeze", ["true", "false"])
@pytest.mark.parametrize("lora", ["true", "false"])
def test_a_model_with_tied_embeddings_is_saved_and_loaded(tmp_path: Path, tied: Path, freeze: str, lora: str) -> None:
    options = [f"model.llama_model={tied}", "model.ckpt=", f"model.freeze_llama={freeze}", f"model.lora={lora}"]
    model = build_tiny(options)
    with torch.no_grad():
        for p in model.parameters():
            if p.requires_grad:
                p.add_(torch.randn_like(p))
    state = trainable_state_dict(model)
    tables = [name for name in state if name.endswith(("lm_head.weight", "embed_tokens.weight"))]
    assert [name.rpartition("model.")[2] for name in tables] == ([] if freeze == "true" else ["embed_tokens.weight"])
    save_file({"model": state}, tmp_path / "c.pth")
    again = build_tiny([*options, f"model.ckpt_2={tmp_path / 'c.pth'}"])
    trained = {name for name, p in model.named_parameters(remove_duplicate=False) if p.requires_grad}
    assert {n for n in trained if not torch.equal(model.state_dict()[n], again.state_dict()[n])} == set()


HEAD, TABLE = "llama_model.base_model.model.lm_head.weight", "llama_model.base_model.model.model.embed_tokens.weight"


def test_another_head_than_the_embeddings_is_a_warning(
    tied: Path, golden_state: State, caplog: pytest.LogCaptureFixture
) -> None:
    """The golden checkpoint brings both; one tensor cannot be both."""
    options = [f"model.llama_model={tied}", "model.ckpt="]
    model = build_tiny(options)
    for order in (1, -1):
        caplog.clear()
        load_weights(model, dict(list(golden_state.items())[::order]), "x.pth")
        assert f"x.pth: its {HEAD} differs from its {TABLE}" in caplog.text
        assert torch.equal(model.state_dict()[TABLE], golden_state[TABLE])
    caplog.clear()
    load_weights(model, golden_state | {HEAD: golden_state[TABLE]}, "x.pth")
    assert "differs" not in caplog.text


def test_one_of_the_names_is_enough(tied: Path, golden_state: State) -> None:
    model = build_tiny([f"model.llama_model={tied}", "model.ckpt="])
    head_alone = {name: tensor for name, tensor in golden_state.items() if name != TABLE}
    load_weights(model, head_alone, "x.pth")
    assert torch.equal(model.state_dict()[TABLE], golden_state[HEAD])
    neither = {name: tensor for name, tensor in head_alone.items() if name != HEAD}
    with pytest.raises(CheckpointError, match=r"missing: .*embed_tokens\.weight"):
        load_weights(model, neither, "x.pth")


def test_a_folder_with_another_head_than_its_embeddings(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = llama_folder(tmp_path / "llama", tie_word_embeddings=True)
    llama = build_llama(folder, precision="fp32")
    assert "lm_head.weight differs from its model.embed_tokens.weight" in caplog.text
    assert llama.lm_head.weight is llama.model.embed_tokens.weight


def test_tied_parameters_of_any_module_are_saved_once() -> None:
    module = nn.ModuleDict({"first": nn.Linear(2, 2), "second": nn.Linear(2, 2)})
    module["second"].weight = module["first"].weight
    assert list(trainable_state_dict(module)) == ["first.weight", "first.bias", "second.bias"]
    module["first"].requires_grad_(False)
    assert list(trainable_state_dict(module)) == ["second.bias"]


# Adapters -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def exported(model: TimeChat, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The whole model with its own base, and its adapter, both exported."""
    root = tmp_path_factory.mktemp("exported")
    export_safetensors(model, root / "whole")
    files = [f"model.llama_model={root / 'whole/llama'}", f"model.ckpt={root / 'whole/model.safetensors'}"]
    export_peft(build_tiny(files), root / "adapter")
    return root / "whole", root / "adapter"


@pytest.mark.parametrize("file", ["", "adapter_model.safetensors"])
@pytest.mark.parametrize("key", ["ckpt", "ckpt_2"])
def test_our_own_adapter_loads_back(exported: tuple[Path, Path], model: TimeChat, key: str, file: str) -> None:
    whole, adapter = exported
    found = build_tiny([f"model.llama_model={whole / 'llama'}", "model.ckpt=", f"model.{key}={adapter / file}"])
    lora = {name: tensor for name, tensor in state_of(model).items() if ".lora_" in name}
    assert differing({n: t for n, t in state_of(found).items() if n in lora}, lora) == []
    (report,) = found.load_reports
    assert set(report.loaded) == set(lora)
    assert "an adapter of peft" in str(report)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lora_alpha": 64}, r"than model\.lora_alpha=32: set model\.lora_alpha=64"),
        ({"r": 8, "lora_alpha": 8}, r"set model\.lora_r=8 model\.lora_alpha=8"),
        (
            {"target_modules": ["q_proj", "layers.0.v_proj"]},
            r"it adapts q_proj, v_proj, the model's LoRA q_proj, k_proj",
        ),
        ({"peft_type": "IA3"}, r"peft_type='IA3' is not supported"),
        ({"use_dora": True}, r"use_dora=True is not supported"),
        ({"use_rslora": True}, r"use_rslora=True is not supported"),
    ],
)
def test_adapters_that_would_compute_something_else(
    tmp_path: Path, exported: tuple[Path, Path], change: dict[str, Any], message: str
) -> None:
    _, adapter = exported
    settings = json.loads((adapter / "adapter_config.json").read_text())
    (tmp_path / "adapter_config.json").write_text(json.dumps(settings | change))
    (tmp_path / "adapter_model.safetensors").write_bytes((adapter / "adapter_model.safetensors").read_bytes())
    with pytest.raises(CheckpointError, match=message):
        build_tiny([f"model.ckpt_2={tmp_path}"])


def test_a_model_without_lora_takes_no_adapter(exported: tuple[Path, Path]) -> None:
    with pytest.raises(CheckpointError, match=r"the model has none: set model\.lora=true"):
        build_tiny(["model.ckpt=", "model.lora=false", f"model.ckpt_2={exported[1]}"])


def test_other_folders_are_errors(tmp_path: Path, exported: tuple[Path, Path]) -> None:
    (tmp_path / "many").mkdir()
    with pytest.raises(CheckpointError, match=r"many: is a folder without adapter_config\.json: name the weight file"):
        build_tiny([f"model.ckpt_2={tmp_path / 'many'}"])
    (tmp_path / "many/mine").symlink_to(exported[1])
    with pytest.raises(CheckpointError, match=r"many: is a folder of adapters: set model\.ckpt_2=.*many/mine"):
        build_tiny([f"model.ckpt_2={tmp_path / 'many'}"])


@pytest.mark.parametrize("adapter", ["grounding", "my-adapter", "v1 (best)"])
def test_an_adapter_of_another_name(tmp_path: Path, golden_state: State, model: TimeChat, adapter: str) -> None:
    state = {name.replace(".default.", f".{adapter}."): tensor for name, tensor in golden_state.items()}
    found = loaded({"model": state}, tmp_path / "c.pth")
    assert differing(state_of(found), state_of(model)) == []
    assert f"its adapter '{adapter}' is the model's" in str(found.load_reports[0])
    with pytest.raises(CheckpointError, match=rf"unexpected: .*\.{re.escape(adapter)}\.weight"):
        loaded({"model": state | golden_state}, tmp_path / "c.pth")


def test_a_named_adapter_that_peft_saved(tmp_path: Path, exported: tuple[Path, Path]) -> None:
    whole, _ = exported
    config = peft.LoraConfig(task_type="CAUSAL_LM", r=32, lora_alpha=32, target_modules=list(LORA_TARGETS))
    adapted = peft.get_peft_model(build_llama(whole / "llama", precision="fp32"), config, adapter_name="mine")
    adapted.save_pretrained(str(tmp_path), save_embedding_layers=False)
    found = state_of(build_tiny([f"model.ckpt_2={tmp_path / 'mine'}"]))
    theirs = {n.replace(".mine.", ".default."): t for n, t in adapted.state_dict().items() if "q_proj.lora_A" in n}
    assert theirs
    assert all(torch.equal(tensor, found[f"llama_model.{name}"]) for name, tensor in theirs.items())


# LLaMA's folder -------------------------------------------------------------------------------------------------------


def test_a_name_of_the_hub_is_told_how_to_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as caught:
        build_tiny(["model.llama_model=meta-llama/Llama-2-7b-chat-hf"])
    message = str(caught.value)
    assert message.startswith("model.llama_model=meta-llama/Llama-2-7b-chat-hf: no SentencePiece model here; ")
    command = "hf download meta-llama/Llama-2-7b-chat-hf --exclude 'original/*' --local-dir ckpt/Llama-2-7b-chat-hf"
    assert f"{command}, and set model.llama_model=ckpt/Llama-2-7b-chat-hf" in message
    (tmp_path / "ckpt").mkdir()
    with pytest.raises(ConfigError) as caught:
        build_tiny(["model.llama_model=ckpt/llama"])
    assert "hub" not in str(caught.value)
