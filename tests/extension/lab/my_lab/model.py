"""A TimeChat whose video tokens are averaged over time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from timechat.models import TimeChat
from timechat.models.config import TimeChatConfig
from timechat.registry import registry
from timechat.schema import key


@dataclass
class PooledConfig(TimeChatConfig):
    """TimeChat's keys, and one more."""

    temporal_pool: int = key(2, "windows whose tokens are averaged", least=1, heading="Pooling over time")


@registry.register_model("pooled_timechat", config=PooledConfig)
class PooledTimeChat(TimeChat):
    """Each query token of `temporal_pool` windows becomes one, times a scale that is learned."""

    def build(self, load_weights: bool) -> None:
        """As above, and the scale."""
        super().build(load_weights)
        self.pool_scale = nn.Parameter(torch.ones(self.cfg.qformer.hidden_size))

    def video_tokens(
        self, frames: Tensor, frame_counts: Sequence[int], seconds: Sequence[Sequence[float] | None]
    ) -> list[Tensor]:
        """As above, with fewer tokens."""
        return [self._pool(video) for video in super().video_tokens(frames, frame_counts, seconds)]

    def _pool(self, tokens: Tensor) -> Tensor:
        windows = tokens.unflatten(0, (-1, self.cfg.num_video_query_token))  # [windows, queries, width]
        groups = windows.split(self.cfg.temporal_pool)
        return torch.cat([group.mean(dim=0) for group in groups]) * self.pool_scale

    @classmethod
    def count_video_tokens(cls, cfg: DictConfig, num_frames: int) -> int:
        """As many as `_pool` leaves."""
        windows = super().count_video_tokens(cfg, num_frames) // cfg.num_video_query_token
        return -(-windows // cfg.temporal_pool) * cfg.num_video_query_token
