"""One prediction, and how its parts are read: the fields that people use; values that are text, times or numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from timechat.errors import PredictionError
from timechat.evaluation.benchmarks.annotations import is_number
from timechat.evaluation.benchmarks.structured import Answer, Choice, Events, Saliency, Windows
from timechat.evaluation.metrics.intervals import read_interval
from timechat.evaluation.prediction_files.documents import Document, JsonObject, shown

# What fields are called, the usual name first. `answer` comes last: beside another one it is the right answer.
ID = ("id", "qid", "question_id", "q_uid", "qa_id", "sample_id", "uid", "idx")
VIDEO = (
    "video", "vid", "video_id", "videoID", "vname", "video_name", "image_id", "video_path", "video_file", "video_idx",
    "path",
)  # fmt: skip
QUERY = ("query", "question", "sentence", "description", "sent")
TEXT = (
    "prediction", "pred", "predicted_answer", "model_answer", "model_output", "generated_cap", "generated_text",
    "generated", "response", "output", "completion", "text", "answer",
)  # fmt: skip
ENDS = (("start", "end"), ("start_time", "end_time"))


@dataclass(frozen=True)
class Prediction:
    """What a file says about one question.

    Attributes:
        said: the answer, in each form that the file has it in.
        id, video, query: what the file says about the question; None where it does not.
        prompt: what the model was asked, where that is certain.
        where: its place in the file.
    """

    said: tuple[Answer, ...]
    id: str | None = None
    video: str | None = None
    query: str | None = None
    prompt: str | None = None
    where: str = ""


@dataclass(frozen=True)
class Form:
    """A form of files.

    Attributes:
        fits: whether a file's content is in this form, as far as its first rows tell.
        entries: the parts of a file that are read one by one, each with its place.
        read: the predictions of one part. Raises PredictionError, naming the field and the fix.
    """

    fits: Callable[[Any], bool]
    entries: Callable[[Document], Iterable[tuple[str, Any]]]
    read: Callable[[Any], Iterable[Prediction]]


def first_row(content: Any) -> Mapping[str, Any]:
    """The first row of a list, if it is an object; else an empty one."""
    row = content[0] if isinstance(content, list) and content else None
    return row if isinstance(row, Mapping) else {}


def as_object(raw: Any) -> Mapping[str, Any]:
    """A value that must be an object, each key once. Raises PredictionError."""
    if not isinstance(raw, Mapping):
        raise PredictionError(f"expected an object, found {shown(raw)}")
    if isinstance(raw, JsonObject) and raw.repeated:
        raise PredictionError(f"the key {raw.repeated[0][0]!r} stands there twice; keep one")
    return raw


def text_of(value: Any, field: str) -> str:
    """A value that must be text; null is an answer that says nothing. Raises PredictionError."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise PredictionError(f"{field} is {shown(value)}: it must be text")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise PredictionError(
            f"{field} is {shown(value)}: it holds half of a surrogate pair, which is no text; write the file as UTF-8"
        ) from None
    return value


def name_of(row: Mapping[str, Any], fields: Sequence[str]) -> str | None:
    """The first of these fields that is there, as text; whole numbers (1 and 1.0) count. Raises PredictionError."""
    for field in fields:
        value = row.get(field)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        if value is not None and not isinstance(value, list | dict):
            return text_of(value, field)
    return None


def answer_of(value: Any, field: str) -> Answer:
    """An answer in whatever form it has.

    Text; a whole number, which is an option's; [start, end] or a list of these; a list of events. Nothing (null or an
    empty list) is an empty text, which no benchmark can parse.

    Raises:
        PredictionError: anything else.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return Choice(value)
    if isinstance(value, list | tuple) and value:
        if isinstance(value[0], Mapping):
            return Events(tuple(_event(event, f"{field}[{i}]") for i, event in enumerate(value)))
        return windows_of(value, field)
    return "" if isinstance(value, list | tuple) else text_of(value, field)


def windows_of(value: Any, field: str) -> Answer:
    """[[start, end], ...], perhaps with a score behind each end, or one [start, end]; "" for none."""
    if not isinstance(value, list | tuple):
        raise PredictionError(f"{field} is {shown(value)}: it must be a list of [start, end] in seconds")
    alone = len(value) in (2, 3) and not any(isinstance(item, list | tuple) for item in value)
    pairs = [value] if alone else value
    intervals = []
    for i, pair in enumerate(pairs):
        scored = isinstance(pair, list | tuple) and len(pair) == 3 and is_number(pair[2])
        intervals.append(read_interval(pair[:2] if scored else pair, f"{field}[{i}]", PredictionError))
    return Windows(tuple(intervals)) if intervals else ""


def saliency_of(value: Any, field: str) -> Saliency:
    """A list of one finite number for each clip. Raises PredictionError."""
    if not isinstance(value, list | tuple) or not value or not all(map(is_number, value)):
        raise PredictionError(f"{field} is {shown(value)}: it must be a list of finite numbers, one for each clip")
    return Saliency(tuple(map(float, value)))


def _event(raw: Any, field: str) -> tuple[float, float, str]:
    event = as_object(raw)
    name = next((name for name in ("caption", "sentence", "text") if name in event), None)
    times = next((name for name in ("timestamp", "segment") if name in event), None)
    if name is None or times is None:
        raise PredictionError(f'{field} is {shown(dict(event))}: it must be {{"timestamp": [start, end], "caption"}}')
    return (
        *read_interval(event[times], f"{field}.{times}", PredictionError),
        text_of(event[name], f"{field}.{name}"),
    )


def record_of(raw: Any, key: str | None = None) -> Iterator[Prediction]:
    """A row with the fields above, whatever they are called.

    Args:
        raw: the row.
        key: its id, where that stands outside of the row.

    Raises:
        PredictionError: no answer in it.
    """
    row = as_object(raw)
    said = _said(row)
    if said is None:
        raise PredictionError(
            f"no answer among the fields {', '.join(map(ascii, list(row)[:8]))}; name it {TEXT[0]!r} or {TEXT[-1]!r}"
        )
    # Only this project's own files have the hash; what others call a prompt may hold the answer as well.
    prompt = text_of(row["prompt"], "prompt") if "prompt_sha256" in row and "prompt" in row else None
    yield Prediction((said,), key if key is not None else name_of(row, ID), *_place(row), prompt=prompt)


def _said(row: Mapping[str, Any]) -> Answer | None:
    field = next((name for name in TEXT if name in row), None)
    if field is not None:
        return answer_of(row[field], field)
    times = next((name for name in ("timestamp", "timestamps", "pred_windows", "windows") if name in row), None)
    if times is not None:
        return windows_of(row[times], times)
    ends = next((pair for pair in ENDS if set(pair) <= row.keys()), None)
    return None if ends is None else windows_of([row[end] for end in ends], " and ".join(ends))


def _place(row: Mapping[str, Any]) -> tuple[str | None, str | None]:
    return name_of(row, VIDEO), name_of(row, QUERY)
