"""The verb `serve`: its command line, and a server that ends well when it is told to."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from helpers.serving import body, httpx
from helpers.tiny import BERT, LLAMA, TINY, WEIGHTS, build_tiny, tiny_config

from timechat.app.api import VideoLanguageModel
from timechat.app.server.settings import ServerSettings
from timechat.cli.serve import KEY_VARIABLE, build_parser, main, settings_of, warn_of_strangers
from timechat.errors import ConfigError

ROOT = Path(__file__).parents[2]
MODEL = ["--cfg-path", str(TINY / "config.yaml")]
OPTIONS = ["--options", f"model.llama_model={LLAMA}", f"model.qformer_tokenizer={BERT}", f"model.ckpt={WEIGHTS}"]


def settings(*argv: str) -> ServerSettings:
    return settings_of(build_parser().parse_args([*MODEL, *argv]))


def test_what_is_not_given_is_as_the_settings_say() -> None:
    assert settings() == ServerSettings()


def test_arguments_become_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "keys").write_text("one\n\n two \n")
    monkeypatch.setenv(KEY_VARIABLE, "zero")
    given = settings(
        *("--name", "mine", "--media-dir", "/a", "--media-dir", "/b", "--allow-host", "a.org", "--cache-mb", "0"),
        *("--timeout", "1.5", "--max-batch", "3", "--api-key-file", str(tmp_path / "keys")),
    )
    assert given == ServerSettings(
        name="mine",
        media_dirs=(Path("/a"), Path("/b")),
        hosts=("a.org",),
        api_keys=("zero", "one", "two"),
        cache_mb=0,
        timeout_s=1.5,
        max_batch=3,
    )


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--max-batch", "0"], "--max-batch 0: give 1 or more"),
        (["--timeout", "nan"], "--timeout nan: give 1 or more"),
        (["--window-ms", "-1"], "--window-ms -1: give 0 or more"),
        (["--port", "65536"], "--port 65536"),
        (["--api-key-file", os.devnull], "there is no key in it"),
    ],
)
def test_values_that_are_not_possible(argv: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        settings(*argv)


def test_keys_that_no_client_can_send(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("schlüssel", encoding="utf-8")
    with pytest.raises(ConfigError, match="characters that clients cannot send") as caught:
        settings("--api-key-file", str(tmp_path / "keys"))
    assert "schl" not in str(caught.value)


def test_what_cannot_be_served_is_said_before_the_weights_are_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([]) == 1
    assert "there is no eval_configs/timechat.yaml in this folder" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert main(MODEL) == 1
    assert "pip install 'timechat[serve]'" in capsys.readouterr().err


def test_the_page_has_every_option_with_its_default() -> None:
    page = (ROOT / "docs/SERVING.md").read_text(encoding="utf-8")
    rows = {name: row[2] for row in _rows(page) for name in re.findall(r"--[a-z-]+", row[1])}
    for action in build_parser()._actions:
        if action.dest != "help":
            assert action.option_strings[0] in rows
            if isinstance(action.default, int | float):
                assert str(action.default).removesuffix(".0") in rows[action.option_strings[0]]


def _rows(page: str) -> list[list[str]]:
    """The lines of tables about options, in cells."""
    return [line.split("|") for line in page.splitlines() if line.startswith("| `--")]


def test_a_network_without_a_key_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    for host, keys, words in (("0.0.0.0", (), "without an API key"), ("127.0.0.1", (), ""), ("0.0.0.0", ("k",), "")):
        caplog.clear()
        warn_of_strangers(host, ServerSettings(api_keys=keys))
        assert words in caplog.text
        assert bool(words) == bool(caplog.text)


def test_a_port_that_is_taken_is_said_before_the_weights_are_read(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["--cfg-path", "gone.yaml", "--port", str(port)]) == 1
    assert f"cannot listen on 127.0.0.1:{port} (Address already in use)" in capsys.readouterr().err


def test_a_port_that_is_taken_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All but listening has happened, such as what `--prompts` says."""
    monkeypatch.setattr("timechat.cli.serve.must_be_free", lambda host, port: None)
    model = VideoLanguageModel(tiny_config(["run.device=cpu"]), build_tiny())
    monkeypatch.setattr("timechat.cli.asking.load", lambda *args, **options: model)
    before = signal.getsignal(signal.SIGTERM)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        try:
            assert main([*MODEL, "--port", str(port), "--prompts", str(tmp_path)]) == 1
        finally:
            signal.signal(signal.SIGTERM, before)
    assert f"cannot listen on 127.0.0.1:{port}" in capsys.readouterr().err
    assert model.prompts == tmp_path


@contextmanager
def started(*argv: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command as users start it; the process, and where it listens."""
    command = [sys.executable, "-m", "timechat", "serve", *MODEL, "--device", "cpu", "--port", "0", *argv, *OPTIONS]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        for line in process.stderr:
            if found := re.search(r"running on (http://\S+)", line):
                break
        else:
            raise AssertionError("it did not start")
        yield process, found[1]
    finally:
        process.kill()
        process.communicate()


def test_it_answers_until_it_is_told_to_stop() -> None:
    with started() as (process, url):
        assert httpx.get(f"{url}/health", trust_env=False, timeout=60).json() == {"status": "ok"}
        refused = httpx.post(f"{url}/v1/chat/completions", json=body("file:///v.mp4"), trust_env=False, timeout=60)
        assert refused.status_code == 422
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
