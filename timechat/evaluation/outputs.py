"""Reading back what an evaluation wrote: JSON files, and JSON lines that a killed process may have cut short."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from timechat.errors import PredictionError


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
