"""The folder of a saved model, on disk or from the hub: it needs no other file, and may be moved.

    config.json          {"model": the section of a config, "files": key -> file or folder in here, "import": modules}
    model.safetensors    the weights by published name; large ones in shards with model.safetensors.index.json
    llama/, ...          what the keys under "files" name: the decoder, tokenizers

Such a folder may come from anybody. No code in it is run, weights are safetensors alone, and nothing outside of it is
read: paths and links that lead out, and interpolations such as ${oc.env:HOME}, are refused.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from timechat.errors import ConfigError
from timechat.io import write_json
from timechat.lfs import refuse_pointer

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INDEX = f"{WEIGHTS}.index.json"
PICKLES = (".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth")

_SECTIONS = ("model", "files", "import")


@dataclass(frozen=True)
class ModelFolder:
    """What the `config.json` of a saved model says.

    Attributes:
        model: the section `model`, without the keys that name files.
        files: those keys, each with its file or folder.
        imports: modules that register what the section names.
    """

    model: dict[str, Any]
    files: dict[str, str]
    imports: list[str]


def write_model_config(
    folder: Path, model: Mapping[str, Any], files: Mapping[str, str], imports: Sequence[str]
) -> None:
    """Write `config.json`; `files` are relative to the folder."""
    write_json(folder / CONFIG, {"model": dict(model), "files": dict(files), "import": list(imports)})


def read_model_folder(folder: str | Path) -> ModelFolder:
    """Read `config.json` and see that the files which it names are in the folder, and are safe to open.

    Raises:
        ConfigError: naming the file and what is wrong with it.
    """
    folder = Path(folder)
    file = folder / CONFIG
    if not file.is_file():
        raise ConfigError(f"{folder}: no {CONFIG} there; it is not the folder of a saved model (model.save_pretrained)")
    _check_place(file, folder)
    refuse_pointer(file, ConfigError)
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError is a ValueError
        raise ConfigError(f"{file}: not valid JSON ({error}); save the model again") from error
    if not isinstance(content, dict) or not isinstance(content.get("model"), dict):
        raise ConfigError(f"{file}: has no section model; it is not of a model that TimeChat saved")
    unknown = sorted(set(content) - set(_SECTIONS))
    if unknown:
        raise ConfigError(f"{file}: unknown section {unknown[0]!r}; there are {', '.join(_SECTIONS)}")
    if text := next((text for text in _texts(content) if "${" in text), None):
        raise ConfigError(f"{file}: {text[:80]!r}: an interpolation, which a saved model may not have")
    files, imports = content.get("files", {}), content.get("import", [])
    if not isinstance(files, dict) or not all(isinstance(name, str) and name for name in files.values()):
        raise ConfigError(f"{file}: files={files!r} must map keys of the section model to names of files")
    if not isinstance(imports, list) or not all(isinstance(name, str) and name for name in imports):
        raise ConfigError(f"{file}: import={imports!r} must be a list of modules")
    for key, name in files.items():
        _check_file(file, key, name, folder)
    for shard in folder.glob("*.safetensors*"):
        _check_place(shard, folder)
    return ModelFolder(content["model"], {key: str(folder / name) for key, name in files.items()}, imports)


def refuse_code_inside(folder: Path, modules: Sequence[str]) -> None:
    """Refuse modules that Python would find in the folder of a saved model, from here or on its path.

    Raises:
        ConfigError: naming the module.
    """
    root, here = folder.resolve(), Path().resolve()
    for module in modules:
        parts = module.split(".")
        for place in (*map(Path, sys.path), here, *here.parents):
            paths = [place.joinpath(*parts[:count]) for count in range(1, len(parts) + 1)]
            found = (path for path in (*paths, *(path.with_name(f"{path.name}.py") for path in paths)) if path.exists())
            if any(path.resolve().is_relative_to(root) for path in found):
                raise ConfigError(
                    f"{folder / CONFIG}: import: {module} would run code of this folder; install the module, or put it "
                    "somewhere else, if you trust it"
                )


def _check_file(file: Path, key: str, name: str, folder: Path) -> None:
    """Whether a file or folder that `files` names is inside, with everything in it, and holds no pickled weights."""
    relative, path = PurePosixPath(name), folder / name
    if relative.is_absolute() or ".." in relative.parts or "\\" in name or "\0" in name:
        raise ConfigError(
            f"{file}: files.{key}={name!r} points outside of the folder; write a relative path without .."
        )
    if not path.exists():
        raise ConfigError(f"{file}: files.{key}={name!r} is not in the folder; copy or download it again")
    for inner in (path, *path.rglob("*")) if path.is_dir() else (path,):
        _check_place(inner, folder)
        if inner.suffix in PICKLES:
            raise ConfigError(f"{inner}: a saved model has its weights in .safetensors alone; remove this file")


def _check_place(path: Path, folder: Path) -> None:
    """Whether a path is inside once its links are followed; the hub's cache links to the files of its repository."""
    root, target = folder.resolve(), path.resolve()
    own = [root, root.parent.parent / "blobs"] if root.parent.name == "snapshots" else [root]
    if not any(target.is_relative_to(place) for place in own):
        raise ConfigError(f"{path}: is a link to {target}, outside of the folder; put the file itself there")


def _texts(content: Any) -> Iterator[str]:
    """All texts in a JSON value, keys included."""
    if isinstance(content, str):
        yield content
    elif isinstance(content, dict):
        yield from content
        yield from (text for value in content.values() for text in _texts(value))
    elif isinstance(content, list):
        yield from (text for value in content for text in _texts(value))
