"""The command `timechat`: every verb is there under its own name."""

from __future__ import annotations

import pytest

from timechat.cli import VERBS, data, main


@pytest.mark.parametrize("verb", [[verb] for verb in VERBS] + [["data", verb] for verb in data.VERBS], ids=" ".join)
def test_each_verb_has_help(verb: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    try:
        status = main([*verb, "--help"])
    except SystemExit as stopped:  # of argparse
        status = stopped.code
    assert status == 0
    assert capsys.readouterr().out.startswith(f"usage: timechat {' '.join(verb)} ")


@pytest.mark.parametrize("argv", [[], ["--help"], ["-h"]])
def test_help_lists_the_verbs(
    argv: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["timechat", *argv])
    assert main() == 0
    page = capsys.readouterr().out
    assert all(f"  {verb} " in page for verb in VERBS)


def test_an_unknown_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trian"]) == 2
    assert "did you mean 'train'?" in capsys.readouterr().err
