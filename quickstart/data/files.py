"""Write files so that a name always stands for a complete file."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

PARTIAL_SUFFIX = ".partial"


def write_bytes(path: Path, content: bytes) -> None:
    """Write to a temporary name beside `path`, then rename; makes the folder. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + PARTIAL_SUFFIX)
    partial.write_bytes(content)
    os.replace(partial, path)


def write_json(path: Path, content: Any) -> None:
    """One JSON document, keys in the order given."""
    write_bytes(path, (json.dumps(content, indent=1) + "\n").encode())


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Text with one entry a line."""
    write_bytes(path, "".join(f"{line}\n" for line in lines).encode())
