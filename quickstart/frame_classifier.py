"""The frame encoder with a linear layer on top that predicts which words describe a frame.

It trains a small encoder from scratch. Its checkpoints contain the encoder under the published names
(`visual_encoder.*`, `ln_vision.*`), so that TimeChat can load it through `model.vit_model`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from quickstart.batch import FrameBatch
from quickstart.config import ClassifierConfig
from quickstart.initialization import initialize
from timechat.models.base import BaseModel, StepSize
from timechat.models.checkpoints import part_of
from timechat.models.eva_vit import build_eva_vit, encode_pixels
from timechat.models.flops import PerToken, VisionFlops
from timechat.registry import registry


@registry.register_model("frame_classifier", config=ClassifierConfig)
class FrameClassifier(BaseModel):
    """Encoder, norm, mean over the frame's tokens, one output for each word.

    Args, Attributes, Raises: as for BaseModel; only the frame encoder's keys of the `model` section have an effect.
    """

    def build(self, load_weights: bool) -> None:
        """Create encoder, norm and linear layer."""
        cfg = self.cfg
        self.visual_encoder = build_eva_vit(image_size=cfg.image_size, **cfg.vit, drop_path_rate=cfg.drop_path_rate)
        self.ln_vision = nn.LayerNorm(cfg.vit.embed_dim)
        self.head = nn.Linear(cfg.vit.embed_dim, cfg.num_words)
        initialize(self, cfg.initialization)

    def leaves_out(self, name: str) -> bool:
        """Everything after the frame encoder."""
        return part_of(name) not in ("visual_encoder", "ln_vision")

    def logits(self, frames: Tensor) -> Tensor:
        """Frames uint8 [F, 3, H, W] -> logits [F, W]; above 0, a word is more likely than not."""
        return self.head(self.ln_vision(encode_pixels(self.visual_encoder, frames)).mean(dim=1))

    def forward(self, batch: FrameBatch) -> dict[str, Tensor]:
        """The binary cross-entropies of all words, summed over words.

        Returns:
            `loss`, the mean over all frames, and `sample_losses` [B], the mean over the frames of each video.
        """
        losses = F.binary_cross_entropy_with_logits(self.logits(batch.frames), batch.words, reduction="none").sum(dim=1)
        videos = torch.stack([video.mean() for video in losses.split(batch.frame_counts)])
        return {"loss": losses.mean(), "sample_losses": videos}

    def flop_counter(self) -> Callable[[FrameBatch], float]:
        """A function that counts the matrix products of forward and backward."""
        per_frame = VisionFlops(self.visual_encoder).per_frame + PerToken.of([self.head], True, True)(1)
        return lambda batch: len(batch.frames) * per_frame

    def rehearse(self, size: StepSize) -> Tensor:
        """The forward pass up to the logits."""
        side = self.cfg.image_size
        return self.logits(torch.empty(size.videos * size.frames, 3, side, side, dtype=torch.uint8))
