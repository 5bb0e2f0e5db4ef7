"""Items of annotation files -> instruction samples: frames, seconds, ids and labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from timechat.batch import num_video_tokens
from timechat.datasets.annotations import Item
from timechat.datasets.video import Video
from timechat.errors import EmptySupervisionError
from timechat.text.conversation import encode_conversation
from timechat.text.tokenizers import LlamaTokenizer


@dataclass
class Sample:
    """What the dataset gives and collate takes.

    Attributes:
        frames: uint8 [T, 3, H, W].
        seconds: T times in seconds; None for an image.
        input_ids, labels: of the conversation.
        key: the file and where its annotation stands.
    """

    frames: Tensor
    seconds: list[float] | None
    input_ids: list[int]
    labels: list[int]
    key: str


@dataclass(frozen=True)
class TokenBudget:
    """How frames become tokens; the numbers are those of the config's `model` section."""

    tokenizer: LlamaTokenizer
    max_txt_len: int
    stride: int
    window_size: int
    num_video_query_token: int
    list_seconds: bool = True

    def video_tokens(self, num_frames: int) -> int:
        """LLaMA embeddings of a video of `num_frames` frames."""
        return num_video_tokens(num_frames, self.stride, self.num_video_query_token, self.window_size)


class InstructionDataset(torch.utils.data.Dataset):
    """Question-answer turns about videos or images.

    Args:
        name: of the dataset, for messages.
        items: what `read_instructions` or `read_captions` gave.
        videos_dir: the folder that their paths are relative to.
        load: reads a file: (path, generator) -> Video.
        processor: crops; uint8 [T, 3, H, W] before and after.
        budget: how frames become tokens.
        timestamps: whether the frames have times (videos) or not (images).

    Attributes:
        makes: the class of the samples, which decides what tasks can be given them.
    """

    makes: ClassVar[type] = Sample

    def __init__(
        self,
        name: str,
        items: Sequence[Item],
        videos_dir: str | Path,
        *,
        load: Callable[[str, torch.Generator], Video],
        processor: Callable[[Tensor, torch.Generator], Tensor],
        budget: TokenBudget,
        timestamps: bool = True,
    ):
        self.name = name
        self.items = items
        self.videos_dir = Path(videos_dir)
        self.load, self.processor, self.budget, self.timestamps = load, processor, budget, timestamps

    def __len__(self) -> int:
        return len(self.items)

    def key(self, index: int) -> str:
        """Where a sample comes from, for logs: dataset, index, file."""
        return f"{self.name}[{index}] {self.path(index)}"

    def path(self, index: int) -> str:
        """The file of a sample, relative to `videos_dir`; several samples may be about one file."""
        return self.items[index].path

    def read_video(self, index: int, generator: torch.Generator) -> Video:
        """The sampled frames of an item. Raises SampleError: the file cannot be decoded."""
        return self.load(str(self.videos_dir / self.path(index)), generator)

    def conversation(
        self, index: int, seconds: Sequence[float], generator: torch.Generator
    ) -> Sequence[dict[str, str]]:
        """The turns about the frames at these seconds."""
        return self.items[index].qa

    def sample(self, index: int, generator: torch.Generator) -> Sample:
        """Read one sample; all its randomness comes from the generator.

        Raises:
            SampleError: the file cannot be decoded, or the cut leaves nothing to learn.
            ConversationError: `max_txt_len` cuts inside the video tokens.
        """
        video = self.read_video(index, generator)
        frames = self.processor(video.frames, generator)
        seconds = video.seconds if self.timestamps else None
        encoded = encode_conversation(
            self.conversation(index, video.seconds, generator),
            seconds,
            self.budget.tokenizer,
            num_video_tokens=self.budget.video_tokens(len(frames)),
            max_txt_len=self.budget.max_txt_len,
            list_seconds=self.budget.list_seconds,
        )
        if encoded.num_supervised == 0:
            raise EmptySupervisionError(
                f"{self.key(index)}: max_txt_len={self.budget.max_txt_len} cuts the conversation before its first "
                "answer, nothing is left to learn; raise model.max_txt_len"
            )
        return Sample(frames, seconds, encoded.input_ids, encoded.labels, self.key(index))
