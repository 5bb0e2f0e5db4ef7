"""evaluate.py from the command line to the report, with the tiny golden model on tiny videos."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.evaluations import ROOT, answers, arguments, error_of, scores, write_data
from helpers.tiny import TINY, WEIGHTS
from omegaconf import DictConfig

from timechat.cli import evaluate
from timechat.evaluation.prompting import PROMPTS
from timechat.models import BaseModel, TimeChat, build_model, compiling


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """See `write_data`."""
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of one evaluation in this process."""
    out = tmp_path_factory.mktemp("out")
    assert evaluate.main(arguments(data, out)) == 0
    return out


def test_scores_and_report(finished: Path) -> None:
    record: dict[str, Any] = scores(finished)
    assert record["counts"]["expected"] == 4
    assert record["counts"]["found"] == 3
    assert record["counts"]["unreadable_videos"] == 1
    assert record["scores"]["expected"] == 4
    assert record["prompt"]["text"] == (PROMPTS / "grounding.txt").read_text().strip()
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


def test_second_run_loads_no_weights_and_prints_the_table(
    data: Path, finished: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where one video cannot be read, and so has no answers."""
    monkeypatch.setattr("timechat.evaluation.video_models.build_model", None)
    assert evaluate.main(arguments(data, finished)) == 0
    out = capsys.readouterr().out
    assert out.startswith("charades_sta")
    assert "3 / 4" in out


def test_several_evaluations_load_a_model_once(
    data: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless its config differs."""
    built = []

    def build(section: DictConfig) -> BaseModel:
        built.append(section.lora_alpha)
        return build_model(section)

    monkeypatch.setattr("timechat.evaluation.video_models.build_model", build)
    folders = [tmp_path / name for name in "abc"]
    own = [("--and", "--output-dir", str(folder)) for folder in folders]
    other = ("--options", "model.lora_alpha=20")
    assert evaluate.main([*arguments(data, tmp_path / "unused"), *own[0], *own[1], *own[2], *other]) == 0
    assert built == [32, 20]
    assert answers(folders[0]) == answers(folders[1]) == answers(finished)
    assert not (tmp_path / "unused").exists()


def test_compiled_layers_give_the_same_answers(
    data: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`run.compile` is obeyed here too, and graphs are counted; without a C++ compiler, which inductor alone needs."""
    monkeypatch.setattr(compiling, "BACKEND", "eager")
    counts, enough = [], []

    def counted(model: BaseModel) -> compiling.GraphCount:
        counts.append(compiling.compile_layers(model))
        enough.append(counts[0].most)
        counts[0].most = 0
        return counts[0]

    monkeypatch.setattr("timechat.evaluation.video_models.compile_layers", counted)
    torch._dynamo.reset()
    assert evaluate.main(arguments(data, tmp_path, options=("run.compile=true",))) == 0
    made = counts[0].made
    torch._dynamo.reset()
    assert answers(tmp_path) == answers(finished)
    assert 0 < made <= enough[0]
    assert f"{made} graphs were made, more than 0" in capsys.readouterr().err


def test_a_mistake_in_the_last_command_line_is_found_before_the_first_is_run(data: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        evaluate.main([*arguments(data, tmp_path / "a"), "--and", "--limit", "5", "--and", "--limits", "5"])
    assert not (tmp_path / "a").exists()


def test_command_lines() -> None:
    assert evaluate.command_lines(["-a", "1"]) == [["-a", "1"]]
    assert evaluate.command_lines(["-a", "--and", "-b", "--and", "-c", "2"]) == [["-a", "-b"], ["-a", "-c", "2"]]
    assert evaluate.command_lines(["--and", "-b", "--and"]) == [["-b"], []]


@pytest.mark.distributed
def test_two_processes_give_the_same_answers(data: Path, finished: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "evaluate.py"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    other = ("run.batch_size_eval=3", "run.num_workers=1")
    done = subprocess.run(
        [*command, *arguments(data, tmp_path, options=other)],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert answers(tmp_path) == answers(finished)
    assert done.stdout.count("found / expected") == 1
    record = scores(tmp_path)
    assert record["processes"] == 2
    assert record["videos_of_this_run"] == 2
    assert record["scores"] == scores(finished)["scores"]
    assert record["counts"]["unreadable_videos"] == 1


KILLED = """
import os, signal, sys
from timechat.cli import evaluate
from timechat.models import BaseModel, TimeChat, build_model

answer, asked = TimeChat.answer, []

def dying(self, *arguments, **options):
    asked.append(1)
    if len(asked) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return answer(self, *arguments, **options)

TimeChat.answer = dying
evaluate.main(sys.argv[1:])
"""


def test_a_killed_run_continues(data: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed outright at the third question: the same command asks that one alone, and ends as if nothing happened."""
    command = [sys.executable, "-c", KILLED, *arguments(data, tmp_path)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    killed = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, timeout=240, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "scores.json").exists()
    first = (tmp_path / "predictions.rank0.jsonl").read_text()
    assert first.count("\n") == 2
    asked: list[str] = []
    answer = TimeChat.answer

    def recorded(self: TimeChat, videos: Any, seconds: Any, prompts: list[str], **options: Any) -> list[str]:
        asked.extend(prompts)
        return answer(self, videos, seconds, prompts, **options)

    monkeypatch.setattr(TimeChat, "answer", recorded)
    assert evaluate.main(arguments(data, tmp_path)) == 0
    assert len(asked) == 1
    assert (tmp_path / "predictions.jsonl").read_text().startswith(first)
    assert answers(tmp_path) == answers(finished)
    assert scores(tmp_path)["scores"] == scores(finished)["scores"]


def test_ckpt_takes_the_place_of_the_config(data: Path, finished: Path, tmp_path: Path) -> None:
    """Other weights, other answers; and an output folder of the old ones is refused."""
    content = torch.load(WEIGHTS, weights_only=True)
    content["model"]["llama_proj.bias"] = content["model"]["llama_proj.bias"] + 1.0
    other = tmp_path / "checkpoint_3.pth"
    torch.save(content, other)
    assert evaluate.main(arguments(data, tmp_path / "out", "--ckpt", str(other))) == 0
    assert scores(tmp_path / "out")["checkpoint"]["ckpt"] == str(other)
    assert answers(tmp_path / "out") != answers(finished)


def test_everything_missing_is_one_message_before_anything_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a fresh clone says: each file with its source, the hub asked once."""
    monkeypatch.setattr("timechat.models.required_files.vocabulary_from_hub", lambda name: None)
    monkeypatch.chdir(tmp_path)
    argv = [
        "--cfg-path",
        str(ROOT / "eval_configs" / "timechat.yaml"),
        "--benchmark",
        "charades_sta",
        "--anno-path",
        "x",
    ]
    argv += ["--videos-dir", "y", "--output-dir", "z", "--ckpt", "ckpt/timechat/timechat_7b.pth", "--top-p", "0.5"]
    error = error_of(argv, capsys)
    for part in (
        "MissingFilesError: files are missing:",
        "model.vit_model=ckpt/blip2/eva_vit_g.pth: no such file\n    get it with: curl",
        "model.q_former_model=ckpt/instruct-blip/instruct_blip_vicuna7b_trimmed.pth: no such file\n    get it with:",
        "model.llama_model=ckpt/Video-LLaMA-2-7B-Finetuned/llama-2-7b-chat-hf: no such folder",
        "model.qformer_tokenizer=bert-base-uncased: no vocab.txt there",
        "--ckpt ckpt/timechat/timechat_7b.pth: no such file\n    get it with: hf download ShuhuaiRen/TimeChat-7b",
        "--anno-path x: no such file or folder",
        "--videos-dir y: no such file or folder",
    ):
        assert part in error
    assert "model.ckpt" not in error


def test_other_settings_are_refused_before_weights_are_loaded(
    data: Path, finished: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("timechat.evaluation.video_models.build_model", None)
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
        (["--top-p", "0.5"], "--top-p 0.5 has no effect without --temperature"),
        (["--temperature", "-1"], "--temperature -1.0"),
        (["--temperature", "1", "--num-beams", "2"], "--num-beams 2 searches, --temperature 1.0 samples: choose one"),
        (["--num-beams", "0"], "--num-beams 0: give 1 or more"),
        (["--seed", "1"], "--seed 1 has no effect without --temperature"),
        (["--seeds", "3"], "--seeds 3 has no effect without --temperature"),
        (["--temperature", "1", "--seeds", "1"], "--seeds 1: give 2 or more"),
        (["--limit", "0"], "--limit 0"),
        (["--ids", "0,9"], "1 of the ids are not there (9); correct --ids"),
        (["--ids", " , "], "--ids  , : names no question"),
        (["--asr", "nowhere"], "--asr nowhere: no such folder"),
        (["--asr", str(TINY)], "holds no transcript of the 3 videos, for example none of a.mp4"),
        (["--train-anno", "nowhere.txt"], "--train-anno nowhere.txt: no such file"),
        (["--train-anno", str(TINY / "config.yaml")], "config.yaml: "),
        (["--train-anno", str(TINY), "--benchmark", "egoschema"], "egoschema has no controls that use it"),
        (["--benchmark-options", "a=1"], "--benchmark-options a=1: charades_sta has no options"),
        (["--benchmark-options", "start"], "--benchmark-options: expected KEY=VALUE, got 'start'"),
        (["--cfg-path", "nowhere.yaml"], "nowhere.yaml: no such config file"),
    ],
)
def test_mistakes_are_one_message(
    data: Path, tmp_path: Path, more: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in error_of(arguments(data, tmp_path / "out", *more), capsys)
    assert not (tmp_path / "out").exists()


def test_answers_are_kept_where_data_and_weights_have_moved(
    data: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Annotations, videos and weights under other names, the annotations in other words for the same."""
    for place in (data, WEIGHTS.parent):
        shutil.copytree(place, tmp_path / place.name)
    anno = tmp_path / data.name / "anno.txt"
    anno.write_text(anno.read_text().replace("0.0 1.0##", "0 1.00##"))
    shutil.copytree(finished, tmp_path / "out")
    monkeypatch.setattr("timechat.evaluation.video_models.build_model", None)
    moved = f"model.ckpt={tmp_path / WEIGHTS.parent.name / WEIGHTS.name}"
    assert evaluate.main(arguments(tmp_path / data.name, tmp_path / "out", options=(moved,))) == 0
    record, first = scores(tmp_path / "out"), scores(finished)
    assert record["scores"] == first["scores"]
    assert record["annotations_sha256"] == first["annotations_sha256"]
    assert record["anno_path"] == str(anno) != first["anno_path"]
    assert str(anno) in (tmp_path / "out" / "report.md").read_text()
