"""Weight files on disk: read safely, and one tensor at a time.

`open_weights` reads only names and shapes; each tensor's data is read when it is copied into the model. So loading
takes the memory of the model and of one tensor, whatever the file's size and precision. Code in a file is never run:
.pth files are read with `weights_only`, .safetensors files contain nothing but tensors.
"""

from __future__ import annotations

import json
import mmap
import pickle
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from timechat.errors import CheckpointError
from timechat.lfs import refuse_pointer
from timechat.sources import advice, command_for

# What torch's and safetensors' readers raise on damaged files, found by damaging them.
_DAMAGE_ERRORS = (
    *(ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, MemoryError, OSError, RuntimeError),
    *(TypeError, ValueError, struct.error, zipfile.BadZipFile, safetensors.SafetensorError),
)
_CHUNK = 1 << 20  # bytes read at a time, so that a tensor is never held twice
_NOTHING = torch.empty(0, dtype=torch.uint8)


@dataclass(frozen=True)
class LazyTensor:
    """A tensor that is still in its file.

    Attributes:
        shape: its shape.
        load: reads the data; the result may be backed by the file and is meant to be copied.
    """

    shape: torch.Size
    load: Callable[[], Tensor]

    def read(self) -> Tensor:
        """The tensor, on the CPU, in the file's precision."""
        return self.load()


def read_file(path: str | Path, key: str) -> dict[str, Any]:
    """Open a whole .pth or .safetensors file on the CPU, including what is not a weight (optimizer, epoch).

    The data of a .pth file's tensors is read when it is used, so the file must not be written to meanwhile.

    Args:
        path: the file.
        key: the setting that names it, for error messages.

    Raises:
        CheckpointError: the file is missing, damaged, or contains code.
    """
    _must_exist(Path(path), key)
    with _Refusal(path, key):
        if Path(path).suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        # The format of torch before 1.6 cannot be mapped.
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
        _must_be_dict(content, path, key)
        return content


def open_weights(path: str | Path, key: str) -> dict[str, LazyTensor]:
    """The tensors of a .pth file (under "model" or at the top level) or a .safetensors file, by name, not read yet.

    Args:
        path: the file, or the .index.json of shards.
        key: the setting that names it, for error messages.

    Raises:
        CheckpointError: the file is missing or damaged, or contains code or anything else than tensors.
    """
    path = Path(path)
    _must_exist(path, key)
    if path.name.endswith(".index.json"):
        shards = _shards_of(path, key)
        return {name: tensor for shard in shards for name, tensor in open_weights(path.parent / shard, key).items()}
    with _Refusal(path, key):
        if path.suffix == ".safetensors":
            return _open_safetensors(path, key)
        if zipfile.is_zipfile(path):
            return _open_zip(path, key)
        # The format of torch before 1.6 cannot be read tensor by tensor.
        content = torch.load(path, map_location="cpu", weights_only=True)
        _must_be_dict(content, path, key)
        state = state_dict_of(content, f"{key}={path}")
        return {name: _in_memory(tensor) for name, tensor in state.items()}


def _in_memory(tensor: Tensor) -> LazyTensor:
    return LazyTensor(tensor.shape, lambda: tensor)


def open_folder(folder: str | Path, key: str) -> dict[str, LazyTensor]:
    """The tensors of a Hugging Face folder: .safetensors or .bin, in one file or in shards with an index.

    Raises:
        CheckpointError: there are no weights, a shard is missing, or see `open_weights`.
    """
    folder = Path(folder)
    for stem, suffix in (("model", "safetensors"), ("pytorch_model", "bin")):
        for file in (folder / f"{stem}.{suffix}.index.json", folder / f"{stem}.{suffix}"):
            if file.is_file():
                return open_weights(file, key)
    command = command_for(folder)
    fix = f"; get them with: {command}" if command else ""
    raise CheckpointError(
        f"{key}={folder}: contains no weights (model.safetensors or pytorch_model.bin, or their .index.json with "
        f"shards){fix}"
    )


def _shards_of(index: Path, key: str) -> list[str]:
    refuse_pointer(index, CheckpointError, key)
    try:
        shards = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{key}={index}: not an index of shards ({error!r}); download it again") from error
    outside = [shard for shard in shards if Path(shard).name != shard]
    if outside:
        raise CheckpointError(f"{key}={index}: shard {outside[0]!r} is not in the folder of its index; refused")
    return shards


def state_dict_of(content: dict[str, Any], source: str) -> dict[str, Tensor]:
    """The tensors of a checkpoint, under "model" or at the top level. Raises CheckpointError: it has other values."""
    state = content.get("model", content)
    strangers = (
        [k for k, v in state.items() if not (isinstance(k, str) and isinstance(v, Tensor))]
        if isinstance(state, dict)
        else ["model"]
    )
    if strangers or not state:
        raise CheckpointError(f"{source}: expected tensors by name, found {strangers[:3] or 'nothing'}")
    return state


# Reading one tensor ---------------------------------------------------------------------------------------------------


def _open_safetensors(path: Path, key: str) -> dict[str, LazyTensor]:
    def load(name: str) -> Tensor:
        # Opened for each tensor: an open file stays mapped, and what was read from it stays in memory.
        with _Refusal(path, key), safetensors.safe_open(path, "pt") as file:
            return file.get_tensor(name)

    with safetensors.safe_open(path, "pt") as file:
        shapes = {name: torch.Size(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    return {name: LazyTensor(shape, partial(load, name)) for name, shape in shapes.items()}


def _open_zip(path: Path, key: str) -> dict[str, LazyTensor]:
    """torch's own format is a zip whose entries are the storages of its tensors."""
    with FakeTensorMode():  # reads only the pickle, under the same rules
        content = torch.load(path, map_location="cpu", weights_only=True)
    _must_be_dict(content, path, key)
    state = state_dict_of(content, f"{key}={path}")
    entries = _entries_by_offset(path)

    def load(fake: Tensor) -> Tensor:
        """The data of a tensor whose shape, strides and storage the pickle gave."""
        storage = fake.untyped_storage()
        with _Refusal(path, key):
            offset = storage._checkpoint_offset
            entry = None if offset is None else entries.get(offset)
            if entry is None or entry.file_size != storage.nbytes():
                raise CheckpointError(f"{key}={path}: a tensor's data is not where the file says; download it again")
            numbers = _read_entry(path, entry).view(fake.dtype)
        return numbers.as_strided(fake.shape, fake.stride(), fake.storage_offset())

    return {name: LazyTensor(fake.shape, partial(load, fake)) for name, fake in state.items()}


def _entries_by_offset(path: Path) -> dict[int, zipfile.ZipInfo]:
    """Where the content of each entry begins: after its local header, whose length is not in the index."""
    with zipfile.ZipFile(path) as archive, path.open("rb") as file:
        entries = {}
        for entry in archive.infolist():
            file.seek(entry.header_offset + 26)
            name_length, extra_length = struct.unpack("<HH", file.read(4))
            entries[entry.header_offset + 30 + name_length + extra_length] = entry
        return entries


def _read_entry(path: Path, entry: zipfile.ZipInfo) -> Tensor:
    """The bytes of an entry as uint8; its checksum is verified at the end."""
    # A separate mapping: the allocator would keep the freed memory of hundreds of large tensors.
    buffer = mmap.mmap(-1, max(entry.file_size, 1))
    with zipfile.ZipFile(path) as archive, archive.open(entry) as file:
        while chunk := file.read(_CHUNK):
            buffer.write(chunk)
    return torch.frombuffer(buffer, dtype=torch.uint8, count=entry.file_size) if entry.file_size else _NOTHING


# Errors ---------------------------------------------------------------------------------------------------------------


def _must_exist(path: Path, key: str) -> None:
    if not path.is_file():
        fix = advice(path, key)
        raise CheckpointError(f"{key}={path}: no such file; {fix}correct the path, or leave {key} out")
    refuse_pointer(path, CheckpointError, key)


def _must_be_dict(content: Any, path: str | Path, key: str) -> None:
    if not isinstance(content, dict):
        raise CheckpointError(f"{key}={path}: contains a {type(content).__name__}, not a dict of tensors")


class _Refusal:
    """Wraps reading: whatever a damaged or hostile file makes the readers raise becomes a CheckpointError."""

    def __init__(self, path: str | Path, key: str):
        self.source = f"{key}={path}"

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type | None, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, pickle.UnpicklingError):
            raise CheckpointError(
                f"{self.source}: refused, it is damaged or contains code and not only tensors ({_first_line(error)})"
            ) from error
        if isinstance(error, _DAMAGE_ERRORS):
            raise CheckpointError(f"{self.source}: not a readable checkpoint ({_first_line(error)})") from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
