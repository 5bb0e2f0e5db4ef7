"""Scenes to pixels to H.264. One encoder thread and fixed settings: the same scene gives the same bytes."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from quickstart.data.scenes import COLOURS, Scene, ShapeEvent
from timechat.io import replacing

# No B-frames: decoding order is display order, and times start at 0 without an edit list. No mbtree: at such small
# sizes its result depends on what the process encoded before.
_ENCODER = {"crf": "30", "preset": "veryfast", "bf": "0", "g": "96", "threads": "1", "x264-params": "mbtree=0"}


def render_video(scene: Scene, path: Path) -> None:
    """Write the scene as an mp4 of H.264, yuv420p, at a constant frame rate; never half a file.

    Raises:
        OSError: the file cannot be written.
    """
    background = _background(scene)
    still = to_yuv420p(background)
    with replacing(path) as temporary, av.open(str(temporary), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=scene.fps, options=_ENCODER)
        stream.width, stream.height, stream.pix_fmt = scene.width, scene.height, "yuv420p"
        stream.codec_context.thread_count = 1
        for index in range(scene.num_frames):
            pixels = draw_frame(scene, index / scene.fps, background)
            planes = still if pixels is background else to_yuv420p(pixels)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(planes, format="yuv420p")))
        container.mux(stream.encode())


def to_yuv420p(pixels: np.ndarray) -> np.ndarray:
    """RGB uint8 [H,W,3], H and W even -> planes uint8 [H*3/2,W] (BT.601, video range), in integer arithmetic.

    The rounding of FFmpeg's converter depends on the alignment of its buffers, which differs between processes.
    """
    height, width, _ = pixels.shape
    r, g, b = np.moveaxis(pixels.astype(np.int32), 2, 0)
    luma = ((66 * r + 129 * g + 25 * b + 128) >> 8) + 16
    quads = pixels.astype(np.int32).reshape(height // 2, 2, width // 2, 2, 3).sum(axis=(1, 3))
    r, g, b = np.moveaxis((quads + 2) >> 2, 2, 0)
    blue = ((-38 * r - 74 * g + 112 * b + 128) >> 8) + 128
    red = ((112 * r - 94 * g - 18 * b + 128) >> 8) + 128
    planes = [luma.reshape(-1), blue.reshape(-1), red.reshape(-1)]
    return np.concatenate(planes).astype(np.uint8).reshape(height * 3 // 2, width)


def draw_frame(scene: Scene, second: Fraction, background: np.ndarray) -> np.ndarray:
    """The picture at that time in seconds: uint8 [H,W,3], as `background` where no shape is."""
    event = next((event for event in scene.events if event.visible_at(second)), None)
    if event is None:
        return background
    cover = _cover(event, float(second), scene.width, scene.height)[..., None]
    colour = np.array(COLOURS[event.colour], dtype=np.float32)
    return (background * (1 - cover) + colour * cover).round().astype(np.uint8)


def _background(scene: Scene) -> np.ndarray:
    """Grey with a still grain: uint8 [H,W,3]. A grain that flickers would take up most of the file."""
    grain = np.random.default_rng(scene.texture_seed).normal(0, scene.noise, size=(scene.height, scene.width, 1))
    grey = np.clip(scene.background + grain, 0, 255).round().astype(np.uint8)
    return np.repeat(grey, 3, axis=2)


def _cover(event: ShapeEvent, second: float, width: int, height: int) -> np.ndarray:
    """How much of each pixel the shape covers, 0 to 1 with soft edges: float32 [H,W]."""
    progress = (second - event.start) / (event.end - event.start)
    (x0, y0), (x1, y1) = event.path
    x, y = x0 + (x1 - x0) * progress, y0 + (y1 - y0) * progress
    radius = event.radii[0] + (event.radii[1] - event.radii[0]) * progress
    dy, dx = np.mgrid[0:height, 0:width].astype(np.float32) + 0.5 - np.array([y, x], dtype=np.float32)[:, None, None]
    return np.clip(0.5 - _distance(event.shape, dx, dy, radius), 0, 1)


def _distance(shape: str, dx: np.ndarray, dy: np.ndarray, radius: float) -> np.ndarray:
    """Approximate signed distance in pixels to the outline, negative inside; dx, dy: offsets from the centre."""
    if shape == "circle":
        return np.hypot(dx, dy) - radius
    if shape == "square":
        return np.maximum(abs(dx), abs(dy)) - 0.9 * radius
    if shape == "triangle":  # as wide and as high as the circle, tip up
        return np.maximum(dy - radius, 0.894 * (abs(dx) - (dy + radius) / 2))
    arm = 0.38 * radius
    across, upright = np.maximum(abs(dx) - radius, abs(dy) - arm), np.maximum(abs(dx) - arm, abs(dy) - radius)
    return np.minimum(across, upright)
