"""`timechat data asr` and `add-asr`: what they are told, and what they say."""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.tiny import tiny_dataset
from helpers.videos import write_video

from timechat.cli import main


class WhisperModel:
    """Hears the same in everything."""

    def __init__(self, *_: Any, **__: Any):
        pass

    def transcribe(self, *_: Any, **__: Any) -> tuple[Iterator[Any], Any]:
        return iter([types.SimpleNamespace(start=0.0, end=1.5, text="cut the bread")]), None


def test_from_videos_to_instructions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "faster_whisper", types.SimpleNamespace(WhisperModel=WhisperModel))
    info = tiny_dataset(tmp_path)
    said = str(tmp_path / "said")
    assert main(["data", "asr", info["videos_dir"], "--output", said, "--model", "tiny"]) == 0
    assert capsys.readouterr().out.startswith("2 transcripts with 0 sentences")  # these videos have no sound
    (tmp_path / "said" / "a.tsv").write_text("0.00\t1.50\tcut the bread\n")
    out = tmp_path / "out.json"
    assert main(["data", "add-asr", info["anno_dir"], "--asr", said, "--output", str(out)]) == 0
    assert "1 item with speech, 1 in whose video nothing is said" in capsys.readouterr().out
    first, second = (item["QA"][0]["q"] for item in json.loads(out.read_text()))
    assert first.startswith("Transcribed speech: 0.0 - 1.5 seconds, cut the bread. Based on the video content")
    assert not second.startswith("Transcribed")


def test_a_failure_is_an_exit_status(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "faster_whisper", types.SimpleNamespace(WhisperModel=WhisperModel))
    write_video(tmp_path / "a.mp4")
    (tmp_path / "b.mp4").write_bytes(b"-")
    assert main(["data", "asr", str(tmp_path), "--output", str(tmp_path / "said"), "--model", "tiny"]) == 1
    assert "1 video failed" in capsys.readouterr().out
