"""Answers in a terminal: words as they come, which Ctrl-C ends, and a conversation of lines and commands."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

import torch

from timechat.app.answer import TASKS, Answer
from timechat.app.api import VideoLanguageModel
from timechat.app.chat import Chat
from timechat.app.exports import COLUMNS, save_conversation, segment_row
from timechat.app.stream import AnswerStream
from timechat.errors import ConfigError, TimeChatError
from timechat.evaluation.tables import text_table
from timechat.evaluation.transcripts import read_transcript
from timechat.registry import nearest

PROMPT = "> "
COMMANDS = {
    "task": f"/task {'|'.join(TASKS)} QUERY   when does it happen, what happens when, which moments are best",
    "clear": "/clear   forget the questions and answers; the video stays",
    "video": "/video FILE   another video, and a new conversation",
    "asr": "/asr FILE   put transcribed speech before the next question: .srt, .vtt, .tsv or Whisper's .json",
    "save": "/save FILE   all answers as .json or .md (tables), or the last one as .srt (chapters)",
    "help": "/help   these lines",
    "quit": "/quit   leave, as Ctrl-D does; Ctrl-C stops an answer",
}


def read_answer(start: Callable[[], AnswerStream], say: Callable[[str], object]) -> tuple[Answer, bool]:
    """Read an answer to its end; Ctrl-C ends it after the token that is being written, and again interrupts at once.

    For the main thread, which is the one that Ctrl-C reaches.

    Args:
        start: begins the answer, about a video that is encoded.
        say: gets each piece.

    Returns:
        The answer, as far as it was written; and whether it was stopped.

    Raises:
        KeyboardInterrupt: at the second Ctrl-C.
        Exception: what went wrong when it began, or while it was written.
    """
    stopped = threading.Event()
    streams: list[AnswerStream] = []

    def stop(number: int, frame: FrameType | None) -> None:
        if stopped.is_set():
            raise KeyboardInterrupt
        stopped.set()
        for begun in streams:
            begun.stop()

    with _on_interrupt(stop), start() as stream:
        streams.append(stream)
        if stopped.is_set():  # before it was there
            stream.stop()
        for piece in stream:
            say(piece)
        return stream.answer, stopped.is_set()


@contextmanager
def _on_interrupt(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    before = signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def without_controls(text: str) -> str:
    """A text that a terminal shows and does not obey: no control characters but line breaks and tabs."""
    return "".join(character for character in text if character.isprintable() or character in "\n\t")


def shown_segments(answer: Answer) -> str:
    """A table of the parts of the video that an answer names; nothing where it names none."""
    return text_table(COLUMNS, list(map(segment_row, answer.segments))) if answer.segments else ""


class TerminalChat:
    """A conversation about a video: each line is a question or a command, and what goes wrong is a line as well.

    Args:
        model: answers.
        system: the system sentence; by default the config's.
        options: of generation, as for `VideoLanguageModel.stream`.
        output, errors: where answers and errors go.

    Attributes:
        failed: whether any line went wrong.
    """

    def __init__(
        self,
        model: VideoLanguageModel,
        system: str | None = None,
        options: dict[str, Any] | None = None,
        output: TextIO | None = None,
        errors: TextIO | None = None,
    ):
        self.model, self.system, self.options = model, system, options or {}
        self.output, self.errors = output or sys.stdout, errors or sys.stderr
        self.failed = False
        self._chat: Chat | None = None
        self._video = ""
        self._answered: list[tuple[str, Answer]] = []
        self._speech: str | None = None
        self._told = False  # whether the conversation has the speech

    def open(self, video: str) -> None:
        """Look at a video, and begin a new conversation about it. Raises VideoError, ConfigError."""
        if not Path(video).is_file():
            raise ConfigError(f"{video}: no such video")
        chat = Chat(self.model, video, self.system)
        self._chat, self._video, self._answered = chat, video, []
        self._speech, self._told = None, False
        seconds = chat.video.seconds
        seen = f"{len(seconds)} frames, the last one at {seconds[-1]:.1f} s" if seconds else "an image"
        self._say(f"{os.path.basename(video)}: {seen}\n")

    def run(self, read_line: Callable[[], str], interactive: bool) -> None:
        """Answer line after line, until there are no more, or one is `/quit`.

        Args:
            read_line: the next line with its line break, "" at the end: `typed_line`, or a file's `readline`.
            interactive: whether Ctrl-C only ends what is going on, and not the conversation.

        Raises:
            KeyboardInterrupt: Ctrl-C, if it is not interactive.
        """
        while True:
            try:
                line = read_line()
                if not line or not self.take(line):
                    return
            except KeyboardInterrupt:
                if not interactive:
                    raise
                self._say("\nstopped; /quit or Ctrl-D leaves\n")

    def take(self, line: str) -> bool:
        """Answer a question, or obey a command; returns whether the conversation goes on."""
        line = line.strip()
        try:
            if line.startswith("/"):
                name, _, argument = line[1:].partition(" ")
                return self._obey(name, argument.strip())
            if line:
                self._ask(line, None)
        except torch.OutOfMemoryError:
            self._complain("the GPU has not enough memory: /clear shortens the question, model.num_frm the video")
        except (TimeChatError, OSError) as error:
            self._complain(str(error))
        return True

    def _obey(self, name: str, argument: str) -> bool:
        if name == "quit":
            return False
        if name not in COMMANDS:
            raise ConfigError(f"no command /{name}{nearest(name, list(COMMANDS))}; /help lists them")
        if name == "help":
            self._say("".join(f"{text}\n" for text in COMMANDS.values()))
        elif name == "clear":
            if self._chat:
                self._chat.clear()
            self._answered, self._told = [], False
            self._say("the questions and answers are forgotten\n")
        elif name == "video":
            self.open(_named(argument, "/video FILE"))
        elif name == "asr":
            self._hear(_named(argument, "/asr FILE"))
        elif name == "save":
            self._save(_named(argument, "/save FILE"))
        else:
            task, _, query = argument.partition(" ")
            self._ask(query.strip(), _named(task, COMMANDS["task"]))
        return True

    def _ask(self, question: str, task: str | None) -> None:
        speech = None if self._told else self._speech
        start = partial(self._conversation().stream, question, task=task, asr=speech, **self.options)
        answer, stopped = read_answer(start, self._say)
        self._say(" [stopped]\n" if stopped else "\n")
        if segments := shown_segments(answer):
            self._say(f"\n{segments}")
        self._say("\n")
        self._told = self._speech is not None
        self._answered.append((question or str(task), answer))

    def _conversation(self) -> Chat:
        if self._chat is None:
            raise ConfigError("there is no video yet: /video FILE")
        return self._chat

    def _hear(self, name: str) -> None:
        self._conversation()
        count = len(read_transcript(name))
        self._speech, self._told = name, False
        self._say(f"{os.path.basename(name)}: {count} sentences go before the next question\n")

    def _save(self, name: str) -> None:
        if not self._answered:
            raise ConfigError("there is no answer to save yet")
        save_conversation(name, self._answered, self._video)
        self._say(f"saved {name}\n")

    def _say(self, text: str) -> None:
        self.output.write(without_controls(text))
        self.output.flush()

    def _complain(self, message: str) -> None:
        self.failed = True
        self.errors.write(f"error: {without_controls(message)}\n")
        self.errors.flush()


def typed_line() -> str:
    """A line that is typed at a prompt, with the keys and the history of readline where Python has it."""
    if importlib.util.find_spec("readline"):
        importlib.import_module("readline")  # from now on, input uses it
    try:
        return input(PROMPT) + "\n"
    except EOFError:
        sys.stdout.write("\n")
        return ""


def _named(argument: str, usage: str) -> str:
    if not argument:
        raise ConfigError(f"say {usage}")
    return str(Path(argument).expanduser())
