"""What a batch's conversations ask of the decoder, read out of its tensors before the device has work to do.

Each number that the host reads from a device waits for all that is queued there. So a forward pass reads what it needs
at once, and first: while the frames are encoded, nothing waits.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from timechat.batch import VideoBatch
from timechat.text.conversation import IGNORE_INDEX


@dataclass(frozen=True)
class Supervision:
    """B rows, and the N tokens that are learned.

    Attributes:
        lengths: tokens that the decoder reads in each row; nothing comes after the last one of a conversation.
        places: of these, those that stand for a video.
        index: [N], the tokens before those that are learned, among all that are read, row after row.
        targets: [N], the ids that should follow.
        rows: [N], which row each belongs to.
        counts: [B], how many of them a row has.
    """

    lengths: list[int]
    places: list[int]
    index: Tensor
    targets: Tensor
    rows: Tensor
    counts: Tensor

    @classmethod
    def of(cls, batch: VideoBatch, is_video: Tensor) -> Supervision:
        """Read it from a batch, which is padded on the right, and the mark of its videos' places, bool [B, S]."""
        read = batch.attention_mask.sum(dim=1) - 1
        lengths, places = torch.stack([read, is_video.sum(dim=1)]).tolist()
        following = [row[1 : length + 1] for row, length in zip(batch.labels, lengths, strict=True)]
        targets = torch.cat(following)
        (index,) = (targets != IGNORE_INDEX).nonzero(as_tuple=True)
        counts = torch.stack([(row != IGNORE_INDEX).sum() for row in following])
        numbers = torch.arange(len(lengths), device=counts.device)
        rows = numbers.repeat_interleave(counts, output_size=len(index))
        return cls(lengths, places, index, targets[index], rows, counts)
