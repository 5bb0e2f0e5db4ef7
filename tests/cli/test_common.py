"""Arguments that entry points share, and how errors end a program."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from timechat import distributed
from timechat.cli import ask, evaluate, export
from timechat.cli.common import config_parser, run_main
from timechat.cli.doctor.main import build_parser as doctor_parser
from timechat.errors import CheckpointError, ConfigError, TrainingError


@pytest.fixture(autouse=True)
def _root_logging() -> Iterator[None]:
    """Puts the root logger back as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level


def _raiser(error: BaseException) -> Callable[[], None]:
    def main() -> None:
        raise error

    return main


def test_arguments() -> None:
    parser = config_parser("Does something.")
    args = parser.parse_args(["--cfg-path", "x.yaml", "--options", "run.seed=1", "run.amp=true"])
    assert (args.cfg_path, args.options) == ("x.yaml", ["run.seed=1", "run.amp=true"])
    assert parser.parse_args(["--cfg-path", "x.yaml"]).options == []


def test_options_add_up_and_defaults_stay_empty() -> None:
    parser = config_parser("Does something.")
    args = parser.parse_args(["--options", "run.seed=1", "--cfg-path", "x.yaml", "--options", "a=2", "run.seed=3"])
    assert args.options == ["run.seed=1", "a=2", "run.seed=3"]
    assert parser.parse_args(["--cfg-path", "x.yaml"]).options == []


PARSERS = [
    (evaluate.build_parser, ["--benchmark", "youcook2", "--cfg-path=~/f", "--anno-path=~/f", "--videos-dir=~/f"]),
    (ask.build_parser, ["~/f", "--model=~/f"]),
    (doctor_parser, ["~/f", "~/f"]),
    (export.build_parser, ["--cfg-path=~/f", "--output=~/f", "--format", "peft"]),
]


@pytest.mark.parametrize(("build", "argv"), PARSERS)
def test_every_verb_takes_options_twice_and_knows_the_home_directory(
    build: Callable[[], argparse.ArgumentParser], argv: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the shell does not, as behind `=`."""
    monkeypatch.setenv("HOME", "/home/me")
    more = {"evaluate": ["--output-dir=~/f", "--ckpt=~/f", "--prompt-file=~/f", "--asr=~/f", "--ids=~/f"]}
    argv = [*argv, *more.get(build.__module__.rpartition(".")[2], []), "--options", "a=1", "--options", "b=~", "a=2"]
    args = vars(build().parse_args(argv))
    assert args.pop("options") == ["a=1", "b=~", "a=2"]
    paths = [value for value in args.values() if isinstance(value, str) and value.endswith("/f")]
    assert paths == ["/home/me/f"] * sum(word.endswith("~/f") for word in argv)


def test_the_config_is_required(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        config_parser("Does something.").parse_args([])
    assert stop.value.code == 2
    assert "--cfg-path" in capsys.readouterr().err


def test_success_is_status_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_main(lambda: None) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("kind", [ConfigError, CheckpointError, TrainingError])
def test_a_users_mistake_is_one_message(kind: type[Exception], capsys: pytest.CaptureFixture[str]) -> None:
    assert run_main(_raiser(kind("x.yaml: mend this"))) == 1
    assert capsys.readouterr().err == f"{kind.__name__}: x.yaml: mend this\n"


def test_what_the_system_refuses_is_one_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder where a file is wanted, no permission, a full disk."""
    (tmp_path / "file").touch()
    assert run_main(lambda: (tmp_path / "file" / "folder").mkdir()) == 1
    message = capsys.readouterr().err
    assert message.startswith(
        f"FileError: {tmp_path / 'file' / 'folder'}: cannot be read or written (Not a directory); "
    )
    assert message.count("\n") == 1


def test_an_interrupted_program_leaves_without_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_main(_raiser(KeyboardInterrupt())) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_other_processes_name_themselves(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert run_main(_raiser(TrainingError("broken"))) == 1
    assert "[rank 1]" in (err := capsys.readouterr().err)
    assert "stopped by TrainingError: broken" in err


def test_our_own_mistakes_keep_their_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        run_main(_raiser(ZeroDivisionError()))


@pytest.mark.parametrize("error", [None, ConfigError("x"), KeyError("x")])
def test_the_process_group_is_left_in_any_case(monkeypatch: pytest.MonkeyPatch, error: Exception | None) -> None:
    left = []
    monkeypatch.setattr(distributed, "destroy_process_group", lambda: left.append(True))
    if isinstance(error, KeyError):
        with pytest.raises(KeyError):
            run_main(_raiser(error))
    else:
        run_main(_raiser(error) if error else lambda: None)
    assert left == [True]


@pytest.mark.parametrize("terminal", [False, True])
def test_progress_bars_are_for_terminals(monkeypatch: pytest.MonkeyPatch, terminal: bool) -> None:
    """Those of transformers, which commands that need no model do not import."""
    asked: list[str] = []
    monkeypatch.setattr("transformers.utils.logging.disable_progress_bar", lambda: asked.append("off"))
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal)
    assert run_main(lambda: None) == 0
    assert asked == ([] if terminal else ["off"])
    monkeypatch.delitem(sys.modules, "transformers")
    assert run_main(lambda: None) == 0
