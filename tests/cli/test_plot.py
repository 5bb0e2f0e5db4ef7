"""Curves of a training run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from timechat.cli import plot
from timechat.cli.plot import main, plot_run, read_training_records
from timechat.errors import PredictionError


def write_log(folder: Path, records: list[dict]) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "log.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return folder


def train(epoch: int, step: int, loss: float) -> dict:
    return {"event": "train", "epoch": epoch, "step": step, "loss": loss, "lr": 1e-4, "videos_per_s": 2.0}


def test_draws_a_picture(tmp_path: Path) -> None:
    run = write_log(tmp_path, [{"event": "start", "epoch": 0, "step": 0}, train(0, 1, 2.0), train(0, 2, 1.0)])
    with Image.open(plot_run(run)) as picture:
        assert picture.width > 800
        assert len(set(picture.convert("RGB").resize((64, 16)).getdata())) > 10


def test_stages_have_a_row_of_curves_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the order of their names."""
    figures = []
    close = plot.plt.close
    monkeypatch.setattr(plot.plt, "close", figures.append)
    for name, loss in (("2_reading", 0.5), ("1_frames", 2.0)):
        write_log(tmp_path / name, [{"event": "start", "epoch": 0, "step": 0}, train(0, 1, loss)])
    assert plot_run(tmp_path) == tmp_path / "curves.png"
    (figure,) = figures
    titles = [axis.get_title() for axis in figure.axes]
    assert titles[::3] == ["1_frames: training loss", "2_reading: training loss"]
    assert [axis.lines[0].get_ydata()[0] for axis in figure.axes[::3]] == [2.0, 0.5]
    close(figure)


def test_a_resumed_run_replaces_the_records_of_its_first_attempt(tmp_path: Path) -> None:
    records = [
        {"event": "start", "epoch": 0, "step": 0},
        train(0, 1, 2.0),
        train(1, 2, 1.5),
        {"event": "start", "epoch": 1, "step": 1},
    ]
    run = write_log(tmp_path, [*records, train(1, 2, 1.0), {"event": "checkpoint", "epoch": 1, "path": "x"}])
    assert [record["loss"] for record in read_training_records(run)] == [2.0, 1.0]


@pytest.mark.parametrize(("text", "message"), [("", "no training record"), ("{broken", "log.jsonl:1")])
def test_a_log_without_records_is_an_error(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "log.jsonl").write_text(text)
    with pytest.raises(PredictionError, match=message):
        read_training_records(tmp_path)


def test_a_missing_log_is_one_message_and_exit_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "nowhere")]) == 1
    assert "no such log" in capsys.readouterr().err
