"""eval.sh with a stand-in for Python that writes down how it was called."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RECORDER = """#!/usr/bin/env bash
[[ $1 == -c ]] && exit 0  # whether timechat can be imported
printf '%s\\n' "$*" >> calls.txt
"""
FILES = (
    "data/charades/charades_sta_test.txt",
    "data/youcook2/youcookii_annotations_trainval.json",
    "data/qvhighlights/highlight_val_release.jsonl",
    "data/quickstart/test/charades_sta.txt",
    "data/quickstart/test/dense_captions.json",
    "data/quickstart/test/highlights.jsonl",
    "runs/quickstart/checkpoint_9.pth",
    "runs/quickstart/checkpoint_10.pth",
)
FOLDERS = (*(f"data/{name}/videos" for name in ("charades", "youcook2", "qvhighlights")), "data/quickstart/videos/test")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A working directory with every file that eval.sh looks for."""
    for folder in FOLDERS:
        (tmp_path / folder).mkdir(parents=True)
    for file in FILES:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    recorder = tmp_path / "recorder"
    recorder.write_text(RECORDER)
    recorder.chmod(0o755)
    return tmp_path


def run(place: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if k not in ("NPROC", "OUTPUT", "CFG", "ANNO", "VIDEOS", "DATA_DIR")}
    environment = {**clean, "PYTHON": str(place / "recorder"), **environment}
    command = ["bash", str(ROOT / "eval.sh"), *arguments]
    return subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=False)


def calls(place: Path) -> list[str]:
    file = place / "calls.txt"
    return file.read_text().splitlines() if file.is_file() else []


def test_one_benchmark(place: Path) -> None:
    done = run(place, "charades", "runs/quickstart/checkpoint_9.pth", "run.num_workers=2", "model.lora_alpha=20")
    assert done.returncode == 0, done.stderr
    assert calls(place) == [
        f"{ROOT}/evaluate.py --cfg-path {ROOT}/eval_configs/timechat.yaml --ckpt runs/quickstart/checkpoint_9.pth "
        "--benchmark charades_sta --anno-path data/charades/charades_sta_test.txt --videos-dir data/charades/videos "
        "--output-dir runs/eval/quickstart/checkpoint_9/charades_sta --options run.num_workers=2 model.lora_alpha=20"
    ]


def test_environment_moves_everything(place: Path) -> None:
    (place / "anno.txt").touch()
    (place / "clips").mkdir()
    done = run(
        place, "youcook2", "runs/quickstart/checkpoint_9.pth",
        ANNO="anno.txt", VIDEOS="clips", OUTPUT="out", NPROC="4", EVAL_ARGS="--limit 3",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (call,) = calls(place)
    assert call.startswith(f"-m torch.distributed.run --standalone --nproc_per_node=4 {ROOT}/evaluate.py ")
    assert call.endswith("--anno-path anno.txt --videos-dir clips --output-dir out/youcook2 --limit 3")


def test_all_ends_in_a_joint_table(place: Path) -> None:
    done = run(place, "all", "runs/quickstart/checkpoint_9.pth", OUTPUT="out")
    assert done.returncode == 0, done.stderr
    names = ["charades_sta", "youcook2", "qvhighlights"]
    assert [call.partition("--benchmark ")[2].split()[0] for call in calls(place)[:3]] == names
    assert calls(place)[3:] == ["-m timechat.evaluation.report out/charades_sta out/youcook2 out/qvhighlights"]


def test_quickstart_takes_the_last_checkpoint(place: Path) -> None:
    done = run(place, "quickstart")
    assert done.returncode == 0, done.stderr
    assert len(calls(place)) == 4
    assert all("--ckpt runs/quickstart/checkpoint_10.pth" in call for call in calls(place)[:3])
    assert all(f"--cfg-path {ROOT}/eval_configs/quickstart.yaml" in call for call in calls(place)[:3])
    assert "--output-dir runs/quickstart/eval/charades_sta" in calls(place)[0]
    assert calls(place)[3].startswith("-m timechat.evaluation.report runs/quickstart/eval/charades_sta ")
    run(place, "quickstart", "runs/quickstart/checkpoint_9.pth")
    assert "--ckpt runs/quickstart/checkpoint_9.pth" in calls(place)[4]


def test_missing_files_are_listed_before_anything_runs(place: Path) -> None:
    (place / "data/youcook2/youcookii_annotations_trainval.json").unlink()
    (place / "data/qvhighlights/videos").rmdir()
    done = run(place, "all", "nowhere.pth")
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "eval.sh: missing files:",
        "  checkpoint: nowhere.pth",
        "  annotations of youcook2: data/youcook2/youcookii_annotations_trainval.json",
        "  videos of qvhighlights: data/qvhighlights/videos/",
    ]
    assert calls(place) == []


def test_quickstart_without_a_run_says_so(place: Path) -> None:
    done = run(place, "quickstart", QUICKSTART_RUN="runs/none")
    assert done.returncode == 1
    assert "checkpoint: runs/none/checkpoint_0.pth" in done.stderr


def test_a_failing_evaluation_stops_the_rest(place: Path) -> None:
    (place / "recorder").write_text(RECORDER + "exit 3\n")
    done = run(place, "all", "runs/quickstart/checkpoint_9.pth")
    assert done.returncode == 3
    assert len(calls(place)) == 1


def test_an_interpreter_without_timechat_is_named(place: Path) -> None:
    (place / "recorder").write_text("#!/bin/sh\nexit 1\n")
    done = run(place, "charades", "runs/quickstart/checkpoint_9.pth")
    assert done.returncode == 1
    assert "cannot import timechat; activate its environment" in done.stderr


@pytest.mark.parametrize("arguments", [(), ("charades",), ("mvbench", "x.pth"), ("--help",)])
def test_wrong_words_print_the_usage(place: Path, arguments: tuple[str, ...]) -> None:
    done = run(place, *arguments)
    assert done.returncode == 2
    assert "bash eval.sh charades|youcook2|qvhighlights CKPT" in done.stderr
    assert calls(place) == []
    assert run(place, "all", "runs/quickstart/checkpoint_9.pth", ANNO="x").returncode == 2
