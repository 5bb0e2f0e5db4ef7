"""The verb `ask`: text and table, JSON alone for pipes, exit status; and tools that a model cannot serve."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from helpers.tiny import BERT, LLAMA, TINY, WEIGHTS
from helpers.videos import write_video

from timechat import cli
from timechat.models import TimeChat

ROOT = Path(__file__).parents[2]
MODEL = ["--model", str(TINY / "config.yaml"), "--device", "cpu"]
OPTIONS = ["--options", f"model.llama_model={LLAMA}", f"model.qformer_tokenizer={BERT}", f"model.ckpt={WEIGHTS}"]
CAPTIONS = "3.0 - 5.0 seconds, cut the bread. 7.0 - 9.5 seconds, fry it."
HIGHLIGHTS = "There are 2 highlight moments in the 4, 6 second. Their saliency scores are 1.5, 3.0."


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A short one."""
    return str(write_video(tmp_path_factory.mktemp("video") / "v.mp4"))


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the model answers, under "text"; what it was asked is put in."""
    known: dict[str, Any] = {"text": CAPTIONS}

    def answer(self: TimeChat, videos: Any, seconds: Any, prompts: list[str], **options: Any) -> list[str]:
        known.update(options, prompt=prompts[0])
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


def test_help_tells_the_exit_status(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["ask", "--help"])
    assert "3 if --task was given" in " ".join(capsys.readouterr().out.split())


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
