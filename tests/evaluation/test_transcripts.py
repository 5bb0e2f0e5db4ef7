"""Transcripts: three formats, which sentences are taken, the prompt they make, and files with mistakes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from timechat.errors import AnnotationError
from timechat.evaluation.benchmarks import Question
from timechat.evaluation.transcripts import (
    Sentence,
    add_transcripts,
    choose_sentences,
    read_transcript,
    speech_prompt,
    transcripts_hash,
)

SAID = [Sentence(1.5, 4.0, "Hello & welcome."), Sentence(3725.25, 3727.0, "Two lines of 7")]
SRT = """1
00:00:01,500 --> 00:00:04,000
<font color="white" size=".72c">Hello &amp; welcome.</font>

2
00:00:05,000 --> 00:00:06,000
{\\an8}

3
01:02:05,250 --> 01:02:07,000
Two lines

of 7
"""
VTT = """WEBVTT - from a video site
Kind: captions

NOTE a remark
that goes on
over two lines

STYLE
::cue { color: red }

intro
00:01.500 --> 00:04.000 align:start position:0%
Hello<00:00:02.000><c> &amp;</c> welcome.

01:02:05.250 --> 01:02:07.000
Two lines
of 7
"""
WHISPER = {
    "text": "...",
    "segments": [
        {"id": 1, "start": 3725.25, "end": 3727, "text": " Two lines\nof 7"},
        {"id": 0, "start": 1.5, "end": 4.0, "text": " Hello & welcome."},
        {"id": 2, "start": 5, "end": 5, "text": " "},
    ],
}
CONTENTS = {".srt": SRT, ".vtt": VTT, ".json": json.dumps(WHISPER)}


def write(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def question(video: str = "a.mp4", start: float | None = None, end: float | None = None) -> Question:
    return Question("1", video, "", "When?", start, end)


@pytest.mark.parametrize("suffix", CONTENTS)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_all_formats_say_the_same(tmp_path: Path, suffix: str, newline: str, mark: str) -> None:
    """Tags, entities, cues without text, several lines, a text with a blank line, hours that may be left out."""
    path = tmp_path / f"a{suffix}"
    path.write_bytes((mark + CONTENTS[suffix].replace("\n", newline)).encode())
    assert read_transcript(path) == SAID


@pytest.mark.parametrize("content", ["", "\n\n"])
def test_a_video_in_which_nobody_speaks(tmp_path: Path, content: str) -> None:
    write(tmp_path / "a.srt", content)
    spoken = add_transcripts([question()], tmp_path)
    assert spoken.questions == [question()]
    assert spoken.without == []


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.srt", "1\n00:00:01,5 -> 00:00:02,0\nHi\n", "line 2: expected times"),
        ("a.srt", "Hi\n", "line 1: expected times"),
        ("a.srt", "1\n00:00:03,000 --> 00:00:02,000\nHi\n", "line 2: expected times"),
        ("a.srt", "1\n00:00:01,000 --> 00:00:02\nHi\n", "line 2: expected times"),
        ("a.srt", "1\n00:00:01,000 --> 00:00:02,000\nHi\n\n2\n00:00:02,000 - 00:00:03,000\nyou\n", "line 6: expected"),
        ("a.vtt", "1\n00:01.000 --> 00:02.000\nHi\n", "line 1: a .vtt file starts with WEBVTT"),
        ("a.vtt", "", "line 1: a .vtt file starts with WEBVTT"),
        ("a.vtt", "WEBVTT\n\n1.0 --> 2.0\nHi\n", "line 3: expected times"),
        ("a.vtt", "WEBVTT\n\nHi\n", "line 3: expected times"),
        ("a.json", '{"segments": [\n{,]}', "line 2: not valid JSON"),
        ("a.json", '{"text": "Hi"}', 'expected {"segments"'),
        ("a.json", "[]", 'expected {"segments"'),
        ("a.json", '{"segments": [{"start": 2, "end": 1, "text": "a"}]}', "segments[0] is"),
        ("a.json", '{"segments": [{"start": NaN, "end": 1, "text": "a"}]}', "segments[0] is"),
        ("a.json", '{"segments": ["Hi"]}', "segments[0] is 'Hi'"),
        ("a.json", '{"segments": ["Hi", {"start": 1, "text": "b"}]}', "no segment can be used: transcribe it again"),
    ],
)
def test_mistakes_name_file_and_line(tmp_path: Path, name: str, content: str, message: str) -> None:
    path = write(tmp_path / name, content)
    with pytest.raises(AnnotationError) as caught:
        add_transcripts([question()], tmp_path)
    assert str(caught.value).startswith(str(path))
    assert message in str(caught.value)


def test_a_bad_segment_costs_only_itself(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As Whisper writes NaN, null or an end before the start where it has lost its way; left out and counted."""
    bad = [{"start": 3, "end": 2, "text": "x"}, {"start": None, "end": 9, "text": "x"}, {"start": 9, "end": 9.5}, "x"]
    bad.append({"start": 5, "end": float("nan"), "text": "x"})
    content = {"segments": [bad[0], *WHISPER["segments"], *bad[1:]]}
    path = write(tmp_path / "a.json", json.dumps(content))
    assert read_transcript(path) == SAID
    assert f"{path}: 5 of 8 segments are left out: segments[0] is " in caplog.text
    write(tmp_path / "b.json", json.dumps(WHISPER))
    spoken = add_transcripts([question(), question("b.mp4"), question()], tmp_path)
    assert spoken.left_out == {"a.mp4": 5}
    assert spoken.questions[0].prompt == spoken.questions[1].prompt


YOUTUBE = """WEBVTT
Kind: captions
Language: en

00:00:00.160 --> 00:00:02.070 align:start position:0%
 
hello<00:00:00.480><c> and</c><00:00:00.880><c> welcome</c>

00:00:02.070 --> 00:00:02.080 align:start position:0%
hello and welcome
 

00:00:02.080 --> 00:00:04.309 align:start position:0%
hello and welcome
today<00:00:02.399><c> we</c><00:00:02.639><c> bake</c>

00:00:04.309 --> 00:00:04.319 align:start position:0%
today we bake
 

00:00:04.319 --> 00:00:06.500 align:start position:0%
today we bake
today we bake

00:00:09.000 --> 00:00:11.000 align:start position:0%
today we bake
bread<00:00:10.000><c> &amp;</c><00:00:10.200><c> rolls</c>

00:00:11.000 --> 00:00:11.010 align:start position:0%
bread &amp; rolls
 

00:00:15.000 --> 00:00:16.000
bread &amp; rolls
"""
ROLLED = [
    Sentence(0.16, 2.07, "hello and welcome"),
    Sentence(2.08, 4.309, "today we bake"),
    Sentence(4.319, 6.5, "today we bake"),  # said twice
    Sentence(9.0, 11.0, "bread & rolls"),
    Sentence(15.0, 16.0, "bread & rolls"),  # said again after a pause
]


def test_captions_that_roll_up_are_read_once(tmp_path: Path) -> None:
    """YouTube's, and the same converted to SubRip: each line is shown while it is said, alone, and above the next."""
    assert read_transcript(write(tmp_path / "a.vtt", YOUTUBE)) == ROLLED
    cues = [cue.splitlines() for cue in YOUTUBE.split("\n\n")[1:]]
    numbered = [
        "\n".join([str(number), times.replace(" align:start position:0%", "").replace(".", ","), *lines])
        for number, (times, *lines) in enumerate(cues, 1)
    ]
    assert read_transcript(write(tmp_path / "a.srt", "\n\n".join(numbered))) == ROLLED


def test_what_is_said_twice_stays_where_captions_do_not_roll(tmp_path: Path) -> None:
    said = [("1.0", "2.0", "No."), ("2.0", "3.0", "No."), ("3.0", "4.0", "No.\nWhy?"), ("4.0", "5.0", "Yes.")]
    said += [("5.0", "6.0", "Oh."), ("6.0", "7.0", "Well."), ("7.0", "8.0", "Good.")]
    cues = "".join(f"00:0{start}00 --> 00:0{end}00\n{text}\n\n" for start, end, text in said)
    expected = [Sentence(float(start), float(end), text.replace("\n", " ")) for start, end, text in said]
    assert read_transcript(write(tmp_path / "a.vtt", f"WEBVTT\n\n{cues}")) == expected


def test_a_transcript_that_is_not_text(tmp_path: Path) -> None:
    (tmp_path / "a.srt").write_bytes(b"\xff\xfe1")
    with pytest.raises(AnnotationError, match=r"a\.srt: is not UTF-8 text"):
        add_transcripts([question()], tmp_path)


def test_the_prompt_is_that_of_the_training_data() -> None:
    said = [Sentence(0.0, 3.24, "hello there"), Sentence(3.24, 75.0, "really?"), Sentence(75.0, 80.0, "Yes.")]
    assert speech_prompt("When?", said) == (
        "Transcribed speech: 0.0 - 3.2 seconds, hello there. 3.2 - 75.0 seconds, really? 75.0 - 80.0 seconds, Yes. "
        "Based on the video content and possible transcribed speech, When?"
    )
    assert speech_prompt("When?", []) == "When?"


@pytest.mark.parametrize(
    ("count", "chosen"),
    [
        (15, list(range(15))),
        (16, [0, 1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12, 13, 14, 15]),
        (30, list(range(1, 31, 2))),
        (45, list(range(1, 45, 3))),
    ],
)
def test_fifteen_sentences_spread_evenly(count: int, chosen: list[int]) -> None:
    said = [Sentence(i, i + 1, str(i)) for i in range(count)]
    assert [int(s.text) for s in choose_sentences(said, None, None)] == chosen


def test_a_part_of_a_video_has_its_own_sentences_and_clock() -> None:
    """From 10 s to 20 s: what ends or begins at a border stays out, what crosses it is cut."""
    spans = [(5, 10), (8, 12), (13, 14), (19, 30), (20, 21)]
    said = [Sentence(*span, str(span)) for span in spans]
    assert [s[:2] for s in choose_sentences(said, 10.0, 20.0)] == [(0, 2), (3, 4), (9, 10)]
    assert [s[:2] for s in choose_sentences(said, 19.5, None)] == [(0, 10.5), (0.5, 1.5)]
    assert [s[:2] for s in choose_sentences(said, None, 9.0)] == [(5, 9), (8, 9)]
    many = [Sentence(i, i + 1, str(i)) for i in range(100)]
    inside = choose_sentences(many, 50.0, 80.0)
    assert [int(s.text) for s in inside] == list(range(51, 81, 2))


def test_where_transcripts_are_looked_for(tmp_path: Path) -> None:
    """The whole path before the last part alone, .json before .srt; a folder of frames has no suffix."""

    def one(text: str) -> str:
        return json.dumps({"segments": [{"start": 0, "end": 1, "text": text}]})

    write(tmp_path / "star" / "a.b.json", one("deep"))
    write(tmp_path / "a.b.json", one("flat"))
    write(tmp_path / "a.b.srt", "not read")
    write(tmp_path / "house_s01.e02.json", one("frames"))
    asked = [
        question("star/a.b.mp4"), question("a.b.webm"), question("x/a.b.mp4"), question("none.mp4"),
        Question("1", "tvqa/house_s01.e02", "", "When?", frame_rate=3.0),
    ]  # fmt: skip
    spoken = add_transcripts([*asked, asked[3]], tmp_path)
    texts = ["deep", "flat", "flat", None, "frames", None]
    assert [q.prompt for q in spoken.questions] == [
        "When?" if text is None else speech_prompt("When?", [Sentence(0, 1, text)]) for text in texts
    ]
    assert (spoken.videos, spoken.without) == (5, ["none.mp4"])


def test_hash_changes_with_name_and_content_of_any_transcript(tmp_path: Path) -> None:
    hashes = []
    write(tmp_path / "a.srt", "x")
    hashes.append(transcripts_hash(tmp_path))
    write(tmp_path / "notes.txt", "no transcript")
    assert transcripts_hash(tmp_path) == hashes[0]
    write(tmp_path / "deep" / "b.vtt", "y")
    hashes.append(transcripts_hash(tmp_path))
    write(tmp_path / "a.srt", "z")
    hashes.append(transcripts_hash(tmp_path))
    (tmp_path / "a.srt").rename(tmp_path / "c.srt")
    hashes.append(transcripts_hash(tmp_path))
    assert len(set(hashes)) == 4


# Lines with tabs ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["1.50\t4.00\t Hello &amp; welcome.\n\n2.0\t3.0\t \n", "start\tend\ttext\n1500\t4000\tHello & welcome.\n"]
)
def test_seconds_and_whispers_milliseconds(tmp_path: Path, text: str) -> None:
    (tmp_path / "v.tsv").write_text(text)
    assert read_transcript(tmp_path / "v.tsv") == [SAID[0]]


@pytest.mark.parametrize("line", ["1.0\t2.0", "a\t2\tb", "2.0\t1.0\tb", "-1\t1\tb", "nan\t1\tb", "0\tinf\tb"])
def test_a_wrong_line_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "v.tsv").write_text(f"0.0\t1.0\ta\n{line}\n")
    with pytest.raises(AnnotationError, match=r"v\.tsv, line 2: expected start, end and text with tabs between them"):
        read_transcript(tmp_path / "v.tsv")
