"""The joined model: ragged batches, text input, images, answering, errors."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from helpers.tiny import Golden, build_tiny, golden_batch, llama_folder, tiny_config
from torch.nn.utils.rnn import pad_sequence
from torch.testing import assert_close

from timechat.batch import VideoBatch, num_video_tokens
from timechat.errors import ConfigError
from timechat.models import TimeChat, build_model
from timechat.models import llama as lm
from timechat.models import timechat as timechat_module
from timechat.models.eva_vit import encode_pixels
from timechat.models.timechat import SYSTEM_PROMPT
from timechat.text.conversation import IGNORE_INDEX
from timechat.text.timestamps import frame_sentence

CLOSE = {"rtol": 0.0, "atol": 2e-5}


def random_videos(*lengths: int) -> list[torch.Tensor]:
    """uint8 frames [T, 3, 56, 56] of videos of these lengths."""
    return [torch.randint(0, 256, (n, 3, 56, 56), dtype=torch.uint8) for n in lengths]


VIDEOS = (5, 1, 12, 3)
SECONDS = [[0.0, 0.5, 1.0, 1.5, 1234.5], None, [100.1 * i for i in range(12)], [0.0, 1.0, 2.0]]


def plain_encode(model: TimeChat, frames: torch.Tensor, seconds: list[float] | None) -> torch.Tensor:
    """One video, frame by frame and window by window, as the paper says it, with nothing packed."""
    cfg, frame_tokens = model.cfg, []
    ids = [] if seconds is None or not cfg.qformer_text_input else [
        model.timestamp_tokenizer.encode(frame_sentence(t)) for t in seconds
    ]  # fmt: skip
    longest = max(map(len, ids), default=0)
    for i, frame in enumerate(frames):
        pixels = model.ln_vision(encode_pixels(model.visual_encoder, frame[None]))
        text = {}
        if ids:
            padding = [0] * (longest - len(ids[i]))
            mask = [True] * len(ids[i]) + [False] * len(padding)
            text = {"input_ids": torch.tensor([ids[i] + padding]), "text_mask": torch.tensor([mask])}
        out = model.Qformer(model.query_tokens, pixels, **text)[0]
        kept = out if cfg.keep_timestamp_tokens else out[: cfg.num_query_token]
        frame_tokens.append(kept + model.video_frame_position_embedding.weight[i])
    tokens, start = [], 0
    while start < len(frames):
        window = frame_tokens[start : start + cfg.window_size] if cfg.window_size else frame_tokens
        tokens.append(model.video_Qformer(model.video_query_tokens, torch.cat(window)[None])[0])
        start += cfg.stride if cfg.window_size else len(frames)
    return model.llama_proj(torch.cat(tokens))


@torch.no_grad()
@pytest.mark.parametrize(
    "options",
    [
        [],
        ["model.window_size=0"],
        ["model.window_size=0", "model.stride=0"],
        ["model.stride=2"],
        ["model.window_size=3"],
        ["model.keep_timestamp_tokens=false"],
        ["model.qformer_text_input=false"],
    ],
    ids=lambda options: ",".join(options) or "golden",
)
def test_a_ragged_batch_equals_the_paper_written_out_for_each_video(options: list[str]) -> None:
    """Four lengths, an image among them; windows that overlap or leave gaps, one window, no text."""
    model = build_tiny(options)
    videos = random_videos(*VIDEOS)
    out = model.encode_video(videos, SECONDS)
    for frames, seconds, tokens in zip(videos, SECONDS, out, strict=True):
        assert_close(tokens, plain_encode(model, frames, seconds), **CLOSE)
        assert len(tokens) == model.num_video_tokens(len(frames))
        cfg = model.cfg
        assert len(tokens) == num_video_tokens(len(frames), cfg.stride, cfg.num_video_query_token, cfg.window_size)


@torch.no_grad()
def test_the_times_matter(tiny_model: TimeChat) -> None:
    frames = random_videos(3)
    one, other = (tiny_model.encode_video(frames, [[0.0, t, 9.0]])[0] for t in (1.0, 2.0))
    assert not torch.allclose(one, other, atol=1e-3)


@torch.no_grad()
def test_the_order_of_frames_matters(tiny_model: TimeChat) -> None:
    frames = random_videos(4)[0]
    one, other = (tiny_model.encode_video([f], [[0.0] * 4])[0] for f in (frames, frames.flip(0)))
    assert not torch.allclose(one, other, atol=1e-3)


def two_samples(golden: Golden, model: TimeChat) -> tuple[VideoBatch, list[VideoBatch]]:
    """A batch of two conversations of different length, and each alone."""
    both = golden_batch(golden, model.tokenizer)
    alone = []
    for i in range(2):
        size = int(both.attention_mask[i].sum())
        rows = {n: getattr(both, n)[i : i + 1, :size] for n in ("input_ids", "labels", "attention_mask")}
        frames = both.frames[10 * i : 10 * i + 10]
        alone.append(replace(both, frames=frames, frame_counts=[10], seconds=[both.seconds[i]], **rows))
    return both, alone


@torch.no_grad()
def test_a_sample_loss_does_not_depend_on_its_neighbours(golden: Golden, tiny_model: TimeChat) -> None:
    both, alone = two_samples(golden, tiny_model)
    assert both.attention_mask.sum(1).unique().numel() == 2
    together = tiny_model(both)["sample_losses"]
    assert_close(together, torch.cat([tiny_model(one)["sample_losses"] for one in alone]), **CLOSE)


@torch.no_grad()
def test_an_answer_is_exact_if_all_of_its_tokens_are_the_likeliest(golden: Golden, tiny_model: TimeChat) -> None:
    """Labels that follow the model are exact; one other token makes that sample wrong, and no neighbour."""
    batch, _ = two_samples(golden, tiny_model)
    videos = tiny_model._encode_packed(batch.frames, batch.frame_counts, batch.seconds)
    is_video = batch.input_ids == tiny_model.tokenizer.image_token_id
    embeds = lm.embed_with_video(tiny_model.llama_model, batch.input_ids, is_video, videos)
    hidden = pad_sequence(lm.hidden_states(tiny_model.llama_model, list(embeds)), batch_first=True)
    logits = lm.logits(tiny_model.llama_model, hidden)
    likeliest = F.pad(logits.argmax(dim=-1), (1, 0))[:, :-1]
    own = replace(batch, labels=torch.where(batch.labels == IGNORE_INDEX, batch.labels, likeliest))
    assert tiny_model(own)["sample_exact"].tolist() == [1.0, 1.0]
    last = (own.labels[1] != IGNORE_INDEX).nonzero()[-1]
    own.labels[1, last] = (own.labels[1, last] + 1) % logits.shape[-1]
    assert tiny_model(own)["sample_exact"].tolist() == [1.0, 0.0]
    tiny_model.train()
    try:
        assert "sample_exact" not in tiny_model(own)
    finally:
        tiny_model.eval()


@torch.no_grad()
def test_loss_is_cross_entropy_of_the_whole_vocabulary(golden: Golden, tiny_model: TimeChat) -> None:
    """Against a plain forward pass that makes scores at every position."""
    batch = golden_batch(golden, tiny_model.tokenizer)
    videos = tiny_model.encode_video(golden.videos(), golden.expected["timestamps"])
    causal = tiny_model.llama_model.get_base_model()
    embeds = causal.model.embed_tokens(batch.input_ids.clamp(max=699))
    for row, ids, video in zip(embeds, batch.input_ids, videos, strict=True):
        row[ids == 700] = video
    scores = causal(inputs_embeds=embeds, attention_mask=batch.attention_mask.long()).logits
    expected = F.cross_entropy(scores[:, :-1].flatten(0, 1), batch.labels[:, 1:].flatten(), ignore_index=-100)
    assert_close(tiny_model(batch)["loss"], expected, **CLOSE)


@torch.no_grad()
def test_without_lora_the_model_answers_and_has_a_loss(golden: Golden) -> None:
    """LoRA starts as nothing, so a model without it computes what one with fresh LoRA does."""
    losses = []
    for lora in ("true", "false"):
        torch.manual_seed(0)
        model = build_tiny([f"model.lora={lora}", "model.ckpt=", "model.lora_r=1"])
        state = {n: p for n, p in model.named_parameters() if "llama_model" not in n}
        for _, p in sorted(state.items()):
            p.copy_(torch.sin(torch.arange(p.numel(), dtype=torch.float32)).view(p.shape) * 0.3)
        losses.append(model(golden_batch(golden, model.tokenizer))["loss"])
        assert isinstance(model.generate(golden.videos(), SECONDS_OF_TEN, ["q", "q"], max_new_tokens=2), list)
    assert_close(losses[0], losses[1], **CLOSE)


SECONDS_OF_TEN = [[float(i) for i in range(10)]] * 2


# Answering ------------------------------------------------------------------------------------------------------------


def test_answers_do_not_depend_on_the_batch(tiny_model: TimeChat) -> None:
    """Four videos of different length and an image, together and one by one."""
    videos, prompts = random_videos(*VIDEOS), ["When?", "What is it?", "Tell me all about it, please.", "Who?"]
    together = tiny_model.generate(videos, SECONDS, prompts, max_new_tokens=8)
    rows = zip(videos, SECONDS, prompts, strict=True)
    assert together == [tiny_model.generate([v], [s], [p], max_new_tokens=8)[0] for v, s, p in rows]
    assert len(set(together)) > 1


@torch.no_grad()
def test_what_encodes_for_answers_computes_in_the_precision_of_a_gpu(
    tiny_model: TimeChat, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in training, also the Q-Formers, whose weights are fp32; here with a CPU in its place."""
    asked = []

    def here(device: torch.device, dtype: torch.dtype) -> torch.autocast:
        asked.append((device.type, dtype))
        return torch.autocast("cpu", torch.bfloat16)

    frames, seconds = random_videos(5), [[0.0, 1.0, 2.0, 3.0, 4.0]]
    exact = tiny_model.encode_video(frames, seconds)[0]
    monkeypatch.setattr(timechat_module, "in_16_bits", here)
    rounded = tiny_model.encode_video(frames, seconds)[0]
    assert asked == [("cpu", torch.float32)]
    assert (exact.dtype, rounded.dtype) == (torch.float32, torch.bfloat16)
    assert 0 < (rounded - exact).abs().max() < 0.1 * exact.abs().max()


def test_one_encoded_video_answers_several_prompts(tiny_model: TimeChat) -> None:
    frames, seconds, prompts = random_videos(5)[0], SECONDS[0], ["When?", "Who cuts the bread?"]
    video = tiny_model.encode_video([frames], [seconds])[0]
    answers = tiny_model.answer([video, video], [seconds, seconds], prompts, max_new_tokens=8)
    assert answers == tiny_model.generate([frames, frames], [seconds, seconds], prompts, max_new_tokens=8)


def test_max_new_tokens_is_the_limit(tiny_model: TimeChat, monkeypatch: pytest.MonkeyPatch) -> None:
    lengths = []
    decode = tiny_model.tokenizer.decode
    monkeypatch.setattr(tiny_model.tokenizer, "decode", lambda ids: lengths.append(len(ids)) or decode(ids))
    for limit in (3, 5):
        tiny_model.generate(random_videos(2), [[0.0, 1.0]], ["q"], max_new_tokens=limit)
    assert lengths == [3, 5]


def test_system_text_default_setting_and_argument(tiny_model: TimeChat) -> None:
    """The argument wins over model.system_prompt, which wins over the project's own sentence."""
    args = (random_videos(3), [SECONDS[3]], ["When?"])
    other = build_tiny(["model.system_prompt=See and tell."])
    ask = {"max_new_tokens": 12}
    assert tiny_model.generate(*args, **ask) == tiny_model.generate(*args, system=SYSTEM_PROMPT, **ask)
    told = tiny_model.generate(*args, system="See and tell.", **ask)
    assert other.generate(*args, **ask) == told
    assert other.generate(*args, system=SYSTEM_PROMPT, **ask) == tiny_model.generate(*args, **ask)
    assert told != tiny_model.generate(*args, **ask)


def test_sampling_follows_the_seed_and_differs_from_greedy(tiny_model: TimeChat) -> None:
    args = (random_videos(3), [SECONDS[3]], ["When?"])
    answers = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        answers += tiny_model.generate(*args, do_sample=True, temperature=1.5, max_new_tokens=12)
    assert answers[0] == answers[1] != answers[2]
    assert answers[0] != tiny_model.generate(*args, max_new_tokens=12)[0]


@pytest.fixture
def opinionated(tmp_path: Path) -> TimeChat:
    """A LLaMA folder whose generation_config.json asks for sampling, as the published chat model's does."""
    folder = llama_folder(tmp_path / "llama")
    settings = {"do_sample": True, "temperature": 5.0, "top_p": 0.9, "top_k": 3, "repetition_penalty": 9.0}
    (folder / "generation_config.json").write_text(json.dumps(settings))
    return build_tiny([f"model.llama_model={folder}"])


def test_greedy_is_greedy_whatever_the_llama_folder_says(opinionated: TimeChat, tiny_model: TimeChat) -> None:
    args = (random_videos(3), [SECONDS[3]], ["When?"])
    for seed in range(2):
        torch.manual_seed(seed)
        answer = opinionated.generate(*args, max_new_tokens=12)
        assert answer == tiny_model.generate(*args, max_new_tokens=12)


def test_sampling_takes_no_settings_from_the_llama_folder(opinionated: TimeChat, tiny_model: TimeChat) -> None:
    args = (random_videos(3), [SECONDS[3]], ["When?"])
    answers = []
    for model in (opinionated, tiny_model):
        torch.manual_seed(3)
        answers.append(model.generate(*args, do_sample=True, max_new_tokens=12))
    assert answers[0] == answers[1]


def test_scaled_positions_change_the_answer_and_nothing_before_the_decoder(tiny_model: TimeChat) -> None:
    """max_txt_len above 2048, through the whole model; below it, its value plays no part in answering."""
    args = (random_videos(5), [SECONDS[0]])
    short, scaled = build_tiny(["model.max_txt_len=512"]), build_tiny(["model.max_txt_len=2049"])
    frequencies = [m.llama_model.get_base_model().model.rotary_emb.inv_freq for m in (tiny_model, short, scaled)]
    assert torch.equal(frequencies[1], frequencies[0])
    assert_close(frequencies[2], frequencies[0] / 2)
    with torch.no_grad():
        assert torch.equal(scaled.encode_video(*args)[0], tiny_model.encode_video(*args)[0])
    ask = {"max_new_tokens": 12}
    answers = [model.generate(*args, ["When?"], **ask) for model in (tiny_model, short, scaled)]
    assert answers[0] == answers[1] != answers[2]


# Errors ---------------------------------------------------------------------------------------------------------------


def test_more_frames_than_positions(tiny_model: TimeChat) -> None:
    with pytest.raises(ConfigError, match=r"13 frames, more than model\.max_frame_pos=12"):
        tiny_model.encode_video(random_videos(13), [[0.0] * 13])


def test_more_times_than_frames(tiny_model: TimeChat) -> None:
    with pytest.raises(ConfigError, match="2 frames but 3 times"):
        tiny_model.encode_video(random_videos(2), [[0.0, 1.0, 2.0]])


def test_prompts_and_videos_must_agree(tiny_model: TimeChat) -> None:
    with pytest.raises(ConfigError, match="1 videos, 1 lists of seconds, 2 prompts"):
        tiny_model.generate(random_videos(1), [[0.0]], ["a", "b"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["model.freeze_vit=false", "model.vit_precision=fp16"], r"set model\.vit_precision=fp32, not fp16"),
        (["model.qformer.vocab_size=80"], r"model\.qformer\.vocab_size=80 is too small.*needs 88"),
        (["model.qformer.max_position_embeddings=31"], r"max_position_embeddings=31 is too small"),
        (["model.qformer.num_attention_heads=5"], r"hidden_size=48 is not a multiple of num_attention_heads=5"),
        (["model.arch=timechatt"], r"unknown model 'timechatt' \(did you mean 'timechat'\?\)"),
    ],
)
def test_settings_that_cannot_go_together(options: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_tiny(["model.ckpt=", *options])


def test_a_tokenizer_with_more_ids_than_the_model_embeds(tmp_path: Path) -> None:
    folder = llama_folder(tmp_path / "llama", vocab_size=699)
    (folder / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match="the tokenizer has 700 ids, the model embeds 699"):
        build_model(tiny_config([f"model.llama_model={folder}"]).model, load_weights=False)
