"""`train.py --dry-run`: what a config would do, and what it lacks; no weights are read and nothing is trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from omegaconf import DictConfig
from torch import nn

from timechat import distributed
from timechat.config import frames_per_video, merged_configs
from timechat.models.base import BaseModel, StepSize
from timechat.models.checkpoints import WEIGHT_FILES, part_in_model, weight_path
from timechat.registry import registry
from timechat.runners.dry_run_data import Data
from timechat.runners.engines.base import FP32, MOMENTS
from timechat.runners.expected_time import expected_time, gpu_name
from timechat.runners.memory import activation_bytes, estimate_memory
from timechat.runners.missing_files import missing_files
from timechat.runners.missing_videos import ERROR
from timechat.runners.plan import TrainingPlan, make_plan
from timechat.runners.stand_ins import stand_ins
from timechat.sources import Missing
from timechat.tasks import build_task

GIB = 2**30
EXAMPLE_SECONDS = 600  # length of the video whose prompt is counted
USUAL_NODE = 8


@dataclass(frozen=True)
class DryRun:
    """What a config would do.

    Attributes:
        text: a readable report: parameters, tokens, schedule, data, memory, what is missing.
        exit_status: 1 if there is a dataset of which no file exists, so that nothing could be learned from it.
    """

    text: str
    exit_status: int


def dry_run(cfg: DictConfig) -> DryRun:
    """Build everything on the meta device and read one batch; what is missing is listed, and its published size taken.

    Args:
        cfg: the whole config.

    Raises:
        ConfigError: settings that cannot go together.
        AnnotationError: broken annotations.
    """
    missing = list(missing_files(cfg, download=False))
    with stand_ins(cfg.model) as (keys, assumed):
        complete = merged_configs(cfg, {"model": keys})
        sections, data = _sections(complete, cfg, assumed)
    sections["Missing"] = [*map(str, missing), *data.missing_videos()] or ["nothing"]
    sections["Verdict"] = list(_verdict(cfg, missing, data))
    text = "".join(f"\n== {title}\n" + "".join(f"{line}\n" for line in lines) for title, lines in sections.items())
    return DryRun(text, int(data.nothing_to_read()))


def _sections(cfg: DictConfig, asked: DictConfig, assumed: Sequence[str]) -> tuple[dict[str, list[str]], Data]:
    """The report up to what is missing.

    Args:
        cfg: with stand-ins for missing files.
        asked: as the user gave it.
        assumed: what the stand-ins assume.
    """
    task = build_task(cfg)
    data = Data(cfg, task)
    with torch.device("meta"):
        model = task.build_model(cfg, load_weights=False)
    processes = distributed.world_size() if distributed.world_size() > 1 else cfg.run.reference_world_size or 1
    plan = None
    if (data.complete and data.samples) or cfg.run.iters_per_epoch is not None:
        plan = make_plan(cfg.run, processes, data.samples)
    times, gpu = _example_times(frames_per_video(cfg.model)), gpu_name()
    counts = model.token_counts(times)
    expected = list(expected_time(model, times, counts, plan, processes, gpu))
    sections = {
        "Parameters": [*_parameters(model), "", *_weight_files(asked.model), *assumed],
        "Tokens of a sample": list(_tokens(cfg, counts)),
        f"Schedule on {processes} processes": list(_schedule(cfg, plan, processes)),
        **({f"Time to expect on {gpu}": expected} if expected else {}),
        "Data": [*data.describe(), *data.first_batch(plan, readable=cfg.model == asked.model)],
        # The last one, because it puts fake tensors into the model.
        "Memory on each GPU, GiB (an estimate)": list(_memory(cfg, model, counts, plan, processes)),
    }
    return sections, data


def _verdict(cfg: DictConfig, missing: Sequence[Missing], data: Data) -> Iterator[str]:
    """Whether training would start."""
    reasons = [f"{len(missing)} files or folders are missing, see above"] if missing else []
    if not cfg.datasets:
        reasons.append("the config names no dataset")
    for presence, what in [(p, "") for p in data.found] + [(p, " for validation") for p in data.valid]:
        lost = presence.samples - presence.samples_there
        if not presence.samples_there:
            reasons.append(f"none of the videos of datasets.{presence.dataset}{what} exists")
        elif lost and cfg.run.missing_videos == ERROR:
            reasons.append(
                f"{lost:,} of {presence.samples:,} samples of datasets.{presence.dataset}{what} lack their video "
                "(run.missing_videos=drop leaves them out)"
            )
    yield "train.py would start: everything that it needs is there." if not reasons else "train.py would not start:"
    yield from (f"- {reason}" for reason in reasons)


def _parameters(model: nn.Module) -> Iterator[str]:
    """One line for each part: parameters, how many are trained, precision."""
    parts: dict[str, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        parts.setdefault(part_in_model(name), []).append(parameter)
    rows = [_row(name, parameters) for name, parameters in parts.items()]
    rows.append(_row("all", list(model.parameters())))
    yield from _table([("part", "parameters", "trainable", "precision"), *rows])
    learning = sum(p.numel() for p in model.parameters() if p.requires_grad)
    yield f"What learns is fp32 with every strategy: {learning * (FP32 + FP32 + MOMENTS) / GIB:.2f} GiB for weights,"
    yield "gradients and AdamW's moments, before anything is sharded."


def _row(name: str, parameters: Sequence[nn.Parameter]) -> tuple[str, ...]:
    total = sum(p.numel() for p in parameters)
    learns = sum(p.numel() for p in parameters if p.requires_grad)
    kinds = sorted({str(p.dtype).removeprefix("torch.") for p in parameters})
    return name, f"{total:,}", f"{learns:,}", ", ".join(kinds)


def _weight_files(model: DictConfig) -> Iterator[str]:
    for key in ("llama_model", *WEIGHT_FILES):
        if model.get(key):
            state = "" if Path(weight_path(model[key])).exists() else "  (missing)"
            yield f"model.{key}={model[key]}{state}"


def _example_times(frames: int) -> list[float]:
    return [round(i * EXAMPLE_SECONDS / frames, 1) for i in range(frames)]


def _tokens(cfg: DictConfig, counts: Mapping[str, int]) -> Iterator[str]:
    frames = frames_per_video(cfg.model)
    rate = f", the most; {cfg.model.fps:g} a second" if cfg.model.fps else ""
    yield f"{'frames of a video':<29}{frames} of {cfg.model.image_size} x {cfg.model.image_size} pixels{rate}"
    for part, count in counts.items():
        if part != "prompt":
            yield f"{part:<29}{count}"
    if "prompt" not in counts:
        return
    prompt, limit = counts["prompt"], cfg.model.max_txt_len
    yield f"{'prompt around it':<29}{prompt - counts['video']}  (times of {EXAMPLE_SECONDS} s of video)"
    yield f"{'left for words':<29}{limit - prompt}  (of model.max_txt_len={limit})"
    if prompt >= limit:
        yield "too long: no room is left for question and answer; raise model.max_txt_len or lower model.num_frm"


def _schedule(cfg: DictConfig, plan: TrainingPlan | None, processes: int) -> Iterator[str]:
    if plan is None:
        yield "run.iters_per_epoch=null is one pass over the datasets, which are not all there"
        return
    run, per_epoch = cfg.run, plan.steps_per_epoch
    last = plan.max_epoch * per_epoch
    yield f"epochs                       {plan.max_epoch}"
    yield f"optimizer steps              {per_epoch:,} per epoch, {last:,} in all"
    factors = f"{processes} processes x {plan.accumulation} micro-batches x {plan.micro_batch}"
    yield f"samples of a step            {plan.global_batch}  ({factors})"
    if (left := plan.samples_of(per_epoch - 1)) < plan.global_batch:
        yield f"samples of an epoch's last   {left}"
    warmup = plan.steps_of(run.warmup_steps)
    yield f"warm-up                      {warmup:,} steps"
    for number in sorted({1, min(max(warmup, 1), last), (1 + last) // 2, last}):
        epoch, step = divmod(number - 1, per_epoch)
        yield f"learning rate of step {number:<7,}{plan.learning_rate(epoch, step):.3g}"


def _memory(
    cfg: DictConfig, model: BaseModel, counts: Mapping[str, int], plan: TrainingPlan | None, processes: int
) -> Iterator[str]:
    precision = cfg.run.precision or ("bf16" if cfg.run.amp else "fp32")
    tokens = cfg.model.max_txt_len if "prompt" in counts else 0
    supervised = tokens - counts.get("prompt", 0)
    if tokens and supervised < 1:
        yield "not estimated: conversations are too short, see above"
        return
    size = StepSize(cfg.run.batch_size_train, frames_per_video(cfg.model), tokens, supervised)
    kept = activation_bytes(model, size, precision)
    rows: list[tuple[str, ...]] = [("strategy", "GPUs", "weights", "gradients", "optimizer", "activations", "together")]
    for strategy in registry.names("engine"):
        engine = registry.get_engine_class(strategy)
        for count in sorted({1, processes if processes > 1 else USUAL_NODE}):
            estimate = estimate_memory(model, engine, count, plan.accumulation if plan else 1, kept or 0.0)
            parts = (estimate.weights, estimate.gradients, estimate.optimizer, estimate.activations, estimate.total)
            rows.append((strategy, str(count), *(f"{part / GIB:.2f}" for part in parts)))
    yield from _table(rows)
    if kept is None:
        yield f"Activations are not included: model.arch={cfg.model.arch} does not estimate them."
    else:
        yield f"Activations: {size.videos} samples of {size.frames} frames and {tokens} tokens, {precision}."
    yield "Temporary buffers and the allocator's reserve come on top: leave a fifth free."


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Columns side by side, the first one to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *others in rows:
        cells = (cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))
        yield "  ".join([first.ljust(widths[0]), *cells])
