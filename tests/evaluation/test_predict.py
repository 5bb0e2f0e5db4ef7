"""Questions -> answers: one encoding a video, resume, refusal of other settings, unreadable videos."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.videos import write_video
from torch import Tensor

from timechat.errors import PredictionError
from timechat.evaluation.benchmarks import Question
from timechat.evaluation.predict import PredictSettings, predict
from timechat.models import TimeChat

SETTINGS = PredictSettings(num_frames=6, image_size=56, max_new_tokens=12, fingerprint={"model.ckpt": "a.pth"})


class Scripted:
    """Answers by template; counts what it is asked, and can be killed after some answers."""

    def __init__(self, dies_after: int | None = None):
        self.encoded, self.batches, self.left = 0, [], dies_after

    def encode_video(self, frames: Sequence[Tensor], seconds: Sequence[Sequence[float]]) -> list[Tensor]:
        self.encoded += len(frames)
        assert all(f.dtype == torch.uint8 and f.shape[1:] == (3, 56, 56) for f in frames)
        assert [len(s) for s in seconds] == [len(f) for f in frames]
        return [torch.full((2, 4), float(len(f))) for f in frames]

    def answer(
        self, videos: Sequence[Tensor], seconds: Sequence[Sequence[float]], prompts: Sequence[str], **options: Any
    ) -> list[str]:
        if self.left is not None:
            if self.left <= 0:
                raise KeyboardInterrupt
            self.left -= len(prompts)
        self.batches.append(list(prompts))
        return [f"{p}: {int(v[0, 0])} frames" for p, v in zip(prompts, videos, strict=True)]

    @property
    def asked(self) -> list[str]:
        return [prompt for batch in self.batches for prompt in batch]


@pytest.fixture(scope="module")
def videos_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """a.mp4 (20 frames), b.mp4 (4 frames), broken.mp4."""
    folder = tmp_path_factory.mktemp("videos")
    write_video(folder / "a.mp4", frames=20)
    write_video(folder / "b.mp4", frames=4, fps=2)
    (folder / "broken.mp4").write_text("no video")
    return folder


def ask(id: str, video: str, prompt: str = "") -> Question:
    return Question(id, video, "", prompt or f"What is {id}")


QUESTIONS = [ask("1", "a.mp4"), ask("2", "b.mp4"), ask("3", "a.mp4"), ask("4", "broken.mp4"), ask("5", "gone.mp4")]
READABLE = {"1": "What is 1: 6 frames", "2": "What is 2: 4 frames", "3": "What is 3: 6 frames"}


@pytest.mark.parametrize("workers", [0, 2])
def test_answers_files_and_unreadable_videos(tmp_path: Path, videos_dir: Path, workers: int) -> None:
    model = Scripted()
    settings = dataclasses.replace(SETTINGS, batch_size=2, num_workers=workers)
    result = predict(model, QUESTIONS, videos_dir, tmp_path, settings)
    assert result.answers == READABLE
    assert model.encoded == 2  # once for both questions about a.mp4
    assert [len(batch) for batch in model.batches] == [2, 1]
    rows = [json.loads(line) for line in (tmp_path / "predictions.jsonl").read_text().splitlines()]
    assert {row["id"]: row["answer"] for row in rows} == READABLE
    assert set(rows[0]) == {"id", "video", "query", "prompt", "answer"}
    assert {row["video"] for row in result.unreadable} == {"broken.mp4", "gone.mp4"}
    written = [json.loads(line) for line in (tmp_path / "unreadable.jsonl").read_text().splitlines()]
    assert written == result.unreadable
    assert all(row["questions"] == 1 and row["reason"] for row in written)
    assert not list(tmp_path.glob("predictions.rank*"))
    assert result.new_videos == 2
    assert result.seconds_per_video > 0


def test_killed_run_continues(tmp_path: Path, videos_dir: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        predict(Scripted(dies_after=2), QUESTIONS, videos_dir, tmp_path, SETTINGS)
    part = tmp_path / "predictions.rank0.jsonl"
    assert len(part.read_text().splitlines()) == 2
    with part.open("a") as file:  # what a killed process leaves: half a line
        file.write('{"id": "2", "vid')
    part.rename(tmp_path / "predictions.rank3.jsonl")  # and it may have run with more processes
    model = Scripted()
    result = predict(model, QUESTIONS, videos_dir, tmp_path, SETTINGS)
    assert model.asked == ["What is 2"]
    assert result.answers == READABLE
    again = predict(Scripted(dies_after=0), QUESTIONS, videos_dir, tmp_path, SETTINGS)
    assert again.answers == READABLE
    assert again.seconds_per_video is None


def test_every_answer_is_on_disk_before_the_next_question(tmp_path: Path, videos_dir: Path) -> None:
    """A process that is killed outright closes no file."""

    class Watching(Scripted):
        def answer(self, *batch: Any, **options: Any) -> list[str]:
            written.append((tmp_path / "predictions.rank0.jsonl").read_text().count("\n"))
            return super().answer(*batch, **options)

    written: list[int] = []
    predict(Watching(), QUESTIONS, videos_dir, tmp_path, SETTINGS)
    assert written == [0, 1, 2]


def test_a_repaired_video_is_asked_about_again(tmp_path: Path, videos_dir: Path) -> None:
    videos = shutil.copytree(videos_dir, tmp_path / "videos")
    predict(Scripted(), QUESTIONS, videos, tmp_path / "out", SETTINGS)
    write_video(videos / "broken.mp4", frames=5)
    model = Scripted()
    result = predict(model, QUESTIONS, videos, tmp_path / "out", SETTINGS)
    assert model.asked == ["What is 4"]
    assert [row["video"] for row in result.unreadable] == ["gone.mp4"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"max_new_tokens": 13}, "max_new_tokens: 12 there, 13 now"),
        ({"num_frames": 5}, "num_frames: 6 there, 5 now"),
        ({"temperature": 0.5}, "temperature: 0.0 there, 0.5 now"),
        ({"fingerprint": {"model.ckpt": "b.pth"}}, "model.ckpt: 'a.pth' there, 'b.pth' now"),
    ],
)
def test_other_settings_are_refused(tmp_path: Path, videos_dir: Path, change: dict[str, Any], message: str) -> None:
    predict(Scripted(), QUESTIONS, videos_dir, tmp_path, SETTINGS)
    other = dataclasses.replace(SETTINGS, **change)
    with pytest.raises(PredictionError, match=message) as caught:
        predict(Scripted(), QUESTIONS, videos_dir, tmp_path, other)
    assert "another --output-dir, or --overwrite" in str(caught.value)
    model = Scripted()
    predict(model, QUESTIONS, videos_dir, tmp_path, dataclasses.replace(other, overwrite=True))
    assert len(model.asked) == 3


def test_settings_that_change_no_answer_are_accepted(tmp_path: Path, videos_dir: Path) -> None:
    predict(Scripted(), QUESTIONS, videos_dir, tmp_path, SETTINGS)
    other = dataclasses.replace(SETTINGS, batch_size=3, num_workers=1, seed=7, top_p=0.5)
    assert predict(Scripted(dies_after=0), QUESTIONS, videos_dir, tmp_path, other).answers == READABLE


def test_other_questions_of_the_same_id_are_refused(tmp_path: Path, videos_dir: Path) -> None:
    predict(Scripted(), QUESTIONS, videos_dir, tmp_path, SETTINGS)
    with pytest.raises(PredictionError, match=r"answer 1 belongs to another question: 'a\.mp4', 'What is 1' there"):
        predict(Scripted(), [ask("1", "a.mp4", "Who?")], videos_dir, tmp_path, SETTINGS)


def test_more_questions_keep_the_answers_and_fewer_get_theirs(tmp_path: Path, videos_dir: Path) -> None:
    predict(Scripted(), QUESTIONS[:1], videos_dir, tmp_path, SETTINGS)
    model = Scripted()
    predict(model, QUESTIONS, videos_dir, tmp_path, SETTINGS)
    assert model.asked == ["What is 3", "What is 2"] or model.asked == ["What is 2", "What is 3"]
    result = predict(Scripted(dies_after=0), QUESTIONS[:2], videos_dir, tmp_path, SETTINGS)
    assert list(result.answers) == ["1", "2"]


@pytest.mark.parametrize("line", ["not json", "[1]", '{"id": "1"}'])
def test_broken_answer_files_name_the_line(tmp_path: Path, videos_dir: Path, line: str) -> None:
    predict(Scripted(), QUESTIONS, videos_dir, tmp_path, SETTINGS)
    (tmp_path / "predictions.jsonl").write_text(line + "\n")
    with pytest.raises(PredictionError, match=r"predictions\.jsonl"):
        predict(Scripted(), QUESTIONS, videos_dir, tmp_path, SETTINGS)


def test_answers_without_settings_are_refused(tmp_path: Path, videos_dir: Path) -> None:
    predict(Scripted(), QUESTIONS, videos_dir, tmp_path, SETTINGS)
    (tmp_path / "settings.json").unlink()
    with pytest.raises(PredictionError, match=r"no settings\.json"):
        predict(Scripted(), QUESTIONS, videos_dir, tmp_path, SETTINGS)


def test_greedy_answers_do_not_depend_on_the_batch(tmp_path: Path, videos_dir: Path, tiny_model: TimeChat) -> None:
    """Prompts of different length about videos of different length, alone and together."""
    questions = [
        ask("1", "a.mp4", "When?"),
        ask("2", "b.mp4", "What happens " * 9),
        ask("3", "a.mp4", "Say more. " * 5),
    ]
    alone = predict(tiny_model, questions, videos_dir, tmp_path / "1", SETTINGS).answers
    together = dataclasses.replace(SETTINGS, batch_size=3)
    assert predict(tiny_model, questions, videos_dir, tmp_path / "3", together).answers == alone
    assert len(set(alone.values())) == 3


def test_drawn_answers_depend_on_seed_and_question_alone(
    tmp_path: Path, videos_dir: Path, tiny_model: TimeChat
) -> None:
    drawn = dataclasses.replace(SETTINGS, temperature=1.5, seed=1)
    answers = predict(tiny_model, QUESTIONS, videos_dir, tmp_path / "1", drawn).answers
    torch.manual_seed(99)
    batched = dataclasses.replace(drawn, batch_size=4)
    assert predict(tiny_model, QUESTIONS[::-1], videos_dir, tmp_path / "2", batched).answers == answers
    other = dataclasses.replace(drawn, seed=2)
    assert predict(tiny_model, QUESTIONS, videos_dir, tmp_path / "3", other).answers != answers
    twins = [ask("1", "a.mp4", "When?"), ask("2", "a.mp4", "When?")]
    first, second = predict(tiny_model, twins, videos_dir, tmp_path / "4", drawn).answers.values()
    assert first != second
