"""What happens when: a scene is a short script of coloured shapes that appear, move and leave.

Everything is a function of (seed, split, index), so scenes need no files and each can be rendered separately.

Designed for a tiny model: no two events of a video share a colour or a shape; a shape fills about half of a frame; and
an event starts and ends exactly at the time of a uniformly sampled frame (of `SAMPLED_FRAMES`). A shape is on screen
from its start to its end, both included: the first sampled frame that shows it has the start as its time, the last one
the end. Duration and frame rate are drawn so that all sampled frames have times in whole seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

SAMPLED_FRAMES = 16
COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (220, 40, 40),
    "green": (40, 180, 60),
    "blue": (50, 80, 235),
    "yellow": (235, 215, 40),
    "purple": (165, 50, 195),
    "white": (245, 245, 245),
}
SHAPES = ("circle", "square", "triangle", "cross")
SIZES = ((64, 64), (72, 64), (80, 64), (64, 72), (64, 80), (80, 80))  # width, height
FRAME_RATES = (Fraction(1), Fraction(5, 4), Fraction(3, 2))  # few frames: rendering and decoding are fast
DURATIONS = (20, 24, 32, 32, 40, 48, 48, 64, 64, 80, 80, 96, 96)  # seconds; repeated ones are drawn more often
MAX_EVENTS = 3
MAX_EVENT_SHARE = 0.4  # of the duration; with longer events "the whole video" would be a good answer

_SPLIT_NUMBERS = {"train": 0, "test": 1, "val": 2}
_SCENE_STREAM, _TEXT_STREAM = 0, 1
_REFERENCE_SIDE = 56  # pixels per side to which the quick start's model squashes a frame
_REFERENCE_RADII = (13.0, 20.0)  # smallest and largest radius at that size; smaller shapes are hardly ever learned


@dataclass(frozen=True)
class ShapeEvent:
    """One shape's time on screen.

    `start` and `end` are whole seconds. The centre moves in a straight line from `path[0]` to `path[1]`; the radius
    shrinks from `radii[0]` to `radii[1]`, and saliency scores follow it. Pixels.
    """

    start: int
    end: int
    colour: str
    shape: str
    path: tuple[tuple[float, float], tuple[float, float]]
    radii: tuple[float, float]

    @property
    def caption(self) -> str:
        """Only what identifies the event, because a tiny model looks for every word of it."""
        return f"{self.colour} {self.shape}"

    def visible_at(self, second: Fraction | float) -> bool:
        """Whether the shape is on screen at that time in seconds."""
        return self.start <= second <= self.end


@dataclass(frozen=True)
class Scene:
    """One video: its format and its events in order of time, which never overlap."""

    name: str
    width: int
    height: int
    fps: Fraction
    duration: int
    background: int
    noise: float
    texture_seed: int
    events: tuple[ShapeEvent, ...]

    @property
    def num_frames(self) -> int:
        """Length in frames; the duration times the frame rate is always whole."""
        return int(self.duration * self.fps)

    @property
    def signature(self) -> tuple:
        """What a model could memorise: which event happens when."""
        return tuple((event.start, event.end, event.caption) for event in self.events)


def sampled_seconds(duration: int, fps: Fraction) -> list[Fraction]:
    """The times in seconds of the uniformly sampled frames of such a video: [SAMPLED_FRAMES]."""
    num_frames = int(duration * fps)
    return [Fraction(k * num_frames // SAMPLED_FRAMES) / fps for k in range(SAMPLED_FRAMES)]


def generator(seed: int, split: str, index: int, stream: int = _TEXT_STREAM, attempt: int = 0) -> np.random.Generator:
    """The random generator of one video, the same on every machine; by default for its annotations, not its scene."""
    return np.random.default_rng([seed, _SPLIT_NUMBERS[split], index, stream, attempt])


def plan_scenes(
    seed: int, train_videos: int, test_videos: int, max_events: int = MAX_EVENTS, val_videos: int = 0
) -> dict[str, list[Scene]]:
    """All scenes of the splits train, val and test; no video of the others has the event list of a training video.

    Args:
        seed: 0 or more.
        max_events: most events of a video, not more than there are shapes; equally many videos have one, two, ...
        train_videos, test_videos, val_videos: how many; a scene does not depend on them, except for those of val and
            test that are drawn again because they equal a training scene.
    """
    train = [_draw_scene(seed, "train", i, 0, max_events) for i in range(train_videos)]
    taken = {scene.signature for scene in train}
    return {
        "train": train,
        "val": [_draw_unlike(seed, "val", i, taken, max_events) for i in range(val_videos)],
        "test": [_draw_unlike(seed, "test", i, taken, max_events) for i in range(test_videos)],
    }


def _draw_unlike(seed: int, split: str, index: int, taken: set[tuple], max_events: int) -> Scene:
    attempt = 0
    while (scene := _draw_scene(seed, split, index, attempt, max_events)).signature in taken:
        attempt += 1
    return scene


def _draw_scene(seed: int, split: str, index: int, attempt: int, max_events: int) -> Scene:
    rng = generator(seed, split, index, _SCENE_STREAM, attempt)
    width, height = SIZES[rng.integers(len(SIZES))]
    duration, fps, times = _draw_times(rng, num_events=1 + index % max_events)
    colours = rng.choice(list(COLOURS), size=len(times), replace=False)
    shapes = rng.choice(SHAPES, size=len(times), replace=False)
    return Scene(
        name=f"{split}_{index:04d}",
        width=width,
        height=height,
        fps=fps,
        duration=duration,
        background=int(rng.integers(20, 100)),
        noise=float(rng.choice([0.0, 6.0, 12.0])),
        texture_seed=int(rng.integers(2**32)),
        events=tuple(
            _draw_event(rng, start, end, (str(colour), str(shape)), width, height)
            for (start, end), colour, shape in zip(times, colours, shapes, strict=True)
        ),
    )


def _draw_times(rng: np.random.Generator, num_events: int) -> tuple[int, Fraction, list[tuple[int, int]]]:
    """A duration in seconds, a frame rate and the events' (start, end), until they fit each other."""
    while True:
        duration = DURATIONS[rng.integers(len(DURATIONS))]
        fps = FRAME_RATES[rng.integers(len(FRAME_RATES))]
        sampled = sampled_seconds(duration, fps)
        if any(second.denominator > 1 for second in sampled):
            continue
        grid = [int(second) for second in sampled]
        bounds = sorted(rng.choice(grid, size=2 * num_events, replace=False).tolist())
        times = list(zip(bounds[::2], bounds[1::2], strict=True))
        if all(end - start <= MAX_EVENT_SHARE * duration for start, end in times):
            return duration, fps, times


def _draw_event(
    rng: np.random.Generator, start: int, end: int, kind: tuple[str, str], width: int, height: int
) -> ShapeEvent:
    smallest = _REFERENCE_RADII[0] * max(width, height) / _REFERENCE_SIDE
    largest = _REFERENCE_RADII[1] * min(width, height) / _REFERENCE_SIDE
    shares = rng.uniform(0.8, 1.0), rng.uniform(0.1, 0.4)
    radii = tuple(float(smallest + share * (largest - smallest)) for share in shares)
    points = rng.uniform([largest, largest], [width - largest, height - largest], size=(2, 2))
    path = tuple((float(x), float(y)) for x, y in points)
    return ShapeEvent(start, end, *kind, path=path, radii=radii)
