"""Weight files on disk: read safely, and one tensor at a time.

`open_weights` reads only names and shapes; each tensor's data is read when it is copied into the model. So loading
takes the memory of the model and of one tensor, whatever the file's size and precision. Code in a file is never run:
.pth files are read with `weights_only`, .safetensors files contain nothing but tensors.
"""

from __future__ import annotations

import json
import mmap
import pickle
import re
import shlex
import struct
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
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
# Entries that hold the tensors: of this project and the published files; Lightning; DeepSpeed; scripts.
WRAPPERS = ("model", "state_dict", "module", "model_state_dict", "model_state")
_SUFFIXES = (".pth", ".pt", ".bin", ".ckpt", ".safetensors")
_ALIGNMENT = 64  # torch puts each tensor's data at a multiple of it
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


class Weights(dict[str, LazyTensor]):
    """The tensors of a file by name.

    Attributes:
        notes: what was unusual about the file, for the load report.
    """

    def __init__(self, tensors: Mapping[str, LazyTensor], notes: Sequence[str] = ()):
        super().__init__(tensors)
        self.notes = list(notes)


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
        _refuse_packed(Path(path), key)
        if Path(path).suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        # The format of torch before 1.6 cannot be mapped, nor can what was compressed.
        mapped = zipfile.is_zipfile(path) and _is_aligned(_entries_by_offset(Path(path)))
        content = _load(path, mapped)
        _must_be_dict(content, path, key)
        return content


def open_weights(path: str | Path, key: str) -> Weights:
    """The tensors of a .pth file (see `state_dict_of`) or a .safetensors file, by name, not read yet.

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
        opened = [open_weights(path.parent / shard, key) for shard in shards]
        return Weights({name: tensor for shard in opened for name, tensor in shard.items()})
    with _Refusal(path, key):
        _refuse_packed(path, key)
        if path.suffix == ".safetensors":
            return Weights(_open_safetensors(path, key))
        if zipfile.is_zipfile(path):
            return _open_zip(path, key)
        return _open_whole(path, key)  # torch before 1.6 wrote what cannot be read tensor by tensor


def open_folder(folder: str | Path, key: str) -> Weights:
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
    """The tensors of a checkpoint, at the top level or in an entry of WRAPPERS.

    Raises:
        CheckpointError: it has other values.
    """
    return _unwrapped(content, source)[0]


def _unwrapped(content: dict[str, Any], source: str) -> tuple[dict[str, Tensor], list[str]]:
    """The tensors of a checkpoint, and a note if they are in an unusual entry."""
    state, entries = content, []
    for _ in WRAPPERS:  # no further: a file may be made so that an entry holds itself
        entry = next((name for name in WRAPPERS if isinstance(state.get(name), dict)), None)
        if entry is None:
            break
        state = state[entry]
        entries.append(entry)
    strangers = [k for k, v in state.items() if not (isinstance(k, str) and isinstance(v, Tensor))]
    if strangers or not state:
        raise CheckpointError(f"{source}: expected tensors by name, found {strangers[:3] or 'nothing'}")
    return state, [f"from its entry {'.'.join(entries)}"] if entries not in ([], ["model"]) else []


def is_finite(tensor: Tensor) -> bool:
    """Whether all numbers are; a quick pass that allocates nothing."""
    if not tensor.is_floating_point() or not tensor.numel():
        return True
    low, high = tensor.detach().aminmax()
    return bool(low.isfinite() and high.isfinite())


# Reading one tensor ---------------------------------------------------------------------------------------------------


def _open_safetensors(path: Path, key: str) -> dict[str, LazyTensor]:
    def load(name: str) -> Tensor:
        # Opened for each tensor: an open file stays mapped, and what was read from it stays in memory.
        with _Refusal(path, key), safetensors.safe_open(path, "pt") as file:
            return file.get_tensor(name)

    with safetensors.safe_open(path, "pt") as file:
        shapes = {name: torch.Size(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    return {name: LazyTensor(shape, partial(load, name)) for name, shape in shapes.items()}


def _open_whole(path: Path, key: str, notes: Sequence[str] = ()) -> Weights:
    content = _load(path)
    _must_be_dict(content, path, key)
    state, more = _unwrapped(content, f"{key}={path}")
    return Weights({name: _in_memory(tensor) for name, tensor in state.items()}, [*notes, *more])


def _in_memory(tensor: Tensor) -> LazyTensor:
    return LazyTensor(tensor.shape, lambda: tensor)


def _open_zip(path: Path, key: str) -> Weights:
    """torch's own format is a zip whose entries are the storages of its tensors."""
    entries = _entries_by_offset(path)
    if not _is_aligned(entries):  # torch computes where the data would be if it had written the file
        return _open_whole(path, key, ["zipped again, so read at once"])
    with FakeTensorMode():  # reads only the pickle, under the same rules
        content = _load(path)
    _must_be_dict(content, path, key)
    state, notes = _unwrapped(content, f"{key}={path}")

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

    return Weights({name: LazyTensor(fake.shape, partial(load, fake)) for name, fake in state.items()}, notes)


def _is_aligned(entries: Mapping[int, zipfile.ZipInfo]) -> bool:
    """Whether torch wrote this zip: nobody else aligns the data."""
    data = {offset: entry for offset, entry in entries.items() if "/data/" in entry.filename and entry.file_size}
    return all(entry.compress_type == zipfile.ZIP_STORED for entry in data.values()) and not any(
        offset % _ALIGNMENT for offset in data
    )


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


def _load(path: str | Path, mapped: bool = False) -> Any:
    """A .pth file's content; besides tensors and plain values, numpy's numbers and arrays may be in it."""
    with torch.serialization.safe_globals(_numpy_globals()):
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)


def _numpy_globals() -> list[Any]:
    """What pickles of numpy's numbers and arrays name; arrays of Python objects are left out. None of it is code."""
    kinds = {type(np.dtype(code)) for code in np.typecodes["All"] if code != "O"}
    makers = {"scalar": np.float64(0).__reduce__()[0], "_reconstruct": np.empty(0).__reduce__()[0]}
    modules = ("numpy.core.multiarray", "numpy._core.multiarray")  # of numpy 1 and 2
    named = [(make, f"{module}.{name}") for module in modules for name, make in makers.items()]
    return [np.ndarray, np.dtype, *kinds, *named]


def _must_exist(path: Path, key: str) -> None:
    if not path.is_file():
        fix = advice(path, key)
        raise CheckpointError(f"{key}={path}: no such file; {fix}correct the path, or leave {key} out")
    refuse_pointer(path, CheckpointError, key)


def _must_be_dict(content: Any, path: str | Path, key: str) -> None:
    if not isinstance(content, dict):
        raise CheckpointError(f"{key}={path}: contains a {type(content).__name__}, not a dict of tensors")


# How files begin that were packed by a program whose packing torch does not undo: the program, and the way back.
_PACKED = {
    b"\x1f\x8b": ("gzip", "gunzip -c {0} > unpacked.pth"),
    b"BZh": ("bzip2", "bunzip2 -c {0} > unpacked.pth"),
    b"\xfd7zXZ\x00": ("xz", "unxz -c {0} > unpacked.pth"),
    b"\x28\xb5\x2f\xfd": ("zstd", "unzstd -c {0} > unpacked.pth"),
    b"7z\xbc\xaf\x27\x1c": ("7-Zip", "7z x {0}"),
}


def _refuse_packed(path: Path, key: str) -> None:
    """Raise CheckpointError for a file that has to be unpacked first; the message has the command."""
    with path.open("rb") as file:
        start = file.read(264)
    packed = next((way for magic, way in _PACKED.items() if start.startswith(magic)), None)
    if start[257:262] == b"ustar":
        packed = "tar", "tar -xf {0}"
    elif packed is None and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
        if any(name.endswith(_SUFFIXES) for name in names) and not any(name.endswith("/data.pkl") for name in names):
            packed = "zip", "unzip {0}"
    if packed:
        command = packed[1].format(shlex.quote(str(path)))
        raise CheckpointError(f"{key}={path}: is packed with {packed[0]}: {command}, and name what comes out")


class _Refusal:
    """Wraps reading: whatever a damaged or hostile file makes the readers raise becomes a CheckpointError."""

    def __init__(self, path: str | Path, key: str):
        self.source, self.path = f"{key}={path}", path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type | None, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, pickle.UnpicklingError):
            raise CheckpointError(f"{self.source}: refused, {_refused(error, self.path)}") from error
        if isinstance(error, _DAMAGE_ERRORS):
            raise CheckpointError(f"{self.source}: not a readable checkpoint ({_first_line(error)})") from error


# Classes that are often in checkpoints, and what turns their objects into plain values.
_PLAIN_VALUES = {
    "omegaconf.": "OmegaConf.to_container(config, resolve=True)",
    "argparse.Namespace": "vars(args)",
    "pathlib.": "str(path)",
    "numpy.": "array.tolist()",
}


def _refused(error: pickle.UnpicklingError, path: str | Path) -> str:
    """Why torch refuses a file, and the way out for one that holds objects of harmless classes."""
    text = str(error)
    blocked = re.search(r"GLOBAL (\S+) whose module \S+ is blocked", text)
    strange = re.search(r"(?:GLOBAL |but got <class ')([\w.]+)(?: was not an allowed global|'>)", text)
    if blocked or not strange:
        reason = blocked[1] if blocked else re.sub(r".*WeightsUnpickler error: ", "", _plain(text), flags=re.DOTALL)
        return f"it is damaged or contains code and not only tensors ({_first_line(reason)})"
    name = strange[1]
    plain = next((how for start, how in _PLAIN_VALUES.items() if name.startswith(start)), None)
    instead = f"store {plain} in its place" if plain else "store plain values, or a model's state_dict(), in its place"
    load = f"torch.load({str(path)!r}, weights_only=False)"
    return (
        f"it contains {name}, and not only tensors and plain values: loading that may run code. If you made the file, "
        f'{instead}. If you trust it, keep its weights alone: python -c "import torch; '
        f"torch.save({{'model': {load}['model']}}, 'weights.pth')\""
    )


def _plain(text: str) -> str:
    """A message without a terminal's escape codes."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def _first_line(error: BaseException | str) -> str:
    return (_plain(str(error)).strip().splitlines() or [type(error).__name__])[0][:200]
