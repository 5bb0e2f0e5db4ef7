"""What an evaluation is asked for, and whether it can be done: everything here is checked before weights are loaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from timechat.config import merged_configs
from timechat.errors import ConfigError
from timechat.models.required_files import missing_model_files
from timechat.sources import Missing, advice, raise_missing


@dataclass(frozen=True)
class Evaluation:
    """What `timechat evaluate` is asked for.

    Attributes:
        benchmark: name, see `timechat.evaluation.benchmarks`.
        anno_path, videos_dir, output_dir: annotations, folder of videos, folder for the results.
        ckpt: replaces `model.ckpt`.
        prompt_file: replaces the task's prompt under `prompts/`.
        max_new_tokens: how long an answer may get; None is the benchmark's own.
        temperature, top_p, seed: of sampling; temperature 0 is greedy, seed None is `run.seed`.
        seeds: number of runs, with the seeds seed, seed + 1, ..., and one report of their mean and standard deviation.
        num_beams: beams of beam search; 1 is greedy decoding or sampling.
        limit: ask only the first N questions.
        ids: ask only these questions: a file with one id per line, or ids separated by commas.
        asr: folder of transcripts for the prompts.
        train_anno: annotations of the benchmark's train split, for the controls.
        benchmark_options: the benchmark's own ones; those left out are at their defaults.
        bootstrap: resamples for confidence intervals; 0 leaves them out.
        literature: whether the report shows published numbers beside its own.
        overwrite: discard the answers of an earlier run.
        options: overrides that the user gave for the config; a benchmark's own defaults do not touch these keys.
    """

    benchmark: str
    anno_path: str
    videos_dir: str
    output_dir: str
    ckpt: str | None = None
    prompt_file: str | None = None
    max_new_tokens: int | None = None
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    seeds: int | None = None
    num_beams: int = 1
    limit: int | None = None
    ids: str | None = None
    asr: str | None = None
    train_anno: str | None = None
    benchmark_options: Mapping[str, Any] = field(default_factory=dict)
    bootstrap: int = 0
    literature: bool = True
    overwrite: bool = False
    options: Sequence[str] = ()


def check_request(request: Evaluation) -> None:
    """Whether the settings can go together and the files are there. Raises ConfigError, listing all problems."""
    wrong = [*_sampling_problems(request), *_number_problems(request), *_file_problems(request)]
    if wrong:
        raise ConfigError("\n".join(wrong))


def _sampling_problems(request: Evaluation) -> Iterator[str]:
    if request.temperature < 0:
        yield f"--temperature {request.temperature}: 0 is greedy, above 0 samples"
    if not 0 < request.top_p <= 1:
        yield f"--top-p {request.top_p}: give a number above 0, up to 1"
    if request.temperature == 0:
        for name, value, default in (
            ("--top-p", request.top_p, 1),
            ("--seed", request.seed, None),
            ("--seeds", request.seeds, None),
        ):
            if value != default:
                yield f"{name} {value} has no effect without --temperature above 0"
    elif request.num_beams > 1:
        yield f"--num-beams {request.num_beams} searches, --temperature {request.temperature} samples: choose one"


def _number_problems(request: Evaluation) -> Iterator[str]:
    for name, value, least in (
        ("--max-new-tokens", request.max_new_tokens, 1),
        ("--limit", request.limit, 1),
        ("--num-beams", request.num_beams, 1),
        ("--seeds", request.seeds, 2),
        ("--bootstrap", request.bootstrap, 0),
    ):
        if value is not None and value < least:
            yield f"{name} {value}: give {least} or more"


def _file_problems(request: Evaluation) -> Iterator[str]:
    if request.ckpt is not None and not Path(request.ckpt).is_file():
        yield f"--ckpt {request.ckpt}: no such file; {advice(request.ckpt, '--ckpt')}correct the path"
    if request.asr is not None and not Path(request.asr).is_dir():
        yield f"--asr {request.asr}: no such folder"
    if request.train_anno is not None and not Path(request.train_anno).exists():
        yield f"--train-anno {request.train_anno}: no such file"


def must_have_files(model: DictConfig, request: Evaluation) -> None:
    """Raise MissingFilesError, listing all that is missing, if files of the model are; before anything is read.

    Args:
        model: the `model` section.
        request: names annotations and videos, and perhaps another checkpoint.
    """
    named = merged_configs(model, {} if request.ckpt is None else {"ckpt": ""})
    missing = list(missing_model_files(named))
    if request.ckpt is not None and not Path(request.ckpt).is_file():
        source = advice(request.ckpt, "--ckpt").removesuffix("; ")
        missing.append(Missing(f"--ckpt {request.ckpt}", "no such file", source))
    if missing:
        place = "docs/EVAL.md says where it comes from"
        for option, path in (("--anno-path", request.anno_path), ("--videos-dir", request.videos_dir)):
            if not Path(path).exists():
                missing.append(Missing(f"{option} {path}", "no such file or folder", place))
        raise_missing(missing)
