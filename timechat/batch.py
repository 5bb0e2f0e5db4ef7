"""VideoBatch: what `collate` returns and the model takes; and how many tokens a video becomes.

Shapes: B videos, F = sum of all their frame counts, S text tokens of the longest conversation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

import torch

from timechat.text.conversation import IGNORE_INDEX

if TYPE_CHECKING:
    from typing_extensions import Self


def num_windows(num_frames: int, stride: int, window_size: int) -> int:
    """How many windows the sliding video Q-Former places on a video: one for `window_size` 0, else one per stride."""
    return 1 if window_size <= 0 else -(-num_frames // stride)


def num_video_tokens(num_frames: int, stride: int, num_queries: int, window_size: int) -> int:
    """How many video tokens a video of `num_frames` frames becomes (paper, section 3.2)."""
    return num_windows(num_frames, stride, window_size) * num_queries


@dataclass
class Batch:
    """What the training loop must know about a micro-batch; its tensors move together.

    Attributes:
        frames: uint8 [F, 3, H, W], the frames of all videos one after the other.
        frame_counts: frames of each video, B numbers that add up to F.
        keys: where each sample came from, for logs.
        skipped: samples that were replaced while this batch was read, as JSON-ready records.
        dummy: the epoch has samples left for other processes, but not for this one; these samples do not count.
    """

    frames: torch.Tensor
    frame_counts: list[int]
    keys: list[str] = field(default_factory=list, kw_only=True)
    skipped: list[dict[str, Any]] = field(default_factory=list, kw_only=True)
    dummy: bool = field(default=False, kw_only=True)

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.frame_counts)

    @property
    def num_counted(self) -> int:
        """Number of samples that count in the loss."""
        return 0 if self.dummy else len(self)

    @property
    def num_tokens(self) -> int:
        """How many tokens the decoder reads, without padding; 0 without a decoder."""
        return 0

    def describe(self) -> str:
        """One line about its size, for `--dry-run`."""
        return f"{len(self)} videos, {sum(self.frame_counts)} frames"

    def to(self, device: torch.device | str) -> Self:
        """The same batch with its tensors on a device."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Self:
        """Called by DataLoader, so that copies to a GPU overlap with work."""
        return self._map(torch.Tensor.pin_memory)

    def record_stream(self, stream: torch.cuda.Stream) -> None:
        """Say that a CUDA stream uses the tensors, which were made on another one: without it, their memory could be
        given to other tensors while the work of `stream` still reads it."""
        for tensor in self._tensors().values():
            tensor.record_stream(stream)

    def _map(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Self:
        changed: dict[str, Any] = {name: change(tensor) for name, tensor in self._tensors().items()}
        return replace(self, **changed)

    def _tensors(self) -> dict[str, torch.Tensor]:
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, torch.Tensor)}


@dataclass
class VideoBatch(Batch):
    """A ragged batch of conversations about videos.

    Attributes:
        frames: as in Batch; floats are taken as normalised already.
        seconds: the time in seconds of each frame of each video; None for an image.
        input_ids: [B, S], padded on the right with 0.
        labels: [B, S], -100 where a token is not supervised.
        attention_mask: bool [B, S], False on padding.
        on_host: of a batch that moved to a device, the one it was, without frames. Whoever reads numbers there does not
            wait for the device; whoever changes the text of a moved batch sets it to None.
    """

    seconds: list[Sequence[float] | None]
    input_ids: torch.Tensor
    labels: torch.Tensor
    attention_mask: torch.Tensor
    on_host: VideoBatch | None = field(default=None, kw_only=True, repr=False, compare=False)

    def to(self, device: torch.device | str) -> Self:
        """The same batch with its tensors on a device."""
        on_host = self.on_host or replace(self, frames=self.frames.new_empty(0))
        return replace(super().to(device), on_host=on_host)

    @property
    def num_supervised(self) -> int:
        """How many tokens the loss covers: the model predicts each one from those before it."""
        return int((self.labels[:, 1:] != IGNORE_INDEX).sum())

    @property
    def num_tokens(self) -> int:
        """How many tokens the decoder reads, without padding."""
        return int(self.attention_mask.sum())

    def describe(self) -> str:
        """Number of rows, tokens of the longest, and supervised tokens."""
        rows, length = self.input_ids.shape
        return f"{rows} x {length} tokens, {self.num_supervised} of them supervised"


def pad_conversations(
    conversations: Sequence[tuple[Sequence[int], Sequence[int]]], pad_id: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Pad (input_ids, labels) pairs on the right to the longest: input_ids, labels, attention_mask, each [B, S]."""
    longest = max(len(ids) for ids, _ in conversations)
    input_ids = torch.full((len(conversations), longest), pad_id, dtype=torch.long)
    labels = torch.full_like(input_ids, IGNORE_INDEX)
    attention_mask = torch.zeros_like(input_ids, dtype=torch.bool)
    for i, (ids, targets) in enumerate(conversations):
        input_ids[i, : len(ids)] = torch.tensor(ids)
        labels[i, : len(ids)] = torch.tensor(targets)
        attention_mask[i, : len(ids)] = True
    return input_ids, labels, attention_mask
