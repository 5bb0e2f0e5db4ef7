"""The verb `chat` through pipes: questions, commands, and mistakes that are lines."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.talking import CAPTIONS, MODEL, OPTIONS
from helpers.videos import write_video

from timechat import cli
from timechat.app.terminal import without_controls
from timechat.models import TimeChat

HIGHLIGHTS = "There are 2 highlight moments in the 4, 6 second. Their saliency scores are 1.5, 3.0."


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A short one."""
    return str(write_video(tmp_path_factory.mktemp("video") / "v.mp4"))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Prompts, and how many earlier turns came with each; the model says captions, highlights or a word."""
    asked: list[tuple[str, int]] = []

    def answer(self: TimeChat, videos: Any, seconds: Any, prompts: list[str], **options: Any) -> list[str]:
        asked.append((prompts[0], len(options.get("histories", [[]])[0])))
        if "no memory" in prompts[0]:
            raise torch.OutOfMemoryError
        return [HIGHLIGHTS if "saliency" in prompts[0] else CAPTIONS if "bread" in prompts[0] else "Yes."]

    monkeypatch.setattr(TimeChat, "answer", answer)
    return asked


def chat(monkeypatch: pytest.MonkeyPatch, *lines: str, video: str | None = None, asr: str | None = None) -> int:
    """Run it with these lines on stdin."""
    monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
    speech = ["--asr", asr] if asr else []
    return cli.main(["chat", *([video] if video else []), *speech, *MODEL, *OPTIONS])


def test_each_question_comes_with_the_earlier_ones(
    video: str, asked: list[tuple[str, int]], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = ["Is it day?", "", "  The bread?  ", "/clear", "Again?", "/quit", "Never?"]
    assert chat(monkeypatch, *lines, video=video) == 0
    assert asked == [("Is it day?", 0), ("The bread?", 1), ("Again?", 0)]
    table = "start  end  text            score\n-----  ---  --------------  -----\n"
    table += "3.0    5.0  cut the bread.  -\n7.0    9.5  fry it.         -\n"
    first = "v.mp4: 12 frames, the last one at 1.8 s\nYes.\n\n"
    assert capsys.readouterr().out == (
        f"{first}{CAPTIONS}\n\n{table}\nthe questions and answers are forgotten\nYes.\n\n"
    )


def test_tasks_are_asked_in_the_words_of_the_benchmarks(
    video: str, asked: list[tuple[str, int]], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = ["/task highlights frying", "/task caption", "/task ground the bread"]
    assert chat(monkeypatch, *lines, video=video) == 0
    assert "frying" in asked[0][0]
    assert "saliency" in asked[0][0]
    assert "the bread" in asked[2][0]
    assert [turns for _, turns in asked] == [0, 1, 2]
    assert "4.0    4.0  frying  1.5\n" in capsys.readouterr().out


def test_answers_are_saved(
    video: str, asked: list[tuple[str, int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [str(tmp_path / f"a.{suffix}") for suffix in ("json", "srt", "md")]
    asked_first = ["Is it day?", "/task caption", "The bread?"]
    assert chat(monkeypatch, *asked_first, *(f"/save {name}" for name in names), video=video) == 0
    saved = json.loads((tmp_path / "a.json").read_text())
    assert saved["video"] == video
    said = [("Is it day?", "Yes.", 0), ("caption", CAPTIONS, 2), ("The bread?", CAPTIONS, 2)]
    assert [(each["question"], each["text"], len(each["segments"])) for each in saved["answers"]] == said
    assert (tmp_path / "a.srt").read_text().count("-->") == 2

    assert (tmp_path / "a.md").read_text().startswith("## Is it day?\n\nYes.\n\n## caption\n\n3.0")
    assert (tmp_path / "a.md").read_text().count("| start |") == 2


def test_what_was_cleared_is_not_saved(
    video: str, asked: list[tuple[str, int]], tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    assert chat(monkeypatch, "Is it day?", "/clear", f"/save {tmp_path / 'a.json'}", video=video) == 1
    assert "there is no answer to save yet" in capsys.readouterr().err


def test_speech_goes_before_the_first_question_of_a_conversation(
    video: str, asked: list[tuple[str, int]], tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    for name, words in (("a", "good morning"), ("b", "good night")):
        (tmp_path / f"{name}.srt").write_text(f"1\n00:00:01,000 --> 00:00:02,000\n{words}\n")
    lines = ["One?", "Two?", "/clear", "Three?", f"/asr {tmp_path / 'b.srt'}", "Four?", f"/video {video}", "Five?"]
    assert chat(monkeypatch, *lines, video=video, asr=str(tmp_path / "a.srt")) == 0
    heard = [("morning" in prompt, "night" in prompt) for prompt, _ in asked]
    assert heard == [(True, False), (False, False), (True, False), (False, True), (False, False)]
    assert "a.srt: 1 sentences go before the next question\n" in capsys.readouterr().out
    assert chat(monkeypatch, asr="a.srt") == 1
    assert "--asr a.srt: name the VIDEO, too" in capsys.readouterr().err


def test_another_video_is_another_conversation(
    video: str, asked: list[tuple[str, int]], tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    other = write_video(tmp_path / "an other.mp4", frames=6)
    assert chat(monkeypatch, "One?", f"/video {other}", "/save a.json", "Two?", video=video) == 1
    assert [turns for _, turns in asked] == [0, 0]
    captured = capsys.readouterr()
    assert "an other.mp4: 6 frames, the last one at 0.5 s\n" in captured.out
    assert "there is no answer to save yet" in captured.err


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("/vidoe x", "no command /vidoe (did you mean 'video'?); /help lists them"),
        ("/video", "say /video FILE"),
        ("/video gone.mp4", "gone.mp4: no such video"),
        ("/video TEXT", "cannot be decoded"),
        ("/save", "say /save FILE"),
        ("/asr", "say /asr FILE"),
        ("/asr gone.srt", "gone.srt: no such transcript"),
        ("/save a.txt", "a.txt: cannot save as .txt; name a .json, .srt or .md"),
        ("/save a.srt", "the answer names no part of the video"),
        ("/save /dev/null/a.md", "/dev/null: cannot be written (File exists)"),
        ("/task", "say /task ground|caption|highlights QUERY"),
        ("/task find it", "task='find'"),
        ("/task ground", "the question is empty"),
        ("no memory", "the GPU has not enough memory"),
    ],
)
def test_a_mistake_is_a_line_and_the_chat_goes_on(
    line: str, message: str, video: str, asked: list[tuple[str, int]], tmp_path: Path,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    text = tmp_path / "text.mp4"
    text.write_text("no video")
    assert chat(monkeypatch, "Is it day?", line.replace("TEXT", str(text)), "The bread?", video=video) == 1
    captured = capsys.readouterr()
    (error,) = [line for line in captured.err.splitlines() if line.startswith("error: ")]
    assert message in error
    assert "Traceback" not in captured.err
    assert captured.out.count(CAPTIONS) == 1
    assert asked[-1] == ("The bread?", 1)  # the mistake did not become a turn, and the video is still there


def test_a_chat_without_a_video_asks_for_one(
    video: str, asked: list[tuple[str, int]], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert chat(monkeypatch, "Is it day?", "/clear", f"/video {video}", "Is it day?", "/help") == 1
    captured = capsys.readouterr()
    assert "error: there is no video yet: /video FILE\n" in captured.err
    assert len(asked) == 1
    assert "/save FILE   all answers as .json or .md (tables), or the last one as .srt (chapters)\n" in captured.out
    assert chat(monkeypatch, video="gone.mp4") == 1
    assert "ConfigError: gone.mp4: no such video" in capsys.readouterr().err


def test_what_a_terminal_would_obey_is_not_shown() -> None:
    assert without_controls("a\x1b[31mb\x07\n\tü\u202e") == "a[31mb\n\tü"
