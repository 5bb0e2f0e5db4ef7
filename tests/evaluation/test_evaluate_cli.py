"""evaluate.py from the command line to the report, with the tiny golden model on tiny videos."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.tiny import BERT, LLAMA, TINY, WEIGHTS
from helpers.videos import write_video

import evaluate
from timechat.evaluation.run import git_commit

ROOT = Path(evaluate.__file__).parent
ANNO = (
    "a 0.0 1.0##a person opens a door.\na 1.0 2.0##a person sits down.\nb 0.5 1.5##a cat sleeps.\ngone 0.0 1.0##rain.\n"
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two videos and an annotation file that names a third one."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "anno.txt").write_text(ANNO)
    (folder / "videos").mkdir()
    for name, frames in (("a", 20), ("b", 14)):
        write_video(folder / "videos" / f"{name}.mp4", frames=frames)
    return folder


def arguments(data: Path, out: Path, *more: str, options: tuple[str, ...] = ()) -> list[str]:
    required = ["--cfg-path", str(TINY / "config.yaml"), "--benchmark", "charades_sta"]
    required += ["--anno-path", str(data / "anno.txt"), "--videos-dir", str(data / "videos"), "--output-dir", str(out)]
    paths = [f"model.llama_model={LLAMA}", f"model.qformer_tokenizer={BERT}", f"model.ckpt={WEIGHTS}"]
    machine = ["run.device=cpu", "run.num_workers=0"]
    return [*required, "--max-new-tokens", "8", *more, "--options", *paths, *machine, *options]


def answers(out: Path) -> dict[str, str]:
    rows = [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]
    return {row["id"]: row["answer"] for row in rows}


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of one evaluation in this process."""
    out = tmp_path_factory.mktemp("out")
    assert evaluate.main(arguments(data, out)) == 0
    return out


def test_scores_and_report(finished: Path) -> None:
    record: dict[str, Any] = json.loads((finished / "scores.json").read_text())
    assert record["counts"]["expected"] == 4
    assert record["counts"]["found"] == 3
    assert record["counts"]["unreadable_videos"] == 1
    assert record["scores"]["expected"] == 4
    assert record["prompt"]["text"] == (ROOT / "prompts" / "grounding.txt").read_text().strip()
    assert len(record["prompt"]["sha256"]) == 64
    assert record["checkpoint"]["ckpt"] == str(WEIGHTS)
    assert record["settings"]["files of model.ckpt"].startswith(f"{WEIGHTS.stat().st_size} bytes")
    assert record["settings"]["num_frames"] == 12
    assert record["seconds_per_video"] > 0
    assert record["system_prompt"]
    assert "Answers found / expected: 3 / 4" in (finished / "report.md").read_text()
    assert (finished / "timeline_best.png").is_file()
    assert set(json.loads((finished / "charades_sta_predictions.json").read_text())) == {"0", "1", "2"}
    failures = (finished / "failures.jsonl").read_text().splitlines()
    assert len(failures) == record["counts"]["unparsable"] == sum(record["failure_reasons"].values())


def test_second_run_asks_nothing_and_prints_the_table(
    data: Path, finished: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("timechat.models.TimeChat.answer", None)
    assert evaluate.main(arguments(data, finished)) == 0
    out = capsys.readouterr().out
    assert out.startswith("charades_sta")
    assert "3 / 4" in out


@pytest.mark.distributed
def test_two_processes_give_the_same_answers(data: Path, finished: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "evaluate.py"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, *arguments(data, tmp_path)],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert answers(tmp_path) == answers(finished)
    assert done.stdout.count("found / expected") == 1
    record = json.loads((tmp_path / "scores.json").read_text())
    assert record["processes"] == 2
    assert record["videos_of_this_run"] == 2
    assert record["scores"] == json.loads((finished / "scores.json").read_text())["scores"]
    assert record["counts"]["unreadable_videos"] == 1


def test_ckpt_takes_the_place_of_the_config(data: Path, finished: Path, tmp_path: Path) -> None:
    """Other weights, other answers; and an output folder of the old ones is refused."""
    content = torch.load(WEIGHTS, weights_only=True)
    content["model"]["llama_proj.bias"] = content["model"]["llama_proj.bias"] + 1.0
    other = tmp_path / "checkpoint_3.pth"
    torch.save(content, other)
    assert evaluate.main(arguments(data, tmp_path / "out", "--ckpt", str(other))) == 0
    assert json.loads((tmp_path / "out" / "scores.json").read_text())["checkpoint"]["ckpt"] == str(other)
    assert answers(tmp_path / "out") != answers(finished)


def error_of(argv: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert evaluate.main(argv) == 1
    captured = capsys.readouterr()
    assert not captured.out
    assert "Traceback" not in captured.err
    return captured.err


def test_other_settings_are_refused_before_weights_are_loaded(
    data: Path, finished: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("timechat.evaluation.run.build_model", None)
    error = error_of(arguments(data, finished, "--temperature", "0.7"), capsys)
    assert "temperature: 0.0 there, 0.7 now" in error
    error = error_of(arguments(data, finished, options=("model.system_prompt=Be brief.",)), capsys)
    assert "model.system_prompt: '' there, 'Be brief.' now" in error
    assert "--overwrite" in error


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--benchmark", "charades"], "did you mean 'charades_sta'"),
        (["--videos-dir", "nowhere"], "--videos-dir nowhere: no such folder"),
        (["--videos-dir", str(TINY)], "holds none of the 3 videos, for example no a.mp4"),
        (["--anno-path", "nowhere.txt"], "nowhere.txt: no such annotation file"),
        (["--ckpt", "nowhere.pth"], "--ckpt nowhere.pth: no such file"),
        (["--prompt-file", "nowhere.txt"], "nowhere.txt: cannot be read as a prompt file"),
        (["--top-p", "0.5"], "--top-p 0.5 does nothing without --temperature"),
        (["--temperature", "-1"], "--temperature -1.0"),
        (["--limit", "0"], "--limit 0"),
        (["--clip-of-time", "start"], "only qvhighlights has clips"),
        (["--cfg-path", "nowhere.yaml"], "nowhere.yaml: no such config file"),
    ],
)
def test_mistakes_are_one_message(
    data: Path, tmp_path: Path, more: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in error_of(arguments(data, tmp_path / "out", *more), capsys)
    assert not (tmp_path / "out").exists()


def test_git_commit_is_that_of_this_code() -> None:
    commit = git_commit()
    assert commit is None or len(commit.removesuffix("-dirty")) == 40
