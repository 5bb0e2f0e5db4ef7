"""Answers: one, and those to eight questions about one clip."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from benchmarks.eager import EagerTimeChat
from benchmarks.speed.measure import Patience
from benchmarks.speed.rows import Comparison, Floor, Row, compare
from benchmarks.speed.sizes import Bench, question, videos
from benchmarks.speed.subjects.encoding import forward_flops
from timechat.models import TimeChat
from timechat.models import llama as lm

QUESTIONS = 8


def generate(bench: Bench, patience: Patience) -> Iterator[Row]:
    """One answer about a clip that is encoded."""
    name = f"answer, prompt of {bench.size.tokens} tokens, {bench.size.new_tokens} new ones"
    yield compare(name, partial(_prepare, bench, 1, bench.size.new_tokens), patience)


def questions(bench: Bench, patience: Patience) -> Iterator[Row]:
    """Several answers about one clip, which both encode once; then the reference encodes it for each, as published."""
    new = max(1, bench.size.new_tokens // 4)
    name = f"{QUESTIONS} questions on one clip, {new} tokens each"
    yield compare(name, partial(_prepare, bench, QUESTIONS, new), patience)
    name = f"{QUESTIONS} questions, clip encoded for each by eager"
    yield compare(name, partial(_prepare_whole, bench, new), patience)


def _prepare(bench: Bench, count: int, new_tokens: int) -> Comparison:
    model = bench.model()
    frames, seconds = videos(bench.size.frames[:1], model.cfg.image_size)
    with torch.no_grad():
        video = model.encode_video(frames, seconds)[0]
    prompts = [question(model, seconds[0], bench.size.tokens, number) for number in range(count)]
    eager, given = EagerTimeChat(model), ([video] * count, seconds * count, prompts)
    return Comparison(
        {
            "this": lambda: model.answer(*given, max_new_tokens=new_tokens),
            "eager": lambda: eager.answer(*given, new_tokens),
        },
        _floor(model, video, seconds[0], prompts, new_tokens),
    )


def _prepare_whole(bench: Bench, new_tokens: int) -> Comparison:
    model = bench.model()
    frames, seconds = videos(bench.size.frames[:1], model.cfg.image_size)
    prompts = [question(model, seconds[0], bench.size.tokens, number) for number in range(QUESTIONS)]
    eager = EagerTimeChat(model)

    @torch.no_grad()
    def this() -> None:
        video = model.encode_video(frames, seconds)
        model.answer(video * QUESTIONS, seconds * QUESTIONS, prompts, max_new_tokens=new_tokens)

    @torch.no_grad()
    def reference() -> None:
        for prompt in prompts:
            eager.answer(eager.encode_video(frames, seconds), seconds, [prompt], new_tokens)

    video = torch.empty(model.num_video_tokens(len(frames[0])), 0)
    floor = _floor(model, video, seconds[0], prompts, new_tokens)
    flops = floor.flops + forward_flops(model).video([len(frames[0])], seconds)
    return Comparison({"this": this, "eager": reference}, Floor(flops, floor.read))


def _floor(model: TimeChat, video: Tensor, seconds: list[float], prompts: list[str], new_tokens: int) -> Floor:
    """Each token of the prompts that differs is computed once; for each new token all weights are read once."""
    counter, decoder = forward_flops(model), lm.causal_lm(model.llama_model)
    ids = [model.prompt_ids(len(video), seconds, prompt) for prompt in prompts]
    shared = next((n for n, column in enumerate(zip(*ids, strict=False)) if len(set(column)) > 1), len(ids[0]))
    tokens = shared + sum(len(row) - shared for row in ids)
    flops = counter.decoder(tokens + len(ids) * new_tokens) + counter.head(len(ids) * new_tokens)
    weights = [*decoder.model.layers.parameters(), decoder.lm_head.weight]
    return Floor(flops, new_tokens * float(sum(p.numel() * p.element_size() for p in weights)))
