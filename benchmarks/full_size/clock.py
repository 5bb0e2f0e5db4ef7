"""How long each part of a step takes, by events on the device: the parts of the model are watched from outside."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor, nn

from timechat.models import TimeChat
from timechat.models import llama as lm


class Clock:
    """Marks moments; the time since the mark before is that of the part which the mark names.

    Args:
        device: a GPU's moments are events in its stream, those of a CPU wall-clock times.
    """

    def __init__(self, device: torch.device):
        self.device = device
        self._marks: list[tuple[str, Any]] = []

    def start(self) -> None:
        """Forget all marks; time runs from here."""
        self._marks = []
        self.mark("")

    def mark(self, part: str) -> None:
        """What went on until now was this part."""
        if self.device.type == "cuda":
            event = torch.cuda.Event(enable_timing=True)
            event.record()
            self._marks.append((part, event))
        else:
            self._marks.append((part, time.perf_counter()))

    def parts(self) -> dict[str, float]:
        """Seconds of each part since the start; waits for the device."""
        self.synchronise()
        seconds: dict[str, float] = {}
        for (_, before), (part, after) in zip(self._marks, self._marks[1:], strict=False):
            taken = before.elapsed_time(after) / 1000 if self.device.type == "cuda" else after - before
            seconds[part] = seconds.get(part, 0.0) + taken
        return seconds

    def synchronise(self) -> None:
        """Wait until the device has done everything."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def watch(self, model: TimeChat) -> None:
        """Mark where the model goes on from one of its parts to the next.

        What comes before a Q-Former is the ViT: frames may go through both in chunks. The gradient of the decoder's
        input arrives when the decoder's backward pass is done.
        """
        self._watch(model.Qformer, "ViT", "Q-Formers")
        self._watch(model.video_Qformer, "Q-Formers", "Q-Formers")
        decoder = lm.causal_lm(model.llama_model).model
        self._watch(decoder, "embedding, sampling", "decoder")
        decoder.register_forward_pre_hook(self._note_gradient, with_kwargs=True)

    def _watch(self, module: nn.Module, before: str, itself: str) -> None:
        module.register_forward_pre_hook(lambda *_: self.mark(before))
        module.register_forward_hook(lambda *_: self.mark(itself))

    def _note_gradient(self, module: nn.Module, args: Any, options: dict[str, Any]) -> None:
        embeds = options.get("inputs_embeds")
        if isinstance(embeds, Tensor) and embeds.requires_grad:
            embeds.register_hook(lambda gradient: self.mark("decoder, backward"))
