"""Pictures of an evaluation: which videos are shown, and that files come about."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from helpers.videos import write_video
from matplotlib.figure import Figure
from matplotlib.text import Text

from timechat.evaluation.benchmarks import Example
from timechat.evaluation.plots import chosen_videos, draw_gallery, draw_plots, evenly_chosen


def example(id: str, video: str, quality: float, **more: Any) -> Example:
    return Example(id, video, f"query {id}", quality, **more)


def height_of(png: Path) -> int:
    content = png.read_bytes()
    assert content.startswith(b"\x89PNG")
    return int.from_bytes(content[20:24], "big")


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Every figure that is saved."""
    saved: list[Figure] = []
    save = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda figure, *args, **more: (saved.append(figure), save(figure, *args, **more))
    )
    return saved


def texts_in(figure: Figure) -> dict[str, Text]:
    return {text.get_text(): text for axis in figure.axes for text in axis.texts}


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


LONG = "Heat the oil in a large pan and add the chopped onions, the garlic and the ginger until they are golden brown"


def test_captions_are_drawn_at_their_bars_the_true_ones_above(tmp_path: Path, figures: list[Figure]) -> None:
    cooking = example(
        "1",
        "gone.mp4",
        0.5,
        true=[(0.0, 40.0), (80.0, 82.0)],
        predicted=[(0.0, 42.0)],
        true_captions=["add salt", LONG],
        predicted_captions=["add sugar"],
    )
    assert draw_gallery([cooking], {"1": tmp_path / "gone.mp4"}, tmp_path / "gallery.png")
    drawn = texts_in(figures[0])
    true, predicted = drawn["add salt"], drawn["add sugar"]
    figure_height = figures[0].bbox.height
    assert true.get_window_extent().y0 > predicted.get_window_extent().y1
    axis = figures[0].axes[1]
    bars = [bar.get_window_extent() for bar in axis.patches]
    assert len(bars) == 3
    for bar, text in ((bars[0], true.get_window_extent()), (bars[2], predicted.get_window_extent())):
        assert bar.x0 < text.x0 < text.x1 < bar.x1
        assert bar.y0 < (text.y0 + text.y1) / 2 < bar.y1
    (shortened,) = (text for text in drawn if text.startswith("Heat the oil"))
    assert shortened.endswith("…")
    assert shortened.count("\n") == 1
    box = drawn[shortened].get_window_extent()
    assert box.x1 < bars[1].x0  # no room on the right
    assert 0 < box.y0 < box.y1 < figure_height
    assert [label.get_text() for label in axis.get_yticklabels()] == ["true", "predicted"]


def test_a_picture_grows_with_its_captions_and_counts_those_it_leaves_out(
    tmp_path: Path, figures: list[Figure]
) -> None:
    def crowd(count: int) -> Example:
        times = [(float(i), i + 1.0) for i in range(count)]
        return example("1", "gone.mp4", 0.5, true=times, true_captions=[LONG] * count)

    for count in (1, 4, 90):
        draw_gallery([crowd(count)], {"1": tmp_path / "gone.mp4"}, tmp_path / f"{count}.png")
    heights = [height_of(tmp_path / f"{count}.png") for count in (1, 4, 90)]
    assert heights[0] < heights[1] < heights[2] < 1000
    shown = sum(bool(text.get_text()) for text in figures[2].axes[1].texts)
    assert 8 <= shown < 90
    assert f"captions not shown: {90 - shown})" in figures[2].axes[0].get_title(loc="left")
    assert len(figures[2].axes[1].patches) == 90
    assert "not shown" not in figures[0].axes[0].get_title(loc="left")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "caption",
    [
        "洋葱切成小块然后放进锅里翻炒",
        "قم بتسخين الزيت",
        "कटा हुआ प्याज डालें",
        "🍳",
        "\ue000",
        "$5 and $\\frac{$",
        "\x00\n",
    ],
)
def test_any_text_can_be_drawn(caption: str, tmp_path: Path) -> None:
    odd = example("1", "gone.mp4", 0.5, true=[(0.0, 9.0)], true_captions=[caption])
    query = Example("2", "other.mp4", caption * 30, 0.1, true=[(0.0, 9.0)])
    files = {"1": tmp_path / "gone.mp4", "2": tmp_path / "gone.mp4"}
    assert len(draw_plots([odd, query], files, tmp_path)) == 4


def test_an_instant_is_visible(tmp_path: Path, figures: list[Figure]) -> None:
    instant = example("1", "gone.mp4", 0.5, true=[(5.0, 5.0)], predicted=[(0.0, 9.0)])
    draw_gallery([instant], {"1": tmp_path / "gone.mp4"}, tmp_path / "gallery.png")
    bar = figures[0].axes[1].patches[0]
    assert bar.get_linewidth() > 0
    assert bar.get_edgecolor()[:3] != (1.0, 1.0, 1.0)
