"""`timechat demo`: what it takes from the folder, and what it says before anything is loaded."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from helpers.imports import ROOT

from timechat.cli.demo import Defaults, main, read_defaults
from timechat.errors import ConfigError


def test_the_folders_own_defaults(tmp_path: Path) -> None:
    assert read_defaults(tmp_path / "demo.yaml") == Defaults()
    shipped = read_defaults(ROOT / "demo.yaml")
    assert (ROOT / shipped.cfg_path).is_file()
    assert (ROOT / str(shipped.prompts)).is_dir()
    assert shipped.made_by == "make quickstart"
    assert len(shipped.suggestions) == 3


@pytest.mark.parametrize(
    ("text", "words"), [("[1]", "expected keys"), ("exampels: x", "did you mean 'examples'"), ("{", "is not YAML")]
)
def test_defaults_that_are_wrong(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "demo.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=words) as raised:
        read_defaults(file)
    assert str(file) in str(raised.value)


def test_without_gradio_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "gradio", None)
    for name in [name for name in sys.modules if name.startswith("timechat.app.web")]:
        monkeypatch.delitem(sys.modules, name)
    assert main([]) == 1
    assert "pip install 'timechat[demo]'" in capsys.readouterr().err


class TestWithGradio:
    """What comes after the import."""

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        pytest.importorskip("gradio", reason="pip install 'timechat[demo]'")
        monkeypatch.chdir(tmp_path)

    @pytest.mark.parametrize(
        ("argv", "words"),
        [
            ([], "there is no eval_configs/timechat.yaml in this folder; name a model with --cfg-path"),
            (["--port", "70000"], "--port 70000: give a number from 0 to 65535"),
            (["--max-upload-mb", "0"], "--max-upload-mb 0: give more than 0"),
            (["--max-minutes", "-1"], "--max-minutes -1: give more than 0"),
            (["--examples", "none"], "--examples none: no such folder"),
            (["--prompts", "none"], "--prompts none: no such folder"),
        ],
    )
    def test_what_is_wrong_is_said(self, argv: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(argv) == 1
        assert words in capsys.readouterr().err

    def test_a_model_that_is_not_there_yet(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        for name in ("quickstart", "demo.yaml"):
            (tmp_path / name).symlink_to(ROOT / name)
        assert main([]) == 1
        said = capsys.readouterr().err
        assert "runs/quickstart/2_reading/checkpoint_0.pth" in said
        assert "is not there yet; make it first: make quickstart" in said


def test_the_file_at_the_top_is_the_command() -> None:
    done = subprocess.run([sys.executable, "demo.py", "--help"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "timechat demo" in done.stdout
