"""Answers in an output folder: other settings and questions are refused, more and fewer questions are not."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from helpers.scripted import QUESTIONS, READABLE, SETTINGS, Scripted, ask, write_videos

from timechat.errors import PredictionError
from timechat.evaluation.answers import check_earlier_answers
from timechat.evaluation.predict import predict


@pytest.fixture(scope="module")
def videos_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """See `write_videos`."""
    return write_videos(tmp_path_factory.mktemp("videos"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"max_new_tokens": 13}, "max_new_tokens: 12 there, 13 now"),
        ({"num_frames": 5}, "num_frames: 6 there, 5 now"),
        ({"temperature": 0.5}, "temperature: 0.0 there, 0.5 now"),
        ({"num_beams": 2}, "num_beams: None there, 2 now"),
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


def test_other_settings_are_fine_where_nothing_was_answered(tmp_path: Path, videos_dir: Path) -> None:
    """What is left when the weights could not be loaded."""
    with pytest.raises(KeyboardInterrupt):
        predict(Scripted(dies_after=0), QUESTIONS, videos_dir, tmp_path, SETTINGS)
    assert (tmp_path / "settings.json").is_file()
    other = dataclasses.replace(SETTINGS, num_frames=5)
    assert len(predict(Scripted(), QUESTIONS, videos_dir, tmp_path, other).answers) == 3
    assert json.loads((tmp_path / "settings.json").read_text())["num_frames"] == 5


@pytest.mark.parametrize("part", [{"start": 1.0}, {"end": 1.5}])
def test_the_same_question_about_another_part_is_refused(tmp_path: Path, videos_dir: Path, part: dict) -> None:
    predict(Scripted(), QUESTIONS[:1], videos_dir, tmp_path, SETTINGS)
    check_earlier_answers(tmp_path, QUESTIONS[:1], SETTINGS.answers_depend_on(), videos_dir)
    other = [dataclasses.replace(QUESTIONS[0], **part)]
    with pytest.raises(PredictionError, match="answer 1 belongs to another question"):
        check_earlier_answers(tmp_path, other, SETTINGS.answers_depend_on(), videos_dir)
    predict(Scripted(), other, videos_dir, tmp_path / "part", SETTINGS)
    check_earlier_answers(tmp_path / "part", other, SETTINGS.answers_depend_on(), videos_dir)
    with pytest.raises(PredictionError, match="answer 1 belongs to another question"):
        check_earlier_answers(tmp_path / "part", QUESTIONS[:1], SETTINGS.answers_depend_on(), videos_dir)


def test_answers_about_other_files_are_refused_and_moved_videos_are_not(tmp_path: Path, videos_dir: Path) -> None:
    """A folder may have moved, or be gone when answers are only scored again."""
    predict(Scripted(), QUESTIONS, videos_dir, tmp_path / "out", SETTINGS)
    settings = SETTINGS.answers_depend_on()
    check_earlier_answers(tmp_path / "out", QUESTIONS, settings, tmp_path / "nowhere")
    moved = tmp_path / "moved"
    shutil.copytree(videos_dir, moved)
    assert predict(Scripted(dies_after=0), QUESTIONS, moved, tmp_path / "out", SETTINGS).answers == READABLE
    (moved / "a.mp4").write_bytes((moved / "a.mp4").read_bytes() + b"0")
    with pytest.raises(PredictionError, match=r"is about a file a\.mp4 of \d+ bytes, and the one in .* has \d+; give"):
        check_earlier_answers(tmp_path / "out", QUESTIONS, settings, moved)
