"""Clips -> frames for prediction, decoded ahead in worker processes, up to a bounded number."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from timechat.datasets.readers import AUTO, ReaderSettings
from timechat.datasets.video import Video, load_frame_folder, load_video
from timechat.datasets.worker_signals import ignore_stop_signals
from timechat.errors import VideoError
from timechat.evaluation.sharding import Clip

# Decoded clips that each worker may be ahead: 96 frames of 224 x 224 are 14 MB.
PREFETCH = 2


class Frames(NamedTuple):
    """Frames uint8 [T, 3, H, W] and T times in seconds, from the start of the clip."""

    frames: Tensor
    seconds: list[float]


class _Decoding(torch.utils.data.Dataset[tuple[int, Frames | VideoError]]):
    """Decodes in a worker: index -> (index, frames, or why there are none)."""

    def __init__(
        self,
        clips: Sequence[Clip],
        videos_dir: Path,
        num_frames: int,
        fps: float | None,
        image_size: int,
        settings: ReaderSettings,
    ):
        self.clips, self.videos_dir, self.settings = clips, videos_dir, settings
        self.wanted = {"n_frms": num_frames, "image_size": image_size} | ({} if fps is None else {"fps": fps})

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> tuple[int, Frames | VideoError]:
        try:
            video = self._load(self.clips[index])
        except VideoError as error:
            return index, error
        return index, Frames(video.frames, video.seconds)

    def _load(self, clip: Clip) -> Video:
        path = self.videos_dir / clip.video
        wanted: dict[str, Any] = self.wanted | {"start": clip.start, "end": clip.end}
        if clip.frame_rate is None:
            return load_video(path, settings=self.settings, **wanted)
        return load_frame_folder(path, frame_rate=clip.frame_rate, **wanted)


def decoded(
    clips: Sequence[Clip],
    videos_dir: Path,
    *,
    num_frames: int,
    image_size: int,
    num_workers: int,
    settings: ReaderSettings = AUTO,
    fps: float | None = None,
) -> Iterator[tuple[Clip, Frames | VideoError]]:
    """Every clip with its frames, in order.

    Args:
        clips: what to decode.
        videos_dir: folder that the clips' videos are relative to.
        num_frames: sampled from each clip; a shorter one gives all that it has.
        image_size: side of a frame in pixels.
        num_workers: processes that decode ahead, each at most `PREFETCH` clips; 0 decodes when the next clip is taken,
            so that nothing runs at the same time.
        settings: which reader, and how long it may take for one video.
        fps: frames per second, of which `num_frames` is then the upper bound; None for a fixed number.

    Yields:
        The clip, and its frames or the error that says why there are none.
    """
    dataset = _Decoding(clips, videos_dir, num_frames, fps, image_size, settings)
    workers = min(num_workers, len(clips))
    loader = torch.utils.data.DataLoader(
        dataset,
        batch_size=None,
        num_workers=workers,
        prefetch_factor=PREFETCH if workers else None,
        worker_init_fn=ignore_stop_signals,
    )
    for index, result in loader:
        yield clips[index], result
