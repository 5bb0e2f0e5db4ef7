"""Load, ask, encode once: what goes to the model, and what comes back."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.tiny import BERT, LLAMA, TINY, WEIGHTS, Golden, build_tiny, tiny_config
from helpers.videos import write_video
from PIL import Image

import timechat
from timechat.app.answer import Answer, Segment, find_segments
from timechat.app.api import EncodedVideo, VideoLanguageModel
from timechat.datasets.video import load_video
from timechat.errors import AnnotationError, ConfigError, VideoError
from timechat.evaluation.prompting import PROMPTS, fill_prompt, load_prompt

ROOT = Path(__file__).parents[2]
CAPTIONS = "3.0 - 5.0 seconds, cut the bread. 7.0 - 9.0 seconds, fry it."
HIGHLIGHTS = "There are 2 highlight moments in the 4, 6 second. Their saliency scores are 1.5, 3.0."
QUESTION = "When does the chef cut the bread?"
PATHS = [f"model.llama_model={LLAMA}", f"model.qformer_tokenizer={BERT}", f"model.ckpt={WEIGHTS}"]


@pytest.fixture(scope="module")
def model() -> VideoLanguageModel:
    """No test changes it."""
    return VideoLanguageModel(tiny_config(["run.device=cpu"]), build_tiny())


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty frames, two seconds."""
    return write_video(tmp_path_factory.mktemp("video") / "v.mp4")


class Asked:
    """Answers that are known beforehand, and what was asked."""

    def __init__(self, model: VideoLanguageModel, monkeypatch: pytest.MonkeyPatch, text: str = "No idea."):
        self.text, self.calls = text, []
        monkeypatch.setattr(type(model.model), "answer", self._answer)

    def _answer(self, videos: Any, seconds: Any, prompts: list[str], **options: Any) -> list[str]:
        self.calls.append({"seconds": seconds, "prompts": prompts, **options})
        return [self.text]


# Importing and loading ------------------------------------------------------------------------------------------------


def test_the_import_is_light_and_the_names_are_there() -> None:
    code = (
        "import sys, timechat; heavy = {'torch', 'transformers', 'numpy', 'omegaconf'} & set(sys.modules); "
        "assert not heavy, heavy; assert {'load', 'Answer', 'Segment'} <= set(dir(timechat)); "
        "assert timechat.load.__module__ == 'timechat.app.api'"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=120)
    assert timechat.Answer is Answer
    assert timechat.Segment is Segment
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        timechat.lod  # noqa: B018


def test_a_yaml_file_gives_the_model_that_generates_the_same(golden: Golden) -> None:
    model = timechat.load(TINY / "config.yaml", options=PATHS, device="cpu")
    assert not model.model.training
    assert model.device == torch.device("cpu")
    videos, seconds = golden.videos(), golden.expected["timestamps"]
    prompts = [QUESTION, "Describe the video."]
    expected = build_tiny().generate(videos, seconds, prompts, max_new_tokens=6)
    assert model.generate(videos, seconds, prompts, max_new_tokens=6) == expected
    assert model.answer(model.encode_video(videos, seconds), seconds, prompts, max_new_tokens=6) == expected


@pytest.mark.parametrize("device", ["tpu", "cuda:x", "cuda:99", ""])
def test_a_device_that_is_not_there(device: str) -> None:
    with pytest.raises(ConfigError, match="device="):
        VideoLanguageModel(tiny_config(), build_tiny(), device)


@pytest.mark.parametrize("stage", ["1_frames", "2_reading"])
def test_a_model_without_a_decoder_is_refused_before_its_weights_are_read(
    stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("timechat.app.api.build_model", None)
    with pytest.raises(ConfigError, match=r"model\.arch=frame_\w+: has no decoder, so it cannot answer questions"):
        timechat.load(ROOT / f"quickstart/configs/{stage}.yaml")


# Asking ---------------------------------------------------------------------------------------------------------------


def test_a_file_frames_and_an_encoded_video_are_asked_alike(model: VideoLanguageModel, video: Path) -> None:
    decoded = load_video(video, n_frms=12, image_size=56)
    answer = model.ask(video, QUESTION, max_new_tokens=8)
    assert answer.text == model.model.generate([decoded.frames], [decoded.seconds], [QUESTION], max_new_tokens=8)[0]
    assert answer.seconds == decoded.seconds
    assert len(answer.seconds) == 12
    encoded = model.encode(video)
    assert isinstance(encoded, EncodedVideo)
    assert model.encode(encoded) is encoded
    assert not encoded.embeddings.requires_grad
    for same in (str(video), decoded, (decoded.frames, decoded.seconds), encoded):
        assert model.ask(same, QUESTION, max_new_tokens=8) == answer


def test_the_config_says_how_many_frames_are_seen(video: Path) -> None:
    model = VideoLanguageModel(tiny_config(["model.num_frm=5", "run.device=cpu"]), build_tiny())
    assert len(model.ask(video, QUESTION, max_new_tokens=1).seconds) == 5


def test_an_image_has_no_times(model: VideoLanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("RGB", (80, 60), (200, 30, 30)).save(tmp_path / "i.PNG")
    asked = Asked(model, monkeypatch)
    assert model.ask(tmp_path / "i.PNG", "What is it?").seconds == []
    assert asked.calls[0]["seconds"] == [None]


def test_a_free_question_goes_to_the_model_as_it_is(
    model: VideoLanguageModel, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Asked(model, monkeypatch)
    model.ask(video, " two  spaces? ", system="Be brief.", max_new_tokens=3)
    model.ask(video, "q", do_sample=True, temperature=0.7, top_p=0.9)
    assert asked.calls[0]["prompts"] == [" two  spaces? "]
    assert (asked.calls[0]["system"], asked.calls[0]["max_new_tokens"]) == ("Be brief.", 3)
    assert "do_sample" not in asked.calls[0]
    assert [asked.calls[1][key] for key in ("do_sample", "temperature", "top_p")] == [True, 0.7, 0.9]


@pytest.mark.parametrize(
    ("task", "file", "question", "prompt"),
    [
        ("ground", "grounding.txt", "a dog runs", "{}"),
        ("highlights", "highlights.txt", "a dog runs", "{}"),
        ("caption", "dense_captioning.txt", "", "{}"),
        ("caption", "dense_captioning.txt", "How is the dish cooked?", "How is the dish cooked? {}"),
    ],
)
def test_a_task_asks_in_the_words_of_the_benchmarks(
    model: VideoLanguageModel,
    video: Path,
    monkeypatch: pytest.MonkeyPatch,
    task: str,
    file: str,
    question: str,
    prompt: str,
) -> None:
    asked = Asked(model, monkeypatch)
    model.ask(video, question, task=task)
    assert asked.calls[0]["prompts"] == [prompt.format(fill_prompt(load_prompt(PROMPTS / file), question))]


def test_a_model_may_have_prompts_of_its_own(video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = VideoLanguageModel(tiny_config(["run.device=cpu"]), build_tiny())
    asked = Asked(own, monkeypatch)
    (tmp_path / "grounding.txt").write_text("Look for {query}.")
    own.prompts = tmp_path
    own.ask(video, "the egg", task="ground")
    assert asked.calls[0]["prompts"] == ["Look for the egg."]
    with pytest.raises(ConfigError, match=r"highlights\.txt"):
        own.ask(video, "the egg", task="highlights")


def test_speech_stands_before_the_question(
    model: VideoLanguageModel, video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Asked(model, monkeypatch)
    (tmp_path / "v.srt").write_text("1\n00:00:00,500 --> 00:00:01,000\nhello there\n")
    model.ask(video, QUESTION, asr=tmp_path / "v.srt")
    said = "Transcribed speech: 0.5 - 1.0 seconds, hello there."
    assert asked.calls[0]["prompts"][0].startswith(said)
    assert asked.calls[0]["prompts"][0].endswith(QUESTION)
    for name in ("v.doc", "gone.srt"):
        with pytest.raises(AnnotationError, match=name):
            model.ask(video, QUESTION, asr=tmp_path / name)


@pytest.mark.parametrize(
    ("video", "options", "error", "message"),
    [
        ("gone.mp4", {}, VideoError, "gone.mp4: no such video file"),
        (
            (torch.zeros(2, 56, 56, 3), [0.0, 1.0]),
            {},
            ConfigError,
            r"\[2, 56, 56, 3\]: .*load_video",
        ),
        ((torch.zeros(2, 3, 224, 224), [0.0, 1.0]), {}, ConfigError, r"image_size=56\)"),
        ((torch.zeros(0, 3, 56, 56), []), {}, ConfigError, r"\[0, 3, 56, 56\]"),
        ((torch.zeros(2, 3, 56, 56), [0.0]), {}, ConfigError, "2 frames but 1 times"),
        ((torch.zeros(13, 3, 56, 56), [0.0] * 13), {}, ConfigError, "13 frames, more than"),
        ("gone.mp4", {"question": " "}, ConfigError, "the question is empty"),
        ("gone.mp4", {"question": "", "task": "ground"}, ConfigError, "say what to look for"),
        ("gone.mp4", {"task": "captions"}, ConfigError, r"task='captions' \(did you mean 'caption'\?\)"),
    ],
)
def test_mistakes_are_typed_errors(
    model: VideoLanguageModel, video: Any, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        model.ask(video, **{"question": QUESTION, **options})


# Answers --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "text", "segments"),
    [
        (None, CAPTIONS, [(3, 5, "cut the bread."), (7, 9, "fry it.")]),
        (None, "The given query happens in 12.0 - 13.5 seconds.", [(12, 13.5, "")]),
        (None, "From 3 to 5 seconds", [(3, 5, "")]),
        (None, "It is a red pan.", []),
        (None, "", []),
        (None, HIGHLIGHTS, [(4, 4, "", 1.5), (6, 6, "", 3.0)]),
        ("ground", "It happens in 12.0 - 13.5 seconds.", [(12, 13.5, "q")]),
        ("ground", "I cannot see it.", []),
        ("caption", "3.0 - 5.0 seconds, cut the bread.", [(3, 5, "cut the bread.")]),
        ("caption", "They cook.", []),
        ("highlights", HIGHLIGHTS, [(4, 4, "q", 1.5), (6, 6, "q", 3.0)]),
        ("highlights", "There are 2 highlight moments in the 4, 6 second.", []),
    ],
)
def test_segments_are_what_the_answer_names(task: str | None, text: str, segments: list[Any]) -> None:
    assert find_segments(text, "q", task, "q") == [Segment(*segment) for segment in segments]


def test_an_example_of_the_prompt_is_not_an_answer(
    model: VideoLanguageModel, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Asked(model, monkeypatch, "The given query happens in 12.0 - 19.5 seconds.")
    assert model.ask(video, "q", task="ground").segments == []
    question = "Does it happen in 3 - 4 seconds?"
    Asked(model, monkeypatch, f"{question} Yes.")
    assert model.ask(video, question).segments == []


def test_answers_are_values() -> None:
    answer = Answer("At 3.0 seconds.", [Segment(3.0, 3.0, "it", 1.5)], [0.0, 2.0])
    assert f"{answer}" == "At 3.0 seconds."
    assert json.loads(json.dumps(answer.to_dict())) == {
        "text": "At 3.0 seconds.",
        "segments": [{"start": 3.0, "end": 3.0, "text": "it", "score": 1.5}],
        "seconds": [0.0, 2.0],
    }
    assert answer.segments[0].to_dict() == answer.to_dict()["segments"][0]
    for value, name in ((answer, "text"), (answer.segments[0], "start")):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, name, 1)
