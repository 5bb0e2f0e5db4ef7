"""Plots of an evaluation: timelines of good and bad videos, a gallery, and a histogram of quality."""

from __future__ import annotations

import logging
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from timechat.datasets.video import Video, load_video
from timechat.errors import VideoError
from timechat.evaluation.benchmarks import Example
from timechat.evaluation.event_rows import place_events, shorten
from timechat.evaluation.panels import (
    AXIS_WIDTH,
    DPI,
    PREDICTED_COLOUR,
    SALIENCY_HEIGHT,
    TRUE_COLOUR,
    Lane,
    Panel,
    draw_lanes,
    draw_panels,
    lanes_height,
    save_figure,
    side_by_side,
    text_width,
)

logger = logging.getLogger(__name__)

STRIP_FRAMES, STRIP_SIDE = 10, 112
STRIP_HEIGHT = 0.52  # inches
MAX_QUERIES = 8  # of one video that a figure shows


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
        _draw_video(path, label, by_video[name][:MAX_QUERIES], videos[by_video[name][0].id])
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
    measure = text_width()
    panels = []
    for example in chosen:
        strip = _strip(videos[example.id])
        answer = _answer(example, max(_last_second(example), strip.duration if strip else 0.0), measure)
        panels += [_strip_panel(strip, answer.title), replace(answer, title="")]
    return save_figure(draw_panels(panels), Path(path))


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


def _title(example: Example, measure: Callable[[str], float], left_out: int) -> str:
    measured = f"  ({'AP' if example.true_saliency else 'IoU'} {example.quality:.2f}"
    measured += f"; captions not shown: {left_out})" if left_out else ")"
    return shorten(example.query or example.video, AXIS_WIDTH * DPI - measure(measured), measure) + measured


def _draw_video(path: Path, label: str, examples: Sequence[Example], file: Path) -> None:
    strip, measure = _strip(file), text_width()
    end = max([_last_second(example) for example in examples] + [strip.duration if strip else 0.0])
    title = shorten(f"{label}: {examples[0].video}", AXIS_WIDTH * DPI, measure)
    panels = [_strip_panel(strip, title)] + [_answer(example, end, measure) for example in examples]
    save_figure(draw_panels(panels), path)


def _strip_panel(strip: Video | None, title: str) -> Panel:
    return Panel(STRIP_HEIGHT, partial(_draw_strip, strip=strip), title, below=0.05)


def _draw_strip(axis: Axes, strip: Video | None) -> None:
    axis.axis("off")
    if strip is not None:
        axis.imshow(side_by_side(strip.frames), aspect="auto")


def _answer(example: Example, end: float, measure: Callable[[str], float]) -> Panel:
    """What was answered, on a time axis from 0 to `end` seconds."""
    if example.true_saliency:
        draw = partial(_draw_saliency, example=example, end=end)
        return Panel(SALIENCY_HEIGHT, draw, _title(example, measure, 0))
    true = place_events(example.true, example.true_captions, end, AXIS_WIDTH * DPI, measure)
    predicted = place_events(example.predicted, example.predicted_captions, end, AXIS_WIDTH * DPI, measure)
    lanes = [Lane(true, TRUE_COLOUR, "true"), Lane(predicted, PREDICTED_COLOUR, "predicted")]
    draw = partial(draw_lanes, lanes=lanes, end=end)
    return Panel(lanes_height(lanes), draw, _title(example, measure, true.left_out + predicted.left_out))


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


def _draw_saliency(axis: Axes, example: Example, end: float) -> None:
    for scores, colour, side, label in (
        (example.true_saliency, TRUE_COLOUR, 0.25, "true"),
        (example.predicted_saliency, PREDICTED_COLOUR, 0.75, "predicted"),
    ):
        seconds = (np.arange(len(scores)) + side) * example.clip_seconds
        axis.bar(seconds, scores, width=0.45 * example.clip_seconds, color=colour)
        axis.bar(0, 0, color=colour, label=label)  # the legend's colour, also where nothing was predicted
    axis.legend(fontsize=7, loc="best")
    axis.set_ylabel("saliency", fontsize=7)
    axis.set_xlim(0, end)


def _draw_histogram(path: Path, examples: Sequence[Example]) -> Path:
    figure = Figure(figsize=(6, 3), layout="constrained")
    axis = figure.subplots()
    axis.hist([example.quality for example in examples], bins=np.linspace(0, 1, 21).tolist(), color=PREDICTED_COLOUR)
    axis.set_xlabel("average precision" if examples[0].true_saliency else "IoU")
    axis.set_ylabel("questions")
    axis.set_title("answers that could not be parsed count as 0", fontsize=8)
    figure.savefig(path, dpi=110)
    return path
