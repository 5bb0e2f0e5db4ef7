"""Pictures of an evaluation: timelines of the best, the median and the worst video, and how well all of it went."""

from __future__ import annotations

import logging
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from timechat.datasets.video import Video, load_video
from timechat.errors import VideoError
from timechat.evaluation.benchmarks import Example

logger = logging.getLogger(__name__)

STRIP_FRAMES, STRIP_SIDE = 10, 112
MAX_ROWS = 8  # queries of one video that a picture shows
TRUE_COLOUR, PREDICTED_COLOUR = "tab:green", "tab:blue"


def draw_plots(
    examples: Sequence[Example],
    videos: Mapping[str, Path],
    output_dir: str | Path,
) -> list[Path]:
    """Draw everything that the examples allow.

    Args:
        examples: the questions that were answered.
        videos: id of a question -> its video file.
        output_dir: where the PNG files go.

    Returns:
        The files.
    """
    output_dir = Path(output_dir)
    output_dir.mkdir(parents=True, exist_ok=True)
    by_video: dict[str, list[Example]] = {}
    for example in examples:
        by_video.setdefault(example.video, []).append(example)
    paths = []
    for label, name in chosen_videos(by_video).items():
        path = output_dir / f"timeline_{label}.png"
        _draw_video(path, f"{label}: {name}", by_video[name][:MAX_ROWS], videos[by_video[name][0].id])
        paths.append(path)
    if examples:
        paths.append(_draw_histogram(output_dir / "quality_histogram.png", examples))
    return paths


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


def _draw_video(path: Path, title: str, examples: Sequence[Example], file: Path) -> None:
    strip = _strip(file)
    figure = Figure(figsize=(10, 1.6 + 1.1 * len(examples)), layout="constrained")
    axes = figure.subplots(1 + len(examples), 1, squeeze=False)[:, 0]
    axes[0].set_title(title, fontsize=9)
    axes[0].axis("off")
    if strip is not None:
        axes[0].imshow(np.concatenate(list(strip.frames.numpy()), axis=1), aspect="auto")
    end = max([_last_second(example) for example in examples] + [strip.duration if strip else 0.0])
    for axis, example in zip(axes[1:], examples, strict=True):
        _draw_saliency(axis, example) if example.true_saliency else _draw_intervals(axis, example)
        axis.set_xlim(0, end)
        axis.set_title(f"{example.query[:90]}  ({example.quality:.2f})", fontsize=8, loc="left")
        axis.tick_params(labelsize=7)
    axes[-1].set_xlabel("seconds", fontsize=8)
    figure.savefig(path, dpi=110)


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
    axis.legend(fontsize=7, loc="upper right")
    axis.set_ylabel("saliency", fontsize=7)


def _draw_histogram(path: Path, examples: Sequence[Example]) -> Path:
    figure = Figure(figsize=(6, 3), layout="constrained")
    axis = figure.subplots()
    axis.hist([example.quality for example in examples], bins=np.linspace(0, 1, 21), color=PREDICTED_COLOUR)
    axis.set_xlabel("average precision" if examples[0].true_saliency else "IoU")
    axis.set_ylabel("questions")
    axis.set_title("answers that could not be parsed stand at 0", fontsize=8)
    figure.savefig(path, dpi=110)
    return path
