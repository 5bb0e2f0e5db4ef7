"""Answers as files: what other programs read in them, and clips that show the segment."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import av
import pytest
from helpers.timed_videos import X264, copy_packets, player_times, write_numbered

from timechat.app.answer import Answer, Segment
from timechat.app.exports import cut_clips, save_answer, to_json, to_markdown, to_srt
from timechat.errors import ConfigError, VideoError
from timechat.evaluation.transcripts import read_transcript

CAPTIONS = Answer(
    "7.0 - 9.5 seconds, fry it. 3.0 - 8.25 seconds, cut | the bread.",
    [Segment(7.0, 9.5, "fry it."), Segment(3.0, 8.25, "cut | the bread.")],
    [0.0, 5.0],
)
HIGHLIGHTS = Answer("two", [Segment(4.0, 4.0, "frying", 1.5), Segment(6.0, 6.0, "", 3.0)])
NOTHING = Answer("I cannot say.")


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures 0 to 47, ten a second, a key frame every twelve, with sound."""
    folder = tmp_path_factory.mktemp("video")
    silent = write_numbered(folder / "silent.mp4", codec_options=X264)
    return copy_packets(silent, folder / "v.mp4", lambda number, packet: [packet], audio_s=4.8)


def test_json_says_what_was_asked_and_all_of_the_answer() -> None:
    text = to_json(CAPTIONS, "Qu'est-ce ?\n…", Path("a/v.mp4"))
    assert json.loads(text) == {"video": "a/v.mp4", "question": "Qu'est-ce ?\n…", **CAPTIONS.to_dict()}
    assert "…" in text
    assert json.loads(to_json(NOTHING, "q", "\udcff.mp4"))["video"] == "\udcff.mp4"  # a name that is not text
    to_json(NOTHING, "q", "\udcff.mp4").encode()


def test_chapters_are_in_order_of_time_and_may_overlap(tmp_path: Path) -> None:
    assert to_srt(CAPTIONS) == (
        "1\n00:00:03,000 --> 00:00:08,250\ncut | the bread.\n\n2\n00:00:07,000 --> 00:00:09,500\nfry it.\n"
    )
    (tmp_path / "a.srt").write_text(to_srt(CAPTIONS), encoding="utf-8")
    assert [tuple(cue) for cue in read_transcript(tmp_path / "a.srt")] == [
        (3.0, 8.25, "cut | the bread."),
        (7.0, 9.5, "fry it."),
    ]
    assert to_srt(NOTHING) == ""


def test_a_moment_has_a_length_and_a_chapter_always_a_text() -> None:
    assert to_srt(HIGHLIGHTS) == (
        "1\n00:00:04,000 --> 00:00:06,000\nfrying (1.5)\n\n2\n00:00:06,000 --> 00:00:08,000\n6.0 s (3)\n"
    )
    assert to_srt(Answer("", [Segment(1.0, 2.0)])).splitlines()[2] == "1.0 - 2.0 s"


@pytest.mark.parametrize(
    ("seconds", "clock"),
    [
        (0.0, "00:00:00,000"),
        (59.9996, "00:01:00,000"),
        (3599.9995, "01:00:00,000"),
        (1.0005, "00:00:01,000"),
        (0.1 + 0.2, "00:00:00,300"),
        (360000.5, "100:00:00,500"),
    ],
)
def test_times_are_whole_milliseconds(seconds: float, clock: str) -> None:
    assert to_srt(Answer("", [Segment(seconds, seconds + 1, "x")])).splitlines()[1].startswith(f"{clock} --> ")


def test_no_caption_breaks_a_chapter_or_the_table(tmp_path: Path) -> None:
    nasty = Answer("", [Segment(0.0, 1.0, "one\n\n2\n00:00:00,000 --> 00:00:01,000\n| two \x07|")])
    (tmp_path / "a.srt").write_text(to_srt(nasty), encoding="utf-8")
    assert len(read_transcript(tmp_path / "a.srt")) == 1
    assert to_markdown(nasty).count("\n") == 3
    assert r"\| two" in to_markdown(nasty)


def test_the_table_has_a_row_for_each_segment() -> None:
    assert to_markdown(HIGHLIGHTS) == (
        "| start | end | text | score |\n|---|---|---|---|\n| 4.0 | 4.0 | frying | 1.5 |\n| 6.0 | 6.0 | - | 3 |\n"
    )
    assert to_markdown(NOTHING).count("\n") == 2


def test_the_suffix_names_the_format(tmp_path: Path) -> None:
    for name, content in (
        ("a.json", to_json(CAPTIONS, "q", "v.mp4")),
        ("a.SRT", to_srt(CAPTIONS)),
        ("sub/a.md", to_markdown(CAPTIONS)),
    ):
        save_answer(tmp_path / name, CAPTIONS, "q", "v.mp4")
        assert (tmp_path / name).read_text(encoding="utf-8") == content
    with pytest.raises(ConfigError, match=r"a\.txt: cannot save as \.txt; name a \.json, \.srt or \.md"):
        save_answer(tmp_path / "a.txt", CAPTIONS, "q", "v.mp4")
    with pytest.raises(ConfigError, match=r"b\.srt: the answer names no part"):
        save_answer(tmp_path / "b.srt", NOTHING, "q", "v.mp4")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.SRT", "a.json", "sub"]


# Clips ---------------------------------------------------------------------------------------------------------------


def test_clips_show_the_segments(video: Path, tmp_path: Path) -> None:
    segments = [Segment(1.7, 2.9, "a"), Segment(0.5, 0.5, "a moment", 2.0), Segment(3.0, 99.0)]
    paths = cut_clips(video, segments, tmp_path / "clips")
    assert [path.name for path in paths] == ["v_01_1.7-2.9.mp4", "v_02_0.5-2.5.mp4", "v_03_3.0-99.0.mp4"]
    for path, first, last in zip(paths, (17, 5, 30), (28, 24, 47), strict=True):
        shown = player_times(path)
        assert [*shown][: last - first + 1] == [*range(first, last + 1)]
        assert len(shown) <= last - first + 2  # one from which the last ones are decoded
        assert shown[first] == [0.0]
        assert shown[last] == [pytest.approx((last - first) / 10)]
        with av.open(str(path)) as clip:
            assert clip.streams.audio[0].codec_context.name == "aac"
            assert clip.streams.audio[0].duration * clip.streams.audio[0].time_base < (last - first) / 10 + 0.4
    assert sorted(path.name for path in (tmp_path / "clips").iterdir()) == sorted(path.name for path in paths)


def test_segments_after_the_end_are_left_out_aloud(
    video: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        paths = cut_clips(video, [Segment(9.0, 10.0), Segment(1.0, 2.0)], tmp_path)
    assert [path.name for path in paths] == ["v_02_1.0-2.0.mp4"]
    assert "lasts 4.8 s; there is no clip from 9.0 s to 10.0 s" in caplog.text
    with pytest.raises(VideoError, match="all 1 segments begin after that"):
        cut_clips(video, [Segment(9.0, 10.0)], tmp_path)
    assert cut_clips(video, [], tmp_path) == []


def test_a_video_that_cannot_be_cut_is_named(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=r"gone\.mp4: no such video"):
        cut_clips(tmp_path / "gone.mp4", [Segment(0.0, 1.0)], tmp_path)
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(VideoError, match=r"text\.mp4: cannot be decoded"):
        cut_clips(tmp_path / "text.mp4", [Segment(0.0, 1.0)], tmp_path)
