"""Checking items whose videos are known: the times of their answers, and how many tokens they become."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from timechat.data.audit.answers import TEXT, faults_of, stated_times
from timechat.data.audit.faults import NOTHING_TO_LEARN, TOO_LONG, TOO_SHORT, Finding
from timechat.datasets.annotations import Item
from timechat.datasets.readers.header import Header
from timechat.datasets.video import frames_by_rate, uniform_indices
from timechat.text.conversation import IGNORE_INDEX, encode_conversation
from timechat.text.tokenizers import load_tokenizer

_NO_LIMIT = 1 << 30  # tokens


@dataclass(frozen=True)
class Tokens:
    """How items become tokens, as `TokenBudget` does for training.

    Attributes:
        llama_model: the folder of the tokenizer.
        max_txt_len: largest number of tokens that training keeps.
        video_tokens: how many tokens a video of so many frames becomes; as many as are sampled at most.
        list_seconds: whether the prompt lists the times of the frames.
        fps: frames sampled a second, up to that many; None: always as many, if the video has them.
    """

    llama_model: str
    max_txt_len: int
    video_tokens: Sequence[int]
    list_seconds: bool
    fps: float | None


@dataclass(frozen=True)
class Checks:
    """How items are checked.

    Attributes:
        tokens: None if there is no tokenizer.
        tolerance_s: how far beyond the end of a video a time may be.
        min_seconds: a shorter clip is too short.
    """

    tokens: Tokens | None
    tolerance_s: float
    min_seconds: float


@dataclass(frozen=True)
class Checked:
    """What was found about an item.

    Attributes:
        number: of the item.
        kind: of its answers.
        length: in tokens; None if it was not counted.
        findings: what is wrong.
    """

    number: int
    kind: str
    length: int | None
    findings: tuple[Finding, ...]


def check_items(items: Sequence[tuple[Item, Header | None]], checks: Checks) -> list[Checked]:
    """Check items, each with its video if that can be read."""
    return [_check(item, header, checks) for item, header in items]


def _check(item: Item, header: Header | None, checks: Checks) -> Checked:
    number = item.number or 0
    stated = [stated_times(turn["a"]) for turn in item.qa]
    kind = next((kind for kind, _ in stated if kind != TEXT), TEXT)
    if too_short := _short_clip(item, header, checks.min_seconds):
        return Checked(number, kind, None, (Finding(number, TOO_SHORT, too_short),))
    header = _of_clip(item, header) if header else None
    seconds = header.seconds if header and header.fps else None
    intervals = [interval for _, intervals in stated for interval in intervals]
    found = [Finding(number, *fault) for fault in faults_of(intervals, seconds, checks.tolerance_s)]
    if not (checks.tokens and header and item.qa):
        return Checked(number, kind, None, tuple(found))
    length, first = _length(item, header, checks.tokens)
    most = checks.tokens.max_txt_len
    if first >= most:
        found.append(Finding(number, NOTHING_TO_LEARN, f"the first answer begins after {first} tokens"))
    elif length > most:
        found.append(Finding(number, TOO_LONG, f"{length} tokens"))
    return Checked(number, kind, length, tuple(found))


def _short_clip(item: Item, header: Header | None, least: float) -> str:
    """What is wrong with the clip that an item is about, if its video, which is long enough, ends too early for it."""
    if header is None or item.start is None or item.end is None or header.seconds - header.begin < least:
        return ""
    left = max(0.0, min(item.end, header.seconds) - item.start)
    clip = f"the clip from {item.start:g} to {item.end:g} s"
    return f"{clip} lasts {left:.2f} s; its video ends at {header.seconds:.2f} s" if left < least else ""


def _of_clip(item: Item, header: Header) -> Header:
    """The header that the clip of an item would have, if it is about a clip of its video."""
    if item.start is None or item.end is None:
        return header
    seconds = max(0.0, min(item.end, header.seconds) - item.start)
    return replace(header, seconds=seconds, begin=0.0, frames=min(header.frames, round(seconds * header.fps)))


def _length(item: Item, header: Header, tokens: Tokens) -> tuple[int, int]:
    """How many tokens a conversation has, and before how many of them its first answer begins."""
    most = len(tokens.video_tokens)
    count = most if tokens.fps is None else frames_by_rate(header.seconds, tokens.fps, most)
    indices = uniform_indices(max(1, header.frames), count)
    seconds = [header.begin + index / header.fps for index in indices] if header.fps else None
    encoded = encode_conversation(
        item.qa,
        seconds,
        load_tokenizer(tokens.llama_model),
        num_video_tokens=tokens.video_tokens[len(indices) - 1],
        max_txt_len=_NO_LIMIT,
        list_seconds=tokens.list_seconds,
    )
    first = next((place for place, label in enumerate(encoded.labels) if label != IGNORE_INDEX), len(encoded.labels))
    return len(encoded.input_ids), first
