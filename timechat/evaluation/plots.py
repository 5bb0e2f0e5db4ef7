"""Plots of an evaluation: timelines of good and bad videos, a gallery, and a histogram of quality."""

from __future__ import annotations

import logging
import statistics
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from einops import rearrange
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, get_font_names

from timechat.datasets.video import Video, load_video
from timechat.errors import VideoError
from timechat.evaluation.benchmarks import Example
from timechat.evaluation.event_rows import EventRows, place_events, shorten

logger = logging.getLogger(__name__)

STRIP_FRAMES, STRIP_SIDE = 10, 112
MAX_QUERIES = 8  # of one video that a figure shows
TRUE_COLOUR, PREDICTED_COLOUR = "#a3d9a5", "#a9cbea"  # light enough for captions on them
EDGES = {TRUE_COLOUR: "#2e8b57", PREDICTED_COLOUR: "#3878b4"}
DPI = 120

# In inches. A README shows 1,000 pixels at about four fifths of their size.
LEFT, AXIS_WIDTH, RIGHT = 0.72, 7.6, 0.16
TITLE_HEIGHT, TICKS_HEIGHT, LABEL_HEIGHT = 0.24, 0.26, 0.18
STRIP_HEIGHT, SALIENCY_HEIGHT = 0.52, 0.6
BAR_HEIGHT, LINE_HEIGHT, LANE_MARGIN = 0.19, 0.14, 0.04

# Looked up for what matplotlib's own font lacks, where they are installed.
OTHER_FONTS = (
    "Noto Sans CJK JP", "Noto Sans CJK SC", "Noto Sans", "Noto Sans Arabic", "Noto Sans Devanagari", "Noto Sans Thai",
    "WenQuanYi Zen Hei", "Droid Sans Fallback", "PingFang SC", "Hiragino Sans", "Microsoft YaHei", "Arial Unicode MS",
)  # fmt: skip


@dataclass(frozen=True)
class _Panel:
    """One axis of a picture; heights in inches."""

    height: float
    draw: Callable[[Axes], None]
    title: str = ""
    below: float = TICKS_HEIGHT


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
    measure = _text_width()
    panels = []
    for example in chosen:
        strip = _strip(videos[example.id])
        answer = _answer(example, max(_last_second(example), strip.duration if strip else 0.0), measure)
        panels += [_strip_panel(strip, answer.title), replace(answer, title="")]
    return _save(Path(path), panels)


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
    strip, measure = _strip(file), _text_width()
    end = max([_last_second(example) for example in examples] + [strip.duration if strip else 0.0])
    title = shorten(f"{label}: {examples[0].video}", AXIS_WIDTH * DPI, measure)
    _save(path, [_strip_panel(strip, title)] + [_answer(example, end, measure) for example in examples])


def _strip_panel(strip: Video | None, title: str) -> _Panel:
    return _Panel(STRIP_HEIGHT, partial(_draw_strip, strip=strip), title, below=0.05)


def _draw_strip(axis: Axes, strip: Video | None) -> None:
    axis.axis("off")
    if strip is not None:
        pictures = rearrange(strip.frames.numpy(), "t c h w -> t h w c")
        parted = np.pad(pictures, ((0, 0), (0, 0), (1, 1), (0, 0)), constant_values=255)
        axis.imshow(np.concatenate(list(parted), axis=1), aspect="auto")


def _answer(example: Example, end: float, measure: Callable[[str], float]) -> _Panel:
    """What was answered, on a time axis from 0 to `end` seconds."""
    if example.true_saliency:
        draw = partial(_draw_saliency, example=example, end=end)
        return _Panel(SALIENCY_HEIGHT, draw, _title(example, measure, 0))
    true = place_events(example.true, example.true_captions, end, AXIS_WIDTH * DPI, measure)
    predicted = place_events(example.predicted, example.predicted_captions, end, AXIS_WIDTH * DPI, measure)
    height = sum(map(_row_height, true.lines + predicted.lines)) + 3 * LANE_MARGIN
    draw = partial(_draw_events, true=true, predicted=predicted, height=height, end=end)
    return _Panel(height, draw, _title(example, measure, true.left_out + predicted.left_out))


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


def _row_height(lines: int) -> float:
    """Inches of a row of bars with so many lines of text in it."""
    return BAR_HEIGHT + max(0, lines - 1) * LINE_HEIGHT


def _draw_events(axis: Axes, true: EventRows, predicted: EventRows, height: float, end: float) -> None:
    """Bars with their captions, the true ones above the predicted ones; y counts inches from the top."""
    seconds = end / (AXIS_WIDTH * DPI)  # of one pixel
    top, ticks = LANE_MARGIN, []
    for rows, colour in ((true, TRUE_COLOUR), (predicted, PREDICTED_COLOUR)):
        heights = [_row_height(lines) for lines in rows.lines]
        tops = top + np.cumsum([0.0, *heights])
        for event in rows.events:
            middle = tops[event.row] + heights[event.row] / 2
            # The edge keeps instants visible and neighbours apart.
            length, height_of_bar = event.end - event.start, heights[event.row] - 0.03
            axis.barh(middle, length, height_of_bar, left=event.start, color=colour, edgecolor=EDGES[colour], lw=0.8)
            axis.text(event.left * seconds, middle, event.text, va="center_baseline", linespacing=1.1, **_text_style())
        ticks.append((top + tops[-1]) / 2)
        top = tops[-1] + LANE_MARGIN
    axis.axhline(ticks[0] * 2 - LANE_MARGIN / 2, color="0.85", linewidth=0.8)
    axis.set_yticks(ticks, ["true", "predicted"])
    axis.set_ylim(height, 0)
    axis.set_xlim(0, end)


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


# Pictures -------------------------------------------------------------------------------------------------------------


@cache
def _families() -> list[str]:
    return ["DejaVu Sans", *(name for name in OTHER_FONTS if name in get_font_names())]


def _text_style() -> dict[str, Any]:
    return {"family": _families(), "fontsize": 8.5, "parse_math": False, "clip_on": True}


def _text_width() -> Callable[[str], float]:
    """A function that measures a text, in pixels."""
    renderer = FigureCanvasAgg(Figure(dpi=DPI)).get_renderer()
    font = FontProperties(family=_families(), size=_text_style()["fontsize"])

    @cache
    def measure(text: str) -> float:
        with _boxes_for_unknown_characters():
            return float(renderer.get_text_width_height_descent(text, font, ismath=False)[0])

    return measure


@contextmanager
def _boxes_for_unknown_characters() -> Iterator[None]:
    """Characters that no font has are drawn as boxes, without a warning for each."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from")
        warnings.filterwarnings("ignore", message=r"Matplotlib currently does not support .* natively")
        yield


def _save(path: Path, panels: Sequence[_Panel]) -> Path:
    """The panels below each other, on one time axis."""
    heights = [(TITLE_HEIGHT if panel.title else 0.0) + panel.height + panel.below for panel in panels]
    width, height = LEFT + AXIS_WIDTH + RIGHT, sum(heights) + LABEL_HEIGHT
    figure = Figure(figsize=(width, height), dpi=DPI)
    bottom = height
    for panel, taken in zip(panels, heights, strict=True):
        bottom -= taken
        axis = figure.add_axes(
            (LEFT / width, (bottom + panel.below) / height, AXIS_WIDTH / width, panel.height / height)
        )
        panel.draw(axis)
        axis.tick_params(labelsize=7.5, length=3)
        if panel.title:
            axis.set_title(panel.title, loc="left", pad=4, **_text_style())
    axis.set_xlabel("seconds", fontsize=8, labelpad=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _boxes_for_unknown_characters():
        figure.savefig(path, pil_kwargs={"optimize": True})
    return path


def _draw_histogram(path: Path, examples: Sequence[Example]) -> Path:
    figure = Figure(figsize=(6, 3), layout="constrained")
    axis = figure.subplots()
    axis.hist([example.quality for example in examples], bins=np.linspace(0, 1, 21).tolist(), color=PREDICTED_COLOUR)
    axis.set_xlabel("average precision" if examples[0].true_saliency else "IoU")
    axis.set_ylabel("questions")
    axis.set_title("answers that could not be parsed count as 0", fontsize=8)
    figure.savefig(path, dpi=110)
    return path
