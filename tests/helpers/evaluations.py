"""evaluate.py with the tiny golden model on tiny videos: data, command lines, what comes out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from helpers.tiny import BERT, LLAMA, TINY, WEIGHTS
from helpers.videos import write_video
from timechat.cli import evaluate

ROOT = Path(__file__).resolve().parents[2]
ANNO = (
    "a 0.0 1.0##a person opens a door.\na 1.0 2.0##a person sits down.\nb 0.5 1.5##a cat sleeps.\ngone 0.0 1.0##rain.\n"
)


def write_data(folder: Path) -> Path:
    """Two videos and an annotation file that names a third one; returns the folder."""
    (folder / "anno.txt").write_text(ANNO)
    (folder / "videos").mkdir()
    for name, frames in (("a", 20), ("b", 14)):
        write_video(folder / "videos" / f"{name}.mp4", frames=frames)
    return folder


def arguments(data: Path, out: Path, *more: str, options: tuple[str, ...] = ()) -> list[str]:
    """A command line for `write_data`; `more` wins over what stands before it."""
    required = ["--cfg-path", str(TINY / "config.yaml"), "--benchmark", "charades_sta"]
    required += ["--anno-path", str(data / "anno.txt"), "--videos-dir", str(data / "videos"), "--output-dir", str(out)]
    paths = [f"model.llama_model={LLAMA}", f"model.qformer_tokenizer={BERT}", f"model.ckpt={WEIGHTS}"]
    machine = ["run.device=cpu", "run.num_workers=0"]
    return [*required, "--max-new-tokens", "8", *more, "--options", *paths, *machine, *options]


def prediction_rows(out: Path) -> list[dict[str, Any]]:
    """The lines of predictions.jsonl."""
    return [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]


def answers(out: Path) -> dict[str, str]:
    """Id -> answer."""
    return {row["id"]: row["answer"] for row in prediction_rows(out)}


def scores(out: Path) -> dict[str, Any]:
    """The record in scores.json."""
    return json.loads((out / "scores.json").read_text())


def error_of(argv: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What a command line that must fail says."""
    capsys.readouterr()
    assert evaluate.main(argv) == 1
    captured = capsys.readouterr()
    assert not captured.out
    assert "Traceback" not in captured.err
    return captured.err
