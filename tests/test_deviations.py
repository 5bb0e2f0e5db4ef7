"""Where this code differs from the published one on purpose: one test for each row of the table in docs/FAQ.md.

Rows whose tests stand elsewhere are named in HELD, and looked for there.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.timed_videos import copy_packets, shifted
from helpers.tiny import BERT, LLAMA, TINY, WEIGHTS, Golden, build_tiny, golden_batch
from helpers.training import NO_DROPOUT, ROOT, STEADY, make_videos, train, trainable_names, weights_of
from helpers.videos import write_video
from torch import Tensor
from torch.testing import assert_close

from timechat.cli import evaluate
from timechat.datasets.video import load_video
from timechat.evaluation.benchmarks import Question
from timechat.evaluation.predict import PredictSettings, predict
from timechat.models import TimeChat
from timechat.models.checkpoints import canonical_name
from timechat.models.timechat import SYSTEM_PROMPT
from timechat.text.conversation import IGNORE_INDEX, encode_conversation
from timechat.text.timestamps import frame_sentence, video_sentence

# Row of the table in docs/FAQ.md, by its first words -> its tests.
HERE = "tests/test_deviations.py"
DENSE = "tests/evaluation/metrics/test_metrics_dense_captioning.py"
HELD = {
    "keeps the timestamp sentence's output tokens": [f"{HERE}::test_without_timestamp_tokens_it_trains"],
    "pads timestamp sentences over all videos": [
        "tests/models/test_parity.py::test_sentences_of_two_lengths_in_one_batch_equal_each_video_alone",
        "tests/models/test_mutations.py::padding_of_the_batch_seen",
    ],
    "prints seconds as index / average frame rate": [
        f"{HERE}::test_a_variable_frame_rate_is_told_as_it_is",
        f"{HERE}::test_a_picture_that_begins_after_the_sound_is_told_as_players_count",
        "tests/datasets/test_video.py::test_uniform_sampling_is_the_published_one",
    ],
    "shows what decord returns": [
        "tests/datasets/test_video.py::test_open_gops_are_decoded_right",
        "tests/datasets/readers/test_kinds.py::test_frames_and_seconds_belong_together",
    ],
    "loss is the token mean": [
        "tests/models/test_parity.py::test_sample_losses_are_token_means_that_make_up_the_loss",
        "tests/runners/test_distributed_training.py::test_two_processes_train_as_one_does",
    ],
    "does not divide the loss": ["tests/runners/test_runner.py::test_accumulation_equals_the_larger_batch"],
    "carries the gradients of micro-batches": [
        "tests/runners/test_plan.py::test_the_last_step_of_an_epoch_takes_the_micro_batches_that_are_left",
        "tests/runners/test_runner.py::test_left_over_micro_batches_end_the_epoch_with_a_smaller_step",
    ],
    "in training, dropout stays on": [f"{HERE}::test_what_is_frozen_computes_as_in_evaluation"],
    "a question or answer that contains `[/INST] `": [f"{HERE}::test_answers_are_supervised_whatever_texts_contain"],
    "tokenizes timestamps with BERT": [f"{HERE}::test_training_and_answering_read_the_same_timestamp_ids"],
    "its own instruction prompts": [f"{HERE}::test_prompts_of_ones_own_and_their_hash"],
    "samples at temperature 1": [f"{HERE}::test_evaluation_is_greedy_unless_told_otherwise"],
    "leaves `<unk>` and `<s>` in answers": [
        "tests/text/test_tokenizers.py::test_decode_stops_at_the_first_end_and_leaves_special_tokens_out"
    ],
    "draws beams at random": [f"{HERE}::test_a_beam_that_is_cut_off_has_no_advantage"],
    "parses answers with gaps": ["tests/evaluation/test_parsing.py::test_grounding"],
    "maps a highlight at t": [f"{HERE}::test_the_clip_of_a_time"],
    "weighs captions for SODA_c": [
        f"{DENSE}::test_events_that_start_together_stay_in_the_order_of_their_file",
        f"{DENSE}::test_paragraphs_are_letters_alone",
    ],
    "takes an answer that names no option": [
        "tests/evaluation/benchmarks/test_public_rules.py::test_mvbench",
        "tests/evaluation/benchmarks/test_public_rules.py::test_video_mme",
    ],
    "drops videos that it cannot read": [
        "tests/evaluation/test_evaluate_cli.py::test_scores_and_report",
        "tests/evaluation/metrics/test_metrics_grounding.py::test_missing_and_unparsed_answers_are_misses",
    ],
    "unknown config keys": ["tests/cli/test_train.py::test_every_unknown_key_is_named_at_once"],
    "`torch.load` runs": ["tests/models/test_published_files.py::test_a_checkpoint_with_code_is_refused"],
}


def test_every_row_of_the_faq_is_held_by_tests() -> None:
    lines = (ROOT / "docs" / "FAQ.md").read_text().splitlines()
    start = lines.index("| published code | here | to get the published behaviour |")
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("| "):
            break
        rows.append(line.removeprefix("| "))
    held = {row: [words for words in HELD if row.startswith(words)] for row in rows}
    assert {len(words) for words in held.values()} == {1}, held
    assert len(rows) == len(HELD)
    for test in (test for tests in HELD.values() for test in tests):
        file, name = test.split("::")
        assert f"def {name}(" in (ROOT / file).read_text(), test


# keep_timestamp_tokens: false -----------------------------------------------------------------------------------------

WITHOUT = "model.keep_timestamp_tokens=false"


def test_without_timestamp_tokens_it_trains(tmp_path: Path) -> None:
    """Through the runner: losses are numbers, and everything but the idle block moves."""
    entry = make_videos(tmp_path / "videos")
    steps = ("run.iters_per_epoch=6", "run.accum_grad_iters=2", *NO_DROPOUT, *STEADY)
    run = train(tmp_path / "run", {"tv": entry}, WITHOUT, *steps)
    assert len(run.losses) == 3
    assert all(map(math.isfinite, run.losses))
    start = {canonical_name(name): p for name, p in build_tiny().named_parameters()}
    now = weights_of(run.runner)
    still = {name for name in trainable_names(run.runner) if torch.equal(now[name], start[name])}
    last = "Qformer.bert.encoder.layer.3"  # whose outputs at the sentence nobody reads
    # Biases, norms: without weight decay and without a gradient they do not move at all.
    assert still <= {f"{last}.intermediate.dense.bias", f"{last}.output.dense.bias"} | {
        f"{last}.output.LayerNorm.{kind}" for kind in ("weight", "bias")
    } | {f"{last}.{part}.dense.weight" for part in ("intermediate", "output")}


def test_without_timestamp_tokens_every_parameter_that_is_read_learns(golden: Golden) -> None:
    """All but the feed-forward block of the sentence in the last layer; with them, all."""
    idle = {}
    for options in ((), (WITHOUT,)):
        model = build_tiny(options)
        model(golden_batch(golden, model.tokenizer))["loss"].backward()
        named = [(canonical_name(name), p) for name, p in model.named_parameters() if p.requires_grad]
        idle[options] = {name for name, p in named if not p.grad.any()}
        assert all(torch.isfinite(p.grad).all() for _, p in named)
    assert not idle[()]
    parts = ("intermediate.dense", "output.dense", "output.LayerNorm")
    assert idle[(WITHOUT,)] == {
        f"Qformer.bert.encoder.layer.3.{part}.{kind}" for part in parts for kind in ("weight", "bias")
    }


@torch.no_grad()
def test_without_timestamp_tokens_the_video_q_former_sees_queries_alone(
    golden: Golden, monkeypatch: pytest.MonkeyPatch
) -> None:
    """8 tokens a frame: the frame Q-Former's first outputs, which have read the sentence, and the frame's position."""
    seen: dict[str, Tensor] = {}
    for options in ((), (WITHOUT,)):
        model = build_tiny(options)
        model.Qformer.register_forward_hook(lambda _, args, out: seen.update(frames=out))
        model.video_Qformer.register_forward_pre_hook(lambda _, args: seen.update(windows=args[1]))
        times = [[0.7, 4.0, 7.3, 10.6]]
        model.encode_video([golden.videos()[0][:4]], times)
        count = 8 if options else 8 + 13
        frames = seen["frames"][:, :count] + model.video_frame_position_embedding.weight[:4, None]
        assert_close(seen["windows"], frames.flatten(0, 1)[None])
    others = [[1.7, 5.0, 8.3, 11.6]]
    before = seen["windows"]
    model.encode_video([golden.videos()[0][:4]], others)
    assert not torch.allclose(before, seen["windows"], atol=1e-3)


def test_without_timestamp_tokens_it_answers(tmp_path: Path) -> None:
    """Questions about two videos, answered as in evaluation, each as it would be alone."""
    for name, frames in (("a.mp4", 20), ("b.mp4", 5)):
        write_video(tmp_path / name, frames=frames)
    questions = [Question("1", "a.mp4", "", "When?"), Question("2", "b.mp4", "", "What happens in it?")]
    model, kept = build_tiny([WITHOUT]), build_tiny()
    settings = PredictSettings(num_frames=12, image_size=56, max_new_tokens=12)
    answers = predict(model, questions, tmp_path, tmp_path / "out", settings).answers
    assert set(answers) == {"1", "2"}
    assert predict(model, questions[1:], tmp_path, tmp_path / "alone", settings).answers["2"] == answers["2"]
    assert predict(kept, questions, tmp_path, tmp_path / "kept", settings).answers != answers


# Times ----------------------------------------------------------------------------------------------------------------


def test_a_variable_frame_rate_is_told_as_it_is(tmp_path: Path) -> None:
    """Both sentences print the decoder's times; index / average rate would be seconds off."""
    times = [0.0, 0.1, 0.2, 1.0, 2.0, 4.0]
    video = load_video(write_video(tmp_path / "variable.mp4", frames=6, times=times), n_frms=6, image_size=56)
    assert (
        video_sentence(video.seconds) == "The video contains 6 frames sampled at 0.0, 0.1, 0.2, 1.0, 2.0, 4.0 seconds. "
    )
    assert frame_sentence(video.seconds[3]) == "This frame is sampled at 1.0 second."
    published = [round(index / video.fps, 1) for index in range(6)]
    assert max(abs(a - b) for a, b in zip(published, times, strict=True)) > 0.5


def test_a_picture_that_begins_after_the_sound_is_told_as_players_count(tmp_path: Path) -> None:
    """The published code says 0.0 for the first frame, which a player shows after two seconds of sound."""
    source = write_video(tmp_path / "even.mp4", frames=40)
    path = copy_packets(source, tmp_path / "late.mp4", shifted(2.0), audio_s=3)
    assert load_video(path, n_frms=4, image_size=56).seconds == pytest.approx([2.0, 3.0, 4.0, 5.0])
    assert load_video(source, n_frms=4, image_size=56).seconds == [0.0, 1.0, 2.0, 3.0]


def test_a_constant_frame_rate_is_told_as_published(tmp_path: Path) -> None:
    video = load_video(write_video(tmp_path / "even.mp4", frames=40, fps=12.5), n_frms=7, image_size=56)
    assert video.seconds == [index / 12.5 for index in (0, 5, 11, 17, 22, 28, 34)]


@torch.no_grad()
def test_training_and_answering_read_the_same_timestamp_ids(golden: Golden) -> None:
    """BERT's ids in both, as at inference of the published code; another vocabulary gives others."""
    model = build_tiny()
    seen: list[Tensor] = []
    model.Qformer.register_forward_pre_hook(lambda _, args, kwargs: seen.append(kwargs["input_ids"]), with_kwargs=True)
    model(golden_batch(golden, model.tokenizer))
    model.generate(golden.videos(), golden.expected["timestamps"], ["q", "q"], max_new_tokens=1)
    assert len(seen) == 2
    assert all(torch.equal(ids, golden.tensors["q_input_ids"]) for ids in seen)


def test_the_vocabulary_of_timestamps_may_be_a_folder_or_a_file(tmp_path: Path) -> None:
    words = (BERT / "vocab.txt").read_text().split()
    other = tmp_path / "vocab.txt"
    other.write_text("\n".join([*words[:5], *reversed(words[5:])]) + "\n")
    encoded = [
        build_tiny([f"model.qformer_tokenizer={path}"]).timestamp_tokenizer.encode(frame_sentence(2.0))
        for path in (BERT, BERT / "vocab.txt", other)
    ]
    assert encoded[0] == encoded[1] != encoded[2]


# Training -------------------------------------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("frozen", [True, False])
def test_what_is_frozen_computes_as_in_evaluation(golden: Golden, frozen: bool) -> None:
    """No dropout in a frozen video Q-Former and in frozen LoRA, whose other parts learn; with them, there is."""
    off = ("freeze_qformer", "frozen_llama_proj")
    switches = {"frozen_video_Qformer": frozen, "lora_inference_mode": frozen, **dict.fromkeys(off, frozen)}
    model = build_tiny([f"model.{key}={str(value).lower()}" for key, value in switches.items()])
    batch = golden_batch(golden, model.tokenizer)
    answered = model(batch)["loss"]
    model.train()
    assert torch.equal(model(batch)["loss"], answered) == frozen


@pytest.mark.parametrize(
    "turns",
    [
        [{"q": "When is [/INST] said?", "a": "At 3.0 seconds."}, {"q": "And then?", "a": "Nothing."}],
        [{"q": "When?", "a": "They write [/INST] twice."}, {"q": "And then?", "a": "Nothing."}],
        [{"q": "What is </s> ?", "a": "An end."}, {"q": "And then?", "a": "Nothing."}],
    ],
)
def test_answers_are_supervised_whatever_texts_contain(tiny_model: TimeChat, turns: list[dict[str, str]]) -> None:
    tokenizer = tiny_model.tokenizer
    encoded = encode_conversation(turns, [0.0], tokenizer, num_video_tokens=6, max_txt_len=2048)
    found, answers = [], [f"{turn['a']} </s>" for turn in turns]
    for supervised, pairs in itertools.groupby(
        zip(encoded.input_ids, encoded.labels, strict=True), lambda pair: pair[1] != IGNORE_INDEX
    ):
        if supervised:
            ids = [label for _, label in pairs]
            assert ids[-1] == tokenizer.eos_id
            found.append(tokenizer.sp.decode(ids[:-1]))
    assert [f"{text.strip()} </s>" for text in found] == answers


# Evaluation -----------------------------------------------------------------------------------------------------------


class Asked:
    """Stands in for `TimeChat.answer`: gives one answer, keeps what it was asked."""

    def __init__(self, answer: str):
        self.answer, self.prompts, self.options, self.systems = answer, [], [], []

    def __call__(self, model: TimeChat, videos: Any, seconds: Any, prompts: list[str], **options: Any) -> list[str]:
        self.prompts += prompts
        self.options.append(options)
        self.systems.append(model.cfg.system_prompt)
        return [self.answer] * len(prompts)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One video, a query to ground in it and a query for its highlights."""
    folder = tmp_path_factory.mktemp("data")
    write_video(folder / "a.mp4", frames=20)
    (folder / "grounding.txt").write_text("a 0.0 1.0##a person opens a door.\n")
    row = {"qid": 1, "query": "a door", "duration": 10, "vid": "a", "relevant_clip_ids": [2]}
    row |= {"saliency_scores": [[4, 4, 4]], "relevant_windows": [[4, 6]]}
    (folder / "highlights.jsonl").write_text(json.dumps(row) + "\n")
    return folder


def run_evaluation(
    data: Path, out: Path, monkeypatch: pytest.MonkeyPatch, *more: str, highlights: bool = False, option: str = ""
) -> tuple[dict[str, Any], Asked]:
    """evaluate.py with answers that are given; its record, and what was asked."""
    said = "There are 1 highlight moments in the 4 second. Their saliency scores are 3.0."
    asked = Asked(said if highlights else "The given query happens in 0.0 - 1.0 seconds.")
    monkeypatch.setattr(TimeChat, "answer", lambda *args, **options: asked(*args, **options))
    name, anno = ("qvhighlights", "highlights.jsonl") if highlights else ("charades_sta", "grounding.txt")
    paths = [f"model.llama_model={LLAMA}", f"model.qformer_tokenizer={BERT}", f"model.ckpt={WEIGHTS}"]
    arguments = ["--cfg-path", str(TINY / "config.yaml"), "--benchmark", name, "--anno-path", str(data / anno)]
    arguments += ["--videos-dir", str(data), "--output-dir", str(out), *more]
    options = [*paths, "run.device=cpu", "run.num_workers=0", *([option] if option else [])]
    assert evaluate.main([*arguments, "--options", *options]) == 0
    return json.loads((out / "scores.json").read_text()), asked


def test_evaluation_is_greedy_unless_told_otherwise(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, asked = run_evaluation(data, tmp_path / "greedy", monkeypatch)
    assert asked.options == [{"max_new_tokens": 512}]  # and `answer` does not sample by default
    assert record["settings"]["temperature"] == 0
    published = ("--temperature", "1.0", "--top-p", "0.9", "--seed", "3")
    record, asked = run_evaluation(data, tmp_path / "drawn", monkeypatch, *published)
    assert asked.options == [{"max_new_tokens": 512, "do_sample": True, "temperature": 1.0, "top_p": 0.9}]
    assert (record["settings"]["temperature"], record["settings"]["seed"]) == (1.0, 3)


@torch.no_grad()
@pytest.mark.parametrize(("share", "text"), [(0.48, ""), (0.52, "aaa")])
def test_a_beam_that_is_cut_off_has_no_advantage(share: float, text: str) -> None:
    """A decoder that says `a` with this probability and else ends, asked for three tokens at most.

    The mean of `aaa` is log(share), that of an answer which ends at once log(1 - share). Counted as four tokens, `aaa`
    would win both times.
    """
    model = build_tiny()
    llama = model.llama_model.get_base_model()
    for name, weight in llama.named_parameters():
        if "o_proj" in name or "down_proj" in name:
            weight.zero_()
    llama.model.embed_tokens.weight.fill_(1.0)
    llama.lm_head.weight.fill_(-1.0)
    a = next(i for i in range(model.tokenizer.vocab_size) if model.tokenizer.sp.id_to_piece(i) == "a")
    for token, probability in ((a, share), (model.tokenizer.eos_id, 1 - share)):
        llama.lm_head.weight[token] = math.log(probability) / llama.model.norm.weight.sum()
    video = torch.zeros(6, llama.config.hidden_size)
    assert model.answer([video], [[0.0]], ["q"], max_new_tokens=3, num_beams=3) == [text]


def test_prompts_of_ones_own_and_their_hash(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The published form of a place for the query; the system sentence from the config."""
    file = tmp_path / "prompt.txt"
    file.write_text("Localize '<query_placeholder>' in the video.\n")
    record, asked = run_evaluation(data, tmp_path / "own", monkeypatch)
    assert asked.prompts[0].startswith("When does 'a person opens a door.' happen")
    assert record["system_prompt"] == SYSTEM_PROMPT
    more = ("--prompt-file", str(file))
    record, asked = run_evaluation(data, tmp_path / "theirs", monkeypatch, *more, option="model.system_prompt=Watch.")
    assert asked.prompts == ["Localize 'a person opens a door.' in the video."]
    assert asked.systems == ["Watch."]
    digest = hashlib.sha256(b"Localize '<query_placeholder>' in the video.").hexdigest()
    assert record["prompt"] == {
        "file": str(file),
        "text": "Localize '<query_placeholder>' in the video.",
        "sha256": digest,
    }
    report = (tmp_path / "theirs" / "report.md").read_text()
    assert f"| prompt sha256 | {digest} |" in report
    assert "| system prompt | Watch. |" in report
    assert f"| system prompt sha256 | {hashlib.sha256(b'Watch.').hexdigest()} |" in report


@pytest.mark.parametrize(
    ("rule", "clip"),
    [
        ((), 1),
        (("--benchmark-options", "clip_of_time=published"), 1),
        (("--benchmark-options", "clip_of_time=start"), 2),
    ],
)
def test_the_clip_of_a_time(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rule: tuple[str, ...], clip: int
) -> None:
    """4 seconds are clip int((4 - 1) / 2) = 1 by the published rule, and clip 2 by where clips begin."""
    record, _ = run_evaluation(data, tmp_path, monkeypatch, *rule, highlights=True)
    (row,) = json.loads((tmp_path / "qvhighlights_predictions.json").read_text())
    assert row["pred_saliency_scores"].index(3.0) == clip
    assert record["benchmark_options"] == {"clip_of_time": "start" if clip == 2 else "published"}
    assert record["percent"]["HIT@1@VeryGood/expected"] == (100.0 if clip == 2 else 0.0)
