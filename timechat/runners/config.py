"""Every key of the section `run` that the runner reads; task, learning-rate schedule and engine add theirs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from omegaconf import DictConfig

from timechat.registry import registry
from timechat.schema import Section, key, section


@dataclass
class ValidBenchmarkConfig(Section):
    """A benchmark after each epoch; `name` adds the benchmark's own keys."""

    name: str = key("", 'a registered benchmark; "" = none')
    anno_path: str = key("", "its annotation file", file=True)
    videos_dir: str = key("", "folder of its videos", file=True)
    limit: int | None = key(None, "ask only the first questions, so many", least=1)
    prompt_file: str = key("", "prompt to use in place of the benchmark's own", file=True)
    max_new_tokens: int | None = key(None, "longest answer, in tokens; null = the benchmark's own", least=1)


@dataclass
class RunnerConfig(Section):
    """How long a run is, where it runs, what it measures and what it keeps."""

    task: str = key("video_text_pretrain", "what a training step is: a registered task")
    runner: str = key("runner_base", "the training loop: a registered runner", may_change=True)
    lr_sched: str = key("linear_warmup_cosine_lr", "linear_warmup_cosine_lr | linear_warmup_step_lr")

    max_epoch: int = key(
        1, "epochs", least=1, may_change=True, heading="Schedule, in the published units: micro-batches of one process"
    )
    iters_per_epoch: int | None = key(None, "length of an epoch; null = one pass over all datasets", least=1)
    batch_size_train: int = key(1, "samples of a micro-batch of one process", least=1)
    accum_grad_iters: int = key(1, "micro-batches of one optimizer step", least=1)
    reference_world_size: int | None = key(
        None, "number of processes that these numbers are meant for; null = as many as run", least=1
    )

    weight_decay: float = key(
        0.05,
        "of AdamW; not for biases, norms and other 1-d parameters",
        least=0,
        heading="Optimizer: AdamW",
    )
    beta2: float = key(0.999, "decay of the second moment", least=0, below=1)
    clip_grad_norm: float | None = key(None, "largest norm of the gradient; null = no clipping", least=0)

    device: str = key("auto", "auto | cuda | cpu", choices=("auto", "cuda", "cpu"), may_change=True, heading="Machine")
    strategy: str = key(
        "ddp", "what is sharded over the processes: ddp | fsdp | deepspeed_zero2 | deepspeed_zero3", may_change=True
    )
    amp: bool = key(False, "true = precision bf16, or fp16 on GPUs without it")
    precision: str | None = key(None, "fp32 | bf16 | fp16; null = as amp says", choices=("fp32", "fp16", "bf16"))
    compile: bool = key(
        False,
        "torch.compile of the layers of ViT, Q-Formers and LLaMA; needs a C++ compiler, and minutes at the start",
        may_change=True,
    )
    liger: bool = key(
        False,
        "Liger's fused kernels in LLaMA's layers while training; needs a CUDA GPU and pip install 'timechat[liger]'",
        may_change=True,
    )
    num_workers: int = key(4, "processes that read samples, per training process", least=0, may_change=True)
    batch_size_eval: int = key(1, "samples of a micro-batch in validation and evaluation", least=1, may_change=True)
    seed: int = key(42, "of all randomness", least=0)

    valid_splits: list[str] = key(
        [],
        "[val] = valid_loss and valid_exact on the data of datasets.*.build_info.valid_anno_dir",
        may_change=True,
        heading="After each epoch",
    )
    valid_benchmark: ValidBenchmarkConfig = section(
        ValidBenchmarkConfig,
        "a benchmark with greedy decoding; reports go to output_dir/validation",
        named="benchmark",
        may_change=True,
    )
    best_score: str | None = key(
        None,
        "score that decides which checkpoint is the best: valid_loss, valid_exact, or a main score of the benchmark",
        may_change=True,
    )
    stop_at_score: float | None = key(
        None,
        "end after the epoch whose best_score reaches this (valid_loss: falls to it); max_epoch is the limit",
        may_change=True,
    )

    output_dir: str = key(
        "runs/timechat", "folder of checkpoints and logs", file=True, may_change=True, heading="Bookkeeping"
    )
    log_freq: int = key(50, "optimizer steps between two log lines", least=1, may_change=True)
    loggers: list[str] = key(
        ["tensorboard"],
        "besides log.jsonl: any tracker that accelerate knows, such as wandb or mlflow",
        may_change=True,
    )
    save_every_steps: int | None = key(
        None,
        "optimizer steps between two checkpoints; null = not by steps",
        least=1,
        may_change=True,
    )
    save_every_minutes: float | None = key(
        30.0,
        "minutes between two checkpoints, at most, and a step; null = no limit",
        least=0,
        may_change=True,
    )
    keep_checkpoints: int = key(
        3,
        "how many of the newest to keep below output_dir/checkpoints; each epoch's file stays anyway",
        least=1,
        may_change=True,
    )
    resume: str = key(
        "auto",
        "auto = from the newest checkpoint in output_dir, if any | never | a checkpoint's folder or .pth",
        file=True,
        may_change=True,
    )
    resume_ckpt_path: str | None = key(
        None, "a .pth to resume from; the published name of resume=PATH", file=True, may_change=True
    )
    missing_videos: str = key(
        "error",
        "files that annotations name and that do not exist: error = do not train | drop = leave their samples out",
        choices=("error", "drop"),
        may_change=True,
    )
    max_skip_ratio: float = key(
        0.1, "stop when more of the recent samples were unreadable", least=0, most=1, may_change=True
    )
    max_nonfinite: int | None = key(
        5,
        "stop after so many steps in a row whose loss or gradient is NaN or infinite; null = never",
        least=1,
        may_change=True,
    )
    data_timeout_s: float | None = key(
        300.0,
        "a worker that needs longer for one file hangs: save, stop, then resume without it; null = wait forever",
        least=1,
        may_change=True,
    )
    train_splits: list[str] = key(["train"], "the only split there is", may_change=True)
    evaluate: bool = key(
        False, "train.py refuses to train if it is true; makes no difference to evaluate.py", may_change=True
    )

    @classmethod
    def conflicts(cls, where: str, section: DictConfig, cfg: DictConfig) -> Iterator[str]:
        """Two places to resume from, splits that do not exist, and what a strategy cannot do."""
        if not section.output_dir:
            yield f"{where}.output_dir is empty: name the folder that gets checkpoints and logs"
        if not section.resume:
            yield f"{where}.resume is empty: choose auto, never, or the path of a checkpoint"
        if section.resume != "auto" and section.resume_ckpt_path:
            yield (
                f"{where}.resume={section.resume}: needs {where}.resume_ckpt_path=null, because both mean the same; "
                "remove one of them"
            )
        if list(section.train_splits) != ["train"]:
            yield (
                f"{where}.train_splits={list(section.train_splits)}: the instruction datasets only have the split train"
            )
        if section.compile and not registry.get_engine_class(section.strategy).holds_whole_model:
            yield (
                f"{where}.compile=true: with {where}.strategy={section.strategy} the weights of a layer are there only "
                f"while it computes, which compiled layers do not see; use {where}.strategy=ddp, or "
                f"{where}.compile=false"
            )
        yield from _validation_conflicts(where, section, cfg)


def _validation_conflicts(where: str, section: DictConfig, cfg: DictConfig) -> Iterator[str]:
    splits, benchmark = list(section.valid_splits), section.valid_benchmark
    if splits not in ([], ["val"], ["valid"]):
        yield f"{where}.valid_splits={splits}: choose [val] or []"
    elif splits and not any(entry.build_info.valid_anno_dir for entry in cfg.datasets.values()):
        yield (
            f"{where}.valid_splits={splits}: no dataset has validation data; name some in "
            "datasets.NAME.build_info.valid_anno_dir"
        )
    if benchmark.name and not registry.get_engine_class(section.strategy).holds_whole_model:
        yield (
            f"{where}.valid_benchmark.name={benchmark.name}: each process answers different questions, but with "
            f"{where}.strategy={section.strategy} none has the whole model; use {where}.valid_splits, and evaluate.py "
            "afterwards"
        )
    for name in ("anno_path", "videos_dir"):
        if benchmark.name and not benchmark[name]:
            yield f"{where}.valid_benchmark.{name} is empty: {where}.valid_benchmark.name={benchmark.name} needs it"
