"""Lessons about sampled frames: annotated events in, turns that name the times of the frames at hand out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.tiny import LLAMA, dataset_config, tiny_dataset, write_json

from quickstart.batch import collate_frames
from quickstart.events import CaptionedEvent, EventVideo, read_events, words_of
from quickstart.lessons import (
    CAPTIONING_QUESTION,
    GROUNDING_QUESTION,
    LISTING_QUESTION,
    TIMES_QUESTION,
    EventDataset,
    FrameWordsSample,
    one_of_each,
)
from timechat.datasets import build_datasets
from timechat.datasets.collate import Fetched
from timechat.errors import AnnotationError, ConfigError
from timechat.text.conversation import encode_conversation
from timechat.text.tokenizers import load_tokenizer

RED, BLUE = "A red circle appears.", "a blue square"
# Twelve frames of the tiny videos: 0.0 0.1 0.3 0.5 0.6 0.8 1.0 1.1 1.3 1.5 1.6 1.8
ROWS = [
    {"image_id": "a.mp4", "segments": [[1.5, 1.9], [0.8, 0.3]], "captions": [BLUE, RED]},
    {"image_id": "b.mp4", "segments": [], "captions": []},
]
SECONDS = [0.0, 0.3, 0.6, 1.0, 1.6]


@pytest.fixture(scope="module")
def info(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """`build_info`: two videos, the first with two events."""
    folder = tmp_path_factory.mktemp("events")
    anno = write_json(folder / "captions.json", {"annotations": ROWS})
    return tiny_dataset(folder) | {"anno_dir": str(anno)}


def build(info: dict[str, str], builder: str, *options: str, **settings: Any) -> EventDataset:
    """The one dataset of a config; its frames are not cropped."""
    entry = {"builder": builder, "build_info": info, "vis_processor": {"train": {"name": "alpro_video_eval"}}}
    (data,) = build_datasets(dataset_config({"mine": entry | settings}, options))
    return data


def random(seed: int = 0) -> torch.Generator:
    """A new generator."""
    return torch.Generator().manual_seed(seed)


# Annotation files -----------------------------------------------------------------------------------------------------


def test_events_come_in_order_of_time(info: dict[str, str]) -> None:
    """Also an event whose times are the wrong way round."""
    first, second = read_events(info["anno_dir"], info["videos_dir"])
    assert first == EventVideo("a.mp4", (CaptionedEvent(0.3, 0.8, RED), CaptionedEvent(1.5, 1.9, BLUE)))
    assert second == EventVideo("b.mp4", ())


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"image_id": 3}, "image_id is missing: it must be a path relative to "),
        ({"image_id": ""}, "image_id is missing"),
        ({"image_id": "../a.mp4"}, "image_id '../a.mp4' points outside of videos_dir "),
        ({"segments": None}, "segments is None: it must be a list"),
        ({"segments": [[1, 2], [3]]}, "segments is .* it must be a list"),
        ({"segments": [[1, 2], [3, -4]]}, r"segments is .* \[start, end\] in seconds, 0 or more"),
        ({"segments": [[1, 2], [3, float("nan")]]}, "segments is "),
        ({"segments": [[1, 2], [3, True]]}, "segments is "),
        ({"segments": [[1, 2], ["3", "4"]]}, "segments is "),
        ({"captions": [RED, 3]}, "captions is .* it must be a list of texts"),
        ({"captions": [RED, " .,"]}, "captions is "),
        ({"captions": RED}, "captions is "),
        ({"captions": [RED]}, "1 captions, but 2 segments; give one for each"),
    ],
)
def test_broken_rows_are_named(tmp_path: Path, change: dict[str, Any], problem: str) -> None:
    path = write_json(tmp_path / "x.json", {"annotations": [ROWS[0], ROWS[0] | change]})
    with pytest.raises(AnnotationError, match=rf"(?s)x\.json: 1 problem.*annotations\[1\]: {problem}"):
        read_events(path, tmp_path)


def test_all_problems_are_listed_at_once(tmp_path: Path) -> None:
    path = write_json(tmp_path / "x.json", {"annotations": [3, {"image_id": "../x", "segments": 1, "captions": 2}]})
    with pytest.raises(AnnotationError, match=r"(?s)4 problems.*annotations\[0\]: expected an object"):
        read_events(path, tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (ROWS, r"expected {\"annotations\": \[\.\.\.\]}"),
        ({"annotations": {}}, "dense captions in COCO format"),
        ({"annotations": []}, "annotations is empty"),
    ],
)
def test_files_of_another_form(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(AnnotationError, match=rf"x\.json: .*{message}"):
        read_events(write_json(tmp_path / "x.json", content), tmp_path)


# What frames show -----------------------------------------------------------------------------------------------------


def test_what_frames_show(info: dict[str, str]) -> None:
    """Both ends of an event belong to it; events that no frame shows are left out."""
    item, _ = read_events(info["anno_dir"], info["videos_dir"])
    assert [item.captions_at(second) for second in (0.29, 0.3, 0.8, 0.81)] == [[], [RED], [RED], []]
    assert item.seen_at(SECONDS) == [CaptionedEvent(0.3, 0.6, RED), CaptionedEvent(1.6, 1.6, BLUE)]
    assert item.seen_at([0.0, 1.0]) == []


def test_words_of_a_caption() -> None:
    assert words_of("A red-ish circle, 2 Änderungen.") == ["a", "red", "ish", "circle", "2", "änderungen"]


@pytest.mark.parametrize(("total", "count"), [(12, 4), (12, 5), (7, 7), (3, 8), (1, 1)])
def test_one_of_each_interval(total: int, count: int) -> None:
    """Every index of an interval is drawn now and then, and no other."""
    draws = [one_of_each(total, count, random(seed)) for seed in range(200)]
    columns = [set(column) for column in zip(*draws, strict=True)]
    assert len(columns) == min(count, total)
    assert [i for column in columns for i in sorted(column)] == list(range(total))


# Lessons --------------------------------------------------------------------------------------------------------------


def test_a_listing_says_what_each_frame_shows(info: dict[str, str]) -> None:
    assert build(info, "sampled_times").listing(0, SECONDS, SECONDS) == {
        "q": LISTING_QUESTION,
        "a": f"0.0: nothing. 0.3: {RED} 0.6: {RED} 1.0: nothing. 1.6: {BLUE}",
    }


def test_grounding_asks_for_each_event_in_random_order(info: dict[str, str]) -> None:
    """The times are those of the frames, not of the annotation."""
    data = build(info, "sampled_grounding")
    expected = [
        {"q": GROUNDING_QUESTION.format(query=RED), "a": "The given query happens in 0.3 - 0.6 seconds."},
        {"q": GROUNDING_QUESTION.format(query=BLUE), "a": "The given query happens in 1.6 - 1.6 seconds."},
    ]
    seen = [data.conversation(0, SECONDS, SECONDS, random(seed)) for seed in range(20)]
    assert expected in seen
    assert expected[::-1] in seen
    assert all(turns in (expected, expected[::-1]) for turns in seen)


def test_times_follow_captions_in_random_order(info: dict[str, str]) -> None:
    data = build(info, "sampled_times")
    seen = {data.conversation(0, SECONDS, SECONDS, random(seed))[0]["a"] for seed in range(20)}
    parts = (f"{RED} 0.3 - 0.6.", f"{BLUE} 1.6 - 1.6.")
    assert seen == {" ".join(parts), " ".join(parts[::-1])}
    assert data.conversation(0, SECONDS, SECONDS, random())[0]["q"] == TIMES_QUESTION


def test_captions_are_those_of_the_frames(info: dict[str, str]) -> None:
    (turn,) = build(info, "sampled_captions").conversation(0, SECONDS, SECONDS, random())
    assert turn == {"q": CAPTIONING_QUESTION, "a": f"0.3 - 0.6 seconds, {RED}  1.6 - 1.6 seconds, {BLUE}"}


@pytest.mark.parametrize("builder", ["sampled_grounding", "sampled_times", "sampled_captions"])
def test_frames_without_events_are_listed(info: dict[str, str], builder: str) -> None:
    (turn,) = build(info, builder).conversation(0, [0.0, 1.0], [0.0, 1.0], random())
    assert turn == {"q": LISTING_QUESTION, "a": "0.0: nothing. 1.0: nothing."}


def test_a_sample_is_about_the_frames_that_it_keeps(info: dict[str, str]) -> None:
    data = build(info, "sampled_times", "model.list_seconds=false", frame_counts=[3])
    sample = data.sample(0, random(5))
    assert len(sample.frames) == len(sample.seconds) == 3
    encoded = encode_conversation(
        data.conversation(0, sample.seconds, sample.seconds, random()),
        sample.seconds,
        load_tokenizer(LLAMA),
        num_video_tokens=6,  # one window
        max_txt_len=2048,
        list_seconds=False,
    )
    assert (sample.input_ids, sample.labels) == (encoded.input_ids, encoded.labels)


def test_frames_and_their_times_are_kept_together(info: dict[str, str]) -> None:
    """One number of frames is drawn for each sample; brightness says which frame it is."""
    whole, thinned = build(info, "sampled_times"), build(info, "sampled_times", frame_counts=[1, 5])
    everything = whole.read_video(0, random())
    shades = {second: int(frame[0, 0, 0]) for second, frame in zip(everything.seconds, everything.frames, strict=True)}
    assert len(shades) == 12
    videos = [thinned.read_video(0, random(seed)) for seed in range(30)]
    assert {len(video.frames) for video in videos} == {1, 5}
    for video in videos:
        assert [int(frame[0, 0, 0]) for frame in video.frames] == [shades[second] for second in video.seconds]
        assert video.seconds == sorted(video.seconds)


def test_one_frame_of_each_event(info: dict[str, str]) -> None:
    data = build(info, "sampled_times", frames_per_event=1)
    kept = [data.read_video(0, random(seed)).seconds for seed in range(60)]
    assert {seconds[0] for seconds in kept} == {0.3, 0.5, 0.6, 0.8}
    assert {seconds[1] for seconds in kept} == {1.5, 1.6, 1.8}
    assert {len(seconds) for seconds in kept} == {2}
    assert [item.path for item in data.items] == ["a.mp4"], "the other one has nothing to choose from"


def test_other_times_in_the_order_of_the_frames(info: dict[str, str]) -> None:
    """Video tokens and answers tell the same times."""
    chosen = {"frames_per_event": 1, "times_below": 10}
    data = build(info, "sampled_grounding", "model.list_seconds=false", **chosen)
    samples = [data.sample(0, random(seed)) for seed in range(40)]
    assert all(sample.seconds == sorted(sample.seconds) for sample in samples)
    assert {second for sample in samples for second in sample.seconds} == {float(second) for second in range(10)}
    data = build(info, "sampled_captions", times_below=12)
    for told in ([0.0, 3.0, 4.0, 5.0, 6.0], [0.0, 1.0, 2.0, 3.0, 4.0]):
        answer = f"{told[1]} - {told[2]} seconds, {RED}  {told[4]} - {told[4]} seconds, {BLUE}"
        assert data.conversation(0, SECONDS, told, random()) == [{"q": CAPTIONING_QUESTION, "a": answer}]
        assert data.listing(0, SECONDS, told)["a"].startswith(f"0.0: nothing. {told[1]}: {RED} ")
    words = build(info, "frame_words", **chosen).sample(0, random())
    assert all(second in range(10) for second in words.seconds)


def test_more_frames_than_other_times(info: dict[str, str]) -> None:
    """The lesson keeps all frames where none shows an event."""
    data = build(info, "sampled_times", frames_per_event=1, times_below=4)
    assert data.told(SECONDS, random()) == SECONDS
    assert data.told(SECONDS[1:], random()) == [0.0, 1.0, 2.0, 3.0]


def test_one_frame_of_each_event_needs_several_events(info: dict[str, str], tmp_path: Path) -> None:
    anno = write_json(tmp_path / "x.json", {"annotations": [ROWS[1]]})
    with pytest.raises(ConfigError, match=r"frames_per_event=1: no video of .*x\.json has several events"):
        build(info | {"anno_dir": str(anno)}, "sampled_times", frames_per_event=1)


def test_frames_with_the_words_that_describe_them(info: dict[str, str]) -> None:
    data = build(info, "frame_words")
    assert data.vocabulary == ["appears", "blue", "circle", "red", "square"]  # and not "a", which all have
    first, second = data.sample(0, random()), data.sample(1, random())
    assert first.frames.shape == (12, 3, 56, 56)
    red, blue, nothing = [1, 0, 1, 1, 0], [0, 1, 0, 0, 1], [0] * 5
    assert first.words.tolist() == [nothing] * 2 + [red] * 4 + [nothing] * 3 + [blue] * 3
    assert (second.words == 0).all()
    assert first.key == "mine[0] a.mp4"


def test_frames_with_words_are_packed_one_after_the_other() -> None:
    frames = {n: torch.full((n, 3, 2, 2), n, dtype=torch.uint8) for n in (1, 3)}
    samples = [FrameWordsSample(frames[n], [0.5] * n, torch.eye(n, 5), f"k{n}") for n in frames]
    fetched = [Fetched(samples[0], [{"error": "x"}]), Fetched(None, [{"error": "y"}]), Fetched(samples[1])]
    batch = collate_frames(fetched)
    assert (batch.frame_counts, batch.keys, len(batch), batch.num_tokens) == ([1, 3], ["k1", "k3"], 2, 0)
    assert batch.frames[:, 0, 0, 0].tolist() == [1, 3, 3, 3]
    assert batch.seconds == [[0.5], [0.5] * 3]
    assert torch.equal(batch.words, torch.cat([sample.words for sample in samples]))
    assert batch.skipped == [{"error": "x"}, {"error": "y"}]
    assert len(collate_frames([Fetched(None)])) == 0
    assert batch.to("meta").words.is_meta


# Settings -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("counts", [[0], [13], [2, 2.5]])
def test_numbers_of_frames_that_cannot_be(info: dict[str, str], counts: list[Any]) -> None:
    with pytest.raises(
        ConfigError, match=r"frame_counts=.*( must be whole numbers from 1 to model\.num_frm=12| a list)"
    ):
        build(info, "sampled_times", frame_counts=counts)


def test_two_ways_to_choose_frames(info: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"datasets\.mine: frame_counts=\[2\] and frames_per_event=1"):
        build(info, "sampled_times", frame_counts=[2], frames_per_event=1)


@pytest.mark.parametrize(("counts", "longest"), [([], 12), ([2, 5], 5)])
def test_too_few_other_times(info: dict[str, str], counts: list[int], longest: int) -> None:
    with pytest.raises(ConfigError, match=rf"datasets\.mine\.times_below=4: up to {longest} frames need as many"):
        build(info, "sampled_times", frame_counts=counts, times_below=4)
    build(info, "sampled_times", frame_counts=counts, times_below=longest)


@pytest.mark.parametrize("setting", [{"frame_counts": [2]}, {"frames_per_event": 1}, {"times_below": 12}])
def test_other_builders_choose_no_frames(tmp_path: Path, setting: dict[str, Any]) -> None:
    (key,) = setting
    with pytest.raises(ConfigError, match=rf"unknown key datasets\.mine\.{key}"):
        build(tiny_dataset(tmp_path), "video_instruct", **setting)
