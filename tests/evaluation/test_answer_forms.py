"""Answers in every form that people's models give: written in a style, they are read back."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from timechat.errors import ParseFailure
from timechat.evaluation.parsing import parse_dense_captions, parse_grounding, parse_highlights

Interval = tuple[float, float]
tenths = st.integers(0, 35999).map(lambda value: value / 10)
interval = st.tuples(tenths, tenths).map(lambda pair: (min(pair), max(pair)))


def clock(seconds: float) -> str:
    return f"{int(seconds // 60)}:{seconds % 60:04.1f}"


def srt(seconds: float) -> str:
    whole, rest = divmod(round(seconds * 1000), 1000)
    return f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02},{rest:03}"


def comma(seconds: float) -> str:
    return str(seconds).replace(".", ",")


def grouped(seconds: float) -> str:
    return f"{seconds:,}"


def full_width(text: str) -> str:
    return text.translate({code: code + 0xFEE0 for code in range(0x21, 0x7F)})


# Style -> two times as text.
INTERVALS: dict[str, Callable[[float, float], str]] = {
    "template": lambda s, e: f"The given query happens in {s} - {e} seconds.",
    "units": lambda s, e: f"{s} s - {e} s",
    "words": lambda s, e: f"It happens between {s} and {e} seconds.",
    "more words": lambda s, e: f"It happens between the timestamps {clock(s)} and {clock(e)}.",
    "reversed": lambda s, e: f"from {e} to {s} seconds",
    "en dash": lambda s, e: f"{s}s–{e}s",
    "wave dash": lambda s, e: f"{s}s～{e}s",
    "clock": lambda s, e: f"from {clock(s)} to {clock(e)}",
    "hours": lambda s, e: f"{srt(s).replace(',', '.')} - {srt(e).replace(',', '.')}",
    "srt": lambda s, e: f"{srt(s)} --> {srt(e)}",
    "decimal commas": lambda s, e: f"The event takes place in {comma(s)} - {comma(e)} seconds",
    "thousands": lambda s, e: f"{grouped(s)} - {grouped(e)} seconds",
    "padded": lambda s, e: f"{s:06.1f} -  {e:06.1f}  seconds",
    "brackets": lambda s, e: f"[{s}, {e}]",
    "brackets, no blank": lambda s, e: f"[{s},{e}]",
    "angles": lambda s, e: f"<{s}> <{e}> the man runs",
    "comma": lambda s, e: f"The query happens in {s},{e} seconds",
    "bold": lambda s, e: f"- **Start time**: {s} seconds\n- **End time**: {e} seconds",
    "sentence": lambda s, e: f"It starts at {s} s. It ends at {e} s.",
    "tags": lambda s, e: f"<start>{s}</start><end>{e}</end>",
    "thoughts": lambda s, e: f"<think>between 5 and 7 seconds he sits</think><answer>{s} to {e}</answer>",
    "thoughts that the prompt opened": lambda s, e: f"From 5 to 7 s he sits.</think>\n\n{s} to {e}",
    "final answer": lambda s, e: f"He sits from 5 to 7 seconds.\n**Final answer:** {s} - {e} seconds",
    "box": lambda s, e: f"So the answer is \\boxed{{{s} - {e}}}.",
    "json": lambda s, e: json.dumps({"relevant_windows": [[str(s), str(e)]]}),
    "json with a text": lambda s, e: json.dumps({"event": "runs 5 to 7 laps", "timestamps": f"from {s} to {e}"}),
    "fenced json": lambda s, e: f'Sure:\n```json\n{{"start_time": {s}, "end_time": "{e} s"}}\n```',
    "python": lambda s, e: f"{{'start': {s}, 'end': {e}}}",
    "frames in front": lambda s, e: f"in frames 2-4 ({s} - {e} seconds)",
    "frames behind": lambda s, e: f"{s} - {e} seconds (frames 2 to 4)",
    "frames beside": lambda s, e: f"between frame 2 ({s} s) and frame 4 ({e} s)",
    "frames in json": lambda s, e: json.dumps({"start_frame": 2, "end_frame": 4, "start": s, "end": e}),
    "percent": lambda s, e: f"10% - 15% of the video, {s} - {e} seconds",
    "shares": lambda s, e: f"0.1 to 0.15 of the video, that is {s} to {e} seconds",
    "normalized shares": lambda s, e: f"normalized: 0.1-0.15 ({s} - {e} seconds)",
    "full width": lambda s, e: full_width(f"{s} - {e} seconds"),
    "entities": lambda s, e: f"&lt;{s}s&gt; to &lt;{e}s&gt;",
    "milliseconds": lambda s, e: f"{round(s * 1000)} ms to {round(e * 1000)} ms",
    "milliseconds, said once": lambda s, e: f"{round(s * 1000)} - {round(e * 1000)} milliseconds",
    "French": lambda s, e: f"de {comma(s)} à {comma(e)} secondes",
    "German": lambda s, e: f"von {comma(s)} bis {comma(e)} Sekunden",
    "table": lambda s, e: f"| Start | End |\n|---|---|\n| {s} | {e} |",
    "table of events": lambda s, e: f"| Event | Start (s) | End (s) |\n|---|---|---|\n| he runs | {s} | {e} |",
    "tags of one kind": lambda s, e: f"<time>{s}</time> <time>{e}</time>",
    "tokens": lambda s, e: f"<|{s}|> <|{e}|>",
}


@pytest.mark.parametrize("style", INTERVALS)
@given(span=interval)
@settings(max_examples=25)
def test_intervals_come_back(style: str, span: Interval) -> None:
    assert parse_grounding(INTERVALS[style](*span)) == [span]


@pytest.mark.parametrize("style", ["template", "units", "words", "en dash", "frames in front", "percent"])
@given(spans=st.lists(interval, min_size=2, max_size=4))
@settings(max_examples=25)
def test_several_intervals_come_back(style: str, spans: list[Interval]) -> None:
    assert parse_grounding("\n".join(INTERVALS[style](*span) for span in spans)) == spans


NO_TIMES = [
    *("frames {} to {}", "frame {} - frame {}", "from frame {} to frame {}", "the {}th to {}th frames"),
    *("0.{} to 0.{} of the video", "from 0.{} to 0.{} of its total length", "normalized [0.{}, 0.{}]"),
    *("{} to {} percent", "between {}% and {}%", "from {} to {} per cent of the video", "frames: [{}, {}]"),
    '{{"start_frame": {}, "end_frame": {}}}',
    '{{"start_percent": {}, "end_percent": {}}}',
    '{{"start": "{}%", "end": "{}%"}}',
    "<think>from {} to {} seconds he sits",
]


@pytest.mark.parametrize("form", NO_TIMES)
@given(numbers=st.tuples(st.integers(0, 99), st.integers(0, 99)))
@settings(max_examples=15)
def test_frames_percentages_and_thoughts_are_no_times(form: str, numbers: tuple[int, int]) -> None:
    with pytest.raises(ParseFailure):
        parse_grounding(form.format(*numbers))


# Dense captions: what stands between events, and an event from its start, end and caption.
EVENTS: dict[str, tuple[str, Callable[[float, float, str], str]]] = {
    "template": ("  ", lambda s, e, c: f"{s} - {e} seconds, {c}"),
    "one blank": (" ", lambda s, e, c: f"{s} - {e} seconds, {c}"),
    "padded": ("  ", lambda s, e, c: f"{s:06.1f} -  {e:06.1f}  seconds, {c}"),
    "decimal commas": ("  ", lambda s, e, c: f"{comma(s)} - {comma(e)} seconds, {c}"),
    "bullets": ("\n", lambda s, e, c: f"* {s}s to {e}s: {c}"),
    "bold clock": ("\n", lambda s, e, c: f"- **{clock(s)} - {clock(e)}**: {c}"),
    "bold event": ("\n", lambda s, e, c: f"- **Event 1 ({s} - {e} s):** {c}"),
    "headings": ("\n\n", lambda s, e, c: f"### {clock(s)} - {clock(e)}\n{c}"),
    "brackets": (" ", lambda s, e, c: f"[{s}, {e}] {c}"),
    "angles": (" ", lambda s, e, c: f"<{s}> <{e}> {c}"),
    "brackets behind": ("\n", lambda s, e, c: f"* {c} (from {clock(s)} to {clock(e)})"),
    "square brackets behind": ("\n", lambda s, e, c: f"* {c} [{s} - {e}]"),
    "table": ("\n", lambda s, e, c: f"| {s} | {e} | {c} |"),
    "numbered table": ("\n", lambda s, e, c: f"| 1 | {s} | {e} | {c} |"),
    "labels": ("\n", lambda s, e, c: f"Start: {s}\nEnd: {e}\nDescription: {c}"),
    "bold labels": ("\n\n", lambda s, e, c: f"**Start**: {s}s\n**End**: {e}s\n**Caption**: {c}"),
    "full width": ("\n", lambda s, e, c: f"{full_width(f'{s} - {e}')} seconds, {c}"),
    "French": ("  ", lambda s, e, c: f"{comma(s)} - {comma(e)} secondes, {c}"),
    "labels behind": ("\n", lambda s, e, c: f"Caption: {c}\nTime: {s} - {e} seconds"),
    "quotes": ("\n", lambda s, e, c: f'Clip 1 ({s} - {e} s): "{c}"'),
    "frames": ("\n", lambda s, e, c: f"frames 2-4 ({s} - {e} s): {c}"),
    "srt": ("\n\n", lambda s, e, c: f"1\n{srt(s)} --> {srt(e)}\n{c}"),
}
CAPTIONS = st.lists(
    st.sampled_from(["he pours the oil.", "she cuts it into 2 parts.", "a man talks."]), min_size=3, max_size=3
)


@pytest.mark.parametrize("style", EVENTS)
@given(spans=st.lists(interval, min_size=1, max_size=3), captions=CAPTIONS)
@settings(max_examples=25)
def test_events_come_back(style: str, spans: list[Interval], captions: list[str]) -> None:
    between, write = EVENTS[style]
    pairs = list(zip(spans, captions, strict=False))
    answer = between.join(write(*span, caption) for span, caption in pairs)
    assert parse_dense_captions(answer) == [{"timestamp": list(s), "caption": caption} for s, caption in pairs]


@pytest.mark.parametrize(
    "cut", ["  20.0 - ", "  20.0", " 20.0 - 30", " 20.0 - 30.0 sec", "\n20.0 -", "  20.0 - 30.0 seconds,"]
)
def test_a_last_event_that_was_cut_is_left_out(cut: str) -> None:
    (event,) = parse_dense_captions(f"0.0 - 10.0 seconds, cook.{cut}")
    assert event == {"timestamp": [0.0, 10.0], "caption": "cook."}


@pytest.mark.parametrize("form", ["[{}, {}]", "({} - {})", "<{}> - <{}>"])
def test_brackets_open_events_without_full_stops(form: str) -> None:
    answer = f"{form.format(0.0, 10.0)} a man talks {form.format(10.0, 20.0)} he adds 2-3 eggs"
    said = [(event["timestamp"], event["caption"]) for event in parse_dense_captions(answer)]
    assert said == [([0.0, 10.0], "a man talks"), ([10.0, 20.0], "he adds 2-3 eggs")]


@pytest.mark.parametrize(
    "caption", ["he adds [2-3] eggs.", "mix 1,200 g of flour and 50% of the water.", "cook until frame 30 is reached."]
)
def test_captions_stay_as_they_are(caption: str) -> None:
    assert parse_dense_captions(f"5.0 - 9.0 seconds, {caption}")[0]["caption"] == caption


def test_events_in_json() -> None:
    """Also of a list that was cut, and with reasoning in front."""
    events = [{"start": 0.0, "end": 29.1, "event": "A man talks."}, {"start": 30, "end": 31, "event": "He sits."}]
    text = json.dumps(events)
    both = [{"timestamp": [e["start"], e["end"]], "caption": e["event"]} for e in events]
    assert parse_dense_captions(f"<think>1 - 2 s, no.</think>```json\n{text}\n```") == both
    assert parse_dense_captions(text[:-9]) == both[:1]
    assert parse_dense_captions('[{"event": "A man.", "timestamps": "from 00 to 29"}]') == [
        {"timestamp": [0.0, 29.0], "caption": "A man."}
    ]


HIGHLIGHTS: dict[str, Callable[[list[Interval]], str]] = {
    "json": lambda x: json.dumps({"timestamps": [t for t, _ in x], "saliency_scores": [s for _, s in x]}),
    "json rows": lambda x: json.dumps([{"timestamp": t, "saliency": s} for t, s in x]),
    "answer tag": lambda x: f"<think>at 5 s</think><answer>{HIGHLIGHTS['no blanks'](x)}</answer>",
    "no blanks": lambda x: (
        f"The highlight timestamps are in the {','.join(str(t) for t, _ in x)} seconds. "
        f"Their saliency scores are {','.join(str(s) for _, s in x)}."
    ),
    "list": lambda x: "\n".join(f"- **{t}s** – score {s}" for t, s in x),
    "sentences": lambda x: " and ".join(f"{t} seconds with a score of {s}" for t, s in x),
    "frames beside": lambda x: (
        f"frames {', '.join('7' for _ in x)} ({', '.join(str(t) for t, _ in x)} seconds). "
        f"Their saliency scores are {', '.join(str(s) for _, s in x)}."
    ),
}


@pytest.mark.parametrize("style", HIGHLIGHTS)
@given(expected=st.lists(st.tuples(tenths, st.integers(10, 40).map(lambda x: x / 10)), min_size=1, max_size=5))
@settings(max_examples=25)
def test_highlights_come_back(style: str, expected: list[Interval]) -> None:
    assert parse_highlights(HIGHLIGHTS[style](expected)) == expected


def test_any_object_gives_sound_times_or_a_failure() -> None:
    odd: list[Any] = [{"start": 1e400}, {"start": [1], "end": {}}, {"time": {"time": {"time": []}}}, {"": ""}]
    for value in odd:
        for parse in (parse_grounding, parse_dense_captions, parse_highlights):
            with pytest.raises(ParseFailure):
                parse(json.dumps(value).replace("Infinity", "null"))
