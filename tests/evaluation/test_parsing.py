"""Answers in words -> times: published templates, natural variants, and properties that hold for any text."""

from __future__ import annotations

import contextlib
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from timechat.errors import ParseFailure
from timechat.evaluation.parsing import parse_dense_captions, parse_grounding, parse_highlights

PARSERS = [parse_grounding, parse_dense_captions, parse_highlights]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("The given query happens in 0.0 - 6.9 seconds.", [(0.0, 6.9)]),
        ("The given query happens in 5.0 seconds.", [(5.0, 5.0)]),
        ("between 12.5 and 19.0 seconds", [(12.5, 19.0)]),
        ("It happens between 5 seconds and 10.5 seconds in the video.", [(5.0, 10.5)]),
        ("between 5s and 10s, and between 20s and 30s", [(5.0, 10.0), (20.0, 30.0)]),
        ("from 1:09 to 1:20", [(69.0, 80.0)]),
        ("starts at 00:00:18 and ends at 00:00:23", [(18.0, 23.0)]),
        ("The start time for this event is 0 seconds, and the end time is 12 seconds", [(0.0, 12.0)]),
        ("Start time: 0.0 s\nEnd time: 12.0 s", [(0.0, 12.0)]),
        ("{'start': 12.5, 'end': 19.0}", [(12.5, 19.0)]),
        ("It starts at 5.2 seconds. It ends at 10 seconds.", [(5.2, 10.0)]),
        ("It ends at 10 s and begins at 4 s", [(4.0, 10.0)]),
        ("It starts at 5 seconds and lasts until 10 seconds", [(5.0, 10.0)]),
        ("19.0 - 12.5 seconds", [(12.5, 19.0)]),
        ("5.0 – 7.0 seconds, 9 — 11 seconds", [(5.0, 7.0), (9.0, 11.0)]),
        ("5 - 9, 12 - 15 seconds", [(5.0, 9.0), (12.0, 15.0)]),
        ("12s-19s", [(12.0, 19.0)]),
        ("00:12−00:19", [(12.0, 19.0)]),
        ("12.5-19.0", [(12.5, 19.0)]),
        ("[12.5, 19.0]", [(12.5, 19.0)]),
        ("<5> to <10>", [(5.0, 10.0)]),
        ("**5.0** to **9.0** seconds", [(5.0, 9.0)]),
        ("from second 5 to second 10", [(5.0, 10.0)]),
        ("from around 5 to about 9 seconds", [(5.0, 9.0)]),
        ("from 1 minute 5 seconds to 1m20s", [(65.0, 80.0)]),
        ("1-2 minutes", [(60.0, 120.0)]),
        ("1:00:05 to 1:00:10.5", [(3605.0, 3610.5)]),
        ("1. 5.0 - 9.0 seconds\n2. 11.0 - 12.0 seconds", [(5.0, 9.0), (11.0, 12.0)]),
        ("The video is 60 seconds long. It happens from 5 to 10 seconds.", [(5.0, 10.0)]),
        ("2 to 3 people appear from 5 to 9 seconds", [(5.0, 9.0)]),
        ("The 2nd step happens at 12 seconds", [(12.0, 12.0)]),
        ("It happens at the 5-second mark.", [(5.0, 5.0)]),
        ("At 12.", [(12.0, 12.0)]),
        ("12", [(12.0, 12.0)]),
        ("from 12.0 sec. to 19.0 sec.", [(12.0, 19.0)]),
        ("between the 12 second mark and the 19 second mark", [(12.0, 19.0)]),
        ("from the 12th second to the 19th second", [(12.0, 19.0)]),
        ("The 3rd time it is at the 12th to 19th second.", [(12.0, 19.0)]),
        ("start_time: 12.5, end_time: 19.0", [(12.5, 19.0)]),
        ('{"start_time": "00:12", "end_time": "00:19"}', [(12.0, 19.0)]),
        ("The event begins at 12.5 and concludes at 19.0.", [(12.5, 19.0)]),
        ("It first occurs at 12 seconds and ends at 19 seconds", [(12.0, 19.0)]),
        ("between 12 & 19 seconds", [(12.0, 19.0)]),
        ("~12s to ~19s", [(12.0, 19.0)]),
        ("12..19 seconds", [(12.0, 19.0)]),
        ("12.0 -  19.0 seconds", [(12.0, 19.0)]),
        ("12.0, 19.0", [(12.0, 19.0)]),
        ("19 12", [(12.0, 19.0)]),
        ("It happens twice, at 12 and 19 seconds.", [(12.0, 12.0), (19.0, 19.0)]),
        ("He opens it at 12 seconds, walks 3 steps and closes it at 19 seconds.", [(12.0, 12.0), (19.0, 19.0)]),
    ],
)
def test_grounding(answer: str, expected: list[tuple[float, float]]) -> None:
    assert parse_grounding(answer) == expected


@pytest.mark.parametrize(
    "answer",
    ["", "I cannot tell.", "the 2nd step", "50% of the time", "2 people", "during the 3rd minute", "-", "a1b2"],
)
def test_grounding_without_times_fails(answer: str) -> None:
    with pytest.raises(ParseFailure) as failure:
        parse_grounding(answer)
    assert failure.value.answer == answer
    assert "no interval" in failure.value.reason


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (
            "90.0 - 102.0 seconds, spread margarine on two slices of white bread.  114.0 - 127.0 seconds, add 2.5 c.",
            [(90.0, 102.0, "spread margarine on two slices of white bread."), (114.0, 127.0, "add 2.5 c.")],
        ),
        (
            "2.7 seconds, Introduction.  8.5 seconds, Ingredients needed.",
            [(2.7, 2.7, "Introduction."), (8.5, 8.5, "Ingredients needed.")],
        ),
        (
            "1. 5.0 - 10.0 seconds: pour\n2. 10.0 - 12.0 seconds: stir for 10 to 15 seconds, then the 2nd step",
            [(5.0, 10.0, "pour"), (10.0, 12.0, "stir for 10 to 15 seconds, then the 2nd step")],
        ),
        (
            "5.0 - 10.0 seconds, cook 10 - 15 minutes. 2 to 3 eggs are added.  12.0 – 13.0 seconds, 3 eggs.",
            [(5.0, 10.0, "cook 10 - 15 minutes. 2 to 3 eggs are added."), (12.0, 13.0, "3 eggs.")],
        ),
        (
            "5.0 - 10.0 seconds, pour. 2 to 3 seconds later, stir.  12.0 - 13.0 seconds, serve.",
            [(5.0, 10.0, "pour. 2 to 3 seconds later, stir."), (12.0, 13.0, "serve.")],
        ),
        (
            "1. From 0.0 to 3.3 seconds: how to end a stew.\n2. From 5.1 to 9.5 seconds: stir.",
            [(0.0, 3.3, "how to end a stew."), (5.1, 9.5, "stir.")],
        ),
        ("From 5 to 10 seconds, he pours. Then from 10 to 15 seconds, he stirs.", None),
        ("5 - 10 seconds he pours. 10 - 15 seconds he stirs.", None),
        ("[5.0, 10.0] he pours.\n[10.0, 15.0] he stirs.", None),
        ("**0:05 - 0:10**: he pours.\n- **0:10 - 0:15**: he stirs.", None),
        ("Here are the events: 5s-10s: he pours. 10s-15s: he stirs.", None),
        ("5.0-10.0 seconds, he pours. 15.0-10.0 seconds, he stirs.", None),
        (
            "1. Pour oil: 3.0 - 5.0 seconds\n2. Stir: 5.0 - 9.0 seconds",
            [(3.0, 5.0, "Pour oil"), (5.0, 9.0, "Stir")],
        ),
        ("Pour oil (3.0 - 5.0 seconds). Stir (5.0 - 9.0 seconds).", [(3.0, 5.0, "Pour oil"), (5.0, 9.0, "Stir")]),
        (
            "a person pours from 90 to 102 seconds. then stirs from 114 to 127 seconds.",
            [(90.0, 102.0, "a person pours"), (114.0, 127.0, "then stirs")],
        ),
        (
            "21.9 - 128.0 seconds, cuts it into 2. 26.0 - 128.0 seconds, cuts lettuce",
            [(21.9, 128.0, "cuts it into 2."), (26.0, 128.0, "cuts lettuce")],
        ),
        ("0:05 Introduction\n1:30 Mixing", [(5.0, 5.0, "Introduction"), (90.0, 90.0, "Mixing")]),
        ("no full stop 114.0 - 127.0 seconds, pour", [(114.0, 127.0, "pour")]),
        ("5.0 - 10.0 seconds, pour.  10.0 - 12.0 seconds,", [(5.0, 10.0, "pour.")]),
        (
            "Starting at 5 seconds and ending at 10 seconds, he pours. Starting at 10 s and ending at 15 s, he stirs.",
            None,
        ),
        (
            "The first event starts at 5 seconds and ends at 10 seconds. he pours. The next event starts at 10 seconds "
            "and ends at 15 seconds. he stirs.",
            None,
        ),
        ("1. Start: 5.0 End: 10.0 Caption: he pours.\n2. Start: 10.0 End: 15.0 Caption: he stirs.", None),
        ("| 5.0 - 10.0 | he pours. |\n| 10.0 - 15.0 | he stirs. |", None),
        ("First, 5.0 - 10.0 seconds, he pours. Second, 10.0 - 15.0 seconds, he stirs.", None),
        ("5.0 - 10.0 seconds, he pours.10.0 - 15.0 seconds, he stirs.", None),
        ("5.0 - 10.0 seconds he pours. 10.0 - 15.0 seconds he stirs.", None),
        ("5.0 - 10.0 seconds pour 10.0 - 15.0 seconds stir", [(5.0, 10.0, "pour"), (10.0, 15.0, "stir")]),
        (
            "5.0 - 10.0 seconds, wait for 2.0 - 3.0 seconds and stir from start at 5 s to end at 9 s.",
            [(5.0, 10.0, "wait for 2.0 - 3.0 seconds and stir from start at 5 s to end at 9 s.")],
        ),
        # JSON lists without keys
        ('[[0.0, 10.0, "a man talks"], [10, 20.5, "he runs"]]', [(0.0, 10.0, "a man talks"), (10.0, 20.5, "he runs")]),
        ('```json\n[["0:05", "0:10", "he runs"]]\n```', [(5.0, 10.0, "he runs")]),
        ('[[[0, 10], "a man talks"]]', [(0.0, 10.0, "a man talks")]),
        ('["0.0 - 10.0 seconds, cook.", "10.0 - 12.0 seconds, eat."]', [(0.0, 10.0, "cook."), (10.0, 12.0, "eat.")]),
    ],
)
def test_dense_captions(answer: str, expected: list[tuple[float, float, str]] | None) -> None:
    """None stands for two events: he pours from 5 to 10, he stirs from 10 to 15 seconds."""
    expected = expected or [(5.0, 10.0, "he pours."), (10.0, 15.0, "he stirs.")]
    assert parse_dense_captions(answer) == [{"timestamp": [s, e], "caption": c} for s, e, c in expected]


@pytest.mark.parametrize(
    "answer",
    [
        "", "He pours the oil.", "add 2.5 cups and the 2nd egg", "5.0 - 10.0 seconds,",
        "[]", "[[1, 2], [3, 4]]", '[[1, 2, "3"]]',
    ],
)  # fmt: skip
def test_dense_captions_without_events_fail(answer: str) -> None:
    with pytest.raises(ParseFailure, match="no event"):
        parse_dense_captions(answer)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (
            "There are 2 highlight moments in the 82, 84 second. Their saliency scores are 1.3, 1.7.",
            [(82.0, 1.3), (84.0, 1.7)],
        ),
        (
            "The highlight timestamps are in the 57.0, 62.4 seconds. Their saliency scores are 2.1, 1.8.",
            [(57.0, 2.1), (62.4, 1.8)],
        ),
        ("There is 1 highlight moment in the 82 second. Its saliency score is 1.3.", [(82.0, 1.3)]),
        (
            "Highlights: 57.0, 62.4, and 70 seconds; saliency scores: 2.1, 1.8 and 3.0, respectively.",
            [(57.0, 2.1), (62.4, 1.8), (70.0, 3.0)],
        ),
        ("At 82 seconds, the saliency score is 1.3. At 84 seconds, the score is 1.7.", [(82.0, 1.3), (84.0, 1.7)]),
        ("The 2nd best one is in the 82 second. Its saliency score is 1.3.", [(82.0, 1.3)]),
        ("82 seconds (1.3), 84 seconds (1.7)", [(82.0, 1.3), (84.0, 1.7)]),
        ("82s (score: 1.3/5), 84s (score: 1.7 out of 5)", [(82.0, 1.3), (84.0, 1.7)]),
        ("82: score 1.3\n84: score 1.7", [(82.0, 1.3), (84.0, 1.7)]),
        ("The highlights are in the 1:22, 1:24. Their saliency scores are 1.3, 1.7.", [(82.0, 1.3), (84.0, 1.7)]),
        ("In the 82nd and 84th second. Saliency: 1.3, 1.7", [(82.0, 1.3), (84.0, 1.7)]),
        ("82.0 seconds: 1.3, 84.0 seconds: 1.7", [(82.0, 1.3), (84.0, 1.7)]),
        ("(82, 1.3), (84, 1.7)", [(82.0, 1.3), (84.0, 1.7)]),
        ('{"82": 1.3, "84": 1.7}', [(82.0, 1.3), (84.0, 1.7)]),
        ("| time | saliency |\n|---|---|\n| 82 | 1.3 |\n| 84 | 1.7 |", [(82.0, 1.3), (84.0, 1.7)]),
        ("The saliency score at 82 seconds is 1.3 and at 84 seconds is 1.7", [(82.0, 1.3), (84.0, 1.7)]),
        ("Saliency scores are 1.3, 1.7 for the highlight moments in the 82, 84 second.", [(82.0, 1.3), (84.0, 1.7)]),
    ],
)
def test_highlights(answer: str, expected: list[tuple[float, float]]) -> None:
    assert parse_highlights(answer) == expected


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("The highlight timestamps are in the 57.0, 62.4 seconds. Their saliency scores are 2.1.", "2 .* but 1"),
        ("The highlight timestamps are in the 57.0 seconds. Their saliency scores are 2.1, 1.8.", "1 .* but 2"),
        ("The highlight timestamps are in the 57.0 seconds.", "1 .* but 0"),
        ("82, 84, 86, 88", "4 .* but 0"),
        ("at 82 seconds and 84, at 86 seconds and 88", "4 .* but 0"),
        ("There are no highlights.", "no highlight times"),
        ("", "no highlight times"),
    ],
)
def test_highlights_that_do_not_fit_fail(answer: str, reason: str) -> None:
    with pytest.raises(ParseFailure, match=reason):
        parse_highlights(answer)


seconds = st.integers(0, 99999).map(lambda tenths: tenths / 10)
intervals = st.lists(st.tuples(seconds, seconds).map(lambda x: tuple(sorted(x))), min_size=1, max_size=8)
words = st.lists(
    st.sampled_from(
        ["add", "2", "2.5", "cups", "of", "flour", "to", "the", "10 to 15", "pan", "3rd", "mix-in", "(hot)"]
    ),
    min_size=1,
    max_size=8,
)
captions = words.map(lambda parts: " ".join(["pour", *parts, "now."]))


@pytest.mark.parametrize(
    "template", ["{} - {} seconds", "{} to {} seconds", "between {} and {} s", "[{}, {}]", "{}s–{}s"]
)
@given(expected=intervals)
@settings(max_examples=50)
def test_written_intervals_come_back(template: str, expected: list[tuple[float, float]]) -> None:
    assert parse_grounding("It happens in " + ", ".join(template.format(*x) for x in expected) + ".") == expected


@given(spans=intervals, texts=st.lists(captions, min_size=8, max_size=8))
@settings(max_examples=200)
def test_written_events_come_back(spans: list[tuple[float, float]], texts: list[str]) -> None:
    expected = [{"timestamp": list(span), "caption": text} for span, text in zip(spans, texts, strict=False)]
    answer = "  ".join(f"{e['timestamp'][0]} - {e['timestamp'][1]} seconds, {e['caption']}" for e in expected)
    assert parse_dense_captions(answer) == expected


@given(expected=st.lists(st.tuples(seconds, st.integers(10, 50).map(lambda x: x / 10)), min_size=1, max_size=20))
@settings(max_examples=100)
def test_written_highlights_come_back(expected: list[tuple[float, float]]) -> None:
    times, scores = (", ".join(map(str, column)) for column in zip(*expected, strict=True))
    count = f"There are {len(expected)} highlight moments in the {times} second. Their saliency scores are {scores}."
    plain = f"The highlight timestamps are in the {times} seconds. Their saliency scores are {scores}."
    assert parse_highlights(count) == parse_highlights(plain) == expected


characters = [*"0159.:-–,()[]<>*/% \n\t", "²", "٣", "９", "  ", "\u2028", "\x00"]
pieces = [
    "12.5",
    "1:09",
    "seconds",
    "s",
    "to",
    "and",
    "between",
    "from",
    "start",
    "end",
    "minutes",
    "score",
    "highlight",
]


@given(text=st.one_of(st.text(max_size=200), st.lists(st.sampled_from(characters + pieces), max_size=60).map("".join)))
@settings(max_examples=400)
@pytest.mark.parametrize("parse", PARSERS)
def test_any_text_gives_sound_times_or_a_failure(parse, text: str) -> None:
    try:
        result = parse(text)
    except ParseFailure:
        return
    assert result
    for item in result:
        start, end = item["timestamp"] if isinstance(item, dict) else item
        assert 0 <= start < 1e9
        assert parse is parse_highlights or start <= end < 1e9
        assert not isinstance(item, dict) or item["caption"]


ENDLESS = [
    *(
        "5-",
        "-",
        "1",
        "1.",
        " ",
        "5 ",
        "\n",
        "5 - ",
        "1:",
        "5   ",
        "5 to ",
        "1. ",
        "(5 ",
        "*",
        "5m ",
        "score 5 ",
        "at ",
    ),
    *("1st ", "1st, ", "start: 5 end: ", "first, ", "(1, 2), ", "82s: 1, ", "example: '", "frame is sampled at 1, "),
    *(
        "{",
        '{"a": 1} ',
        "<think>",
        "<answer>",
        "\\boxed{",
        "frames 1, ",
        "5%-",
        "| 5 | 6 | ",
        "3,2 - ",
        "final answer ",
    ),
]


def processor_seconds(parse, text: str) -> float:
    taken = []
    for _ in range(3):
        begin = time.process_time()
        with contextlib.suppress(ParseFailure):
            parse(text)
        taken.append(time.process_time() - begin)
    return min(taken)


@pytest.mark.parametrize("parse", PARSERS)
@pytest.mark.parametrize("unit", ENDLESS)
def test_time_is_linear(parse, unit: str) -> None:
    """10 kB take under 50 ms of processor time on an idle core; the bounds leave room for a busy machine."""
    short, long = (unit * (size // len(unit)) + "x" for size in (2_500, 10_000))
    seconds = processor_seconds(parse, long)
    assert seconds < 0.5
    assert seconds < 12 * processor_seconds(parse, short) + 0.005  # 4 where time is linear, 16 where quadratic
