"""Answers of a batch, watched token by token, and ended one by one."""

from __future__ import annotations

import pytest
from helpers.tiny import Golden, build_tiny

from timechat.errors import ConfigError
from timechat.models import TimeChat
from timechat.models.watching import PartialAnswer

PROMPTS = ["When?", "Describe the video, and say when each part of it happens."]


@pytest.fixture(scope="module")
def model() -> TimeChat:
    """No test changes it."""
    return build_tiny().eval()


def test_rows_end_on_their_own(model: TimeChat, golden: Golden) -> None:
    videos, seconds = model.encode_video(golden.videos(), golden.expected["timestamps"]), golden.expected["timestamps"]
    whole = model.answer(videos, seconds, PROMPTS, max_new_tokens=9)
    seen: list[list[PartialAnswer]] = []

    def watch(answers: list[PartialAnswer]) -> list[bool]:
        seen.append(answers)
        return [answer.num_tokens >= limit for answer, limit in zip(answers, (2, 4), strict=True)]

    ended = model.answer(videos, seconds, PROMPTS, max_new_tokens=9, watch=watch)
    alone = [
        model.answer([video], [times], [prompt], max_new_tokens=limit)[0]
        for video, times, prompt, limit in zip(videos, seconds, PROMPTS, (2, 4), strict=True)
    ]
    assert ended == alone
    assert all(text.startswith(part) for text, part in zip(whole, ended, strict=True))
    assert [[answer.num_tokens for answer in answers] for answers in seen] == [[min(n, 2), n] for n in range(1, 5)]
    assert [answer.text for answer in seen[-1]] == ended
    assert not any(answer.ended for answers in seen for answer in answers)


def test_the_end_that_the_model_sets_is_told(model: TimeChat, golden: Golden, monkeypatch: pytest.MonkeyPatch) -> None:
    videos, seconds = model.encode_video(golden.videos()[:1], golden.expected["timestamps"][:1]), [[0.0]]
    seen: list[PartialAnswer] = []

    def watch(answers: list[PartialAnswer]) -> list[bool]:
        seen.extend(answers)
        return [False]

    decoded: list[list[int]] = []
    with monkeypatch.context() as patch:
        patch.setattr(model.tokenizer, "decode", lambda ids: decoded.append(list(ids)) or "")
        model.answer(videos, seconds, PROMPTS[:1], max_new_tokens=4)
    monkeypatch.setattr(model.tokenizer, "eos_id", decoded[0][1])
    model.answer(videos, seconds, PROMPTS[:1], max_new_tokens=4, watch=watch)
    assert [answer.ended for answer in seen] == [False, True]


def test_beams_cannot_be_watched(model: TimeChat, golden: Golden) -> None:
    videos = model.encode_video(golden.videos()[:1], golden.expected["timestamps"][:1])
    with pytest.raises(ConfigError, match="num_beams=2"):
        model.answer(videos, [[0.0]], ["q"], num_beams=2, watch=lambda answers: [False])


@pytest.mark.parametrize("histories", [[], [[], []]])
def test_each_answer_has_a_history(model: TimeChat, golden: Golden, histories: list[list[tuple[str, str]]]) -> None:
    videos = model.encode_video(golden.videos()[:1], golden.expected["timestamps"][:1])
    with pytest.raises(ConfigError, match="histories: must agree"):
        model.answer(videos, [[0.0]], ["q"], histories=histories)
