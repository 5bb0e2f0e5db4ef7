"""What log.jsonl says about a run, one record a line; without torch, so that reading it takes no time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from timechat.errors import PredictionError

LOG_FILE = "log.jsonl"


def has_ended(output_dir: Path) -> bool:
    """Whether the run in a folder has nothing left to train; False if it was stopped, killed, or never started."""
    file = output_dir / LOG_FILE
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    try:
        return bool(lines) and json.loads(lines[-1])["event"] == "end"
    except (ValueError, KeyError, TypeError):  # a line that was cut off
        return False


def read_training_records(run_dir: str | Path) -> list[dict[str, Any]]:
    """The training records of a run, in order; those of steps that were trained again later are left out.

    Raises:
        PredictionError: there is no log, or it has no training record.
    """
    path = Path(run_dir) / LOG_FILE
    if not path.is_file():
        raise PredictionError(f"{path}: no such log; is {run_dir} the output_dir of a training run?")
    records: list[dict[str, Any]] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise PredictionError(
                f"{path}:{number}: not valid JSON ({error}); was the run killed while writing?"
            ) from error
        if record["event"] == "start":
            records = [kept for kept in records if kept["step"] <= record.get("step", 0)]
        elif record["event"] == "train":
            records.append(record)
    if not records:
        raise PredictionError(f"{path}: has no training record yet")
    return records


def runs_in(folder: str | Path) -> list[Path]:
    """The run itself, or the runs in this folder, such as the stages of a training, in order of their names.

    Raises:
        PredictionError: there is no log in the folder, nor in any folder in it.
    """
    folder = Path(folder)
    if (folder / LOG_FILE).is_file():
        return [folder]
    stages = sorted(path.parent for path in folder.glob(f"*/{LOG_FILE}"))
    if not stages:
        raise PredictionError(f"{folder / LOG_FILE}: no such log; is {folder} the output_dir of a training run?")
    return stages
