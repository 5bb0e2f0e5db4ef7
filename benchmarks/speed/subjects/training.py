"""An optimizer step, as the training loop does it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch

from benchmarks.eager import EagerTimeChat
from benchmarks.speed.measure import Patience, Work, has_bf16
from benchmarks.speed.rows import Comparison, Floor, Row, compare
from benchmarks.speed.sizes import Bench, batch, placeholder
from timechat.runners import Runner, build_runner

RATE = 1e-5
HALF = ("model.vit_precision=bf16", "model.llama_precision=bf16", "run.precision=bf16")


def make_runner(bench: Bench, *options: str) -> Runner:
    """A runner that has not begun; its only sample is never read."""
    steps = [f"run.batch_size_train={len(bench.size.frames)}", "run.iters_per_epoch=100000", "run.resume=never"]
    runner = build_runner(bench.config(*steps, *options, datasets=placeholder(bench.folder)))
    runner.engine.model.train()
    return runner


def train(bench: Bench, patience: Patience) -> Iterator[Row]:
    """A step on the videos of a batch."""
    videos = " + ".join(map(str, bench.size.frames))
    name = f"train step, {videos} frames, {bench.size.tokens} tokens"
    yield compare(name, partial(_prepare, bench, ()), patience)


def bf16(bench: Bench, patience: Patience) -> Iterator[Row]:
    """The same step in half precision beside the reference's fp32, where the processor has units for it."""
    if unit := has_bf16():
        name = f"train step in bf16 ({unit}); eager in fp32"
        yield compare(name, partial(_prepare, bench, HALF), patience)


def _prepare(bench: Bench, options: tuple[str, ...]) -> Comparison:
    runner = make_runner(bench, *options)
    model = runner.engine.unwrap()
    samples = batch(model, bench.size.frames, bench.size.tokens)
    steps = iter(range(10**6))

    def this() -> None:
        runner.step([samples], RATE, next(steps))
        runner.steps += 1

    floor = Floor(runner.count_flops(samples), dtype=torch.bfloat16 if options else torch.float32)
    return Comparison({"this": this, "eager": _plain_step(bench, runner, bool(options))}, floor)


def _plain_step(bench: Bench, runner: Runner, own_model: bool) -> Work:
    """The reference's step, with the runner's weights, or with those of a model in fp32."""
    made: list[Work] = []

    def make() -> Work:
        model = bench.model().train() if own_model else runner.engine.unwrap()
        eager, samples = EagerTimeChat(model), batch(model, bench.size.frames, bench.size.tokens)
        optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], RATE)

        def step() -> None:
            loss = eager.loss(samples)
            loss.backward()
            assert torch.isfinite(loss)
            optimizer.step()
            optimizer.zero_grad()

        return step

    def reference() -> None:
        if not made:  # only now: where `this` is measured alone, its memory is not
            made.append(make())
        made[0]()

    return reference
