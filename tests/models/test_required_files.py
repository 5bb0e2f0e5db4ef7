"""Everything that a model's config names and that is not there, in one list."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.tiny import llama_folder, tiny_config
from omegaconf import OmegaConf

from timechat.models import required_files
from timechat.models.required_files import missing_model_files


def missing(options: list[str]) -> list[str]:
    """The list for the tiny model's config with other paths."""
    return [str(line) for line in missing_model_files(tiny_config(options).model, download=False)]


def test_nothing_is_missing_of_a_whole_set_up(tmp_path: Path) -> None:
    assert missing([]) == []
    assert missing(["model.ckpt="]) == []


def test_weight_files_and_folders_in_their_place(tmp_path: Path) -> None:
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text("{}")
    names = {"vit_model": tmp_path / "v.pth", "ckpt": tmp_path / "adapter", "ckpt_2": tmp_path}
    assert missing([f"model.{key}={path}" for key, path in names.items()]) == [
        f"model.vit_model={tmp_path / 'v.pth'}: no such file",
        f"model.ckpt={tmp_path / 'adapter' / 'adapter_model.safetensors'}: no such file",
        f"model.ckpt_2={tmp_path}: is a folder of adapters: set model.ckpt_2={tmp_path / 'adapter'}",
    ]


def test_a_file_that_is_elsewhere_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    other = Path("ckpt/eva-vit-g/eva_vit_g.pth")
    other.parent.mkdir(parents=True)
    other.touch()
    (line,) = missing(["model.vit_model=ckpt/blip2/eva_vit_g.pth"])
    assert line.endswith(f"no such file\n    it exists as {other}: set model.vit_model={other}")


def test_what_a_llama_folder_lacks(tmp_path: Path) -> None:
    folder = llama_folder(tmp_path / "llama")
    (folder / "model.safetensors").unlink()
    for name in ("config.json", "tokenizer.model"):
        (folder / name).unlink()
    lines = missing([f"model.llama_model={folder}"])
    assert [line.partition(": ")[2].partition("\n")[0] for line in lines] == [
        "no config.json there",
        "no SentencePiece model (tokenizer.model) there",
        "no weights there, none of " + ", ".join(required_files.LLAMA_WEIGHTS),
    ]
    assert "\n    model.llama_model must name a LLaMA folder" in lines[1]


def test_shards_that_an_index_names(tmp_path: Path) -> None:
    folder = llama_folder(tmp_path / "llama")
    (folder / "model.safetensors").rename(folder / "1.safetensors")
    index = folder / required_files.INDEXES[0]
    index.write_text(json.dumps({"weight_map": {"a": "1.safetensors", "b": "2.safetensors", "c": "3.safetensors"}}))
    (line,) = missing([f"model.llama_model={folder}"])
    assert line.startswith(
        f"model.llama_model={folder}: lacks shards that {index.name} names: 2.safetensors, 3.safetensors"
    )
    index.write_text("{")  # the loader says what is wrong with it
    assert missing([f"model.llama_model={folder}"]) == []


@pytest.mark.parametrize(("download", "there", "lines"), [(True, True, 0), (True, False, 1), (False, True, 1)])
def test_a_vocabulary_may_come_from_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, download: bool, there: bool, lines: int
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(required_files, "vocabulary_from_hub", lambda name: tmp_path if there else None)
    model = tiny_config(["model.qformer_tokenizer=a/b/bert"]).model
    found = list(missing_model_files(model, download=download))
    assert len(found) == lines
    assert all(("cannot be downloaded from here" in line.what) == download for line in found)


def test_a_model_without_decoder_and_text_needs_neither() -> None:
    assert list(missing_model_files(OmegaConf.create({"arch": "plain", "qformer_text_input": False}))) == []
