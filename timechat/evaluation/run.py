"""One evaluation from a config to a report: predict, parse, score, write. `evaluate.py` calls it."""

from __future__ import annotations

import hashlib
import logging
import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from timechat import distributed
from timechat.config import frames_per_video
from timechat.errors import ConfigError, PredictionError
from timechat.evaluation.benchmarks import Benchmark, Question, Result, get_benchmark
from timechat.evaluation.benchmarks.base import PROMPTS, load_prompt
from timechat.evaluation.benchmarks.qvhighlights import QVHighlights
from timechat.evaluation.files import write_json, write_json_lines, write_text
from timechat.evaluation.plots import draw_plots
from timechat.evaluation.predict import Predictions, PredictSettings, check_earlier_answers, predict
from timechat.evaluation.report import REPORT, SCORES, markdown_report
from timechat.models import build_model
from timechat.models.checkpoints import WEIGHT_FILES
from timechat.models.timechat import SYSTEM_PROMPT

logger = logging.getLogger(__name__)

# Processes meet after all answers, and shares of long videos are never quite even.
PATIENCE = timedelta(hours=6)
WEIGHT_KEYS = ("llama_model", *WEIGHT_FILES)


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate.py` is asked for.

    Attributes:
        benchmark: name, see `timechat.evaluation.benchmarks`.
        anno_path, videos_dir, output_dir: where things are.
        ckpt: takes the place of `model.ckpt`.
        prompt_file: takes the place of the task's prompt under `prompts/`.
        max_new_tokens: how long an answer may get.
        temperature, top_p, seed: of sampling; temperature 0 is greedy, seed None is `run.seed`.
        limit: ask the first N questions alone.
        clip_of_time: of qvhighlights alone, see there.
        overwrite: throw away the answers of an earlier run.
    """

    benchmark: str
    anno_path: str
    videos_dir: str
    output_dir: str
    ckpt: str | None = None
    prompt_file: str | None = None
    max_new_tokens: int = 512
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    limit: int | None = None
    clip_of_time: str | None = None
    overwrite: bool = False


def evaluate(cfg: DictConfig, request: Evaluation, device: torch.device) -> dict[str, Any] | None:
    """Run one evaluation; under torchrun, call it in every process.

    Args:
        cfg: the whole config; its sections `model` and `run` are used.
        request: what to evaluate.
        device: of this process.

    Returns:
        On the main process the record that `scores.json` holds, else None.

    Raises:
        TimeChatError: anything that the user can mend; everything cheap is checked before weights are loaded.
    """
    _check_request(request)
    if request.ckpt is not None:
        _must_be_file(request.ckpt, "--ckpt")
        cfg = OmegaConf.merge(cfg, {"model": {"ckpt": request.ckpt}})
    own_settings = {} if request.clip_of_time is None else {"clip_of_time": request.clip_of_time}
    benchmark = get_benchmark(request.benchmark, **own_settings)
    prompt_file = Path(request.prompt_file or PROMPTS / benchmark.prompt_file)
    prompt = load_prompt(prompt_file)
    questions = benchmark.questions(request.anno_path, prompt, videos_dir=request.videos_dir, limit=request.limit)
    _check_videos(questions, Path(request.videos_dir))
    settings = _settings(request, cfg, prompt, device)
    if not request.overwrite:
        check_earlier_answers(request.output_dir, questions, settings)
    distributed.init_process_group(device, PATIENCE)
    model = build_model(cfg.model).to(device).eval()
    predictions = predict(model, questions, request.videos_dir, request.output_dir, settings)
    if not distributed.is_main_process():
        return None
    result = benchmark.score(predictions.answers, request.anno_path, limit=request.limit)
    record = _record(request, benchmark, settings, predictions, result)
    record["prompt"] = {
        "file": request.prompt_file or f"prompts/{benchmark.prompt_file}",
        "text": prompt,
        "sha256": _sha256(prompt),
    }
    record["system_prompt"] = cfg.model.system_prompt or SYSTEM_PROMPT
    record["checkpoint"] = {key: cfg.model[key] for key in WEIGHT_KEYS if cfg.model[key]}
    _write(Path(request.output_dir), record, result)
    answered = [example for example in result.examples if example.id in predictions.answers]
    files = {question.id: Path(request.videos_dir) / question.video for question in questions}
    plots = draw_plots(answered, files, request.output_dir)
    write_text(Path(request.output_dir) / REPORT, markdown_report(record, plots))
    return record


# Checking before the weights are loaded -------------------------------------------------------------------------------


def _check_request(request: Evaluation) -> None:
    wrong = []
    if request.temperature < 0:
        wrong.append(f"--temperature {request.temperature}: 0 is greedy, above 0 samples")
    if not 0 < request.top_p <= 1:
        wrong.append(f"--top-p {request.top_p}: give a number above 0, up to 1")
    if request.temperature == 0 and request.top_p != 1:
        wrong.append(f"--top-p {request.top_p} does nothing without --temperature above 0")
    for name, value in (("--max-new-tokens", request.max_new_tokens), ("--limit", request.limit)):
        if value is not None and value < 1:
            wrong.append(f"{name} {value}: give 1 or more")
    if request.clip_of_time is not None and request.benchmark != QVHighlights.name:
        wrong.append(f"--clip-of-time {request.clip_of_time}: only {QVHighlights.name} has clips")
    if wrong:
        raise ConfigError("\n".join(wrong))


def _must_be_file(path: str, option: str) -> None:
    if not Path(path).is_file():
        raise ConfigError(f"{option} {path}: no such file")


def _check_videos(questions: Sequence[Question], videos_dir: Path) -> None:
    """A folder without a single one of the videos is a wrong path, not 1,334 misses."""
    if not videos_dir.is_dir():
        raise ConfigError(f"--videos-dir {videos_dir}: no such folder")
    names = {question.video for question in questions}
    missing = sorted(name for name in names if not (videos_dir / name).is_file())
    if len(missing) == len(names):
        raise PredictionError(
            f"--videos-dir {videos_dir}: holds none of the {len(names)} videos, for example no {missing[0]}"
        )
    if missing:
        logger.warning(
            "%s: %d of %d videos are missing, for example %s", videos_dir, len(missing), len(names), missing[0]
        )


def _settings(request: Evaluation, cfg: DictConfig, prompt: str, device: torch.device) -> PredictSettings:
    model = OmegaConf.to_container(cfg.model)
    fingerprint = {
        "benchmark": request.benchmark,
        "anno_path": request.anno_path,
        "videos_dir": request.videos_dir,
        "prompt_sha256": _sha256(prompt),
        "device": device.type,
        **{f"model.{key}": value for key, value in model.items()},
        **{f"files of model.{key}": _file_state(model[key]) for key in WEIGHT_KEYS if model[key]},
    }
    return PredictSettings(
        num_frames=frames_per_video(cfg.model),
        image_size=cfg.model.image_size,
        max_new_tokens=request.max_new_tokens,
        temperature=request.temperature,
        top_p=request.top_p,
        seed=cfg.run.seed if request.seed is None else request.seed,
        batch_size=cfg.run.batch_size_eval,
        num_workers=cfg.run.num_workers,
        overwrite=request.overwrite,
        fingerprint=fingerprint,
    )


def _file_state(name: str) -> str:
    """Size and time of change of a weight file, or of all files of a folder: cheap, unlike a hash of 13 GB."""
    path = Path(name)
    files = sorted(p for p in path.iterdir() if p.is_file()) if path.is_dir() else [path]
    stats = [file.stat() for file in files if file.is_file()]
    if not stats:
        return "not there"
    return f"{sum(s.st_size for s in stats)} bytes, changed at {max(s.st_mtime_ns for s in stats)} ns"


# Writing --------------------------------------------------------------------------------------------------------------


def _record(
    request: Evaluation, benchmark: Benchmark, settings: PredictSettings, predictions: Predictions, result: Result
) -> dict[str, Any]:
    return {
        "benchmark": benchmark.name,
        "task": benchmark.task,
        "scores": result.scores,
        "percent": benchmark.in_percent(result.scores),
        "main_scores": list(benchmark.main_scores),
        "controls": result.controls,
        "counts": {
            "expected": len(result.examples),
            "found": len(predictions.answers),
            "unparsable": len(result.failures),
            "unreadable_videos": len(predictions.unreadable),
        },
        "failure_reasons": dict(Counter(failure.reason for failure in result.failures).most_common()),
        "limit": request.limit,
        "clip_of_time": request.clip_of_time,
        "settings": settings.answers_depend_on(),
        "seconds_per_video": predictions.seconds_per_video,
        "videos_of_this_run": predictions.new_videos,
        "processes": distributed.world_size(),
        "git_commit": git_commit(),
    }


def _write(output_dir: Path, record: Mapping[str, Any], result: Result) -> None:
    write_json(output_dir / SCORES, record)
    write_json(output_dir / f"{record['benchmark']}_predictions.json", result.predictions)
    write_json_lines(output_dir / "failures.jsonl", (asdict(failure) for failure in result.failures))


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def git_commit() -> str | None:
    """The commit of this code, with -dirty after local changes; None outside of a git checkout."""
    here = Path(__file__)
    tracked = _git(here.parent, "ls-files", "--error-unmatch", here.name)
    return _git(here.parent, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*") if tracked else None


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=False)
    except OSError:  # no git here
        return None
    return done.stdout.strip() if done.returncode == 0 else None
