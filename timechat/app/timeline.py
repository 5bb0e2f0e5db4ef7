"""Pictures of an answer: the parts of the video that it names on a time axis, and the frames that the model saw."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from torch import Tensor

from timechat.app.answer import Answer, Segment
from timechat.errors import ConfigError
from timechat.evaluation.event_rows import place_events, shorten
from timechat.evaluation.panels import (
    AXIS_WIDTH,
    DPI,
    EDGES,
    PREDICTED_COLOUR,
    SALIENCY_HEIGHT,
    Lane,
    Panel,
    Picture,
    draw_lanes,
    draw_panels,
    lanes_height,
    save_figure,
    text_style,
    text_width,
)
from timechat.text.timestamps import format_seconds

NOTHING = "the answer names no part of the video"
STRIP_COLUMNS, STRIP_FRAMES = 8, 24


def draw_timeline(answer: Answer, duration: float, path: str | os.PathLike[str] | None = None) -> Picture:
    """Draw the segments of an answer: bars with their captions, and highlights as a curve of their saliency.

    Args:
        answer: what was said; without segments the axis says so.
        duration: of the video, seconds; what the answer names after its end is drawn as well.
        path: a PNG file to write, if wanted.

    Raises:
        ConfigError: a duration that is no number of seconds.
        OSError: the file cannot be written.
    """
    if not (math.isfinite(duration) and duration >= 0):
        raise ConfigError(f"duration is {duration}: give the seconds of the video")
    end = max([duration, *(segment.end for segment in answer.segments)]) or 1.0
    bars = [segment for segment in answer.segments if segment.score is None]
    scored = [segment for segment in answer.segments if segment.score is not None]
    measure = text_width()
    panels = [_bars(bars, end, measure)] if bars or not scored else []
    if scored:
        title = shorten(scored[0].text, AXIS_WIDTH * DPI, measure)
        panels.append(Panel(SALIENCY_HEIGHT, partial(_draw_saliency, segments=scored, end=end), title))
    figure = draw_panels(panels)
    if path is not None:
        save_figure(figure, Path(path))
    return figure


def frame_strip(frames: Tensor, seconds: Sequence[float], path: str | os.PathLike[str] | None = None) -> Picture:
    """Draw sampled frames in rows, each above its second; of more than `STRIP_FRAMES`, evenly chosen ones.

    Args:
        frames: uint8 [T, 3, H, W], as `load_video` gives them.
        seconds: T times.
        path: a PNG file to write, if wanted.

    Raises:
        ConfigError: no frames, frames of another shape or type, or more or fewer than seconds.
        OSError: the file cannot be written.
    """
    shape = list(frames.shape)
    if frames.is_floating_point() or len(shape) != 4 or shape[1] != 3 or not shape[0] == len(seconds) > 0:
        raise ConfigError(
            f"frames of type {frames.dtype} and shape {shape}, {len(seconds)} seconds: give uint8 [T, 3, H, W] and "
            "T seconds, as load_video does"
        )
    chosen = np.unique(np.linspace(0, shape[0] - 1, min(STRIP_FRAMES, shape[0])).round().astype(int)).tolist()
    columns, rows = min(STRIP_COLUMNS, len(chosen)), math.ceil(len(chosen) / STRIP_COLUMNS)
    side = AXIS_WIDTH / STRIP_COLUMNS
    figure = Picture(
        figsize=(columns * side, rows * (side * shape[2] / shape[3] + 0.22)), dpi=DPI, layout="constrained"
    )
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0, hspace=0)  # type: ignore[union-attr, call-arg]
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes:
        axis.axis("off")
    for axis, index in zip(axes, chosen, strict=False):
        axis.imshow(frames[index].permute(1, 2, 0).numpy())
        axis.set_title(f"{format_seconds(seconds[index])} s", y=-0.03, va="top", pad=2, fontsize=7.5)
    if path is not None:
        save_figure(figure, Path(path))
    return figure


def _bars(segments: Sequence[Segment], end: float, measure: Callable[[str], float]) -> Panel:
    intervals = [(segment.start, segment.end) for segment in segments]
    rows = place_events(intervals, [segment.text for segment in segments], end, AXIS_WIDTH * DPI, measure)
    lanes = [Lane(rows, PREDICTED_COLOUR, "answer")]

    def draw(axis: Axes) -> None:
        draw_lanes(axis, lanes, end)
        if not segments:
            axis.text(
                0.5, 0.5, NOTHING, transform=axis.transAxes, ha="center", va="center", color="0.4", **text_style()
            )

    return Panel(lanes_height(lanes), draw, f"captions not shown: {rows.left_out}" if rows.left_out else "")


def _draw_saliency(axis: Axes, segments: Sequence[Segment], end: float) -> None:
    """A curve over the moments, each of which is marked."""
    points = sorted((segment.start, segment.score or 0.0) for segment in segments)
    seconds, scores = zip(*points, strict=True)
    colour = EDGES[PREDICTED_COLOUR]
    axis.fill_between(seconds, scores, color=PREDICTED_COLOUR, alpha=0.6, lw=0)
    axis.plot(seconds, scores, color=colour, lw=1.2, marker="o", markersize=4)
    axis.vlines(seconds, 0, scores, color=colour, lw=0.6)
    axis.set_ylabel("saliency", fontsize=7)
    axis.set_ylim(0, max(scores) * 1.15 or 1.0)
    axis.set_xlim(0, end)
