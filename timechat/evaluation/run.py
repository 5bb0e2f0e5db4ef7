"""One evaluation from a config to a report: predict, parse, score, write. `timechat evaluate` calls it."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from timechat import distributed
from timechat.config import OPTIONS, frames_per_video, merged_configs, plain
from timechat.datasets.readers import ReaderSettings
from timechat.errors import ConfigError
from timechat.evaluation.answers import check_earlier_answers
from timechat.evaluation.asked import asked_ids, check_videos
from timechat.evaluation.benchmarks import Annotations, Benchmark, Question, Result, get_benchmark
from timechat.evaluation.benchmarks.annotations import Row
from timechat.evaluation.benchmarks.options import complete_options
from timechat.evaluation.durations import cached_durations
from timechat.evaluation.literature import published_scores
from timechat.evaluation.plots import draw_plots
from timechat.evaluation.predict import Predictions, PredictSettings, never, predict
from timechat.evaluation.prompting import PROMPTS, load_prompt
from timechat.evaluation.record import (
    check_joint_scores,
    check_scores,
    scores_of,
    write_record,
)
from timechat.evaluation.report import REPORT, SCORES, markdown_report, mean_record
from timechat.evaluation.request import Evaluation, check_request, must_have_files
from timechat.evaluation.scoring import read_train
from timechat.evaluation.transcripts import Spoken, add_transcripts, transcripts_hash
from timechat.evaluation.video_models import LazyModel, ModelBuilder, VideoModel
from timechat.io import NOT_THERE, file_state, sha256_of, write_json, write_text
from timechat.locks import FolderLock
from timechat.models import must_answer
from timechat.models.checkpoints import WEIGHT_FILES
from timechat.models.timechat import SYSTEM_PROMPT
from timechat.options import options_section, split_options

logger = logging.getLogger(__name__)

# Processes wait for each other after all answers, and shares of long videos are never quite equal.
PATIENCE = timedelta(hours=6)
WEIGHT_KEYS = ("llama_model", *WEIGHT_FILES)
NO_ANSWER_KEYS = ("video_timeout_s", "looks_dir", "vit_chunk")  # of `model`, which change no answer
MAX_NAMED = 20


@dataclasses.dataclass(frozen=True)
class _Plan:
    """An evaluation whose input has been read and checked.

    Attributes:
        cfg: with the checkpoint and the benchmark's defaults in it.
        options: the benchmark's own, with defaults.
        ids: of the questions that are asked; None is all.
        annotations: of these questions.
        train: annotations of the train split, with `--train-anno`.
        prompt: the template.
        spoken: the transcripts, with `--asr`.
        runs: output folder and settings of each run, one for each seed.
    """

    request: Evaluation
    cfg: DictConfig
    benchmark: Benchmark
    options: dict[str, Any]
    ids: list[str] | None
    annotations: Annotations
    train: list[Row] | None
    prompt: str
    questions: list[Question]
    spoken: Spoken | None
    runs: list[tuple[Path, PredictSettings]]


def evaluate(
    cfg: DictConfig,
    request: Evaluation,
    device: torch.device,
    model: VideoModel | None = None,
    stopping: Callable[[], bool] = never,
    builder: ModelBuilder | None = None,
) -> dict[str, Any] | None:
    """Run one evaluation; under torchrun, call it in every process.

    Args:
        cfg: the whole config; its sections `model` and `run` are used.
        request: what to evaluate.
        device: of this process.
        model: whole, in evaluation mode and on the device; None builds the one that the config names.
        stopping: asked between clips and between batches, whether to end early.
        builder: builds the model; the same one for several evaluations builds it once.

    Returns:
        On the main process the record that `scores.json` holds, else None.

    Raises:
        StoppedError: on all processes, if one of them was to stop.
        TimeChatError: anything that the user can fix; everything cheap is checked before weights are loaded.
    """
    plan = _plan(cfg, request, device, needs_model=model is None)
    if not request.overwrite:
        _check_folders(plan)
    distributed.init_process_group(device, PATIENCE)
    builder = builder or ModelBuilder()
    if model is None:  # `_plan` has seen that it answers
        model = LazyModel(partial(builder, plan.cfg.model, device, plan.cfg.run.compile))
    with _alone(plan):
        record = _evaluate(plan, model, stopping)
    if builder.graphs:
        builder.graphs.check()
    return record


def _evaluate(plan: _Plan, model: VideoModel, stopping: Callable[[], bool]) -> dict[str, Any] | None:
    """Answer, score and write; see `evaluate`."""
    request = plan.request
    answered = [_predict(plan, model, *run, stopping) for run in plan.runs]
    if not distributed.is_main_process():
        return None
    records = [_report(asked, *run, said) for run, (asked, said) in zip(plan.runs, answered, strict=True)]
    return records[0] if request.seeds is None else _report_mean(Path(request.output_dir), records)


def _predict(
    plan: _Plan, model: VideoModel, folder: Path, settings: PredictSettings, stopping: Callable[[], bool]
) -> tuple[_Plan, Predictions]:
    """Ask the questions, then those that depend on the answers; returns the plan with all that were asked."""
    videos = plan.request.videos_dir
    first = predict(model, plan.questions, videos, folder, settings, stopping)
    more = plan.benchmark.follow_ups(plan.annotations, plan.prompt, first.answers, videos_dir=videos)
    if not more:
        return plan, first
    if plan.request.asr is not None:
        more = add_transcripts(more, plan.request.asr).questions
    plan = dataclasses.replace(plan, questions=[*plan.questions, *more])
    both = predict(model, plan.questions, videos, folder, dataclasses.replace(settings, overwrite=False), stopping)
    return plan, dataclasses.replace(
        both, new_videos=first.new_videos + both.new_videos, seconds=first.seconds + both.seconds
    )


# Checking before the weights are loaded -------------------------------------------------------------------------------


def _plan(cfg: DictConfig, request: Evaluation, device: torch.device, needs_model: bool) -> _Plan:
    """Read and check everything that an evaluation needs, except the weights and the videos."""
    must_answer(cfg.model)
    if needs_model:
        must_have_files(cfg.model, request)
    check_request(request)
    options = complete_options(request.benchmark, request.benchmark_options)
    benchmark = get_benchmark(request.benchmark, options)
    train = read_train(benchmark, request.train_anno)
    cfg = _configured(cfg, request, benchmark)
    prompt, ids = load_prompt(request.prompt_file or benchmark.prompt_path), asked_ids(request.ids)
    annotations = benchmark.load_annotations(request.anno_path, limit=request.limit, ids=ids)
    questions = benchmark.questions(annotations, prompt, videos_dir=request.videos_dir)
    check_videos(questions, Path(request.videos_dir))
    spoken = None if request.asr is None else _spoken(questions, request.asr)
    settings = _settings(request, cfg, benchmark, prompt, device)
    return _Plan(
        request=request,
        cfg=cfg,
        benchmark=benchmark,
        options=options,
        ids=ids,
        annotations=annotations,
        train=train,
        prompt=prompt,
        questions=questions if spoken is None else spoken.questions,
        spoken=spoken,
        runs=_runs(request, settings),
    )


def _configured(cfg: DictConfig, request: Evaluation, benchmark: Benchmark) -> DictConfig:
    """The config with the checkpoint, and with the benchmark's defaults for keys that `--options` does not set."""
    given = options_section(split_options(request.options, OPTIONS), OPTIONS).get("model") or {}
    model = {key: value for key, value in benchmark.model_defaults.items() if key in cfg.model and key not in given}
    for key, value in model.items():
        if cfg.model[key] != value:
            logger.info(
                "model.%s=%s: the protocol of %s (the config says %s)", key, value, benchmark.name, cfg.model[key]
            )
    if request.ckpt is not None:
        model["ckpt"] = request.ckpt
    return merged_configs(cfg, {"model": model})


def _spoken(questions: Sequence[Question], folder: str) -> Spoken:
    spoken = add_transcripts(questions, folder)
    if len(spoken.without) == spoken.videos:
        raise ConfigError(
            f"--asr {folder}: holds no transcript of the {spoken.videos} videos, for example none of "
            f"{spoken.without[0]}; it needs the video's name with .json, .srt, .vtt or .tsv"
        )
    if spoken.without:
        logger.warning("%s: %d of %d videos have no transcript", folder, len(spoken.without), spoken.videos)
    return spoken


def _settings(
    request: Evaluation, cfg: DictConfig, benchmark: Benchmark, prompt: str, device: torch.device
) -> PredictSettings:
    """Paths are no part of what answers depend on where their content is known otherwise: data may move."""
    model = plain(cfg.model)
    weights = {key: state for key in WEIGHT_KEYS if model.get(key) and (state := file_state(model[key])) != NOT_THERE}
    fingerprint = {
        "benchmark": request.benchmark,
        "prompt_sha256": sha256_of(prompt),
        "device": device.type,
        **{f"model.{key}": value for key, value in model.items() if key not in (*weights, *NO_ANSWER_KEYS)},
        **{f"files of model.{key}": state for key, state in weights.items()},
    }
    if request.asr is not None:
        fingerprint["asr_sha256"] = transcripts_hash(request.asr)
    return PredictSettings(
        num_frames=frames_per_video(cfg.model),
        fps=cfg.model.fps,
        image_size=cfg.model.image_size,
        max_new_tokens=request.max_new_tokens or benchmark.max_new_tokens,
        temperature=request.temperature,
        top_p=request.top_p,
        seed=cfg.run.seed if request.seed is None else request.seed,
        num_beams=request.num_beams,
        batch_size=cfg.run.batch_size_eval,
        num_workers=cfg.run.num_workers,
        overwrite=request.overwrite,
        reading=ReaderSettings.of(cfg.model),
        fingerprint=fingerprint,
    )


def _runs(request: Evaluation, settings: PredictSettings) -> list[tuple[Path, PredictSettings]]:
    output_dir = Path(request.output_dir)
    if request.seeds is None:
        return [(output_dir, settings)]
    seeds = range(settings.seed, settings.seed + request.seeds)
    return [(output_dir / f"seed_{seed}", dataclasses.replace(settings, seed=seed)) for seed in seeds]


def _check_folders(plan: _Plan) -> None:
    """What earlier runs left must belong to this one."""
    if plan.request.seeds is not None:
        check_joint_scores(plan.request.output_dir, [settings.seed for _, settings in plan.runs])
    for folder, settings in plan.runs:
        check_earlier_answers(folder, plan.questions, settings.answers_depend_on(), plan.request.videos_dir)
        check_scores(folder, list(map(plan.benchmark.row_id, plan.annotations.rows)))


@contextlib.contextmanager
def _alone(plan: _Plan) -> Iterator[None]:
    """Keep other evaluations out of the folders that this one writes to. Collective. Raises ConfigError."""
    folders = dict.fromkeys([Path(plan.request.output_dir), *(folder for folder, _ in plan.runs)])
    locks = [FolderLock(folder, f"--output-dir {folder}", "is evaluating into it") for folder in folders]

    def acquire() -> None:
        for lock in locks:
            lock.acquire()

    try:
        distributed.on_main_process(acquire)
        yield
    finally:
        for lock in locks:
            lock.release()


# Writing --------------------------------------------------------------------------------------------------------------


def _report(plan: _Plan, folder: Path, settings: PredictSettings, predictions: Predictions) -> dict[str, Any]:
    """Score and write everything; returns the record."""
    result = _score(plan, predictions)
    unreadable = len({row["video"] for row in predictions.unreadable})
    record = scores_of(plan.benchmark, result, unreadable_videos=unreadable, resamples=plan.request.bootstrap)
    record |= _circumstances(plan) | {
        "seconds_per_video": predictions.seconds_per_video,
        "videos_of_this_run": predictions.new_videos,
        "processes": distributed.world_size(),
        "settings": settings.answers_depend_on(),
    }
    if plan.spoken is not None and plan.spoken.without:
        count, all_videos = len(plan.spoken.without), plan.spoken.videos
        record["notes"].append(f"{count} of {all_videos} videos have no transcript and were asked about without one.")
    if plan.spoken is not None and (bad := plan.spoken.left_out):
        record["notes"].append(
            f"{sum(bad.values())} segments of the transcripts of {len(bad)} videos could not be used and were left out."
        )
    write_record(folder, record, plan.benchmark, result)
    answered = [example for example in result.examples if example.id in predictions.answers]
    files = {question.id: Path(plan.request.videos_dir) / question.video for question in plan.questions}
    plots = draw_plots(answered, files, folder)
    write_text(folder / REPORT, markdown_report(record, plots))
    return record


def _score(plan: _Plan, predictions: Predictions) -> Result:
    request, durations = plan.request, None
    if plan.benchmark.uses_durations:
        videos = {question.video: Path(request.videos_dir) / question.video for question in plan.questions}
        durations = cached_durations(videos, Path(request.output_dir))
    return plan.benchmark.score(
        predictions.answers, plan.annotations, train=plan.train, durations=durations, prompt=plan.prompt
    )


def _circumstances(plan: _Plan) -> dict[str, Any]:
    """The part of a record that says which questions were asked, how, and of which weights."""
    request, model = plan.request, plan.cfg.model
    return {
        "limit": request.limit,
        "ids": None if plan.ids is None else len(plan.ids),
        "benchmark_options": plan.options,
        "train_anno": request.train_anno,
        "anno_path": request.anno_path,
        "annotations_sha256": plan.annotations.sha256,
        "videos_dir": request.videos_dir,
        "literature": request.literature,
        "published": published_scores(plan.benchmark.name) if request.literature else [],
        "transcripts": _transcripts(plan),
        "prompt": {
            "file": request.prompt_file or _prompt_name(plan.benchmark),
            "text": plan.prompt,
            "sha256": sha256_of(plan.prompt),
        },
        "system_prompt": model.get("system_prompt") or SYSTEM_PROMPT,
        "checkpoint": {key: model[key] for key in WEIGHT_KEYS if model.get(key)},
    }


def _prompt_name(benchmark: Benchmark) -> str:
    """How a report calls the benchmark's prompt: `prompts/grounding.txt`, or the path of one from elsewhere."""
    path = benchmark.prompt_path
    return f"prompts/{path.name}" if path.parent == PROMPTS else str(path)


def _transcripts(plan: _Plan) -> dict[str, Any] | None:
    if plan.spoken is None:
        return None
    without = plan.spoken.without
    return {
        "folder": plan.request.asr,
        "videos_with": plan.spoken.videos - len(without),
        "without": len(without),
        "videos_without": without[:MAX_NAMED],
        "segments_left_out": sum(plan.spoken.left_out.values()),
    }


def _report_mean(output_dir: Path, records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One record and report for the runs of all seeds."""
    record = mean_record(records)
    write_json(output_dir / SCORES, record)
    write_text(output_dir / REPORT, markdown_report(record))
    return record
