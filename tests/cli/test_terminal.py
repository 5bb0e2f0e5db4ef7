"""`ask` and `chat` in a terminal of their own: words as they come, Ctrl-C, Ctrl-D, and keys of readline."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.terminals import CTRL_C, CTRL_D, UP, Terminal
from helpers.videos import write_video

TABLE = r"start +end +text +score\n-+ .*\n3\.0 +5\.0 +cut the bread\. +-\n7\.0 +9\.5 +fry it\. +-\n"


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_video(tmp_path_factory.mktemp("video") / "v.mp4"))


def test_ask_shows_the_words_as_they_come_until_ctrl_c(video: str) -> None:
    with Terminal("helpers.talking", "ask", video, "What happens?") as terminal:
        terminal.until("word0 word1 ")
        terminal.type(CTRL_C)
        assert terminal.status() == 130
        *_, words, last = terminal.shown.rstrip("\n").split("\n")
        assert last == "interrupted"
        said = words.replace("^C", "").split()
        assert said == [f"word{number}" for number in range(len(said))]  # nothing is lost between two pieces
        assert "Traceback" not in terminal.shown


def test_a_chat_goes_on_after_ctrl_c_and_ends_with_ctrl_d(video: str, tmp_path: Path) -> None:
    with Terminal("helpers.talking", "chat", video) as terminal:
        terminal.until(r"v\.mp4: 12 frames, the last one at \d\.\d s\n> ")
        terminal.type("What happens?\n")
        terminal.until("word0 word1 ")
        terminal.type(CTRL_C)
        terminal.until(r"word\d+ ?(\^C)?.* \[stopped\]\n\n> ")
        terminal.type("half a quest")
        terminal.until("half a quest")
        terminal.interrupt("stopped; /quit or Ctrl-D leaves\n> ")
        terminal.type(f"/video {tmp_path / 'gone.mp4'}\n")
        terminal.until(r"error: .*gone\.mp4: no such video\n> ")
        terminal.type("captions?\n")
        terminal.until(TABLE + "\n> ")
        terminal.type(f"/save {tmp_path / 'a.srt'}\n")
        terminal.until(r"saved .*a\.srt\n> ")
        terminal.type(UP + UP + "\n")  # what was asked before the command
        terminal.until(TABLE + "\n> ")
        terminal.type(CTRL_D)
        assert terminal.status() == 0
        assert (tmp_path / "a.srt").read_text().startswith("1\n00:00:03,000 --> 00:00:05,000\ncut the bread.\n")
        assert "Traceback" not in terminal.shown
