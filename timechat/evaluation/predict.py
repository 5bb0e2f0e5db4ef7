"""Questions about videos -> answers: sharded over processes, and able to go on where a killed run stopped.

Every video is decoded and encoded once for all its questions; decoding runs in worker processes beside generation.
Each answer is appended at once to `predictions.rankR.jsonl`; the main process merges these files into
`predictions.jsonl`. All processes must see the same output folder.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from tqdm import tqdm

from timechat import distributed
from timechat.datasets.processors import AlproVideoEval
from timechat.datasets.video import load_video
from timechat.errors import PredictionError, VideoError
from timechat.evaluation.benchmarks import Question
from timechat.evaluation.files import json_line, read_json, read_json_lines, write_json, write_json_lines

logger = logging.getLogger(__name__)

MERGED = "predictions.jsonl"
UNREADABLE = "unreadable.jsonl"
SETTINGS = "settings.json"
_RANK_FILES = "predictions.rank*.jsonl"


class VideoModel(Protocol):
    """What prediction needs of a model; `timechat.models.TimeChat` has it."""

    def encode_video(self, frames: Sequence[Tensor], seconds: Sequence[Sequence[float]]) -> list[Tensor]:
        """Videos -> embeddings."""

    def answer(
        self, videos: Sequence[Tensor], seconds: Sequence[Sequence[float]], prompts: Sequence[str], **options: Any
    ) -> list[str]:
        """One answer for each prompt."""


@dataclass(frozen=True)
class PredictSettings:
    """How to predict.

    Attributes:
        num_frames, image_size: of a sampled video.
        max_new_tokens: how long an answer may get.
        temperature: 0 is greedy; above, tokens are drawn, each answer from a generator of its own that `seed` and the
            question's id set, so that it depends on nothing else.
        top_p: draw from the likeliest tokens that together have this probability.
        batch_size: prompts answered together; changes no answer.
        num_workers: processes of each rank that decode videos; 0 decodes in between.
        overwrite: throw away what an earlier run left.
        fingerprint: everything else that answers depend on (weights, prompt, ...); a run with another one is refused.
    """

    num_frames: int
    image_size: int
    max_new_tokens: int = 512
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 42
    batch_size: int = 1
    num_workers: int = 0
    overwrite: bool = False
    fingerprint: Mapping[str, Any] = field(default_factory=dict)

    def answers_depend_on(self) -> dict[str, Any]:
        """What must be equal for answers to be the same, as JSON has it."""
        own = {"num_frames": self.num_frames, "image_size": self.image_size, "max_new_tokens": self.max_new_tokens}
        own["temperature"] = self.temperature
        if self.temperature > 0:
            own |= {"top_p": self.top_p, "seed": self.seed}
        return own | dict(self.fingerprint)


@dataclass(frozen=True)
class Predictions:
    """What predicting gives.

    Attributes:
        answers: id -> text, of all processes.
        unreadable: {"video", "reason", "questions"} of each video that could not be read; in processes other than
            the main one their own alone, like `new_videos`.
        new_videos: videos that this run answered about.
        seconds: how long this run took.
    """

    answers: dict[str, str]
    unreadable: list[dict[str, Any]]
    new_videos: int
    seconds: float

    @property
    def seconds_per_video(self) -> float | None:
        """Wall-clock seconds, None when every answer was there already."""
        return self.seconds / self.new_videos if self.new_videos else None


class _Ask(NamedTuple):
    """A question with its encoded video."""

    question: Question
    video: Tensor
    seconds: list[float]


def predict(
    model: VideoModel,
    questions: Sequence[Question],
    videos_dir: str | Path,
    output_dir: str | Path,
    settings: PredictSettings,
) -> Predictions:
    """Answer every question; call it in every process that torchrun started.

    Args:
        model: in evaluation mode, on its device.
        questions: with paths relative to `videos_dir`.
        output_dir: gets `predictions.jsonl`, `unreadable.jsonl`, `settings.json`.
        settings: see there.

    Returns:
        All answers. Questions about an unreadable video have none.

    Raises:
        PredictionError: the folder holds answers that other settings or other questions gave.
    """
    output_dir = Path(output_dir)
    done = _prepare(output_dir, questions, settings)
    started = time.monotonic()
    mine = _shard(questions, done)
    unreadable = _answer_all(model, mine, Path(videos_dir), output_dir, settings)
    new_videos = len(mine) - len(unreadable)
    gathered = distributed.gather_objects((unreadable, new_videos))
    if gathered is not None:  # the main process
        unreadable = [row for rows, _ in gathered for row in rows]
        new_videos = sum(count for _, count in gathered)
        _merge(output_dir)
        write_json_lines(output_dir / UNREADABLE, unreadable)
    distributed.barrier()
    answers = {row["id"]: row["answer"] for row in read_json_lines(output_dir / MERGED)}
    return Predictions(
        answers={q.id: answers[q.id] for q in questions if q.id in answers},
        unreadable=unreadable,
        new_videos=new_videos,
        seconds=time.monotonic() - started,
    )


# Going on where a run stopped -----------------------------------------------------------------------------------------


def _prepare(output_dir: Path, questions: Sequence[Question], settings: PredictSettings) -> set[str]:
    """Check and merge what is there; the ids that have been answered.

    Every process checks before the main process writes, so that all of them stop over the same error.
    """
    if settings.overwrite and distributed.is_main_process():
        for path in (*output_dir.glob("predictions*.jsonl"), output_dir / UNREADABLE, output_dir / SETTINGS):
            path.unlink(missing_ok=True)
    distributed.barrier()
    check_earlier_answers(output_dir, questions, settings)
    distributed.barrier()
    if distributed.is_main_process():
        write_json(output_dir / SETTINGS, settings.answers_depend_on())
        _merge(output_dir)
    distributed.barrier()
    done = {row["id"] for row in read_json_lines(output_dir / MERGED)} & {q.id for q in questions}
    if done:
        logger.info("%s: %d of %d answers are there already", output_dir, len(done), len(questions))
    return done


def check_earlier_answers(output_dir: str | Path, questions: Sequence[Question], settings: PredictSettings) -> None:
    """Whether answers that an earlier run left can be kept; `predict` checks this too, but with a model at hand.

    Raises:
        PredictionError: naming the settings or the question that differ, and how to go on.
    """
    _check_settings(Path(output_dir), settings.answers_depend_on())
    _check_answers(Path(output_dir), questions)


def _check_settings(output_dir: Path, asked: Mapping[str, Any]) -> None:
    path = output_dir / SETTINGS
    if not path.is_file():
        if _answer_files(output_dir):
            raise PredictionError(
                f"{output_dir}: holds answers but no {SETTINGS}, so nobody knows how they came about; "
                "give another --output-dir, or --overwrite to throw them away"
            )
        return
    found = read_json(path)
    if not isinstance(found, dict):
        raise PredictionError(f"{path}: expected an object; give another --output-dir, or --overwrite")
    keys = [key for key in sorted({*found, *asked}) if found.get(key) != asked.get(key)]
    if keys:
        listed = "\n  ".join(f"{key}: {found.get(key)!r} there, {asked.get(key)!r} now" for key in keys)
        raise PredictionError(
            f"{path}: the answers there were made with other settings; give another --output-dir, or --overwrite "
            f"to throw them away:\n  {listed}"
        )


def _check_answers(output_dir: Path, questions: Sequence[Question]) -> None:
    """Answers there must belong to the same questions: ids alone may be equal by accident."""
    asked = {question.id: question for question in questions}
    for path in _answer_files(output_dir):
        for row in read_json_lines(path):
            if not isinstance(row, dict) or not {"id", "video", "prompt", "answer"} <= row.keys():
                raise PredictionError(
                    f"{path}: {str(row)[:60]!r} needs id, video, prompt and answer; remove the line, or --overwrite"
                )
            question = asked.get(row["id"])
            if question and (row["video"], row["prompt"]) != (question.video, question.prompt):
                raise PredictionError(
                    f"{path}: answer {row['id']} belongs to another question: {row['video']!r}, {row['prompt']!r} "
                    f"there, {question.video!r}, {question.prompt!r} now; give another --output-dir, or --overwrite"
                )


def _answer_files(output_dir: Path) -> list[Path]:
    merged = output_dir / MERGED
    return [path for path in (merged, *sorted(output_dir.glob(_RANK_FILES))) if path.is_file()]


def _merge(output_dir: Path) -> None:
    """All answers into one file, each id once; then the files of the ranks go."""
    files = _answer_files(output_dir)
    rows = {row["id"]: row for path in files for row in read_json_lines(path)}
    write_json_lines(output_dir / MERGED, rows.values())
    for path in files:
        if path.name != MERGED:
            path.unlink()


# Answering ------------------------------------------------------------------------------------------------------------


def _shard(questions: Sequence[Question], done: set[str]) -> list[tuple[str, list[Question]]]:
    """This process's videos with the questions that are left; the busiest videos are dealt out first."""
    videos: dict[str, list[Question]] = {}
    for question in questions:
        if question.id not in done:
            videos.setdefault(question.video, []).append(question)
    ordered = sorted(videos.items(), key=lambda item: -len(item[1]))
    return ordered[distributed.rank() :: distributed.world_size()]


class _Decoding(torch.utils.data.Dataset):
    """Decodes in a worker: index -> (index, frames uint8 [T, 3, H, W] and seconds, or why not)."""

    def __init__(self, paths: Sequence[Path], settings: PredictSettings):
        self.paths, self.num_frames, self.image_size = paths, settings.num_frames, settings.image_size

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[int, tuple[Tensor, list[float]] | VideoError]:
        try:
            video = load_video(self.paths[index], n_frms=self.num_frames, image_size=self.image_size)
        except VideoError as error:
            return index, error
        return index, (AlproVideoEval(self.image_size, self.num_frames)(video.frames), video.seconds)


def _answer_all(
    model: VideoModel,
    videos: Sequence[tuple[str, list[Question]]],
    videos_dir: Path,
    output_dir: Path,
    settings: PredictSettings,
) -> list[dict[str, Any]]:
    """Answer this process's questions, writing each answer at once; returns the unreadable videos."""
    unreadable: list[dict[str, Any]] = []
    asks = _encoded(model, videos, videos_dir, settings, unreadable)
    size = settings.batch_size if settings.temperature <= 0 else 1
    path = output_dir / f"predictions.rank{distributed.rank()}.jsonl"
    total = sum(len(questions) for _, questions in videos)
    hidden = None if distributed.is_main_process() else True  # None: shown on a terminal alone
    with path.open("a", encoding="utf-8") as file, tqdm(total=total, unit="answer", disable=hidden) as bar:
        while batch := list(islice(asks, size)):
            for ask, answer in zip(batch, _generate(model, batch, settings), strict=True):
                q = ask.question
                row = {"id": q.id, "video": q.video, "query": q.query, "prompt": q.prompt, "answer": answer}
                file.write(json_line(row))
            file.flush()
            bar.update(len(batch))
    return unreadable


def _encoded(
    model: VideoModel,
    videos: Sequence[tuple[str, list[Question]]],
    videos_dir: Path,
    settings: PredictSettings,
    unreadable: list[dict[str, Any]],
) -> Iterator[_Ask]:
    """Decode and encode one video after the other, and ask all its questions; adds to `unreadable`."""
    decoding = _Decoding([videos_dir / name for name, _ in videos], settings)
    workers = min(settings.num_workers, len(videos))
    for index, result in torch.utils.data.DataLoader(decoding, batch_size=None, num_workers=workers):
        name, questions = videos[index]
        if isinstance(result, VideoError):
            logger.warning("unreadable, %d questions stay unanswered: %s", len(questions), result)
            unreadable.append({"video": name, "reason": result.reason, "questions": len(questions)})
            continue
        frames, seconds = result
        with torch.no_grad():
            embeds = model.encode_video([frames], [seconds])[0]
        for question in questions:
            yield _Ask(question, embeds, seconds)


def _generate(model: VideoModel, batch: Sequence[_Ask], settings: PredictSettings) -> list[str]:
    options: dict[str, Any] = {"max_new_tokens": settings.max_new_tokens}
    if settings.temperature > 0:
        key = f"{settings.seed}:{batch[0].question.id}".encode()
        torch.manual_seed(int.from_bytes(hashlib.sha256(key).digest()[:8], "big"))
        options |= {"do_sample": True, "temperature": settings.temperature, "top_p": settings.top_p}
    with torch.no_grad():
        return model.answer(
            [ask.video for ask in batch],
            [ask.seconds for ask in batch],
            [ask.question.prompt for ask in batch],
            **options,
        )
