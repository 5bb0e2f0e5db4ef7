"""The model that answers, built as late as possible, and once for evaluations that ask the same one."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, Protocol, cast

import torch
from omegaconf import DictConfig
from torch import Tensor

from timechat.models import build_model
from timechat.models.compiling import GraphCount, compile_layers


class VideoModel(Protocol):
    """What prediction needs from a model; `timechat.models.TimeChat` has it."""

    def encode_video(self, frames: Sequence[Tensor], seconds: Sequence[Sequence[float] | None]) -> list[Tensor]:
        """Videos -> embeddings."""

    def answer(
        self,
        videos: Sequence[Tensor],
        seconds: Sequence[Sequence[float] | None],
        prompts: Sequence[str],
        **options: Any,
    ) -> list[str]:
        """One answer for each prompt."""


class LazyModel:
    """A model that is built when the first clip has been decoded: a run that has all its answers loads no weights."""

    def __init__(self, build: Callable[[], VideoModel]):
        self._build = build

    @functools.cached_property
    def model(self) -> VideoModel:
        """The model itself."""
        return self._build()

    def encode_video(self, *videos: Any) -> list[Tensor]:
        """As of the model."""
        return self.model.encode_video(*videos)

    def answer(self, *questions: Any, **options: Any) -> list[str]:
        """As of the model."""
        return self.model.answer(*questions, **options)


class ModelBuilder:
    """Builds models for one evaluation after the other; one whose config is the same as before gets the same model.

    Attributes:
        graphs: of the model's layers, if they are compiled.
    """

    graphs: GraphCount | None = None

    def __init__(self) -> None:
        self._asked: tuple[DictConfig, torch.device, bool] | None = None
        self._model: VideoModel | None = None

    def __call__(self, section: DictConfig, device: torch.device, compiled: bool = False) -> VideoModel:
        """The model of a config's section `model`, which must be one that answers, on the device.

        Args:
            section: of the config.
            device: where the model computes.
            compiled: whether its layers are compiled.

        Raises:
            ConfigError, CheckpointError: as `build_model`, and as `compile_layers`.
        """
        asked = section, device, compiled
        if self._model is None or self._asked != asked:
            self._model = None  # two might not fit into memory
            model = build_model(section).to(device).eval()
            self.graphs = compile_layers(model) if compiled else None
            self._model, self._asked = cast(VideoModel, model), asked
        return self._model
