"""Do time and memory grow in proportion? With frames, videos of a batch, tokens of an answer, and a video's length."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import torch

from benchmarks.speed.measure import Patience, Timing, Work, in_child, timed
from benchmarks.speed.rows import MIB, Cost, Row, seconds
from benchmarks.speed.sizes import Bench, batch, question, videos
from benchmarks.videos import write_video
from timechat.datasets.video import load_video

FRAMES, VIDEOS, TOKENS, MINUTES = (8, 48, 96, 192, 384), (1, 4, 8, 16), (16, 64, 128, 256), (1, 12, 40, 120)
FRAMES_OF_A_VIDEO, TOKENS_OF_A_VIDEO, SIDE_OF_A_LONG_VIDEO = 8, 300, 64
SECONDS_A_POINT = 6.0


def growth(bench: Bench, patience: Patience) -> Iterator[Row]:
    """Four series, each with its slopes after the last point."""
    series: list[tuple[str, str, Sequence[int], Callable[[Bench, int], Work]]] = [
        ("encode a video", "frame", FRAMES, _encode),
        (f"training pass, {FRAMES_OF_A_VIDEO} frames and {TOKENS_OF_A_VIDEO} tokens each", "video", VIDEOS, _train),
        ("answer", "token", TOKENS, _answer),
        ("96 frames of a video", "minute", MINUTES, _read),
    ]
    for what, unit, sizes, prepare in series:
        points = []
        for size in sizes:
            outcome = in_child(partial(_point, prepare, bench, size), patience.threads)
            points.append((size, Cost(*outcome.value, outcome.peak)))
            note = slopes(unit, points) if size == sizes[-1] else ""
            yield Row(f"{what}: {size} {unit}{'s' * (size > 1)}", points[-1][1], note=note)


def slopes(unit: str, points: Sequence[tuple[int, Cost]]) -> str:
    """How processor time and memory grow: the least-squares line, the point farthest from it, and the exponent."""
    sizes = np.array([size for size, _ in points], dtype=float)
    text = []
    for name, values in (("time", [cost.cpu for _, cost in points]), ("memory", [cost.peak for _, cost in points])):
        slope, start = np.polyfit(sizes, values, 1)
        apart = max(abs(start + slope * sizes - values)) / max(values)
        more = seconds(slope) if name == "time" else f"{slope / MIB:.2f} MiB"
        begin = seconds(start) if name == "time" else f"{start / MIB:.0f} MiB"
        text.append(f"{name} {begin} + {more} for each {unit}, points within {apart:.0%} of the largest")
    exponent = np.polyfit(np.log(sizes), np.log([cost.cpu for _, cost in points]), 1)[0]
    return "; ".join(text) + f"; time grows with the power {exponent:.2f}"


def _point(prepare: Callable[[Bench, int], Work], bench: Bench, size: int) -> Timing:
    """The shortest of some runs; the machine may be busy."""
    work, runs, started = prepare(bench, size), [], time.perf_counter()
    while len(runs) < 3 and (not runs or time.perf_counter() - started < SECONDS_A_POINT):
        runs.append(timed(work))
    return min(runs)


def _encode(bench: Bench, count: int) -> Work:
    model = bench.model(f"model.max_frame_pos={max(FRAMES)}")
    frames, times = videos([count], model.cfg.image_size)

    def work() -> None:
        with torch.no_grad():
            model.encode_video(frames, times)

    return work


def _train(bench: Bench, count: int) -> Work:
    model = bench.model().train()
    samples = batch(model, [FRAMES_OF_A_VIDEO] * count, min(TOKENS_OF_A_VIDEO, bench.size.tokens))

    def work() -> None:
        model(samples)["sample_losses"].mean().backward()

    return work


def _answer(bench: Bench, tokens: int) -> Work:
    model = bench.model()
    frames, times = videos([8], model.cfg.image_size)
    with torch.no_grad():
        video = model.encode_video(frames, times)
    prompt = question(model, times[0], 1)
    return lambda: model.answer(video, times, [prompt], max_new_tokens=tokens)


def _read(bench: Bench, minutes: int) -> Work:
    side = SIDE_OF_A_LONG_VIDEO
    path = bench.folder / f"{minutes}_minutes.mp4"
    if not path.exists():
        write_video(path, 60 * minutes, 6, side, preset="ultrafast")
    return lambda: load_video(path, 96, side)
