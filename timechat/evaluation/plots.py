"""Plots of an evaluation: timelines of good and bad videos, a gallery, and a histogram of quality."""

from __future__ import annotations

import logging
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from einops import rearrange
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from timechat.datasets.video import Video, load_video
from timechat.errors import VideoError
from timechat.evaluation.benchmarks import Example

logger = logging.getLogger(__name__)

STRIP_FRAMES, STRIP_SIDE = 10, 112
MAX_ROWS = 8  # queries of one video that a plot shows
TRUE_COLOUR, PREDICTED_COLOUR = "tab:green", "tab:blue"
MAX_TITLE = 90  # characters of a query


def draw_plots(
    examples: Sequence[Example],
    videos: Mapping[str, Path],
    output_dir: str | Path,
) -> list[Path]:
    """Draw everything that the examples allow; questions without times (multiple choice) have no plots.

    Args:
        examples: the questions that were answered.
        videos: id of a question -> its video file.
        output_dir: where the PNG files go.

    Returns:
        The files.
    """
    output_dir = Path(output_dir)
    output_dir.mkdir(parents=True, exist_ok=True)
    timed = [example for example in examples if _has_times(example)]
    by_video: dict[str, list[Example]] = {}
    for example in timed:
        by_video.setdefault(example.video, []).append(example)
    paths = []
    for label, name in chosen_videos(by_video).items():
        path = output_dir / f"timeline_{label}.png"
        _draw_video(path, f"{label}: {name}", by_video[name][:MAX_ROWS], videos[by_video[name][0].id])
        paths.append(path)
    gallery = draw_gallery(timed, videos, output_dir / "gallery.png")
    paths += [gallery] if gallery else []
    if timed:
        paths.append(_draw_histogram(output_dir / "quality_histogram.png", timed))
    return paths


def draw_gallery(
    examples: Sequence[Example], videos: Mapping[str, Path], path: str | Path, rows: int = 6
) -> Path | None:
    """Several questions in one figure, from the best on top to the worst: frames, true and predicted times.

    Args:
        examples: the questions that were answered; those without times are left out.
        videos: id of a question -> its video file.
        path: the PNG file.
        rows: how many questions.

    Returns:
        The file; None when there is nothing to draw.
    """
    chosen = evenly_chosen([example for example in examples if _has_times(example)], rows)
    if not chosen:
        return None
    figure = Figure(figsize=(10, 1.45 * len(chosen) + 0.2), layout="constrained")
    axes = figure.subplots(2 * len(chosen), 1, squeeze=False, height_ratios=[1.0, 0.7] * len(chosen))[:, 0]
    for example, frames, times in zip(chosen, axes[::2], axes[1::2], strict=True):
        strip = _strip(videos[example.id])
        _draw_strip(frames, strip)
        frames.set_title(_title(example), fontsize=9, loc="left")
        _draw_answer(times, example)
        times.set_xlim(0, max(_last_second(example), strip.duration if strip else 0.0))
        times.tick_params(labelsize=7)
    axes[-1].set_xlabel("seconds", fontsize=8)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    return path


def evenly_chosen(examples: Sequence[Example], count: int) -> list[Example]:
    """Examples from the best to the worst, evenly spread over their ranks, of different videos where possible."""
    ranked = sorted(examples, key=lambda example: (-example.quality, example.id))
    chosen: dict[int, Example] = {}
    for place in np.linspace(0, len(ranked) - 1, min(count, len(ranked))):
        free = [index for index in range(len(ranked)) if index not in chosen]
        shown = {example.video for example in chosen.values()}
        nearest = min(free, key=lambda index: (ranked[index].video in shown, abs(index - place)))
        chosen[nearest] = ranked[nearest]
    return [chosen[index] for index in sorted(chosen)]


def chosen_videos(by_video: Mapping[str, Sequence[Example]]) -> dict[str, str]:
    """`best`, `median`, `worst` -> the video, by the mean quality of its questions; fewer when there are fewer."""
    quality = {name: statistics.fmean(e.quality for e in group) for name, group in by_video.items()}
    ranked = sorted(quality, key=lambda name: (-quality[name], name))
    places = {"best": 0, "worst": len(ranked) - 1, "median": len(ranked) // 2}
    chosen: dict[str, str] = {}
    for label, place in places.items():
        if ranked and ranked[place] not in chosen.values():
            chosen[label] = ranked[place]
    return {label: chosen[label] for label in ("best", "median", "worst") if label in chosen}


def _has_times(example: Example) -> bool:
    return bool(example.true or example.true_saliency)


def _title(example: Example) -> str:
    measure = "AP" if example.true_saliency else "IoU"
    return f"{(example.query or example.video)[:MAX_TITLE]}  ({measure} {example.quality:.2f})"


def _draw_video(path: Path, title: str, examples: Sequence[Example], file: Path) -> None:
    strip = _strip(file)
    figure = Figure(figsize=(10, 1.6 + 1.1 * len(examples)), layout="constrained")
    axes = figure.subplots(1 + len(examples), 1, squeeze=False)[:, 0]
    axes[0].set_title(title, fontsize=9)
    _draw_strip(axes[0], strip)
    end = max([_last_second(example) for example in examples] + [strip.duration if strip else 0.0])
    for axis, example in zip(axes[1:], examples, strict=True):
        _draw_answer(axis, example)
        axis.set_xlim(0, end)
        axis.set_title(_title(example), fontsize=8, loc="left")
        axis.tick_params(labelsize=7)
    axes[-1].set_xlabel("seconds", fontsize=8)
    figure.savefig(path, dpi=110)


def _draw_strip(axis: Axes, strip: Video | None) -> None:
    axis.axis("off")
    if strip is not None:
        pictures = rearrange(strip.frames.numpy(), "t c h w -> t h w c")
        parted = np.pad(pictures, ((0, 0), (0, 0), (1, 1), (0, 0)), constant_values=255)
        axis.imshow(np.concatenate(list(parted), axis=1), aspect="auto")


def _draw_answer(axis: Axes, example: Example) -> None:
    _draw_saliency(axis, example) if example.true_saliency else _draw_intervals(axis, example)


def _strip(file: Path) -> Video | None:
    """Frames for the strip; a video that can no longer be read leaves it empty."""
    try:
        return load_video(file, n_frms=STRIP_FRAMES, image_size=STRIP_SIDE)
    except VideoError as error:
        logger.warning("no strip of frames: %s", error)
        return None


def _last_second(example: Example) -> float:
    ends = [end for _, end in (*example.true, *example.predicted)]
    return max([*ends, len(example.true_saliency) * example.clip_seconds, 1.0])


def _draw_intervals(axis: Axes, example: Example) -> None:
    for row, (intervals, colour) in enumerate(((example.predicted, PREDICTED_COLOUR), (example.true, TRUE_COLOUR))):
        for number, (start, end) in enumerate(intervals):
            # A thin edge keeps instants visible, alternating shades neighbours apart.
            axis.barh(row, end - start, left=start, color=colour, edgecolor=colour, alpha=0.9 if number % 2 else 0.6)
    axis.set_yticks([0, 1], ["predicted", "true"])
    axis.set_ylim(-0.6, 1.6)


def _draw_saliency(axis: Axes, example: Example) -> None:
    for scores, colour, side, label in (
        (example.true_saliency, TRUE_COLOUR, 0.25, "true"),
        (example.predicted_saliency, PREDICTED_COLOUR, 0.75, "predicted"),
    ):
        seconds = (np.arange(len(scores)) + side) * example.clip_seconds
        axis.bar(seconds, scores, width=0.45 * example.clip_seconds, color=colour, label=label)
    axis.legend(fontsize=7, loc="best")
    axis.set_ylabel("saliency", fontsize=7)


def _draw_histogram(path: Path, examples: Sequence[Example]) -> Path:
    figure = Figure(figsize=(6, 3), layout="constrained")
    axis = figure.subplots()
    axis.hist([example.quality for example in examples], bins=np.linspace(0, 1, 21), color=PREDICTED_COLOUR)
    axis.set_xlabel("average precision" if examples[0].true_saliency else "IoU")
    axis.set_ylabel("questions")
    axis.set_title("answers that could not be parsed count as 0", fontsize=8)
    figure.savefig(path, dpi=110)
    return path
