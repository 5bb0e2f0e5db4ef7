"""Tensors are read one by one, whatever the file's format, and loading takes no second copy of the model."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import safetensors.torch
import torch
from helpers.tiny import BERT, LLAMA
from torch import Tensor

from timechat.errors import CheckpointError
from timechat.models.llama import build_llama
from timechat.models.weight_files import open_folder, open_weights

MEMORY_PROBE = Path(__file__).parents[1] / "helpers" / "memory_probe.py"


def tensors() -> dict[str, Tensor]:
    """Odd ones: a view into a larger storage, transposed, shared, empty, without dimensions, half precision."""
    base = torch.arange(24.0).view(4, 6)
    return {
        "view": base[1:3],
        "transposed": base.T,
        "shared": base,
        "empty": torch.empty(0, 3),
        "number": torch.tensor(7),
        "half": torch.randn(5, 3).to(torch.bfloat16),
    }


@pytest.mark.parametrize("wrapped", [True, False], ids=["under model", "bare"])
@pytest.mark.parametrize("legacy", [True, False], ids=["torch before 1.6", "zip"])
def test_every_tensor_of_a_pth_file_reads_back(tmp_path: Path, wrapped: bool, legacy: bool) -> None:
    state, path = tensors(), tmp_path / "weights.pth"
    content = {"model": state, "epoch": 3} if wrapped else state
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    opened = open_weights(path, "model.ckpt")
    assert list(opened) == list(state)
    for name, tensor in state.items():
        assert opened[name].shape == tensor.shape
        read = opened[name].read()
        assert read.dtype == tensor.dtype
        assert torch.equal(read, tensor)


def test_every_tensor_of_a_safetensors_file_reads_back(tmp_path: Path) -> None:
    state = {name: tensor.clone().contiguous() for name, tensor in tensors().items()}
    safetensors.torch.save_file(state, tmp_path / "w.safetensors")
    opened = open_weights(tmp_path / "w.safetensors", "model.ckpt")
    assert {name: tensor.shape for name, tensor in opened.items()} == {n: t.shape for n, t in state.items()}
    assert all(torch.equal(opened[name].read(), state[name]) for name in state)


def test_a_flipped_bit_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"weight": torch.zeros(1000)}, path)
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        entry = next(e for e in archive.infolist() if e.file_size == 4000)
    content[entry.header_offset + 2000] ^= 1
    path.write_bytes(content)
    opened = open_weights(path, "model.ckpt")
    with pytest.raises(CheckpointError, match=r"model\.ckpt=.*not a readable checkpoint.*CRC"):
        opened["weight"].read()


def test_a_file_that_changes_after_opening_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"weight": torch.zeros(1000)}, path)
    opened = open_weights(path, "model.ckpt")
    path.write_bytes(b"gone")
    with pytest.raises(CheckpointError, match="not a readable checkpoint"):
        opened["weight"].read()


def shard(folder: Path, suffix: str, count: int = 2) -> None:
    """Rewrite the weights of a LLaMA folder as shards with an index."""
    state = safetensors.torch.load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    stem = {"safetensors": "model", "bin": "pytorch_model"}[suffix]
    weight_map = {}
    for i in range(count):
        part = {name: state[name] for name in sorted(state)[i::count]}
        name = f"{stem}-{i + 1:05d}-of-{count:05d}.{suffix}"
        (safetensors.torch.save_file if suffix == "safetensors" else torch.save)(part, folder / name)
        weight_map |= dict.fromkeys(part, name)
    (folder / f"{stem}.{suffix}.index.json").write_text(json.dumps({"weight_map": weight_map}))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the tiny LLaMA folder."""
    target = tmp_path / "llama"
    target.mkdir()
    for file in LLAMA.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    return target


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_sharded_llama_folders_load(folder: Path, suffix: str, precision: str) -> None:
    expected = build_llama(LLAMA, precision=precision).state_dict()
    shard(folder, suffix)
    loaded = build_llama(folder, precision=precision)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in loaded.state_dict().items())
    assert not any(t.is_meta for t in (*loaded.parameters(), *loaded.buffers()))


def test_a_single_bin_file_loads(folder: Path) -> None:
    state = safetensors.torch.load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    old = {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.zeros(8)}  # old folders carry this buffer
    torch.save(state | old, folder / "pytorch_model.bin")
    loaded = build_llama(folder, precision="fp32").state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in state.items())


def test_tied_embeddings_are_shared(folder: Path) -> None:
    state = safetensors.torch.load_file(folder / "model.safetensors")
    del state["lm_head.weight"]
    safetensors.torch.save_file(state, folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text()) | {"tie_word_embeddings": True}
    (folder / "config.json").write_text(json.dumps(config))
    llama = build_llama(folder, precision="fp32")
    assert llama.lm_head.weight is llama.model.embed_tokens.weight


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "model-00002-of-00002.safetensors").unlink(), "model-00002.*no such file"),
        (lambda f: (f / "model.safetensors.index.json").write_text("[]"), "not an index of shards"),
        (
            lambda f: (f / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../../evil.bin"}}'),
            "not in the folder of its index; refused",
        ),
    ],
    ids=["missing shard", "broken index", "shard elsewhere"],
)
def test_damaged_shards_are_errors(folder: Path, damage: object, message: str) -> None:
    shard(folder, "safetensors")
    damage(folder)
    with pytest.raises(CheckpointError, match=message):
        open_folder(folder, "model.llama_model")


def test_loading_takes_the_memory_of_the_model_and_little_more(tmp_path: Path) -> None:
    """1 GB of weights, stored in fp16 and loaded as bf16: peak memory at most 1.2 x weights + 0.5 GB."""
    command = [sys.executable, str(MEMORY_PROBE), str(tmp_path), str(LLAMA), str(BERT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["weights_gb"] >= 1.0
    assert result["peak_gb"] <= 1.2 * result["weights_gb"] + 0.5, result
