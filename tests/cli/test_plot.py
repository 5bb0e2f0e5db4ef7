"""Curves of a training run."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.run_logs import train, write_log
from PIL import Image

from timechat.cli import plot
from timechat.cli.plot import main, plot_run


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


def test_a_missing_log_is_one_message_and_exit_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "nowhere")]) == 1
    assert "no such log" in capsys.readouterr().err
