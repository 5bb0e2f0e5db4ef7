"""TimeChat behind the interface of lmms-eval; `make test-lmms-eval` runs this where lmms-eval is installed."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.tiny import BERT, LLAMA, TINY, WEIGHTS
from helpers.videos import write_video
from PIL import Image

from timechat.batch import VideoBatch
from timechat.datasets.video import load_video
from timechat.errors import ConfigError, VideoError
from timechat.models import TimeChat
from timechat.models.timechat import SYSTEM_PROMPT
from timechat.text.conversation import IGNORE_INDEX, encode_prompt

needs_lmms_eval = pytest.mark.skipif(
    importlib.util.find_spec("lmms_eval") is None, reason="lmms-eval is not installed: make test-lmms-eval"
)

MODEL_ARGS = f"cfg_path={TINY}/config.yaml,model.llama_model={LLAMA},model.qformer_tokenizer={BERT},ckpt={WEIGHTS}"
TASK = """
dataset_path: json
dataset_kwargs: {{data_files: {{test: {folder}/docs.jsonl}}, cache_dir: {folder}/cache}}
test_split: test
task: tiny
output_type: generate_until
generation_kwargs: {{max_new_tokens: 5, do_sample: false}}
doc_to_visual: !function functions.visual
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{answer}}}}"
metric_list: [{{metric: exact_match, aggregation: mean, higher_is_better: true}}]
"""


def test_without_lmms_eval_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lmms_eval", None)
    for name in [name for name in sys.modules if name.startswith("lmms_eval.") or name.endswith("lmms_eval_adapter")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ConfigError, match=r"pip install 'timechat\[lmms-eval\]'"):
        importlib.import_module("timechat.evaluation.lmms_eval_adapter")


# Fixtures -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", autouse=True)
def _package_evaluate() -> Iterator[None]:
    """Lets lmms-eval import Hugging Face's `evaluate`, not the file of that name in this repository."""
    root = Path(__file__).parents[2]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [entry for entry in sys.path if Path(entry).resolve() != root])
        patch.delitem(sys.modules, "evaluate", raising=False)
        yield


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """a.mp4 (20 frames), b.mp4 (4 frames), broken.mp4."""
    folder = tmp_path_factory.mktemp("videos")
    write_video(folder / "a.mp4", frames=20)
    write_video(folder / "b.mp4", frames=4, fps=2)
    (folder / "broken.mp4").write_text("no video")
    return folder


@pytest.fixture(scope="module")
def build() -> Callable[..., Any]:
    """Makes the model as lmms-eval does: by name, from the text of --model_args."""
    from lmms_eval.models import get_model

    def make(more: str = "", **cli: Any) -> Any:
        return get_model("timechat").create_from_arg_string(MODEL_ARGS + more, {"device": "cpu", **cli})

    return make


@pytest.fixture(scope="module")
def adapted(build: Callable[..., Any]) -> Any:
    """The tiny model, three prompts a batch."""
    return build(batch_size=3)


def make_requests(adapted: Any, request_type: str, rows: list[tuple[str, Any, Any]]) -> list[Any]:
    """Instances as lmms-eval's tasks build them; a row is (prompt, kwargs or target, visuals)."""
    from lmms_eval.api.instance import Instance

    adapted.task_dict["fake"] = {"test": [{"visuals": visuals} for _, _, visuals in rows]}
    return [
        Instance(
            request_type=request_type,
            arguments=(prompt, second, lambda doc: doc["visuals"], i, "fake", "test"),
            idx=0,
            metadata={"task": "fake", "doc_id": i, "repeats": 1},
        )
        for i, (prompt, second, _) in enumerate(rows)
    ]


def frames_of(path: Path) -> tuple[torch.Tensor, list[float]]:
    """What the model is given of a video: uint8 [T, 3, 56, 56] and seconds."""
    video = load_video(path, n_frms=12, image_size=56)
    return video.frames, video.seconds


# Generation -----------------------------------------------------------------------------------------------------------


@needs_lmms_eval
@pytest.mark.parametrize("batch_size", [1, 3])
def test_answers_are_those_of_generate(adapted: Any, videos: Path, batch_size: int, tiny_model: TimeChat) -> None:
    """Whatever shares a batch: videos, images, and kwargs that change in between."""
    colours = [(200, 30, 90), (10, 240, 60)]
    images = [Image.new("RGB", (70, 40), colour) for colour in colours]
    short, long = {"max_new_tokens": 6}, {"max_new_tokens": 9, "temperature": 0, "until": None}
    rows = [
        ("When does it start?", short, [str(videos / "a.mp4")]),
        ("What is shown?", short, images[:1]),
        ("What is shown?", short, images[1:]),
        ("When?", long, [str(videos / "b.mp4")]),
        ("Where?", long, [str(videos / "b.mp4")]),
        ("Why? ", short, str(videos / "a.mp4")),
    ]
    adapted.batch_size = batch_size
    answers = adapted.generate_until(make_requests(adapted, "generate_until", rows))
    flat = [torch.tensor(c, dtype=torch.uint8)[None, :, None, None].expand(1, 3, 56, 56) for c in colours]
    video_a, video_b = frames_of(videos / "a.mp4"), frames_of(videos / "b.mp4")
    inputs = [video_a, (flat[0], None), (flat[1], None), video_b, video_b, video_a]
    expected = [
        tiny_model.generate([frames], [seconds], [prompt.strip()], max_new_tokens=kwargs["max_new_tokens"])[0]
        for (frames, seconds), (prompt, kwargs, _) in zip(inputs, rows, strict=True)
    ]
    assert answers == expected
    assert len(set(answers)) > 3


@needs_lmms_eval
def test_sampling_draws_as_generate_does(adapted: Any, videos: Path, tiny_model: TimeChat) -> None:
    kwargs = {"max_new_tokens": 8, "do_sample": True, "temperature": 1.7, "top_p": 0.9}
    requests = make_requests(adapted, "generate_until", [("When?", kwargs, [str(videos / "a.mp4")])])
    torch.manual_seed(5)
    answer = adapted.generate_until(requests)
    torch.manual_seed(5)
    frames, seconds = frames_of(videos / "a.mp4")
    assert answer == tiny_model.generate([frames], [seconds], ["When?"], **kwargs)
    greedy = make_requests(adapted, "generate_until", [("When?", kwargs | {"temperature": 0}, [str(videos / "a.mp4")])])
    assert adapted.generate_until(greedy) != answer


@needs_lmms_eval
@pytest.mark.parametrize(
    ("kwargs", "options"),
    [
        ({}, {"max_new_tokens": 512, "do_sample": False, "num_beams": 1}),
        ({"temperature": 0.3}, {"do_sample": True, "temperature": 0.3, "top_p": 1.0}),
        ({"temperature": 0.3, "do_sample": False}, {"do_sample": False}),
        ({"temperature": 0, "do_sample": True, "top_p": 0}, {"do_sample": False}),
        ({"do_sample": True, "top_p": 0.5}, {"do_sample": True, "temperature": 1.0, "top_p": 0.5}),
        ({"num_beams": 2, "top_p": None, "max_new_tokens": 7}, {"num_beams": 2, "max_new_tokens": 7}),
    ],
)
def test_generation_kwargs(kwargs: dict[str, Any], options: dict[str, Any]) -> None:
    from timechat.evaluation.lmms_eval_adapter import generation_options

    default = {"max_new_tokens": 512, "do_sample": False, "num_beams": 1}
    assert generation_options(kwargs) == default | options


@needs_lmms_eval
def test_the_answer_ends_before_the_first_stop_sequence() -> None:
    from timechat.evaluation.lmms_eval_adapter import cut_at

    assert cut_at("a b\nc\n\nd", ["\n\n", "\nc"]) == "a b"
    assert cut_at("a b", "b") == "a "
    assert cut_at("a b", ["", "x"]) == cut_at("a b", None) == "a b"


@needs_lmms_eval
def test_until_reaches_the_answer(adapted: Any, videos: Path) -> None:
    visual = [str(videos / "a.mp4")]
    whole, middle = "", ""
    (whole,) = adapted.generate_until(make_requests(adapted, "generate_until", [("When?", {}, visual)]))
    middle = whole[len(whole) // 2]
    cut = adapted.generate_until(make_requests(adapted, "generate_until", [("When?", {"until": [middle]}, visual)]))
    assert cut == [whole.split(middle)[0]]


@needs_lmms_eval
def test_questions_about_one_video_share_its_encoding(
    build: Callable[..., Any], videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when the next batch begins with it."""
    adapted = build(batch_size=2)
    encode, calls = adapted.model.encode_video, []
    monkeypatch.setattr(adapted.model, "encode_video", lambda *args: calls.append(args) or encode(*args))
    paths = [str(videos / name) for name in ("a.mp4", "a.mp4", "a.mp4", "b.mp4", "b.mp4")]
    rows = [(f"Question {i}?", {"max_new_tokens": 2}, [path]) for i, path in enumerate(paths)]
    assert len(adapted.generate_until(make_requests(adapted, "generate_until", rows))) == 5
    assert [len(frames[0]) for frames, _ in calls] == [12, 4]


@needs_lmms_eval
def test_kwargs_without_effect_are_named(adapted: Any, videos: Path, caplog: pytest.LogCaptureFixture) -> None:
    kwargs = {"max_new_tokens": 1, "top_k": 3, "image_aspect_ratio": "pad"}
    adapted.generate_until(make_requests(adapted, "generate_until", [("When?", kwargs, [str(videos / "a.mp4")])]))
    assert "image_aspect_ratio, top_k" in caplog.text


# Likelihood -----------------------------------------------------------------------------------------------------------


@needs_lmms_eval
def test_likelihood_is_the_loss_of_the_answer_alone(adapted: Any, videos: Path, tiny_model: TimeChat) -> None:
    """The value that `forward` gives when the tokens behind the prompt are supervised."""
    adapted.batch_size = 3
    answers = [" the bread", "3.0 - 4.5 seconds.", "B"]
    rows = [("When?", answer, [str(videos / "a.mp4")]) for answer in answers]
    rows[1] = ("When?", lambda doc: answers[1], [str(videos / "b.mp4")])
    scores = adapted.loglikelihood(make_requests(adapted, "loglikelihood", rows))
    for name, answer, (loss, _) in zip(["a.mp4", "b.mp4", "a.mp4"], answers, scores, strict=True):
        frames, seconds = frames_of(videos / name)
        tokenizer, tokens = tiny_model.tokenizer, tiny_model.num_video_tokens(len(frames))
        prompt = encode_prompt("When?", seconds, tokenizer, num_video_tokens=tokens, system=SYSTEM_PROMPT)
        ids = prompt + tokenizer.encode(f"] {answer.strip()}")[len(tokenizer.encode("]")) :]
        labels = [IGNORE_INDEX] * len(prompt) + ids[len(prompt) :]
        one = torch.ones(1, len(ids), dtype=torch.bool)
        batch = VideoBatch(frames, [len(frames)], [seconds], torch.tensor([ids]), torch.tensor([labels]), one)
        with torch.no_grad():
            assert loss == pytest.approx(tiny_model(batch)["loss"].item(), rel=1e-5)


@needs_lmms_eval
def test_greedy_is_what_generation_gives(adapted: Any, videos: Path) -> None:
    """And nothing is likelier, token by token, than what greedy decoding begins with."""
    visual = [str(videos / "b.mp4")]
    generate = make_requests(adapted, "generate_until", [("Who is it?", {"max_new_tokens": 1}, visual)])
    (best,) = adapted.generate_until(generate)
    others = [letter for letter in "abcdefgh" if letter != best.strip()]
    rows = [("Who is it?", answer, visual) for answer in [best, *others]]
    (loss, greedy), *rest = adapted.loglikelihood(make_requests(adapted, "loglikelihood", rows))
    assert greedy
    assert not any(flag for _, flag in rest)
    assert all(loss < other for other, _ in rest)


# Refusals -------------------------------------------------------------------------------------------------------------


@needs_lmms_eval
def test_an_unreadable_video_stops_or_gets_an_empty_answer(
    build: Callable[..., Any], videos: Path, caplog: pytest.LogCaptureFixture
) -> None:
    adapted = build(batch_size=2)
    names = ["broken.mp4", "a.mp4", "broken.mp4"]
    rows = [("When?", {"max_new_tokens": 3}, [str(videos / name)]) for name in names]
    with pytest.raises(VideoError, match=r"broken\.mp4"):
        adapted.generate_until(make_requests(adapted, "generate_until", rows))
    adapted.skip_unreadable = True
    first, second, third = adapted.generate_until(make_requests(adapted, "generate_until", rows))
    assert (first, third) == ("", "")
    assert second
    assert "fake, document 2: unreadable" in caplog.text
    with pytest.raises(VideoError):
        adapted.loglikelihood(make_requests(adapted, "loglikelihood", [("When?", "a", [str(videos / "broken.mp4")])]))


@needs_lmms_eval
@pytest.mark.parametrize(
    ("visuals", "said"),
    [([], r"gives 0 \(nothing\)"), (None, "NoneType"), (["a.mp4", "b.mp4"], r"2 \(str, str\)"), ([{}], r"1 \(dict\)")],
)
def test_other_than_one_visual_is_refused(adapted: Any, visuals: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=f"fake, document 0.*{said}"):
        adapted.generate_until(make_requests(adapted, "generate_until", [("When?", {}, visuals)]))


@needs_lmms_eval
def test_what_it_cannot_do_is_refused(adapted: Any, videos: Path) -> None:
    with pytest.raises(NotImplementedError, match="fake: asks in several rounds"):
        adapted.generate_until_multi_round(make_requests(adapted, "generate_until_multi_round", [("", {}, [])]))
    with pytest.raises(ConfigError, match="empty answer"):
        adapted.loglikelihood(make_requests(adapted, "loglikelihood", [("When?", " ", [str(videos / "a.mp4")])]))
    (text_alone,) = make_requests(adapted, "loglikelihood", [("", "yes", [])])
    text_alone.arguments = ("", "yes")
    with pytest.raises(ConfigError, match="one path of a video"):
        adapted.loglikelihood([text_alone])


@needs_lmms_eval
@pytest.mark.parametrize(
    ("more", "cli", "said"),
    [
        (",pretrained=x", {}, "pretrained=x: no such argument"),
        (",model.num_frames=8", {}, "num_frames"),
        ("", {"batch_size": "many"}, "--batch_size many"),
        ("", {"device": "gpu"}, "--device gpu"),
    ],
)
def test_wrong_arguments_are_named(build: Callable[..., Any], more: str, cli: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        build(more, **cli)


@needs_lmms_eval
def test_a_hidden_package_evaluate_is_named(build: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """As `python -m lmms_eval` in the root of this repository would have it."""
    monkeypatch.setitem(sys.modules, "evaluate", types.ModuleType("evaluate"))
    with pytest.raises(ConfigError, match="start the command lmms-eval"):
        build()


@needs_lmms_eval
def test_overrides_reach_the_model(build: Callable[..., Any]) -> None:
    adapted = build(",model.num_frm=5,run.batch_size_eval=7", batch_size="auto")
    assert (adapted.num_frames, adapted.batch_size, adapted.device.type) == (5, 7, "cpu")


# The harness itself ---------------------------------------------------------------------------------------------------


@needs_lmms_eval
def test_the_command_line_of_lmms_eval(tmp_path: Path, videos: Path, tiny_model: TimeChat) -> None:
    """`lmms-eval --model timechat` finds the model and asks it what a task of a folder says; offline."""
    inputs = [frames_of(videos / name) for name in ("a.mp4", "b.mp4")]
    expected = [tiny_model.generate([f], [s], ["When?"], max_new_tokens=5)[0] for f, s in inputs]
    paths = [str(videos / name) for name in ("a.mp4", "b.mp4")]
    docs = [{"question": "When?", "video": paths[0], "answer": expected[0].strip()}]
    docs += [{"question": "When?", "video": paths[1], "answer": "nobody says that"}]
    (tmp_path / "docs.jsonl").write_text("".join(json.dumps(doc) + "\n" for doc in docs))
    (tmp_path / "functions.py").write_text("def visual(doc):\n    return [doc['video']]\n")
    (tmp_path / "tiny.yaml").write_text(TASK.format(folder=tmp_path))
    command = [str(Path(sys.executable).with_name("lmms-eval")), "--model", "timechat", "--model_args", MODEL_ARGS]
    command += ["--tasks", "tiny", "--include_path", str(tmp_path), "--device", "cpu", "--batch_size", "2"]
    command += ["--log_samples", "--output_path", str(tmp_path / "out")]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=environment)
    samples = list((tmp_path / "out").rglob("*_samples_tiny.jsonl"))
    assert len(samples) == 1, done.stdout[-2000:] + done.stderr[-2000:]  # the status is 0 after errors, too
    answers = [json.loads(line)["filtered_resps"] for line in samples[0].read_text().splitlines()]
    assert answers == expected
    (results,) = (tmp_path / "out").rglob("*_results.json")
    assert json.loads(results.read_text())["results"]["tiny"]["exact_match,none"] == 0.5
