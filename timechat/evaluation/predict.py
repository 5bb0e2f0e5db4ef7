"""Questions about videos -> answers: sharded over processes, and resumed where a killed run stopped.

Every clip is decoded and encoded once for all its questions. With `num_workers` above 0, worker processes decode while
this one generates; with 0 it decodes in between. Each answer is appended at once to `predictions.rankR.jsonl`; the
main process merges these files into `predictions.jsonl`. All processes must see the same output folder.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from timechat import distributed
from timechat.datasets.readers import AUTO, ReaderSettings
from timechat.errors import StoppedError, VideoError
from timechat.evaluation.answers import UNREADABLE, merge_answers, prepare_folder, rank_file, read_answers, size_of
from timechat.evaluation.benchmarks import Question
from timechat.evaluation.frames import decoded
from timechat.evaluation.sharding import Clip, assign, clip_cost, clips_of
from timechat.evaluation.video_models import VideoModel
from timechat.io import json_line, sha256_of, write_json_lines
from timechat.text.timestamps import video_sentence

logger = logging.getLogger(__name__)

# Batches that are sorted by length together. More would need less padding, but keep more encoded videos in memory.
WINDOW = 8

# Characters of a prompt per token, roughly; only for sorting by length.
CHARACTERS_PER_TOKEN = 3


@dataclass(frozen=True)
class PredictSettings:
    """How to predict.

    Attributes:
        num_frames, image_size: of a sampled video.
        fps: frames per second, of which `num_frames` is then the upper bound; None for a fixed number.
        max_new_tokens: how long an answer may get.
        temperature: 0 is greedy; above, tokens are drawn, each answer from a generator of its own that `seed` and the
            question's id set, so that it depends on nothing else.
        top_p: nucleus sampling: draw from the most likely tokens whose probabilities add up to this.
        num_beams: beams of beam search; 1 is greedy decoding or sampling.
        batch_size: prompts answered together; changes no answer. Those about one clip read it once, if they are in one
            batch.
        num_workers: processes of each rank that decode videos; 0 decodes in between.
        overwrite: discard what an earlier run left.
        reading: which reader reads videos, and how long it may take for one.
        fingerprint: everything else that answers depend on (weights, prompt, ...); a run with another one is refused.
    """

    num_frames: int
    image_size: int
    max_new_tokens: int = 512
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 42
    num_beams: int = 1
    batch_size: int = 1
    num_workers: int = 0
    overwrite: bool = False
    reading: ReaderSettings = AUTO
    fps: float | None = None
    fingerprint: Mapping[str, Any] = field(default_factory=dict)

    def answers_depend_on(self) -> dict[str, Any]:
        """What must be equal for answers to be the same, as JSON has it."""
        own: dict[str, Any] = {
            "num_frames": self.num_frames,
            "image_size": self.image_size,
            "max_new_tokens": self.max_new_tokens,
        }
        if self.fps is not None:
            own["fps"] = self.fps
        own["temperature"] = self.temperature
        if self.temperature > 0:
            own |= {"top_p": self.top_p, "seed": self.seed}
        if self.num_beams > 1:
            own["num_beams"] = self.num_beams
        return own | dict(self.fingerprint)


@dataclass(frozen=True)
class Predictions:
    """What predicting gives.

    Attributes:
        answers: id -> text, of all processes.
        unreadable: {"video", "start", "end", "reason", "questions"} of each clip that could not be read; in processes
            other than the main one only their own, like `new_videos`.
        new_videos: clips whose questions this run answered.
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
    """A question with its encoded clip."""

    question: Question
    video: Tensor
    seconds: list[float]

    @property
    def length(self) -> float:
        """About how many tokens the prompt has."""
        text = len(video_sentence(self.seconds)) + len(self.question.prompt)
        return len(self.video) + text / CHARACTERS_PER_TOKEN


def never() -> bool:
    """Nobody asks for an early end."""
    return False


def predict(
    model: VideoModel,
    questions: Sequence[Question],
    videos_dir: str | Path,
    output_dir: str | Path,
    settings: PredictSettings,
    stopping: Callable[[], bool] = never,
) -> Predictions:
    """Answer every question; call it in every process that torchrun started.

    Args:
        model: in evaluation mode, on its device.
        questions: with paths relative to `videos_dir`.
        output_dir: gets `predictions.jsonl`, `unreadable.jsonl`, `settings.json`.
        settings: see there.
        stopping: asked between clips and between batches; True ends the work of this process.

    Returns:
        All answers. Questions about an unreadable video have none.

    Raises:
        StoppedError: on all processes, if one of them was to stop.
        PredictionError: the folder holds answers that other settings or other questions gave.
    """
    output_dir, videos_dir = Path(output_dir), Path(videos_dir)
    settled = settings.answers_depend_on()
    done = prepare_folder(output_dir, questions, settled, videos_dir, overwrite=settings.overwrite)
    started = time.monotonic()
    mine = _share([question for question in questions if question.id not in done], videos_dir)
    unreadable = _answer_all(model, mine, videos_dir, output_dir, settings, stopping)
    new_videos = len(mine) - len(unreadable)
    gathered = distributed.gather_objects((unreadable, new_videos, stopping()))
    distributed.on_main_process(lambda: _raise_if_stopped([stopped for *_, stopped in gathered or []]))
    if gathered is not None:  # the main process
        unreadable = [row for rows, *_ in gathered for row in rows]
        new_videos = sum(count for _, count, _ in gathered)
        merge_answers(output_dir)
        write_json_lines(output_dir / UNREADABLE, unreadable)
    distributed.barrier()
    answers = read_answers(output_dir)
    return Predictions(
        answers={q.id: answers[q.id] for q in questions if q.id in answers},
        unreadable=unreadable,
        new_videos=new_videos,
        seconds=time.monotonic() - started,
    )


def _raise_if_stopped(stopped: Sequence[bool]) -> None:
    if any(stopped):
        raise StoppedError("the evaluation was stopped before all questions were answered")


def _share(questions: Sequence[Question], videos_dir: Path) -> list[Clip]:
    """This process's clips."""
    clips = clips_of(questions)
    costs = [clip_cost(clip, videos_dir) for clip in clips]
    return [clips[index] for index in assign(costs, distributed.world_size())[distributed.rank()]]


def _answer_all(
    model: VideoModel,
    clips: Sequence[Clip],
    videos_dir: Path,
    output_dir: Path,
    settings: PredictSettings,
    stopping: Callable[[], bool],
) -> list[dict[str, Any]]:
    """Answer this process's questions, writing each answer at once; returns the unreadable clips."""
    unreadable: list[dict[str, Any]] = []
    asks = _encoded(model, clips, videos_dir, settings, unreadable, stopping)
    size = settings.batch_size if settings.temperature <= 0 else 1
    total = sum(len(clip.questions) for clip in clips)
    hidden = None if distributed.is_main_process() else True  # None: shown on a terminal only
    with (
        rank_file(output_dir).open("a", encoding="utf-8") as file,
        tqdm(total=total, unit="answer", disable=hidden) as bar,
    ):
        for batch in _batches(asks, size):
            for ask, answer in zip(batch, _generate(model, batch, settings), strict=True):
                file.write(json_line(_row(ask.question, answer, videos_dir)))
            file.flush()
            bar.update(len(batch))
            if stopping():
                break
    return unreadable


def _row(question: Question, answer: str, videos_dir: Path) -> dict[str, Any]:
    """One line of the file of answers."""
    return {
        "id": question.id,
        "video": question.video,
        "video_bytes": size_of(videos_dir / question.video),
        "start": question.start,
        "end": question.end,
        "query": question.query,
        "prompt": question.prompt,
        "prompt_sha256": sha256_of(question.prompt),
        "answer": answer,
    }


def _encoded(
    model: VideoModel,
    clips: Sequence[Clip],
    videos_dir: Path,
    settings: PredictSettings,
    unreadable: list[dict[str, Any]],
    stopping: Callable[[], bool],
) -> Iterator[_Ask]:
    """Decode and encode one clip after the other, and ask all its questions; adds to `unreadable`."""
    for clip, result in decoded(
        clips,
        videos_dir,
        num_frames=settings.num_frames,
        fps=settings.fps,
        image_size=settings.image_size,
        num_workers=settings.num_workers,
        settings=settings.reading,
    ):
        if stopping():
            return
        if isinstance(result, VideoError):
            count = len(clip.questions)
            logger.warning("unreadable, %d questions stay unanswered: %s", count, result)
            row = {"video": clip.video, "start": clip.start, "end": clip.end}
            unreadable.append(row | {"reason": result.reason, "questions": count})
            continue
        with torch.inference_mode():
            embeds = model.encode_video([result.frames], [result.seconds])[0]
        for question in clip.questions:
            yield _Ask(question, embeds, result.seconds)


def _batches(asks: Iterator[_Ask], size: int) -> Iterator[list[_Ask]]:
    """Batches of questions about the same clips, whose prompts begin alike, and of prompts of similar length.

    A window of asks is taken, sorted and answered before the next one, so that few encoded clips wait.
    """
    window = size * WINDOW if size > 1 else 1
    while waiting := _sorted(list(islice(asks, window))):
        for first in range(0, len(waiting), size):
            yield waiting[first : first + size]


def _sorted(asks: Sequence[_Ask]) -> list[_Ask]:
    """Clip by clip, those with the shortest prompts first, and by length within each."""
    clips: dict[int, list[_Ask]] = {}  # by the identity of the encoded clip, which its questions share
    for ask in asks:
        clips.setdefault(id(ask.video), []).append(ask)
    ordered = [sorted(clip, key=lambda ask: ask.length) for clip in clips.values()]
    return [ask for clip in sorted(ordered, key=lambda clip: clip[0].length) for ask in clip]


def _generate(model: VideoModel, batch: Sequence[_Ask], settings: PredictSettings) -> list[str]:
    options: dict[str, Any] = {"max_new_tokens": settings.max_new_tokens}
    if settings.num_beams > 1:
        options["num_beams"] = settings.num_beams
    if settings.temperature > 0:
        key = f"{settings.seed}:{batch[0].question.id}".encode()
        torch.manual_seed(int.from_bytes(hashlib.sha256(key).digest()[:8], "big"))
        options |= {"do_sample": True, "temperature": settings.temperature, "top_p": settings.top_p}
    with torch.inference_mode():
        return model.answer(
            [ask.video for ask in batch],
            [ask.seconds for ask in batch],
            [ask.question.prompt for ask in batch],
            **options,
        )
