"""How long training will take on the GPU that is there, before it begins: its matrix products at a known speed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch

from timechat.batch import VideoBatch
from timechat.models.base import BaseModel
from timechat.runners.peak_flops import measured_share, peak_of_name
from timechat.runners.plan import TrainingPlan
from timechat.text.conversation import IGNORE_INDEX

TERA, HOUR = 1e12, 3600.0


def gpu_name() -> str | None:
    """The name of this machine's first GPU; None without one."""
    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else None


def expected_time(
    model: BaseModel,
    seconds: Sequence[float],
    counts: Mapping[str, int],
    plan: TrainingPlan | None,
    processes: int,
    gpu: str | None,
) -> Iterator[str]:
    """Lines of the dry run's report; none if the speed of the GPU is not known.

    Args:
        model: on any device, also the meta device.
        seconds: of the frames of an example.
        counts: tokens of a sample, as of `BaseModel.token_counts`.
        plan: of the run; None if that is not known.
        processes: how many GPUs share the work.
        gpu: the name of one.
    """
    peak = peak_of_name(gpu) if gpu else None
    if gpu is None or peak is None:
        return
    flops = _flops_of_a_sample(model, seconds, counts)
    if flops is None:
        yield f"not estimated: model.arch={model.cfg.arch} counts no operations of a conversation about a video"
        return
    share = measured_share(gpu)
    least = "" if share else "at least "
    of_one = flops / (peak * (share or 1.0))
    yield f"operations of a sample       {flops / TERA:.1f} TFLOP, and those of its words, question and answer"
    yield f"a sample on one GPU          {least}{of_one:.3g} s"
    if plan:
        samples = plan.max_epoch * plan.samples
        yield f"the run on {processes} such GPUs".ljust(29) + f"{least}{samples * of_one / processes / HOUR:.3g} hours"
    if share:
        yield f"That is at {share:.0%} of {peak / TERA:.0f} TFLOP/s, as measured on this GPU for the published recipe:"
        yield "one video at a time, all layers recomputed. Larger batches take less (benchmarks/RESULTS.md)."
    else:
        yield f"That is a lower bound: at all of {peak / TERA:.0f} TFLOP/s, the peak of the GPU's data sheet, which no"
        yield "training reaches. What this one reaches there was not measured yet: python benchmarks/gpu.py does."


def _flops_of_a_sample(model: BaseModel, seconds: Sequence[float], counts: Mapping[str, int]) -> float | None:
    """Of a sample's prompt without words; None: the model has no decoder, or does not count."""
    counter = model.flop_counter()
    if counter is None or "prompt" not in counts:
        return None
    ids = torch.zeros(1, counts["prompt"], dtype=torch.long)
    labels = torch.full_like(ids, IGNORE_INDEX)
    frames = torch.empty(0, 3, 0, 0, dtype=torch.uint8)  # only their number counts
    return counter(VideoBatch(frames, [len(seconds)], [seconds], ids, labels, torch.ones_like(ids, dtype=torch.bool)))
