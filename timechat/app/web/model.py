"""One model for all visitors of the page: it works on one thing at a time."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from timechat.app.api import Asked, EncodedVideo, VideoLanguageModel, VideoLike
from timechat.config import frame_sampling, frames_per_video
from timechat.datasets.readers import ReaderSettings
from timechat.datasets.video import FRAME_SUFFIXES, Video, load_image, load_video
from timechat.models.llama import lora_alpha
from timechat.models.watching import Watch


class SharedModel(VideoLanguageModel):
    """A model that visitors share: encoding and answering wait for each other, in whichever threads they run.

    Args:
        model: the loaded one.

    Attributes:
        frames: how many frames are sampled from a video if nothing else is said.
        most_frames: how many there can be.
        lora_alpha: of the config; None for a model without LoRA.
    """

    def __init__(self, model: VideoLanguageModel):
        super().__init__(model.cfg, model.model, str(model.device))
        section = model.cfg.model
        self.prompts = model.prompts
        self.frames: int = frames_per_video(section)
        self.most_frames: int = section.max_frame_pos
        self.lora_alpha: float | None = section.get("lora_alpha") if section.get("lora") else None
        self._free = threading.Lock()

    def decode(self, path: str | os.PathLike[str], frames: int) -> Video:
        """Frames of a video, `frames` of them at most, or the one of an image. Raises VideoError."""
        section = self.cfg.model
        if is_image(path):
            return load_image(path, image_size=section.image_size)
        sampling = {**frame_sampling(section), "n_frms": frames}
        return load_video(path, **sampling, settings=ReaderSettings.of(section))

    def encode(self, video: VideoLike) -> EncodedVideo:
        """As of `VideoLanguageModel`, when the model is free."""
        if isinstance(video, EncodedVideo):
            return video
        with self._free:
            return super().encode(video)

    def _asked(self, video: VideoLike, question: str, **options: Any) -> Asked:
        """With one more option, `lora_alpha`: the scale of the adapters for this answer."""
        alpha = options.pop("lora_alpha", None)
        asked = super()._asked(video, question, **options)
        return asked._replace(generate=self._alone(asked.generate, alpha))

    def _alone(self, generate: Callable[[Watch | None], str], alpha: float | None) -> Callable[[Watch | None], str]:
        def run(watch: Watch | None) -> str:
            with self._free, lora_alpha(self.model, alpha):
                return generate(watch)

        return run


def is_image(path: str | os.PathLike[str]) -> bool:
    """Whether a file is asked about as a picture."""
    return Path(path).suffix.lower() in FRAME_SUFFIXES
