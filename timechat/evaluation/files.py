"""Files of an evaluation: JSON and JSON lines, written whole or not at all; and whether a file has changed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from timechat.errors import PredictionError


def write_text(path: str | Path, text: str) -> None:
    """Write beside the place and rename, so that the name never stands for half a file."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: str | Path, content: Any) -> None:
    """Write an indented JSON file."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def write_json_lines(path: str | Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write one JSON object a line."""
    write_text(path, "".join(json_line(row) for row in rows))


def file_state(name: str | Path) -> str:
    """Size and time of change of a file, or of all files of a folder: cheap, unlike a hash of 13 GB."""
    path = Path(name)
    files = sorted(p for p in path.iterdir() if p.is_file()) if path.is_dir() else [path]
    stats = [file.stat() for file in files if file.is_file()]
    if not stats:
        return "not there"
    return f"{sum(s.st_size for s in stats)} bytes, changed at {max(s.st_mtime_ns for s in stats)} ns"


def json_line(row: Mapping[str, Any]) -> str:
    """One line of a JSON lines file, newline included."""
    return json.dumps(row, ensure_ascii=False) + "\n"


def read_json(path: str | Path) -> Any:
    """Read a JSON file that an evaluation wrote. Raises PredictionError."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise PredictionError(f"{path}: no such file; name the output folder of a finished evaluation") from None
    except ValueError as error:
        raise PredictionError(f"{path}: not valid JSON ({error}); run the evaluation again") from error


def read_json_lines(path: str | Path) -> list[dict[str, Any]]:
    """Read JSON lines; a last line that a killed process left unfinished is dropped.

    Raises:
        PredictionError: another line is broken.
    """
    rows = []
    lines = Path(path).read_text(encoding="utf-8", errors="replace").split("\n")
    for number, line in enumerate(lines[:-1], start=1):  # what follows the last newline was never finished
        try:
            row = json.loads(line)
        except ValueError as error:
            raise PredictionError(f"{path}, line {number}: not valid JSON ({error}); remove the line") from error
        rows.append(row)
    return rows
