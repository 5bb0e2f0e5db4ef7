"""Annotated items -> instruction samples: frames, seconds, ids and labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from timechat.datasets.base import VideoDataset
from timechat.errors import EmptySupervisionError
from timechat.text.conversation import encode_conversation
from timechat.text.tokenizers import LlamaTokenizer


@dataclass
class InstructionSample:
    """What the dataset returns and `collate` packs.

    Attributes:
        frames: uint8 [T, 3, H, W].
        seconds: T times in seconds; None for an image.
        input_ids, labels: of the conversation.
        key: the file and the position of its annotation.
    """

    frames: Tensor
    seconds: list[float] | None
    input_ids: list[int]
    labels: list[int]
    key: str


@dataclass(frozen=True)
class TokenBudget:
    """How a sample becomes tokens, according to the config's `model` section.

    Attributes:
        tokenizer: the decoder's.
        max_txt_len: largest number of tokens of a conversation.
        count_video_tokens: number of frames -> number of video tokens.
        list_seconds: whether the prompt lists the times of the frames.
    """

    tokenizer: LlamaTokenizer
    max_txt_len: int
    count_video_tokens: Callable[[int], int]
    list_seconds: bool = True


class InstructionDataset(VideoDataset):
    """Question-answer turns about videos or images.

    Args:
        budget: how a sample becomes tokens.
        timestamps: whether the frames have times (videos) or not (images).
        blank_size: side, in pixels, of the blank picture that an item without a path has. Its conversation is text
            alone, and does not show it; but a model computes something for every sample, as its processes wait for
            each other's gradients.
        others: as for VideoDataset; the items have turns, `qa`.
    """

    makes = InstructionSample

    def __init__(
        self, *others: Any, budget: TokenBudget, timestamps: bool = True, blank_size: int = 0, **settings: Any
    ):
        super().__init__(*others, **settings)
        self.budget, self.timestamps, self.blank_size = budget, timestamps, blank_size

    def sample(self, index: int, generator: torch.Generator) -> InstructionSample:
        """Read one sample; all its randomness comes from the generator.

        Raises:
            SampleError: the file cannot be decoded, or the cut leaves nothing to learn.
            ConversationError: `max_txt_len` would drop video tokens.
        """
        if not self.path(index):
            blank = torch.zeros(1, 3, self.blank_size, self.blank_size, dtype=torch.uint8)
            return self.encode(index, blank, None, self.items[index].qa)
        video = self.read_video(index, generator)
        return self.encode(index, self.processor(video.frames, generator), video.seconds, self.items[index].qa)

    def encode(
        self, index: int, frames: Tensor, seconds: list[float] | None, turns: Sequence[Mapping[str, str]]
    ) -> InstructionSample:
        """Encode frames and a conversation about them.

        Args:
            index: of the item.
            frames: uint8 [T, 3, H, W], processed.
            seconds: T times in seconds.
            turns: questions "q" and answers "a", in order.

        Raises:
            As `sample`.
        """
        seconds = seconds if self.timestamps else None
        encoded = encode_conversation(
            turns,
            seconds,
            self.budget.tokenizer,
            num_video_tokens=self.budget.count_video_tokens(len(frames)) if self.path(index) else 0,
            max_txt_len=self.budget.max_txt_len,
            list_seconds=self.budget.list_seconds,
        )
        if encoded.num_supervised == 0:
            raise EmptySupervisionError(
                f"{self.key(index)}: max_txt_len={self.budget.max_txt_len} truncates the conversation before its first "
                "answer, so there is nothing to learn; raise model.max_txt_len"
            )
        return InstructionSample(frames, seconds, encoded.input_ids, encoded.labels, self.key(index))
