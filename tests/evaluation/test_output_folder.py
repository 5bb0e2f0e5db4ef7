"""The folder that an evaluation writes to: its own while it runs, and looked at before weights are loaded."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers.evaluations import ROOT, arguments, error_of, scores, write_data
from helpers.locks import holding

from timechat import locks
from timechat.cli import evaluate
from timechat.locks import FILE


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """See `write_data`."""
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for long, and nobody who is refused loads weights."""
    monkeypatch.setattr(locks, "PATIENCE_S", 0.3)


def test_a_second_evaluation_is_refused_and_what_the_first_wrote_stays(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Above all with --overwrite."""
    out = tmp_path / "out"
    with monkeypatch.context() as patch, holding(out) as held:
        patch.setattr("timechat.evaluation.video_models.build_model", None)
        (out / "predictions.jsonl").write_text("")
        message = error_of(arguments(data, out, "--overwrite"), capsys)
        assert f"--output-dir {out}: process {held.pid} on {socket.gethostname()} is training in it; wait" in message
        assert sorted(path.name for path in out.iterdir()) == [FILE, "predictions.jsonl"]
    assert (out / FILE).exists()  # its holder was killed
    assert evaluate.main(arguments(data, out)) == 0
    assert scores(out)["counts"]["found"] == 3
    assert not (out / FILE).exists()


def test_the_folders_of_all_seeds_are_its_own(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("timechat.evaluation.video_models.build_model", None)
    with holding(tmp_path / "seed_42"):
        message = error_of(arguments(data, tmp_path, "--temperature", "1", "--seeds", "2"), capsys)
    assert f"--output-dir {tmp_path / 'seed_42'}: process" in message
    assert not (tmp_path / FILE).exists()


def test_a_folder_that_cannot_be_written_to_is_named_before_weights_are_loaded(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("timechat.evaluation.video_models.build_model", None)
    (tmp_path / "file").write_text("")
    message = error_of(arguments(data, tmp_path / "file/out"), capsys)
    assert f"ConfigError: --output-dir {tmp_path / 'file/out'}: cannot be written to" in message


@pytest.mark.distributed
def test_all_processes_are_refused_together(data: Path, tmp_path: Path) -> None:
    """None is left waiting for the main one, which tries to get the lock."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "evaluate.py"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with holding(tmp_path / "out"):
        started = time.monotonic()
        done = subprocess.run(
            [*command, *arguments(data, tmp_path / "out")],
            cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.count("is training in it; wait until it ends") == 2  # one line of each process
    assert time.monotonic() - started < 200
    assert 'evaluate.py", line' not in done.stderr
