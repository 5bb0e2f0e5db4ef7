"""The model, one file for each part; `build_model` makes one from the `model` section of a config."""

from __future__ import annotations

from omegaconf import DictConfig

from timechat.models.base import BaseModel
from timechat.models.timechat import TimeChat
from timechat.models.video_encoder import VideoEncoder
from timechat.registry import registry

__all__ = ["BaseModel", "TimeChat", "VideoEncoder", "build_model"]


def build_model(cfg: DictConfig, load_weights: bool = True) -> BaseModel:
    """Build the model that `cfg.arch` names and load every weight file that the section names, in evaluation mode.

    Args:
        cfg: the `model` section, from `timechat.config.load_config`.
        load_weights: False skips all weight files, if only names and shapes matter.

    Raises:
        ConfigError, CheckpointError: naming the key or the file.
    """
    return registry.get_model_class(cfg.arch)(cfg, load_weights=load_weights).eval()
