"""What pictures of videos consist of: panels on one time axis, bars with captions, strips of frames."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from einops import rearrange
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, get_font_names
from numpy.typing import NDArray
from torch import Tensor

from timechat.evaluation.event_rows import EventRows

TRUE_COLOUR, PREDICTED_COLOUR = "#a3d9a5", "#a9cbea"  # light enough for captions on them
EDGES = {TRUE_COLOUR: "#2e8b57", PREDICTED_COLOUR: "#3878b4"}
DPI = 120

# In inches. A README shows 1,000 pixels at about four fifths of their size.
LEFT, AXIS_WIDTH, RIGHT = 0.72, 7.6, 0.16
TOP, TITLE_HEIGHT, TICKS_HEIGHT, LABEL_HEIGHT = 0.02, 0.24, 0.26, 0.18
SALIENCY_HEIGHT = 0.6
BAR_HEIGHT, LINE_HEIGHT, LANE_MARGIN = 0.19, 0.14, 0.04

# Looked up for what matplotlib's own font lacks, where they are installed.
OTHER_FONTS = (
    "Noto Sans CJK JP", "Noto Sans CJK SC", "Noto Sans", "Noto Sans Arabic", "Noto Sans Devanagari", "Noto Sans Thai",
    "WenQuanYi Zen Hei", "Droid Sans Fallback", "PingFang SC", "Hiragino Sans", "Microsoft YaHei", "Arial Unicode MS",
)  # fmt: skip


class Picture(Figure):
    """A figure that notebooks show where it is the value of a cell, without pyplot."""

    def _repr_png_(self) -> bytes:
        content = io.BytesIO()
        with _boxes_for_unknown_characters():
            self.savefig(content, format="png")
        return content.getvalue()


@dataclass(frozen=True)
class Panel:
    """One axis of a picture; heights in inches."""

    height: float
    draw: Callable[[Axes], None]
    title: str = ""
    below: float = TICKS_HEIGHT


@dataclass(frozen=True)
class Lane:
    """Events of one kind, the colour of their bars, and what they are called beside the axis."""

    rows: EventRows
    colour: str
    label: str


def draw_panels(panels: Sequence[Panel]) -> Picture:
    """The panels below each other, on one time axis."""
    heights = [(TITLE_HEIGHT if panel.title else 0.0) + panel.height + panel.below for panel in panels]
    width, height = LEFT + AXIS_WIDTH + RIGHT, TOP + sum(heights) + LABEL_HEIGHT
    figure = Picture(figsize=(width, height), dpi=DPI)
    bottom = height - TOP
    for panel, taken in zip(panels, heights, strict=True):
        bottom -= taken
        axis = figure.add_axes(
            (LEFT / width, (bottom + panel.below) / height, AXIS_WIDTH / width, panel.height / height)
        )
        panel.draw(axis)
        axis.tick_params(labelsize=7.5, length=3)
        if panel.title:
            axis.set_title(panel.title, loc="left", pad=4, **text_style())
    axis.set_xlabel("seconds", fontsize=8, labelpad=1)
    return figure


def save_figure(figure: Figure, path: Path) -> Path:
    """Write a PNG file; returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with _boxes_for_unknown_characters():
        figure.savefig(path, pil_kwargs={"optimize": True})
    return path


def lanes_height(lanes: Sequence[Lane]) -> float:
    """Inches of a panel of lanes."""
    return sum(_row_height(lines) for lane in lanes for lines in lane.rows.lines) + (len(lanes) + 1) * LANE_MARGIN


def draw_lanes(axis: Axes, lanes: Sequence[Lane], end: float) -> None:
    """Bars with their captions, lane below lane; y counts inches from the top, and x ends at `end` seconds."""
    seconds = end / (AXIS_WIDTH * DPI)  # of one pixel
    top, ticks = LANE_MARGIN, list[float]()
    for lane in lanes:
        if ticks:
            axis.axhline(top - LANE_MARGIN / 2, color="0.85", linewidth=0.8)
        heights = [_row_height(lines) for lines in lane.rows.lines]
        tops = top + np.cumsum([0.0, *heights])
        for event in lane.rows.events:
            middle = tops[event.row] + heights[event.row] / 2
            # The edge keeps instants visible and neighbours apart.
            length, height_of_bar, edge = event.end - event.start, heights[event.row] - 0.03, EDGES[lane.colour]
            axis.barh(middle, length, height_of_bar, left=event.start, color=lane.colour, edgecolor=edge, lw=0.8)
            axis.text(event.left * seconds, middle, event.text, va="center_baseline", linespacing=1.1, **text_style())
        ticks.append((top + tops[-1]) / 2)
        top = tops[-1] + LANE_MARGIN
    axis.set_yticks(ticks, [lane.label for lane in lanes])
    axis.set_ylim(lanes_height(lanes), 0)
    axis.set_xlim(0, end)


def side_by_side(frames: Tensor) -> NDArray[Any]:
    """Frames uint8 [T, 3, H, W] as one picture [H, T * (W + 2), 3], with a white line between them."""
    pictures = rearrange(frames.numpy(), "t c h w -> t h w c")
    parted = np.pad(pictures, ((0, 0), (0, 0), (1, 1), (0, 0)), constant_values=255)
    return np.concatenate(list(parted), axis=1)


def text_style() -> dict[str, Any]:
    """How captions and titles are written: in whatever script, and never read as formulas."""
    return {"family": _families(), "fontsize": 8.5, "parse_math": False, "clip_on": True}


def text_width() -> Callable[[str], float]:
    """A function that measures a text, in pixels."""
    renderer = FigureCanvasAgg(Figure(dpi=DPI)).get_renderer()
    font = FontProperties(family=_families(), size=text_style()["fontsize"])

    @cache
    def measure(text: str) -> float:
        with _boxes_for_unknown_characters():
            return float(renderer.get_text_width_height_descent(text, font, ismath=False)[0])

    return measure


def _row_height(lines: int) -> float:
    """Inches of a row of bars with so many lines of text in it."""
    return BAR_HEIGHT + max(0, lines - 1) * LINE_HEIGHT


@cache
def _families() -> list[str]:
    return ["DejaVu Sans", *(name for name in OTHER_FONTS if name in get_font_names())]


@contextmanager
def _boxes_for_unknown_characters() -> Iterator[None]:
    """Characters that no font has are drawn as boxes, without a warning for each."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from")
        warnings.filterwarnings("ignore", message=r"Matplotlib currently does not support .* natively")
        yield
