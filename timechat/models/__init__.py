"""The model, one file for each part; `build_model` makes one from the `model` section of a config."""

from __future__ import annotations

from omegaconf import DictConfig

from timechat.errors import ConfigError
from timechat.models.base import BaseModel
from timechat.models.timechat import TimeChat
from timechat.models.video_encoder import VideoEncoder
from timechat.registry import registry

__all__ = ["BaseModel", "TimeChat", "VideoEncoder", "build_model", "must_answer"]


def build_model(cfg: DictConfig, load_weights: bool = True) -> BaseModel:
    """Build the model that `cfg.arch` names and load every weight file that the section names, in evaluation mode.

    Args:
        cfg: the `model` section, from `timechat.config.load_config`.
        load_weights: False skips all weight files, if only names and shapes matter.

    Raises:
        ConfigError, CheckpointError: naming the key or the file.
    """
    return registry.get_model_class(cfg.arch)(cfg, load_weights=load_weights).eval()


def must_answer(cfg: DictConfig, *, llama: bool = False) -> None:
    """Refuse a model that cannot answer questions about videos, before its weights are loaded.

    Args:
        cfg: the `model` section.
        llama: whether the caller looks into the decoder, so that it has to be the LLaMA of a TimeChat.

    Raises:
        ConfigError: naming the model.
    """
    cls = registry.get_model_class(cfg.arch)
    if not all(callable(getattr(cls, method, None)) for method in ("encode_video", "answer")):
        raise ConfigError(
            f"model.arch={cfg.arch}: has no decoder, so it cannot answer questions; name the config of a whole model, "
            "such as one with model.arch=timechat"
        )
    if llama and not issubclass(cls, TimeChat):
        raise ConfigError(f"model.arch={cfg.arch}: its decoder is not the LLaMA of a TimeChat, which is needed here")
