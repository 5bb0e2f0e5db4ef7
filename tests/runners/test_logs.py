"""What a run writes, and that only the main process does."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import torch
from helpers.training import read_lines
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from timechat.runners import logs
from timechat.runners.logs import Meter, RunLog

CPU = torch.device("cpu")
RECORD = {
    "epoch": 1,
    "step": 30,
    "lr": 2.5e-5,
    "skipped": 3,
    "loss": 1.23456,
    "videos_per_s": 7.5,
    "tokens_per_s": 1234.0,
    "data_wait": 0.25,
    "grad_norm": 0.75,
    "mfu": 0.4,
    "memory_gib": 11.5,
}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time that the meter sees."""
    now = [100.0]
    monkeypatch.setattr(logs.time, "perf_counter", lambda: now[0])
    return now


def test_meter_averages_and_rates(clock: list[float]) -> None:
    meter = Meter()
    meter.reset()
    meter.loss, meter.steps, meter.videos, meter.tokens, meter.waiting = 6.0, 4, 20, 1000, 0.5
    meter.grad_norm, meter.flops = 8.0, 3e12
    clock[0] += 2.0
    averages = meter.reduce(torch.device("cpu"))
    assert 0.05 < averages.pop("memory_gib") < 50
    assert averages == {
        "loss": 1.5,
        "grad_norm": 2.0,
        "videos_per_s": 10.0,
        "tokens_per_s": 500.0,
        "data_wait": 0.25,
        "mfu": None,
    }
    meter.reset()
    assert meter == Meter(started=102.0)


def test_meter_over_two_processes(monkeypatch: pytest.MonkeyPatch, clock: list[float]) -> None:
    """Counts add up; the loss, the share of waiting and that of the two GPUs' peak are averaged."""
    monkeypatch.setattr(logs.distributed, "world_size", lambda: 2)
    monkeypatch.setattr(logs.distributed, "all_reduce_sum", lambda values, device: [2 * value for value in values])
    monkeypatch.setattr(logs, "peak_flops", lambda device: 10e12)
    monkeypatch.setattr(logs.distributed, "all_reduce_max", lambda value, device: 3 * 2**30)
    meter = Meter(loss=6.0, steps=4, videos=20, tokens=1000, waiting=0.5, started=100.0, flops=5e12, grad_norm=4.0)
    clock[0] += 2.0
    assert meter.reduce(torch.device("cpu")) == {
        "loss": 1.5,
        "grad_norm": 1.0,
        "videos_per_s": 20.0,
        "tokens_per_s": 1000.0,
        "data_wait": 0.25,
        "mfu": 0.25,
        "memory_gib": 3.0,
    }


def test_a_step_goes_into_the_file_the_line_and_tensorboard(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    log = RunLog(tmp_path)
    log.start("ab12cd34", {}, CPU)
    log.step(RECORD)
    log.close()
    assert read_lines(tmp_path / "log.jsonl") == [{"event": "train", **RECORD}]
    line = caplog.messages[-1]
    for part in (
        "epoch 1 step 30",
        "loss 1.2346",
        "lr 2.50e-05",
        "7.50 videos/s",
        "1234 tokens/s",
        "25%",
        "3 skip",
        "(40% of",
    ):
        assert part in line
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    keys = RECORD.keys() - {"epoch", "step"}
    assert set(events.Tags()["scalars"]) == {f"train/{key}" for key in keys}
    for key in keys:
        (scalar,) = events.Scalars(f"train/{key}")
        assert (scalar.step, scalar.value) == (30, pytest.approx(RECORD[key]))


def test_scores_go_everywhere(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    record = {"epoch": 1, "step": 30, "valid_loss": 2.5, "mIoU": 31.25}
    log = RunLog(tmp_path)
    log.start("ab12cd34", {}, CPU)
    log.scores(record)
    log.close()
    assert read_lines(tmp_path / "log.jsonl") == [{"event": "valid", **record}]
    assert "epoch 1: valid_loss 2.5, mIoU 31.25" in caplog.messages[-1]
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert set(events.Tags()["scalars"]) == {"valid/valid_loss", "valid/mIoU"}


def test_what_is_not_known_is_null_in_the_file_and_no_curve(tmp_path: Path) -> None:
    log = RunLog(tmp_path)
    log.start("ab12cd34", {}, CPU)
    log.step(RECORD | {"mfu": None})
    log.close()
    assert read_lines(tmp_path / "log.jsonl")[0]["mfu"] is None
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert "train/mfu" not in events.Tags()["scalars"]


def test_log_jsonl_alone(tmp_path: Path) -> None:
    log = RunLog(tmp_path, loggers=[])
    log.start("ab12cd34", {}, CPU)
    log.step(RECORD)
    log.close()
    assert [path.name for path in tmp_path.iterdir()] == ["log.jsonl"]


def test_records_are_appended_as_lines_of_json(tmp_path: Path) -> None:
    for epoch in (0, 1):
        log = RunLog(tmp_path)
        log.event(event="start", epoch=epoch)
        log.close()
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [0, 1]


def test_skipped_samples_are_named_and_warned_about(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = RunLog(tmp_path)
    log.skipped([])
    assert not (tmp_path / "skipped.jsonl").exists()
    records = [{"epoch": 0, "position": 7, "sample": "tv[3] bad.mp4", "error": "bad.mp4: is empty"}]
    log.skipped(records)
    log.close()
    assert read_lines(tmp_path / "skipped.jsonl") == records
    assert "skipped tv[3] bad.mp4: bad.mp4: is empty" in caplog.text


def test_other_processes_write_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setenv("RANK", "1")
    log = RunLog(tmp_path / "run")
    log.event(event="start")
    log.step(RECORD)
    log.scores({"epoch": 1, "step": 30, "valid_loss": 2.5})
    log.skipped([{"sample": "x", "error": "y"}])
    log.close()
    assert not (tmp_path / "run").exists()
    assert not caplog.messages


@pytest.mark.parametrize(("rank", "shown"), [("0", True), ("1", False)])
def test_the_progress_bar_is_the_main_processs(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    rank: str,
    shown: bool,
) -> None:
    """On a terminal; nowhere else."""
    monkeypatch.setenv("RANK", rank)
    log = RunLog(tmp_path)
    log.progress(0, 2)
    log.advance(1.0)
    log.close()
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    log = RunLog(tmp_path)
    log.progress(3, 2)
    for loss in (1.0, 0.5):
        log.advance(loss)
    log.close()
    err = capsys.readouterr().err
    assert ("epoch 3" in err and "loss=0.500" in err and "2/2" in err) == shown
    assert bool(err) == shown


def test_broken_lines_go_when_a_run_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A machine that loses power may leave anything in the last blocks of a file."""
    file = tmp_path / "log.jsonl"
    file.write_text('{"event": "start"}\n{"event": "tra\n\0\0\n{"step": 2}\n{"step": 3}\n{"ste')
    RunLog(tmp_path, step=2).close()
    assert [json.loads(line) for line in file.read_text().splitlines()] == [{"event": "start"}, {"step": 2}]
    assert caplog.text.count("a broken line of the log is removed") == 2
