"""Steps of decoding, one token of each row at a time: as they are, or recorded as CUDA graphs.

A step of the published decoder is more than a thousand small operations. A host takes longer to start them one by one
than a GPU takes to read the weights, which is what a step has to do. A recorded step is started as one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import torch
from torch import Tensor, nn

from timechat.device import send
from timechat.models.chunks import is_gathered
from timechat.models.lean_llama import LeanLlama
from timechat.models.recording import Recorder, recorders
from timechat.models.shared_cache import SharedCache

# Steps before one is recorded, which takes as long as several of them: answers of a few words do without.
_UNRECORDED = 4


class Steps:
    """Steps as they are.

    Args:
        lean: the decoder.
        cache: of the rows that are being written.
    """

    def __init__(self, lean: LeanLlama, cache: SharedCache):
        self.lean, self.cache = lean, cache

    def keep(self, rows: Collection[int]) -> None:
        """Go on with these rows alone."""
        self.cache.keep(rows)

    def scores(self, tokens: Sequence[int], places: Sequence[int]) -> Tensor:
        """A step.

        Args:
            tokens: the latest of each row.
            places: which token of its row each is.

        Returns:
            [B, V], the scores of what follows.
        """
        self.cache.reserve()
        return self._step(*self._sent(tokens, places))

    def _sent(self, tokens: Sequence[int], places: Sequence[int]) -> Tensor:
        return send(torch.tensor([tokens, places]), self.cache.device)

    def _step(self, tokens: Tensor, places: Tensor, *, whole: bool = False) -> Tensor:
        self.cache.advance(whole=whole)
        return self.lean.logits(self.lean.embed(tokens), places, self.cache.attend)

    def close(self) -> None:
        """No step follows."""


class RecordedSteps(Steps):
    """Steps that are recorded and replayed, for as long as the rows are the same and have room.

    Rows that have ended stay in the batch, until it is half of them: a step reads the weights for many rows about as
    fast as for a few, and a new batch has to be recorded anew.

    Args:
        lean, cache: as for Steps.
    """

    def __init__(self, lean: LeanLlama, cache: SharedCache):
        super().__init__(lean, cache)
        self._batch = self._live = cache.rows
        self._latest: dict[int, tuple[int, int]] = {}  # token and place of each row
        self._recorder: Recorder | None = None
        self._replay: Callable[[], Tensor] | None
        self._forget()

    def keep(self, rows: Collection[int]) -> None:
        """Go on with these rows; only the scores of others are left out at first."""
        self._live = sorted(rows)
        if 2 * len(self._live) <= len(self._batch):
            self.cache.keep(self._live)
            self._batch = self._live
            self._forget()

    def _forget(self) -> None:
        self._taken, self._replay = 0, None

    def scores(self, tokens: Sequence[int], places: Sequence[int]) -> Tensor:
        """As for Steps."""
        if self.cache.reserve():
            self._replay = None
        # Rows that have ended go on with a token that was computed before: what they compute now is left out, but must
        # not overflow.
        given = list(zip(tokens, places, strict=True))
        self._latest |= dict(zip(self._live, given, strict=True))
        inputs = self._sent(*zip(*(self._latest.get(row, given[0]) for row in self._batch), strict=True))
        if self._taken < _UNRECORDED:
            scores = self._step(*inputs)
        else:
            replay = self._replay = self._replay or self._recorded(inputs)
            self._inputs.copy_(inputs)
            scores = replay()
        self._taken += 1
        lanes = [self._batch.index(row) for row in self._live]
        # A copy in any case: the next step writes into the same memory.
        return scores[send(torch.tensor(lanes), scores.device)]

    def _recorded(self, inputs: Tensor) -> Callable[[], Tensor]:
        recorder = self._recorder or recorders.take(self.cache.device)
        self._recorder = None  # one that has failed is not used again
        self._inputs = inputs.clone()
        replay = recorder.record(lambda: self._step(*self._inputs, whole=True))
        self._recorder = recorder
        return replay

    def close(self) -> None:
        """No step follows; others may record in this memory."""
        self._forget()
        if self._recorder:
            recorders.give_back(self.cache.device, self._recorder)
            self._recorder = None


def steps_of(llama: nn.Module, lean: LeanLlama, cache: SharedCache) -> Steps:
    """Recorded steps on CUDA GPUs, where nothing in a step asks the host or other processes."""
    on_gpu = cache.device.type == "cuda"
    recordable = on_gpu and lean.is_plain and not is_gathered(llama) and not torch.is_autocast_enabled("cuda")
    return (RecordedSteps if recordable else Steps)(lean, cache)
