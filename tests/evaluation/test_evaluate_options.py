"""Options of evaluate.py that choose questions, prompts and decoding, with the tiny golden model on tiny videos."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from helpers.evaluations import ANNO, answers, arguments, error_of, prediction_rows, scores, write_data

from timechat.cli import evaluate
from timechat.evaluation.benchmarks.charades_sta import CharadesSTA


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """See `write_data`."""
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of one evaluation; tests must leave it as it is."""
    out = tmp_path_factory.mktemp("out")
    assert evaluate.main(arguments(data, out)) == 0
    return out


def test_ids_choose_questions(data: Path, finished: Path, tmp_path: Path) -> None:
    assert evaluate.main(arguments(data, tmp_path / "list", "--ids", "2, 0")) == 0
    (tmp_path / "ids.txt").write_text("0\n\n2\n")
    assert evaluate.main(arguments(data, tmp_path / "file", "--ids", str(tmp_path / "ids.txt"))) == 0
    for out in (tmp_path / "list", tmp_path / "file"):
        assert answers(out) == {key: answers(finished)[key] for key in "02"}
        assert scores(out)["counts"]["expected"] == scores(out)["ids"] == 2
    assert scores(finished)["ids"] is None


@pytest.mark.parametrize("fewer", [("--limit", "2"), ("--ids", "0,2"), ("--limit", "3")])
def test_fewer_questions_do_not_overwrite_a_finished_evaluation(
    data: Path, finished: Path, fewer: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Nor where all that has answers would be asked: the third video of the last case is missing."""
    before = (finished / "scores.json").read_bytes()
    error = error_of(arguments(data, finished, *fewer), capsys)
    asked = "3" if "3" in fewer else "2"
    assert f"scores.json: is about 4 questions, and this run would ask {asked} (see --limit and --ids)" in error
    assert (finished / "scores.json").read_bytes() == before


def test_more_and_other_questions(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """More go on; as many others are refused, but for --overwrite."""
    assert evaluate.main(arguments(data, tmp_path, "--limit", "2")) == 0
    assert "is about 2 questions" in error_of(arguments(data, tmp_path, "--ids", "1,2"), capsys)
    assert evaluate.main(arguments(data, tmp_path, "--limit", "3")) == 0
    assert scores(tmp_path)["limit"] == scores(tmp_path)["counts"]["expected"] == 3
    assert evaluate.main(arguments(data, tmp_path, "--limit", "1", "--overwrite")) == 0
    assert set(answers(tmp_path)) == {"0"}


def test_transcribed_speech(data: Path, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asr, out = tmp_path / "asr", tmp_path / "out"
    asr.mkdir()
    (asr / "b.srt").write_text("1\n00:00:00,000 --> 00:00:01,000\nGood night, cat.\n")
    assert evaluate.main(arguments(data, out, "--asr", str(asr))) == 0
    prompts = {row["id"]: row["prompt"] for row in prediction_rows(out)}
    assert prompts["2"].startswith("Transcribed speech: 0.0 - 1.0 seconds, Good night, cat. Based on the video")
    assert "Transcribed" not in prompts["0"]
    record = scores(out)
    without = {"without": 2, "videos_without": ["a.mp4", "gone.mp4"]}
    transcripts = {"folder": str(asr), "videos_with": 1, "segments_left_out": 0, **without}
    assert record["transcripts"] == transcripts
    assert "2 of 3 videos have no transcript and were asked about without one." in record["notes"]
    found, plain = answers(out), answers(finished)
    assert {key for key in found if found[key] != plain[key]} == {"2"}
    (asr / "b.srt").write_text("1\n00:00:00,000 --> 00:00:01,000\nGood morning, cat.\n")
    assert "asr_sha256" in error_of(arguments(data, out, "--asr", str(asr)), capsys)
    assert "asr_sha256" in error_of(arguments(data, out), capsys)


def test_seeds(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder for each seed, one report, and nothing is overwritten by fewer seeds or by a single run."""
    drawn = ("--temperature", "1.5", "--seed", "7")
    assert evaluate.main(arguments(data, tmp_path, *drawn, "--seeds", "2")) == 0
    first, second = tmp_path / "seed_7", tmp_path / "seed_8"
    assert answers(first) != answers(second)
    assert scores(first)["settings"]["seed"] == 7
    joint = scores(tmp_path)
    assert joint["seeds"]["seeds"] == [7, 8]
    mean = (scores(first)["percent"]["mIoU"] + scores(second)["percent"]["mIoU"]) / 2
    assert joint["seeds"]["mean"]["mIoU"] == pytest.approx(mean)
    assert (tmp_path / "report.md").is_file()
    assert evaluate.main(arguments(data, tmp_path / "alone", *drawn)) == 0
    assert answers(tmp_path / "alone") == answers(first)
    capsys.readouterr()
    assert evaluate.main(arguments(data, tmp_path, *drawn, "--seeds", "3")) == 0
    assert "±" in capsys.readouterr().out
    assert "is of the seeds [7, 8, 9], this run is of the seeds [7, 8]" in error_of(
        arguments(data, tmp_path, *drawn, "--seeds", "2"), capsys
    )
    assert "is the mean of several seeds" in error_of(arguments(data, tmp_path, *drawn), capsys)
    assert "is of one run" in error_of(arguments(data, tmp_path / "alone", *drawn, "--seeds", "2"), capsys)


def test_beams(data: Path, finished: Path, tmp_path: Path) -> None:
    assert evaluate.main(arguments(data, tmp_path, "--num-beams", "4")) == 0
    assert scores(tmp_path)["settings"]["num_beams"] == 4
    assert answers(tmp_path) != answers(finished)


def test_defaults_of_the_benchmark(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They go before the YAML file, and behind --options."""
    monkeypatch.setattr(CharadesSTA, "model_defaults", {"lora_alpha": 5, "num_frm": 4})
    monkeypatch.setattr(CharadesSTA, "max_new_tokens", 3)
    argv = arguments(data, tmp_path, options=("model.lora_alpha=7",))
    at = argv.index("--max-new-tokens")
    assert evaluate.main(argv[:at] + argv[at + 2 :]) == 0
    settings = scores(tmp_path)["settings"]
    assert (settings["model.lora_alpha"], settings["model.num_frm"]) == (7, 4)
    assert (settings["num_frames"], settings["max_new_tokens"]) == (4, 3)


def test_files_and_notes_of_the_benchmark(
    data: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        CharadesSTA, "extra_files", lambda self, rows, parsed, answers: {"to_send.csv": f"{len(answers)}"}
    )
    monkeypatch.setattr(CharadesSTA, "notes", lambda self, rows, parsed: ["Mind the gap."])
    assert evaluate.main(arguments(data, tmp_path, "--no-literature")) == 0
    assert (tmp_path / "to_send.csv").read_text() == "3"
    assert scores(tmp_path)["notes"] == ["Mind the gap."]
    assert (scores(tmp_path)["literature"], scores(tmp_path)["published"]) == (False, [])
    assert scores(finished)["literature"] is True
    assert {"TimeChat"} <= {row["model"].partition("-")[0] for row in scores(finished)["published"]}


def test_controls_from_the_train_split_and_durations(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    train = tmp_path / "train.txt"
    train.write_text(ANNO)
    argv = arguments(data, tmp_path / "out", "--train-anno", str(train))
    assert evaluate.main(argv) == 0
    record = scores(tmp_path / "out")
    assert {"constant answer", "whole video"} <= set(record["controls"]["table"]["R@1 IoU=0.5"])
    assert record["train_anno"] == str(train)
    durations = json.loads((tmp_path / "out" / "durations.json").read_text())
    sizes = {name: os.path.getsize(data / "videos" / name) for name in ("a.mp4", "b.mp4")}
    assert {name: entry["bytes"] for name, entry in durations.items()} == sizes
    assert durations["b.mp4"]["seconds"] == pytest.approx(1.4)
    monkeypatch.setattr("timechat.evaluation.durations.video_durations", None)
    assert evaluate.main(argv) == 0
    assert scores(tmp_path / "out")["controls"] == record["controls"]
    monkeypatch.setattr("timechat.evaluation.video_models.build_model", None)
    train.write_text("a 0.0 1.0 no marks\n")
    assert "train.txt: 1 problem" in error_of(arguments(data, tmp_path / "new", "--train-anno", str(train)), capsys)


def test_a_video_of_another_size_is_measured_again(data: Path, tmp_path: Path) -> None:
    path = tmp_path / "durations.json"
    path.write_text(json.dumps({"a.mp4": {"bytes": 1, "seconds": 99.0}, "gone.mp4": {"bytes": 1, "seconds": 99.0}}))
    assert evaluate.main(arguments(data, tmp_path)) == 0
    durations = json.loads(path.read_text())
    assert durations["a.mp4"]["seconds"] == pytest.approx(2.0)
    assert "gone.mp4" in durations  # of other questions, perhaps
