"""The frame encoder with a linear layer on top that says which words describe a frame.

It serves to train a small encoder from nothing. Its checkpoints carry the encoder under the published names
(`visual_encoder.*`, `ln_vision.*`), so that TimeChat takes it from them through `model.ckpt`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from omegaconf import DictConfig
from torch import Tensor, nn

from timechat.batch import FrameBatch
from timechat.errors import ConfigError
from timechat.models.checkpoints import load_configured_weights
from timechat.models.eva_vit import build_eva_vit, encode_pixels
from timechat.models.initialization import begin_at_fan_in
from timechat.registry import registry


@registry.register_model("frame_classifier")
class FrameClassifier(nn.Module):
    """Encoder, norm, mean over the frame's tokens, one output for each word.

    Args:
        cfg: the `model` section of a config, of which the frame encoder's keys count.
        num_words: W, how many words there are.
        load_weights: False skips the weight files that the section names.

    Raises:
        ConfigError: the encoder is frozen, or not in fp32.
    """

    def __init__(self, cfg: DictConfig, num_words: int, load_weights: bool = True):
        super().__init__()
        if cfg.freeze_vit or cfg.vit_precision != "fp32":
            raise ConfigError("model.arch=frame_classifier trains the ViT: set freeze_vit=false and vit_precision=fp32")
        self.cfg = cfg
        self.visual_encoder = build_eva_vit(image_size=cfg.image_size, **cfg.vit, drop_path_rate=cfg.drop_path_rate)
        self.ln_vision = nn.LayerNorm(cfg.vit.embed_dim)
        self.head = nn.Linear(cfg.vit.embed_dim, num_words)
        if cfg.initialization == "fan_in":
            begin_at_fan_in(self)
        self.load_reports = load_configured_weights(self, cfg) if load_weights else []

    def scores(self, frames: Tensor) -> Tensor:
        """Frames uint8 [F, 3, H, W] -> logits [F, W]; above 0 a word is more likely than not."""
        return self.head(self.ln_vision(encode_pixels(self.visual_encoder, frames)).mean(dim=1))

    def forward(self, batch: FrameBatch) -> dict[str, Tensor]:
        """The binary cross-entropies of all words, summed over words.

        Returns:
            `loss`, the mean over all frames, and `sample_losses` [B], the mean over the frames of each video.
        """
        losses = F.binary_cross_entropy_with_logits(self.scores(batch.frames), batch.words, reduction="none").sum(dim=1)
        videos = torch.stack([video.mean() for video in losses.split(batch.frame_counts)])
        return {"loss": losses.mean(), "sample_losses": videos}
