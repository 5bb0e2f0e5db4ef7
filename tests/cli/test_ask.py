"""The verb `ask`: text and table, JSON alone for pipes, exit status; and tools that a model cannot serve."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from helpers.tiny import BERT, LLAMA, TINY, WEIGHTS
from helpers.videos import write_video

from timechat import cli
from timechat.models import TimeChat
from timechat.models.watching import PartialAnswer

ROOT = Path(__file__).parents[2]
MODEL = ["--model", str(TINY / "config.yaml"), "--device", "cpu"]
OPTIONS = ["--options", f"model.llama_model={LLAMA}", f"model.qformer_tokenizer={BERT}", f"model.ckpt={WEIGHTS}"]
OVERRIDDEN = ("ckpt:", "llama_model:", "qformer_tokenizer:")
CAPTIONS = "3.0 - 5.0 seconds, cut the bread. 7.0 - 9.5 seconds, fry it."
HIGHLIGHTS = "There are 2 highlight moments in the 4, 6 second. Their saliency scores are 1.5, 3.0."


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A short one."""
    return str(write_video(tmp_path_factory.mktemp("video") / "v.mp4"))


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the model answers, under "text"; what it was asked is put in."""
    known: dict[str, Any] = {"text": CAPTIONS, "then": lambda: None}

    def answer(self: TimeChat, videos: Any, seconds: Any, prompts: list[str], watch: Any, **options: Any) -> list[str]:
        known.update(options, prompt=prompts[0])
        words = known["text"].split(" ")
        for count in range(1, len(words)):
            text = " ".join(words[:count])
            if watch([PartialAnswer(text, count, False)])[0]:
                return [text]
            known["then"]()
        return [known["text"]]

    monkeypatch.setattr(TimeChat, "answer", answer)
    return known


def ask(*arguments: str) -> int:
    """Run it with the tiny model."""
    return cli.main(["ask", *arguments, *MODEL, *OPTIONS])


def test_text_and_a_table(video: str, said: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(video, "What happens?") == 0
    table = "start  end  text            score\n-----  ---  --------------  -----\n"
    rows = "3.0    5.0  cut the bread.  -\n7.0    9.5  fry it.         -\n"
    assert capsys.readouterr().out == f"{CAPTIONS}\n\n{table}{rows}"
    assert said["prompt"] == "What happens?"
    said["text"] = "It is dark."
    assert ask(video, "What happens?") == 0
    assert capsys.readouterr().out == "It is dark.\n"


def test_a_folder_of_prompts(
    video: str, said: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """For a model that was trained with other words than the benchmarks'."""
    assert ask(video, "the bread", "--task", "caption", "--prompts", str(tmp_path / "none")) == 1
    assert f"--prompts {tmp_path / 'none'}: no such folder" in capsys.readouterr().err
    (tmp_path / "grounding.txt").write_text("When is {query} there?")
    assert ask(video, "the bread", "--task", "ground", "--prompts", str(tmp_path)) == 0
    assert said["prompt"] == "When is the bread there?"


def test_the_question_may_come_after_options(
    video: str, said: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["ask", video, *MODEL, "--no-stream", "What happens?", *OPTIONS]) == 0
    assert said["prompt"] == "What happens?"
    assert capsys.readouterr().out.startswith(CAPTIONS)


def test_words_come_one_by_one_if_wanted(
    video: str, said: dict[str, Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    monkeypatch.setattr("timechat.cli.ask._say", written.append)
    said["text"] = "It is dark."
    assert ask(video, "What happens?", "--stream") == 0
    assert written == ["It", " is", " dark.", "\n"]
    written.clear()
    assert ask(video, "What happens?", "--no-stream") == 0
    assert written == ["It is dark.\n"]


def test_chapters_and_a_table_are_all_there_is_on_stdout(
    video: str, said: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask(video, "What happens?", "--srt") == 0
    assert capsys.readouterr().out.startswith("1\n00:00:03,000 --> 00:00:05,000\ncut the bread.\n\n2\n")
    assert ask(video, "What happens?", "--markdown") == 0
    assert capsys.readouterr().out.splitlines()[2:] == [
        "| 3.0 | 5.0 | cut the bread. | - |",
        "| 7.0 | 9.5 | fry it. | - |",
    ]
    said["text"] = "I cannot say."
    for form in ("--srt", "--markdown"):
        assert ask(video, "What happens?", form) == 3
        captured = capsys.readouterr()
        assert captured.out == ""
        assert "the answer names no part of the video: I cannot say." in captured.err


def test_clips_of_the_segments(
    video: str, said: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said["text"] = "0.5 - 1.0 seconds, cut the bread. 7.0 - 9.5 seconds, fry it."
    assert ask(video, "What happens?", "--json", "--clips", str(tmp_path / "clips")) == 0
    captured = capsys.readouterr()
    assert [path.name for path in (tmp_path / "clips").iterdir()] == ["v_01_0.5-1.0.mp4"]
    assert "lasts 2.0 s; there is no clip from 7.0 s to 9.5 s" in captured.err
    assert captured.err.endswith(f"{tmp_path / 'clips' / 'v_01_0.5-1.0.mp4'}\n")
    json.loads(captured.out)
    picture = str(tmp_path / "a.png")
    assert ask(picture, "What happens?", "--clips", "clips") == 1
    assert "a.png is an image, of which there are no clips" in capsys.readouterr().err


@pytest.mark.parametrize("form", [[], ["--json"], ["--stream"]])
def test_ctrl_c_prints_what_is_there(
    form: list[str], video: str, said: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    said["text"] = "3.0 - 5.0 seconds, cut the bread. And so on. " * 99

    words: list[None] = []

    def interrupt() -> None:
        words.append(None)
        time.sleep(0.02)
        if len(words) == 8:
            os.kill(os.getpid(), signal.SIGINT)

    said["then"] = interrupt
    before = signal.getsignal(signal.SIGINT)
    assert ask(video, "What happens?", *form) == 130
    captured = capsys.readouterr()
    text = json.loads(captured.out)["text"] if form == ["--json"] else captured.out.splitlines()[0]
    assert text.startswith("3.0")
    assert said["text"].startswith(text)
    assert len(text) < len(said["text"]) / 2
    assert captured.err.endswith("interrupted\n")
    assert signal.getsignal(signal.SIGINT) == before


def test_json_is_all_there_is_on_stdout(video: str, said: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    said["text"] = HIGHLIGHTS
    assert ask(video, "frying", "--task", "highlights", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["text"] == HIGHLIGHTS
    assert answer["segments"][0] == {"start": 4.0, "end": 4.0, "text": "frying", "score": 1.5}
    assert len(answer["seconds"]) == 12


def test_the_real_model_answers(video: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = (video, "What happens?", "--max-new-tokens", "4", "--json")
    assert ask(*arguments) == 0
    greedy = json.loads(capsys.readouterr().out)["text"]
    drawn = []
    for seed in ("1", "1", "2"):
        assert ask(*arguments, "--temperature", "5", "--seed", seed) == 0
        drawn.append(json.loads(capsys.readouterr().out)["text"])
    assert drawn[0] == drawn[1]
    assert len({greedy, *drawn}) > 1


@pytest.mark.parametrize("task", ["ground", "caption", "highlights"])
def test_a_task_that_finds_nothing_has_a_status_of_its_own(
    video: str, said: dict[str, Any], task: str, capsys: pytest.CaptureFixture[str]
) -> None:
    said["text"] = "I cannot say."
    assert ask(video, "it", "--task", task) == 3
    assert capsys.readouterr().out == "I cannot say.\n"
    said["text"] = {"highlights": HIGHLIGHTS}.get(task, CAPTIONS)
    assert ask(video, "it", "--task", task) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gone.mp4", "q"], "gone.mp4: no such video"),
        (["VIDEO"], "no QUESTION"),
        (["VIDEO", "--task", "ground"], "no QUESTION"),
        (["VIDEO", "q", "--max-new-tokens", "0"], "--max-new-tokens 0: give 1 or more"),
        (["VIDEO", "q", "--temperature", "-1"], "--temperature -1.0"),
        (["VIDEO", "q", "--top-p", "0"], "--top-p 0.0"),
        (["VIDEO", "q", "--device", "tpu"], "choose auto, cuda or cpu"),
        (["VIDEO", "q", "--asr", "gone.srt"], "gone.srt"),
        (["VIDEO", "q", "--model", "gone.yaml"], "gone.yaml: no such config file"),
    ],
)
def test_mistakes_are_one_message(
    video: str, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [video if argument == "VIDEO" else argument for argument in arguments]
    assert cli.main(["ask", *MODEL, *given, *OPTIONS]) == 1
    captured = capsys.readouterr()
    assert message in captured.err
    assert "Traceback" not in captured.err
    assert captured.out == ""


def test_without_a_model_it_says_how_to_name_one(
    video: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["ask", video, "q"]) == 1
    assert "there is no eval_configs/timechat.yaml in this folder; name a model: --model" in capsys.readouterr().err


def test_where_the_default_lacks_files_a_complete_model_is_named(
    video: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "eval_configs", tmp_path / "eval_configs")
    assert cli.main(["ask", video, "q"]) == 1
    assert "MissingFilesError: files are missing:\n  model.vit_model=" in capsys.readouterr().err
    shutil.copytree(TINY, tmp_path / "mine", ignore=shutil.ignore_patterns("config.yaml"))
    for name, weights in (("mine", "mine/model.pth"), ("gone", "gone.pth"), ("broken", "[")):
        (tmp_path / name / "configs").mkdir(parents=True)
        text = (TINY / "config.yaml").read_text()
        paths = f"  ckpt: {weights}\n  llama_model: mine/llama\n  qformer_tokenizer: mine/bert\n"
        config = "\n".join(line for line in text.splitlines() if not line.strip().startswith(OVERRIDDEN))
        (tmp_path / name / "configs" / "evaluate.yaml").write_text(config.replace("model:\n", f"model:\n{paths}", 1))
    assert cli.main(["ask", video, "q"]) == 1
    error = capsys.readouterr().err
    assert "ConfigError: eval_configs/timechat.yaml lacks files (model.vit_model=ckpt/blip2/eva_vit_g.pth: " in error
    assert error.endswith("Another model is complete: add --model mine/configs/evaluate.yaml\n")


def test_help_tells_the_exit_status(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["ask", "--help"])
    assert "3 if --task, --srt, --markdown or --clips was given" in " ".join(capsys.readouterr().out.split())


# Models without a decoder ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", ["1_frames", "2_reading"])
@pytest.mark.parametrize("tool", ["ask", "evaluate", "export", "doctor"])
def test_every_tool_refuses_a_model_that_cannot_answer(
    tool: str, stage: str, video: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, files = str(ROOT / f"quickstart/configs/{stage}.yaml"), str(tmp_path / "out")
    benchmark = ["--benchmark", "charades_sta", "--anno-path", video, "--videos-dir", str(tmp_path)]
    arguments = {
        "ask": [video, "What happens?", "--model", config],
        "evaluate": ["--cfg-path", config, *benchmark, "--output-dir", files],
        "export": ["--cfg-path", config, "--format", "safetensors", "--output", files],
        "doctor": [config],
    }[tool]
    assert cli.main([tool, *arguments]) == 1
    captured = capsys.readouterr()
    assert (
        captured.err.strip()
        .splitlines()[-1]
        .startswith(f"ConfigError: model.arch=frame_{'classifier' if stage[0] == '1' else 'reader'}: has no decoder")
    )
    assert "Traceback" not in captured.err
    assert list(tmp_path.iterdir()) == []
