"""What is broken in a source's file is found, with its place, and costs only what it is part of."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from helpers.source_data import write_json, write_lines

from timechat.data.convert import Conversion, convert
from timechat.data.records import Bad
from timechat.errors import AnnotationError

TURNS = [{"from": "human", "value": "<video>\nWho?"}, {"from": "gpt", "value": "A cat."}]
ROW = {"qid": 1, "query": "q", "vid": "v", "duration": 10, "relevant_clip_ids": [1], "saliency_scores": [[1, 2, 3]]}
COIN = {"duration": 9.0, "recipe_type": 1, "subset": "training", "annotation": [{"segment": [0, 1], "label": "cut"}]}
CAPTIONS = {"duration": 9.0, "timestamps": [[0, 1], [2, 3]], "sentences": ["a", "b"]}
TALK = {"info": {"id": "v"}, "subtitles": [{"word": "a", "time": 1.0}, {"word": "b", "time": 0.5}]}
EARLY = [{"heading": "x", "absolute_bounds": [8, 10]}]
LATE = [{"heading": "x", "absolute_bounds": [12, 21]}]
STEPS = {"relevant": True, "clip": True, "v_duration": 99, "bounds": [9, 20], "steps": EARLY}
SPLIT, TURNED = {**CAPTIONS, "sentences": ["a. b"]}, {**CAPTIONS, "timestamps": [[0, 1], [3, 2]]}
TOKENS = [TURNS[0], {"from": "gpt", "value": "<vid>"}]
ELSEWHERE = {"source": "web", "v_id": "a", "video": "a.mp4", "conversations": TURNS}
LENS = {"video_path": "a.mp4", "duration": 5.0, "events": [{"query": "q", "span": [[0, 1]]}]}
GOOD_ROW = {"video": "a.mp4", "start": 0, "end": 1, "sentence": "x"}

# Source, content (rows, an object, or text), where, what is wrong.
CASES: list[tuple[str, Any, str, str]] = [
    ("charades_sta", "A 1.0 0.5##back.\nA 0 1##ok.", "line 1", "the moment is [1, 0.5]: it starts after its end"),
    ("charades_sta", "A 0 1##ok.\nA 1.0##x", "line 2", "expected 'VIDEO START END##sentence', found 'A 1.0##x'"),
    ("charades_sta", "A 0 one##x y.\nA 0 1##ok.", "line 1", "'0' and 'one' must be times in seconds"),
    ("charades_sta", "A 0 1##.\nA 0 1##ok.", "line 1", "no sentence behind ##"),
    ("charades_sta", "A 0 nan##ok.\nA 0 1##ok.", "line 1", "end is nan: it must be a number, 0 or more"),
    ("qvhighlights", [{**ROW, "relevant_clip_ids": [5]}, ROW], "line 1", "has 5: clips are whole numbers from 0 to 4"),
    ("qvhighlights", [ROW, {**ROW, "saliency_scores": []}], "line 2", "saliency_scores is []: it must be"),
    ("qvhighlights", [{"qid": 1, "query": "q", "vid": "v"}, ROW], "line 1", "has no labels, as in the split test"),
    ("qvhighlights", [ROW, {**ROW, "query": None}], "line 2", "query is None: it must be text"),
    ("activitynet_captions", {"v": CAPTIONS, "w": SPLIT}, "video 'w'", "sentences has 1, but timestamps 2"),
    ("activitynet_captions", {"v": CAPTIONS, "w": TURNED}, "video 'w'", "sentence 1: "),
    ("activitynet_captions", {"v": CAPTIONS, "w": 3}, "video 'w'", "expected an object, found '3'"),
    ("didemo", [{"video": "v.mov", "description": "x", "times": [[2, 1]]}] * 2, "line 1", "times has [2, 1]: each"),
    ("coin", {"database": {"v": COIN, "w": {**COIN, "recipe_type": "1"}}}, "video 'w'", "recipe_type is '1'"),
    ("coin", {"database": {"v": COIN, "w": {**COIN, "annotation": []}}}, "video 'w'", "annotation is []: it must"),
    ("hirest", {"q": {"v.mp4": STEPS}}, "query 'q', v.mp4", "outside"),
    ("hirest", {"q": {"v.mp4": {**STEPS, "steps": LATE}}}, "query 'q', v.mp4", "step 0 is at [12, 21], outside of"),
    ("hirest", {"q": 3}, "query 'q'", "expected videos by name, found '3'"),
    ("vitt", [{"id": "x", "annotations": [{"timestamp": "2", "tag": "a"}]}] * 2, "line 1", "timestamp is '2'"),
    ("yttemporal", [TALK] * 2, "line 1", "subtitles are not in the order of their times"),
    ("timelens_100k", [LENS, {**LENS, "events": None}], "line 2", "expected an object with events"),
    ("timelens_100k", [LENS, {**LENS, "duration": -1}], "line 2, event 0", "duration is -1: it must be seconds"),
    ("valley", [ELSEWHERE] * 2, "line 1", "source is 'web'"),
    ("valley", [{"source": "VATEX", "v_id": "a", "conversations": TURNS[:1]}] * 2, "line 1", "conversations[1]"),
    ("llava", [{"image": "a.png", "conversations": TURNS[::-1]}] * 2, "line 1", "turns must alternate, human first"),
    ("et_instruct", [{"video": "a", "conversations": TOKENS}] * 2, "line 1", "tokens"),
    ("mine", [GOOD_ROW, {**GOOD_ROW, "end": "later"}], "line 2", "end is 'later': write seconds (83.5) or a clock"),
    ("mine", [GOOD_ROW, {**GOOD_ROW, "duration": 0.5}], "line 2", "ends at 1 s, after the video, which lasts 0.5 s"),
]  # fmt: skip


def write(folder: Path, source: str, content: Any) -> Path:
    """The content in a form that the source has."""
    if isinstance(content, str):
        (folder / "in.txt").write_text(content)
        return folder / "in.txt"
    if isinstance(content, list):
        return write_lines(folder / "in.jsonl", content)
    return write_json(folder / "in.json", content)


def problems_of(asked: Conversion) -> list[tuple[str, str]]:
    """Places and problems; of a file with nothing else in it from the error, else one of two parts is good."""
    with suppress(AnnotationError):
        summary = convert(asked)
        assert (summary.converted, summary.broken) == (1, 1)
        return [(bad.where, bad.problem) for bad in summary.bad]
    with pytest.raises(AnnotationError) as error:
        convert(asked)
    told = [line.removeprefix(f"  {asked.path}, ") for line in str(error.value).splitlines()[1:]]
    return [tuple(line.split(": ", 1)) for line in told]


@pytest.mark.parametrize(("source", "content", "where", "told"), CASES)
def test_a_broken_part_is_named(source: str, content: Any, where: str, told: str, tmp_path: Path) -> None:
    task = "step_localization" if source == "hirest" else None
    asked = Conversion(source, write(tmp_path, source, content), tmp_path / "out.json", task=task)
    found = problems_of(asked)
    assert found[0][0] == where
    assert told in found[0][1]


def test_where_each_sentence_is_an_item_only_the_broken_one_is_lost(tmp_path: Path) -> None:
    path = write_json(tmp_path / "in.json", {"v": TURNED})
    summary = convert(Conversion("activitynet_captions", path, tmp_path / "out.json", task="grounding"))
    assert (summary.converted, summary.broken) == (1, 1)
    assert summary.bad[0] == Bad("video 'v', sentence 1", "timestamps is [3, 2]: it starts after its end")


@pytest.mark.parametrize(
    ("source", "content", "told"),
    [
        ("youcook2", {"annotations": []}, "no database, video id -> annotations"),
        ("youcook2", [1], "expected {\"database\": {id: "),
        ("qvhighlights", "{\"a\": 1", "nothing in it can be converted"),
        ("activitynet_captions", "{\"a\": 1", "not valid JSON"),
        ("webvid", "videoid,name\n1,x\n", "lacks the columns page_dir"),
        ("mine", "video,begin,end,sentence\n", "lacks the columns start; its first line has video, begin, end"),
    ],
)  # fmt: skip
def test_a_file_of_another_kind_is_refused(source: str, content: Any, told: str, tmp_path: Path) -> None:
    path = tmp_path / ("in.csv" if source in ("webvid", "mine") else "in.json")
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(AnnotationError) as error:
        convert(Conversion(source, path, tmp_path / "out.json"))
    assert told in str(error.value)
