"""An answer about a video: its words, and the parts of the video that they name."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from timechat.errors import ConfigError, ParseFailure
from timechat.evaluation.echoes import without_echo
from timechat.evaluation.parsing import parse_dense_captions, parse_grounding, parse_highlights
from timechat.evaluation.prompting import PROMPTS, QUERY_MARKS, fill_prompt, load_prompt
from timechat.registry import nearest

_NO_CAPTION = "The given query happens"  # as grounding answers begin; it says nothing of what happens


@dataclass(frozen=True)
class Segment:
    """A part of a video that an answer names.

    Attributes:
        start, end: seconds, start <= end; equal for a moment.
        text: what is there: a caption, or the query that was looked for; "" if the answer does not say.
        score: the saliency of a highlight, else None.
    """

    start: float
    end: float
    text: str = ""
    score: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class Answer:
    """What a model says about a video; `str(answer)` is the text.

    Attributes:
        text: the words, as generated.
        segments: the parts of the video that they name, in order of appearance; empty where they name none.
        seconds: when the frames that the model saw are shown; empty for an image.
    """

    text: str
    segments: list[Segment] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def __str__(self) -> str:
        return self.text

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class _Task:
    """A question of a known form.

    Attributes:
        prompt_file: under `prompts/`.
        read: an answer and the query -> segments. Raises ParseFailure.
    """

    prompt_file: str
    read: Callable[[str, str], list[Segment]]


def _captions(text: str, query: str = "") -> list[Segment]:
    events = [(*event["timestamp"], event["caption"]) for event in parse_dense_captions(text)]
    return [Segment(start, end, "" if caption == _NO_CAPTION else caption) for start, end, caption in events]


def _intervals(text: str, query: str = "") -> list[Segment]:
    return [Segment(start, end, query) for start, end in parse_grounding(text)]


def _highlights(text: str, query: str = "") -> list[Segment]:
    return [Segment(second, second, query, score) for second, score in parse_highlights(text)]


_TASKS = {
    "ground": _Task("grounding.txt", _intervals),
    "caption": _Task("dense_captioning.txt", _captions),
    "highlights": _Task("highlights.txt", _highlights),
}
TASKS = tuple(_TASKS)


def prompt_for(question: str, task: str | None, folder: Path = PROMPTS) -> str:
    """What the model is asked: the question itself, or the prompt of a task around it, by default the evaluation's.

    The prompt for captions has no place for a query: a question, if there is one, stands before it.

    Args:
        question, task: as for `VideoLanguageModel.ask`.
        folder: of the prompts, under the names that those of the evaluation have.

    Raises:
        ConfigError: an unknown task, or no question where one is needed.
    """
    if task is not None and task not in _TASKS:
        raise ConfigError(
            f"task={task!r}{nearest(task, TASKS)}: choose None for a free question, or {', '.join(TASKS)}"
        )
    if task is None:
        prompt, needs = question, True
    else:
        template = load_prompt(folder / _TASKS[task].prompt_file)
        needs = any(mark in template for mark in QUERY_MARKS)
        prompt = fill_prompt(template, question) if needs else f"{question} {template}".strip()
    if needs and not question.strip():
        raise ConfigError("the question is empty: say what to look for" if task else "the question is empty")
    return prompt


def find_segments(text: str, question: str, task: str | None, prompt: str) -> list[Segment]:
    """The parts of the video that an answer names; none where there are none.

    Args:
        text: the answer.
        question: as it was asked.
        task: what it is read as; None tries captions with times, then times alone, and where the answer speaks of
            saliency, highlights before both.
        prompt: an example in it that the answer only repeats is not an answer.
    """
    said = without_echo(text, prompt)
    if task is not None:
        readers, query = [_TASKS[task].read], question
    else:
        readers, query = [_captions, _intervals], ""
        if "saliency" in said.lower():
            readers.insert(0, _highlights)
    for read in readers:
        try:
            return read(said, query)
        except ParseFailure:
            continue
    return []
