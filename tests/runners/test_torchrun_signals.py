"""torchrun passes signals on to its processes; in two of them, with workers running, nothing learned is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers.training import ROOT, make_videos, read_lines, training_config
from omegaconf import OmegaConf

pytestmark = [pytest.mark.engines, pytest.mark.distributed]

STEPS, PATIENCE_S = 40, 300


QUESTIONS = 2000  # minutes of validation


def _start(config: Path, said: Path) -> subprocess.Popen:
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    env = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)}
    command = [*launch, str(ROOT / "train.py"), "--cfg-path", str(config)]
    with said.open("w") as file:
        return subprocess.Popen(command, env=env, stdout=file, stderr=subprocess.STDOUT)


def _steps(output: Path) -> list[int]:
    return [record["step"] for record in read_lines(output / "log.jsonl") if record["event"] == "train"]


def test_sigterm_to_torchrun_saves_and_the_same_command_goes_on(tmp_path: Path) -> None:
    output, said = tmp_path / "run", tmp_path / "said.txt"
    options = (f"run.iters_per_epoch={STEPS}", "run.max_epoch=1", "run.num_workers=1")
    OmegaConf.save(training_config(output, {"tv": make_videos(tmp_path / "videos")}, *options), tmp_path / "x.yaml")
    with _start(tmp_path / "x.yaml", said) as process:
        give_up = time.monotonic() + PATIENCE_S
        while not _steps(output) and process.poll() is None and time.monotonic() < give_up:
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE_S)
    (folder,) = (output / "checkpoints").iterdir()
    done = int(folder.name.removeprefix("step_"))
    assert 1 <= done < STEPS
    text = said.read_text()
    assert text.count(f"after step {done}; saved {folder}; resume with the same command: torchrun") == 1
    assert "exitcode  : 1" not in text
    assert _our_tracebacks(text) == []
    with _start(tmp_path / "x.yaml", said) as process:
        assert process.wait(PATIENCE_S) == 0, said.read_text()[-3000:]
    assert f"resuming after step {done}\n" in said.read_text()
    assert _steps(output) == list(range(1, STEPS + 1))
    assert (output / "checkpoint_0.pth").is_file()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_a_benchmark_is_validated(tmp_path: Path, number: int) -> None:
    """It does not wait for the remaining questions, of which processes have different numbers."""
    output, said, videos = tmp_path / "run", tmp_path / "said.txt", tmp_path / "videos"
    entry = make_videos(videos)
    lines = [f"{'abcd'[i % 4]} 0.1 0.4##a person cuts bread number {i}.\n" for i in range(QUESTIONS + 1)]
    (videos / "charades.txt").write_text("".join(lines))
    asked = {"name": "charades_sta", "anno_path": videos / "charades.txt", "videos_dir": videos}
    benchmark = [f"run.valid_benchmark.{key}={value}" for key, value in asked.items()]
    options = ("run.iters_per_epoch=1", "run.max_epoch=1", "run.num_workers=1", *benchmark)
    OmegaConf.save(training_config(output, {"tv": entry}, *options), tmp_path / "x.yaml")
    with _start(tmp_path / "x.yaml", said) as process:
        give_up = time.monotonic() + PATIENCE_S
        while not _answers(output) and process.poll() is None and time.monotonic() < give_up:
            time.sleep(0.1)
        asked_at = time.monotonic()
        process.send_signal(number)
        process.wait(PATIENCE_S)
    text = said.read_text()
    assert time.monotonic() - asked_at < 25, text[-3000:]  # torchrun kills after 30 s
    assert 0 < _answers(output) < QUESTIONS
    assert f"stopped by {signal.Signals(number).name} after step 1; saved {output}" in text, text[-3000:]
    assert "exitcode  : 1" not in text
    assert _our_tracebacks(text) == []
    assert (output / "checkpoint_0.pth").is_file()


def _our_tracebacks(text: str) -> list[str]:
    """Lines of tracebacks that are in this project's files; torchrun's own exception has none."""
    return [line for line in text.splitlines() if line.startswith(f'  File "{ROOT}')]


def _answers(output: Path) -> int:
    files = (output / "validation" / "epoch_0").glob("predictions*.jsonl")
    return sum(len(file.read_text().splitlines()) for file in files)
