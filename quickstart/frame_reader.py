"""Both Q-Formers with a linear layer on top that predicts what the frames of each video token show, and their times.

It trains small Q-Formers from scratch before a decoder uses them, as BLIP-2's Q-Former is first trained without its
decoder. From a decoder's answers alone they learn too late what frames show: random Q-Formers pass on hardly any of it
(less than a hundredth of the energy of the quick start's tokens), and until then the decoder learns to do without.
Checkpoints have the published names, so that TimeChat can load encoder and Q-Formers through `model.ckpt`.

Shapes: B videos, F frames of all videos, T frames of one, W words, N tokens of one video, D width of the Q-Formers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from quickstart.batch import FrameBatch
from quickstart.config import WordsConfig
from quickstart.initialization import initialize
from timechat.models.base import StepSize
from timechat.models.flops import VideoFlops
from timechat.models.video_encoder import VideoEncoder
from timechat.models.video_qformer import window_slices
from timechat.registry import registry

PLACES = 4  # digits of a time: hundreds, tens and ones of seconds, and tenths


@registry.register_model("frame_reader", config=WordsConfig)
class FrameReader(VideoEncoder):
    """TimeChat up to the video Q-Former, with one output for each word and each digit of a time.

    A window's tokens divide its frames among them: of 4 tokens and a window of 8 frames, the first is about frames 0
    and 1.

    Args, Attributes, Raises: as for BaseModel.
    """

    def build(self, load_weights: bool) -> None:
        """Create frame encoder, Q-Formers and the linear layer."""
        super().build(load_weights)
        initialize(self, self.cfg.initialization)
        self.readout = nn.Linear(self.cfg.qformer.hidden_size, self.cfg.num_words + 10 * PLACES)

    def logits(self, batch: FrameBatch) -> list[Tensor]:
        """Logits of words and digits for each token: [N_i, W + 10 * PLACES] for each video."""
        videos = self.video_tokens(batch.frames, batch.frame_counts, batch.seconds)
        return [self.readout(video) for video in videos]

    def targets(self, batch: FrameBatch) -> list[Tensor]:
        """The targets of each token: 1 for the words and digits of its frames, 0 for others; shaped as `logits`.

        A token whose frames are missing in a short window has only zeros.
        """
        digits = [digits_of(times, batch.words) for times in batch.seconds]
        videos = zip(batch.words.split(batch.frame_counts), digits, strict=True)
        return [self._of_tokens(torch.cat(parts, dim=1)) for parts in videos]

    def _of_tokens(self, frames: Tensor) -> Tensor:
        """Targets of each frame [T, C] -> of each token [N, C]."""
        cfg, tokens = self.cfg, self.cfg.num_video_query_token
        size = cfg.window_size if cfg.window_size > 0 else cfg.max_frame_pos
        shares = [(k * size // tokens, max((k + 1) * size // tokens, k * size // tokens + 1)) for k in range(tokens)]
        windows = [frames[where] for where in window_slices(len(frames), cfg.window_size, cfg.stride)]
        nothing = frames.new_zeros(frames.shape[1])
        rows = [w[a:b].amax(dim=0) if a < len(w) else nothing for w in windows for a, b in shares]
        return torch.stack(rows)

    def forward(self, batch: FrameBatch) -> dict[str, Tensor]:
        """The binary cross-entropies of all words and digits, summed over them.

        Returns:
            `loss`, the mean over all tokens, and `sample_losses` [B], the mean over the tokens of each video.
        """
        losses = [
            F.binary_cross_entropy_with_logits(logits, targets, reduction="none").sum(dim=1)
            for logits, targets in zip(self.logits(batch), self.targets(batch), strict=True)
        ]
        return {"loss": torch.cat(losses).mean(), "sample_losses": torch.stack([video.mean() for video in losses])}

    def flop_counter(self) -> Callable[[FrameBatch], float]:
        """A function that counts the matrix products of forward and backward."""
        video = VideoFlops(self, self.readout)
        return lambda batch: video(batch.frame_counts, batch.seconds)

    def rehearse(self, size: StepSize) -> Tensor:
        """The forward pass up to the logits."""
        side, frames = self.cfg.image_size, size.videos * size.frames
        seconds = [[float(second) for second in range(size.frames)]] * size.videos
        pixels = torch.empty(frames, 3, side, side, dtype=torch.uint8)
        return torch.cat(self.logits(FrameBatch(pixels, [size.frames] * size.videos, seconds, torch.empty(frames, 0))))


def digits_of(seconds: Sequence[float], like: Tensor) -> Tensor:
    """Times as one-hot digits [T, 10 * PLACES]: for each place one of ten is 1; thousands of seconds are dropped."""
    rows = [[int(digit) for digit in f"{round(second * 10) % 10**PLACES:0{PLACES}d}"] for second in seconds]
    digits = torch.tensor(rows, device=like.device, dtype=torch.long).view(-1, PLACES)
    return F.one_hot(digits, 10).flatten(1).to(like.dtype)
