"""A model that answers by template, and questions about three tiny video files, for tests of prediction."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from helpers.videos import write_video
from timechat.evaluation.benchmarks import Question
from timechat.evaluation.predict import PredictSettings

SETTINGS = PredictSettings(num_frames=6, image_size=56, max_new_tokens=12, fingerprint={"model.ckpt": "a.pth"})


class Scripted:
    """Answers by template; counts what it is asked, and can be killed after some answers."""

    def __init__(self, dies_after: int | None = None):
        self.encoded, self.batches, self.left = 0, [], dies_after

    def encode_video(self, frames: Sequence[Tensor], seconds: Sequence[Sequence[float]]) -> list[Tensor]:
        self.encoded += len(frames)
        assert all(f.dtype == torch.uint8 and f.shape[1:] == (3, 56, 56) for f in frames)
        assert [len(s) for s in seconds] == [len(f) for f in frames]
        return [torch.full((2, 4), float(len(f))) for f in frames]

    def answer(
        self, videos: Sequence[Tensor], seconds: Sequence[Sequence[float]], prompts: Sequence[str], **options: Any
    ) -> list[str]:
        if self.left is not None:
            if self.left <= 0:
                raise KeyboardInterrupt
            self.left -= len(prompts)
        self.batches.append(list(prompts))
        return [f"{p}: {int(v[0, 0])} frames" for p, v in zip(prompts, videos, strict=True)]

    @property
    def asked(self) -> list[str]:
        return [prompt for batch in self.batches for prompt in batch]


def write_videos(folder: Path) -> Path:
    """a.mp4 (2 s, 20 frames), b.mp4 (2 s, 4 frames), broken.mp4; returns the folder."""
    write_video(folder / "a.mp4", frames=20)
    write_video(folder / "b.mp4", frames=4, fps=2)
    (folder / "broken.mp4").write_text("no video")
    return folder


def ask(id: str, video: str, prompt: str = "") -> Question:
    """A question about a whole video."""
    return Question(id, video, "", prompt or f"What is {id}")


QUESTIONS = [ask("1", "a.mp4"), ask("2", "b.mp4"), ask("3", "a.mp4"), ask("4", "broken.mp4"), ask("5", "gone.mp4")]
READABLE = {"1": "What is 1: 6 frames", "2": "What is 2: 4 frames", "3": "What is 3: 6 frames"}
