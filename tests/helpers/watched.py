"""A model that writes known words one after the other, as slowly as a test wants, for tests of what shows them."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from helpers.tiny import tiny_config
from timechat.app.api import VideoLanguageModel
from timechat.app.web.model import SharedModel
from timechat.models.watching import PartialAnswer, Watch

MOMENT = "The given query happens in 2.0 - 3.5 seconds."
CAPTIONS = "0.5 - 1.0 seconds, dark. 2.0 - 3.5 seconds, bright."
HIGHLIGHTS = "There are 2 highlight moments in the 1.0, 3.0 second. Their saliency scores are 2.0, 4.0."


class Slow(nn.Module):
    """Answers each prompt with the first script whose key is in it.

    Args:
        scripts: part of a prompt -> the answer, or what is raised; "" fits every prompt.
        pause: seconds before each word.
    """

    def __init__(self, scripts: dict[str, str | Exception], pause: float = 0.0):
        super().__init__()
        self.scripts, self.pause = scripts, pause
        self.go_on = threading.Event()  # set, it hurries
        self.encoded: list[int] = []
        self.asked: list[dict[str, Any]] = []
        self.working = self.most = 0  # answers that are being written at a time

    def encode_video(self, frames: Sequence[Tensor], seconds: Sequence[Sequence[float] | None]) -> list[Tensor]:
        self.encoded += [len(video) for video in frames]
        return [torch.zeros(2, 4) for _ in frames]

    def answer(
        self,
        videos: Sequence[Tensor],
        seconds: Sequence[Sequence[float] | None],
        prompts: Sequence[str],
        watch: Watch | None = None,
        **options: Any,
    ) -> list[str]:
        self.asked.append({"prompt": prompts[0], **options})
        self.working += 1
        self.most = max(self.most, self.working)
        try:
            return [self._write(prompts[0], watch or (lambda answers: [False]))]
        finally:
            self.working -= 1

    def _write(self, prompt: str, watch: Watch) -> str:
        script = next(answer for key, answer in self.scripts.items() if key in prompt)
        if isinstance(script, Exception):
            raise script
        words = script.split(" ")
        for count in range(1, len(words) + 1):
            self.go_on.wait(self.pause)
            text = " ".join(words[:count])
            if watch([PartialAnswer(text, count, count == len(words))])[0]:
                return text
        return script


def shared(model: nn.Module | None = None, **scripts: Any) -> SharedModel:
    """A model for the page with the tiny model's config."""
    own: Any = model or Slow(scripts or {"": MOMENT})
    return SharedModel(VideoLanguageModel(tiny_config(["run.device=cpu"]), own))
