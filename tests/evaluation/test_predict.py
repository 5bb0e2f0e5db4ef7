"""Questions -> answers: one encoding a clip, resume, batches by length, unreadable videos, sampling and beams."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.scripted import QUESTIONS, READABLE, SETTINGS, Scripted, ask, write_videos
from helpers.videos import gray_frames, write_video
from PIL import Image

from timechat.errors import StoppedError
from timechat.evaluation.benchmarks import Question
from timechat.evaluation.predict import WINDOW, predict
from timechat.evaluation.video_models import LazyModel
from timechat.models import TimeChat


@pytest.fixture(scope="module")
def videos_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """See `write_videos`."""
    return write_videos(tmp_path_factory.mktemp("videos"))


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
    assert set(rows[0]) == {"id", "video", "start", "end", "query", "prompt", "prompt_sha256", "answer", "video_bytes"}
    assert rows[0]["prompt_sha256"] == hashlib.sha256(rows[0]["prompt"].encode()).hexdigest()
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


@pytest.mark.parametrize(("after", "asked"), [(1, 1), (2, 2)])
def test_who_is_told_to_stop_keeps_its_answers(tmp_path: Path, videos_dir: Path, after: int, asked: int) -> None:
    model = Scripted()
    with pytest.raises(StoppedError):
        predict(model, QUESTIONS, videos_dir, tmp_path, SETTINGS, lambda: len(model.batches) >= after)
    assert len(model.asked) == asked
    result = predict(model, QUESTIONS, videos_dir, tmp_path, SETTINGS)
    assert result.answers == READABLE
    assert len(model.asked) == 3


def test_no_clip_is_encoded_for_who_is_told_to_stop(tmp_path: Path, videos_dir: Path) -> None:
    model = Scripted()
    settings = dataclasses.replace(SETTINGS, batch_size=2, num_workers=1)
    with pytest.raises(StoppedError):
        predict(model, QUESTIONS, videos_dir, tmp_path, settings, lambda: True)
    assert model.encoded == 0


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


def test_each_part_of_a_video_is_encoded_once(tmp_path: Path, videos_dir: Path) -> None:
    """Two questions about one part, one about another, one about the whole video."""
    parts = [("1", 0.0, 0.5), ("2", 1.0, 1.3), ("3", 0.0, 0.5), ("4", None, None)]
    questions = [Question(id, "a.mp4", "", f"What is {id}", start, end) for id, start, end in parts]
    model = Scripted()
    result = predict(model, questions, videos_dir, tmp_path, SETTINGS)
    assert model.encoded == 3
    assert [result.answers[id] for id in "1234"] == [
        "What is 1: 5 frames", "What is 2: 3 frames", "What is 3: 5 frames", "What is 4: 6 frames",
    ]  # fmt: skip
    rows = [json.loads(line) for line in (tmp_path / "predictions.jsonl").read_text().splitlines()]
    assert {row["id"]: (row["start"], row["end"]) for row in rows} == {id: (s, e) for id, s, e in parts}


def test_a_folder_of_pictures_is_a_video(tmp_path: Path) -> None:
    folder = tmp_path / "frames" / "scene"
    folder.mkdir(parents=True)
    for number, picture in enumerate(gray_frames(9), 1):
        Image.fromarray(picture).save(folder / f"{number:05d}.jpg")
    questions = [
        Question("1", "scene", "", "Who", frame_rate=3.0),
        Question("2", "scene", "", "Who", 1.0, 2.0, 3.0),
        Question("3", "scene", "", "Who"),
    ]
    result = predict(Scripted(), questions, tmp_path / "frames", tmp_path / "out", SETTINGS)
    assert result.answers == {"1": "Who: 6 frames", "2": "Who: 3 frames"}
    assert [(row["video"], row["start"]) for row in result.unreadable] == [("scene", None)]


def test_batches_hold_prompts_of_similar_length(tmp_path: Path, videos_dir: Path) -> None:
    """All of a window, here of all questions, is sorted before it is cut into batches."""
    lengths = [90, 10, 80, 20, 70, 30]
    questions = [ask(str(i), "a.mp4", "x" * length) for i, length in enumerate(lengths)]
    model = Scripted()
    result = predict(model, questions, videos_dir, tmp_path, dataclasses.replace(SETTINGS, batch_size=2))
    assert [[len(prompt) for prompt in batch] for batch in model.batches] == [[10, 20], [30, 70], [80, 90]]
    assert list(result.answers) == list("012345")


def test_questions_about_a_clip_stay_together(tmp_path: Path, videos_dir: Path) -> None:
    """What their prompts have in common is read once for all that are in a batch."""
    asked = [("a.mp4", 60), ("b.mp4", 50), ("b.mp4", 70), ("a.mp4", 10)]
    questions = [ask(str(length), video, "x" * length) for video, length in asked]
    model = Scripted()
    predict(model, questions, videos_dir, tmp_path, dataclasses.replace(SETTINGS, batch_size=2))
    assert [[len(prompt) for prompt in batch] for batch in model.batches] == [[10, 60], [50, 70]]


def test_few_encoded_videos_wait(tmp_path: Path, videos_dir: Path) -> None:
    """Memory does not grow with the run: a window is answered before the next clip is encoded."""
    size, ahead = 2, []

    class Watching(Scripted):
        def answer(self, *batch: Any, **options: Any) -> list[str]:
            ahead.append(self.encoded - len(self.asked))
            return super().answer(*batch, **options)

    parts = [(i / 50, i / 50 + 0.5) for i in range(3 * size * WINDOW)]
    questions = [Question(str(i), "a.mp4", "", "Who", *part) for i, part in enumerate(parts)]
    predict(Watching(), questions, videos_dir, tmp_path, dataclasses.replace(SETTINGS, batch_size=size))
    assert max(ahead) == size * WINDOW
    assert min(ahead) == size


def test_a_model_is_built_only_when_something_is_asked(tmp_path: Path, videos_dir: Path) -> None:
    """A run that has its answers, and only unreadable videos left, loads no weights."""
    built: list[Scripted] = []

    def build() -> Scripted:
        built.append(Scripted())
        return built[-1]

    for _ in range(2):
        assert predict(LazyModel(build), QUESTIONS, videos_dir, tmp_path, SETTINGS).answers == READABLE
    assert len(built) == 1
    assert built[0].encoded == 2


def test_beams_find_other_answers_whatever_the_batch(tmp_path: Path, videos_dir: Path, tiny_model: TimeChat) -> None:
    questions = [ask("1", "a.mp4", "When?"), ask("2", "b.mp4", "What happens " * 9), ask("3", "a.mp4", "Say more.")]
    greedy = predict(tiny_model, questions, videos_dir, tmp_path / "0", SETTINGS).answers
    beams = dataclasses.replace(SETTINGS, num_beams=3)
    alone = predict(tiny_model, questions, videos_dir, tmp_path / "1", beams).answers
    together = dataclasses.replace(beams, batch_size=3)
    assert predict(tiny_model, questions, videos_dir, tmp_path / "2", together).answers == alone
    assert alone != greedy
