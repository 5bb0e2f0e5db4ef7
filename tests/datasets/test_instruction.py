"""Items -> samples: exact ids, frames and seconds."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.tiny import LLAMA, QA
from helpers.videos import write_video
from PIL import Image

from timechat.batch import num_video_tokens
from timechat.datasets.annotations import Item
from timechat.datasets.instruction import (
    InstructionDataset,
    TokenBudget,
)
from timechat.datasets.processors import AlproVideoEval, AlproVideoTrain
from timechat.datasets.video import load_image, load_video
from timechat.errors import ConversationError, EmptySupervisionError, VideoError
from timechat.text.conversation import encode_conversation
from timechat.text.tokenizers import load_tokenizer

# Samples --------------------------------------------------------------------------------------------------------------


def budget(max_txt_len: int = 999) -> TokenBudget:
    """The tiny tokenizer; windows of 4, 2 tokens each."""
    count = partial(num_video_tokens, stride=4, num_queries=2, window_size=4)
    return TokenBudget(tokenizer=load_tokenizer(LLAMA), max_txt_len=max_txt_len, count_video_tokens=count)


def dataset(
    tmp_path: Path, path: str = "a.mp4", max_txt_len: int = 999, sampling: str = "uniform"
) -> InstructionDataset:
    """One video of 20 frames at 10 frames a second, 6 of them sampled."""

    def load(path: str, generator: torch.Generator) -> Any:
        return load_video(path, n_frms=6, image_size=56, sampling=sampling, generator=generator)

    if not (tmp_path / "a.mp4").exists():
        write_video(tmp_path / "a.mp4", frames=20)
    processor = AlproVideoTrain(56, 6) if sampling == "rand" else AlproVideoEval(56, 6)
    items = [Item(path, tuple(QA))]
    return InstructionDataset("cook", items, tmp_path, load=load, processor=processor, budget=budget(max_txt_len))


def generator(seed: int = 0) -> torch.Generator:
    """Randomness of one sample."""
    return torch.Generator().manual_seed(seed)


def test_a_sample_has_frames_times_and_its_conversation(tmp_path: Path) -> None:
    data = dataset(tmp_path)
    sample = data.sample(0, generator())
    video = load_video(str(tmp_path / "a.mp4"), n_frms=6, image_size=56)
    assert sample.frames.dtype == torch.uint8
    assert torch.equal(sample.frames, video.frames)
    assert sample.seconds == pytest.approx([0.0, 0.3, 0.6, 1.0, 1.3, 1.6])
    tokenizer = load_tokenizer(LLAMA)
    expected = encode_conversation(QA, sample.seconds, tokenizer, num_video_tokens=4, max_txt_len=999)
    assert (sample.input_ids, sample.labels) == (expected.input_ids, expected.labels)
    assert sample.key == data.key(0) == "cook[0] a.mp4"
    assert len(data) == 1


def test_rand_follows_its_generator_alone(tmp_path: Path) -> None:
    data = dataset(tmp_path, sampling="rand")
    torch.manual_seed(1)
    first = data.sample(0, generator(5))
    torch.manual_seed(2)
    again, other = data.sample(0, generator(5)), data.sample(0, generator(6))
    assert first.seconds == again.seconds != other.seconds
    assert torch.equal(first.frames, again.frames)
    assert first.input_ids == again.input_ids


def test_an_image_is_one_frame_without_times(tmp_path: Path) -> None:
    Image.fromarray(np.full((20, 30, 3), 90, np.uint8)).save(tmp_path / "x.png")
    data = InstructionDataset(
        "llava",
        [Item("x.png", tuple(QA))],
        tmp_path,
        load=lambda path, generator: load_image(path, image_size=56),
        processor=AlproVideoEval(56, 1),
        budget=budget(),
        timestamps=False,
    )
    sample = data.sample(0, generator())
    assert sample.seconds is None
    assert sample.frames.shape == (1, 3, 56, 56)
    assert sample.frames.unique().tolist() == [90]
    expected = encode_conversation(QA, None, load_tokenizer(LLAMA), num_video_tokens=2, max_txt_len=999)
    assert sample.input_ids == expected.input_ids


def test_nothing_to_learn_is_an_error_of_the_sample(tmp_path: Path) -> None:
    labels = dataset(tmp_path).sample(0, generator()).labels
    answer = next(i for i, label in enumerate(labels) if label != -100)
    message = rf"cook\[0\] a\.mp4: max_txt_len={answer} truncates the conversation before its first answer"
    with pytest.raises(EmptySupervisionError, match=message):
        dataset(tmp_path, max_txt_len=answer).sample(0, generator())
    assert dataset(tmp_path, max_txt_len=answer + 1).sample(0, generator()).labels[-1] != -100


def test_a_cut_inside_the_video_is_an_error_of_the_config(tmp_path: Path) -> None:
    with pytest.raises(ConversationError, match=r"raise model\.max_txt_len"):
        dataset(tmp_path, max_txt_len=20).sample(0, generator())


def test_an_unreadable_video_is_an_error_of_the_sample(tmp_path: Path) -> None:
    (tmp_path / "bad.mp4").write_text("hello")
    with pytest.raises(VideoError, match=r"bad\.mp4"):
        dataset(tmp_path, "bad.mp4").sample(0, generator())
