"""Questions that are answered together have the answers that they have alone."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch
from helpers.serving import QUESTION, Held, wait_for
from helpers.videos import write_video

from timechat.app.api import EncodedVideo, VideoLanguageModel
from timechat.app.server.batching import Batcher, Job, Question
from timechat.app.server.schema import Sampling


@pytest.fixture(scope="module")
def seen(model: VideoLanguageModel, tmp_path_factory: pytest.TempPathFactory) -> list[EncodedVideo]:
    """Two videos of different lengths."""
    folder = tmp_path_factory.mktemp("videos")
    return [model.encode(write_video(folder / f"{frames}.mp4", frames=frames)) for frames in (20, 5)]


def question(video: EncodedVideo, prompt: str = QUESTION, max_tokens: int = 5, **more: Any) -> Question:
    return Question(video, prompt, more.get("history", ()), more.get("system"), max_tokens, more.get("sampling"))


def alone(model: VideoLanguageModel, asked: Question) -> str:
    """What the model answers to this question without others."""
    sampling: dict[str, Any] = {}
    if asked.sampling:
        torch.manual_seed(asked.sampling.seed)
        sampling = {"do_sample": True, "temperature": asked.sampling.temperature, "top_p": asked.sampling.top_p}
    return model.ask(
        asked.video,
        asked.prompt,
        system=asked.system,
        history=asked.history,
        max_new_tokens=asked.max_tokens,
        **sampling,
    ).text


def answers(model: VideoLanguageModel, questions: list[Question], **options: Any) -> tuple[list[Job], list[int]]:
    """Ask all at once; the finished jobs, and the sizes of the batches."""
    sizes: list[int] = []
    batcher = Batcher(model, on_batch=lambda size, seconds: sizes.append(size), **options)
    jobs = [Job(asked) for asked in questions]
    for job in jobs:
        batcher.submit(job)
    batcher.start()
    batcher.stop()
    return jobs, sizes


def test_the_same_answers_as_alone(model: VideoLanguageModel, seen: list[EncodedVideo]) -> None:
    questions = [
        question(seen[0]),
        question(seen[1], "Describe the video, and say when each part of it happens.", max_tokens=9),
        question(seen[0], "What?", max_tokens=1),
        question(seen[1], history=((QUESTION, "At 3.0 seconds."),), max_tokens=3),
        question(seen[0], sampling=Sampling(3.0, 0.9, 7)),
        question(seen[0], sampling=Sampling(3.0, 0.9, 8)),
        question(seen[0], system="Be brief."),
    ]
    jobs, sizes = answers(model, questions)
    assert sizes == [4, 1, 1, 1]
    assert [job.partial.text for job in jobs] == [alone(model, asked) for asked in questions]
    assert [job.partial.num_tokens for job in jobs] == [asked.max_tokens for asked in questions]
    assert all(job.done and job.error is None for job in jobs)


def test_a_seed_draws_the_same_and_disturbs_nobody(model: VideoLanguageModel, seen: list[EncodedVideo]) -> None:
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    drawn = [question(seen[0], max_tokens=8, sampling=Sampling(5.0, 1.0, seed)) for seed in (3, 3, None, None)]
    jobs, _ = answers(model, drawn)
    texts = [job.partial.text for job in jobs]
    assert texts[0] == texts[1]
    assert len(set(texts)) == 3
    assert torch.equal(torch.rand(1), expected)


def test_a_batch_has_a_largest_size(model: VideoLanguageModel, seen: list[EncodedVideo]) -> None:
    _, sizes = answers(model, [question(seen[0], max_tokens=1)] * 5, max_batch=2)
    assert sizes == [2, 2, 1]


def test_a_question_waits_for_others_as_long_as_the_window(
    model: VideoLanguageModel, seen: list[EncodedVideo], monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(model, monkeypatch)
    held.let_go()
    batcher = Batcher(model, max_batch=3, window_s=600)
    batcher.start()
    jobs = [Job(question(seen[0], max_tokens=1)) for _ in range(4)]
    for job in jobs[:3]:  # a full batch waits for nobody
        batcher.submit(job)
    wait_for(lambda: all(job.done for job in jobs[:3]))
    batcher.submit(jobs[3])
    batcher.stop()  # the end neither
    assert held.sizes == [3, 1]


def test_whoever_leaves_frees_the_place(
    model: VideoLanguageModel, seen: list[EncodedVideo], monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(model, monkeypatch)
    batcher = Batcher(model, max_batch=2, window_s=0)
    long, short, waiting, next_one = (Job(question(seen[0], max_tokens=n)) for n in (400, 2, 5, 1))
    batcher.submit(long)
    batcher.submit(short)
    batcher.start()
    held.give(2)
    wait_for(lambda: short.done)
    batcher.submit(waiting)
    batcher.submit(next_one)
    waiting.cancel()
    long.cancel()
    held.let_go()
    batcher.stop()
    assert held.sizes == [2, 1]
    assert held.finished[0] < 5
    assert next_one.done
    assert not waiting.done
    assert waiting.partial.num_tokens == 0
    assert not long.done


def test_one_bad_question_does_not_spoil_the_others(
    model: VideoLanguageModel, seen: list[EncodedVideo], monkeypatch: pytest.MonkeyPatch
) -> None:
    answer, sizes = model.answer, list[int]()

    def fails(videos: Any, seconds: Any, prompts: list[str], **options: Any) -> list[str]:
        sizes.append(len(prompts))
        if "bad" in prompts or len(prompts) > 2:
            raise torch.OutOfMemoryError("no room")
        return answer(videos, seconds, prompts, **options)

    monkeypatch.setattr(model, "answer", fails)
    questions = [question(seen[0], prompt) for prompt in ("one", "two", "bad", "four")]
    jobs, _ = answers(model, questions)
    assert [type(job.error).__name__ for job in jobs] == ["NoneType", "NoneType", "OutOfMemoryError", "NoneType"]
    assert sizes == [4, 2, 2, 1, 1]
    monkeypatch.undo()
    for i in (0, 1, 3):
        assert jobs[i].partial.text == alone(model, questions[i])


def test_words_are_told_as_they_are_written(model: VideoLanguageModel, seen: list[EncodedVideo]) -> None:
    told: list[int] = []
    batcher = Batcher(model)
    job = Job(question(seen[0], max_tokens=4), lambda: told.append(job.partial.num_tokens))
    batcher.submit(job)
    batcher.start()
    batcher.stop()
    assert told == [1, 2, 3, 4]


def test_functions_run_between_batches(model: VideoLanguageModel) -> None:
    batcher = Batcher(model)
    first, unwanted, wrong = batcher.run(threading.current_thread), batcher.run(lambda: 1), batcher.run(lambda: 1 / 0)
    assert unwanted.cancel()
    batcher.start()
    assert first.result(60).name == "timechat-model"
    with pytest.raises(ZeroDivisionError):
        wrong.result(60)
    batcher.stop()
    assert [thread.name for thread in threading.enumerate() if thread.name == "timechat-model"] == []
