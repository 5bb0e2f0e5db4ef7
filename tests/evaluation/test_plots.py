"""Pictures of an evaluation: which videos are shown, and that files come about."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from helpers.videos import write_video

from timechat.evaluation.benchmarks import Example
from timechat.evaluation.plots import chosen_videos, draw_gallery, draw_plots, evenly_chosen


def example(id: str, video: str, quality: float, **more: Any) -> Example:
    return Example(id, video, f"query {id}", quality, **more)


def height_of(png: Path) -> int:
    content = png.read_bytes()
    assert content.startswith(b"\x89PNG")
    return int.from_bytes(content[20:24], "big")


def test_best_median_and_worst_video() -> None:
    by_video = {name: [example(name, name, q)] for name, q in zip("abcde", (0.5, 0.9, 0.1, 0.7, 0.3), strict=True)}
    assert chosen_videos(by_video) == {"best": "b", "median": "a", "worst": "c"}
    by_video["b"].append(example("x", "b", 0.0))  # a video counts by the mean of its questions
    assert chosen_videos(by_video)["best"] == "d"
    assert chosen_videos({"a": by_video["a"]}) == {"best": "a"}
    assert chosen_videos({}) == {}


def test_a_gallery_goes_from_best_to_worst_over_different_videos() -> None:
    examples = [example(str(i), f"video {i // 2}", i / 10) for i in range(10)]
    assert [e.id for e in evenly_chosen(examples, 3)] == ["9", "5", "0"]
    assert [e.id for e in evenly_chosen(examples, 2)] == ["9", "0"]
    often = [example(str(i), video, 1 - i / 10) for i, video in enumerate("abaca")]
    assert [e.video for e in evenly_chosen(often, 3)] == ["a", "b", "c"]
    assert [e.id for e in evenly_chosen(often, 4)] == ["0", "1", "3", "4"]  # no fourth video: the worst
    assert [e.id for e in evenly_chosen(examples[:2], 6)] == ["1", "0"]  # of one video: there is no other
    assert evenly_chosen([], 3) == []


def test_plots_are_drawn_also_without_a_readable_video(tmp_path: Path) -> None:
    video = write_video(tmp_path / "a.mp4", frames=20)
    examples = [
        example("1", "a.mp4", 0.8, true=[(0.0, 1.0)], predicted=[(0.2, 1.0)]),
        example("2", "a.mp4", 0.0, true=[(1.0, 2.0)]),
        example("3", "gone.mp4", 0.5, true_saliency=[0.0, 3.0], predicted_saliency=[1.0, 2.0]),
    ]
    files = {"1": video, "2": video, "3": tmp_path / "gone.mp4"}
    paths = draw_plots(examples, files, tmp_path / "plots")
    assert [path.stem for path in paths] == ["timeline_best", "timeline_worst", "gallery", "quality_histogram"]
    assert all(height_of(path) > 100 for path in paths)
    gallery = draw_gallery(examples, files, tmp_path / "new" / "gallery.png")
    one = draw_gallery(examples, files, tmp_path / "one.png", rows=1)
    assert gallery
    assert one
    assert height_of(gallery) > 2 * height_of(one)


def test_questions_without_times_have_no_pictures(tmp_path: Path) -> None:
    examples = [example("1", "a.mp4", 1.0), example("2", "a.mp4", 0.0)]
    assert draw_plots(examples, {}, tmp_path) == []
    assert draw_plots([], {}, tmp_path / "none") == []
    assert draw_gallery(examples, {}, tmp_path / "gallery.png") is None
    assert not list(tmp_path.glob("*.png"))
