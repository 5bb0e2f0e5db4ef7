"""A run's log.jsonl, written by hand."""

from __future__ import annotations

import json
from pathlib import Path


def write_log(folder: Path, records: list[dict]) -> Path:
    """Write the records; returns the folder."""
    folder.mkdir(exist_ok=True)
    (folder / "log.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return folder


def train(epoch: int, step: int, loss: float) -> dict:
    """The record of an optimizer step."""
    return {"event": "train", "epoch": epoch, "step": step, "loss": loss, "lr": 1e-4, "videos_per_s": 2.0}
