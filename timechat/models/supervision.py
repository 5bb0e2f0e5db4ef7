"""What a batch's conversations ask of the decoder.

It is found out on the host, which has had the conversations before the device: each number that is read from a device
waits for all that is queued there, such as the backward pass of the micro-batch before.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from timechat.batch import VideoBatch
from timechat.device import send
from timechat.text.conversation import IGNORE_INDEX


@dataclass(frozen=True)
class Supervision:
    """B rows, and the N tokens that are learned. Tensors are on the device of the batch.

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
    def of(cls, batch: VideoBatch, video_id: int) -> Supervision:
        """Read it from a batch, which is padded on the right, and in which `video_id` stands for a video."""
        text, device = batch.on_host or batch, batch.input_ids.device
        lengths: list[int] = (text.attention_mask.sum(dim=1) - 1).tolist()
        places: list[int] = (text.input_ids == video_id).sum(dim=1).tolist()
        following = [row[1 : length + 1] for row, length in zip(text.labels, lengths, strict=True)]
        targets = torch.cat(following)
        (index,) = (targets != IGNORE_INDEX).nonzero(as_tuple=True)
        counts = torch.stack([(row != IGNORE_INDEX).sum() for row in following])
        numbers = torch.arange(len(lengths), device=counts.device)
        rows = numbers.repeat_interleave(counts, output_size=len(index))
        return cls(lengths, places, *(send(tensor, device) for tensor in (index, targets[index], rows, counts)))
