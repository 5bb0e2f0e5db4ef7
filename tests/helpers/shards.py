"""Shards for tests."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from helpers.tiny import write_json
from timechat.data.pack import Packed, Packing, pack


def packed(folder: Path, items: list[dict[str, Any]], videos: Path, **settings: Any) -> tuple[Path, Packed]:
    """Pack annotations; the folder of the shards, and what `pack` says."""
    folder.mkdir(parents=True, exist_ok=True)
    anno = write_json(folder / "anno.json", items)
    settings = {"shard_bytes": 10**9, "name": "train", "seed": None} | settings
    return folder / "shards", pack(Packing(anno, videos, folder / "shards", **settings))


def write_tar(path: Path, members: Mapping[str, bytes]) -> Path:
    """A shard without an index, as other programs write it."""
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path
