"""The sliding video Q-Former (paper, section 3.2): a window moves over the frame tokens and yields Q tokens each time.

Long videos get more tokens, in proportion to their length. Shapes: T frames, M tokens per frame, D width, Q query
tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from einops import rearrange
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from timechat.device import send
from timechat.models.qformer import QFormer


def window_slices(num_frames: int, window_size: int, stride: int) -> list[slice]:
    """The frames of each window: one starts at every multiple of `stride` below `num_frames`; the last may be short.

    A `window_size` of 0 means one window over all frames.
    """
    if window_size <= 0:
        return [slice(0, num_frames)]
    return [slice(start, min(start + window_size, num_frames)) for start in range(0, num_frames, stride)]


def encode_windows(
    qformer: QFormer, query_tokens: Tensor, videos: Sequence[Tensor], *, window_size: int, stride: int
) -> list[Tensor]:
    """Compress every window of every video in one pass.

    Windows differ in length, within a video and between videos: they are padded to the longest and masked, so that each
    gives the same result as alone.

    Args:
        qformer: the video Q-Former.
        query_tokens: [1, Q, D].
        videos: [T_i, M_i, D] each, frame positions added.

    Returns:
        For each video [windows_i * Q, D].
    """
    slices = [window_slices(len(video), window_size, stride) for video in videos]
    windows = [
        rearrange(video[where], "t m d -> (t m) d") for video, its in zip(videos, slices, strict=True) for where in its
    ]
    lengths, mask = [len(window) for window in windows], None
    packed = pad_sequence(windows, batch_first=True)
    if len(set(lengths)) > 1:
        mask = send(torch.arange(packed.shape[1]) < torch.tensor(lengths)[:, None], packed.device)
    out = qformer(query_tokens.expand(len(windows), -1, -1), packed, mask)
    return [rearrange(part, "windows q d -> (windows q) d") for part in out.split([len(its) for its in slices])]
