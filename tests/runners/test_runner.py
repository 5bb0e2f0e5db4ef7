"""Whole runs of the tiny model on tiny videos, in this process."""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.tiny import WEIGHTS, build_tiny
from helpers.training import (
    NO_DROPOUT,
    STEADY,
    Run,
    build,
    image_entry,
    make_videos,
    read_lines,
    train,
    trainable_names,
    use_sgd,
    video_entry,
    weights_of,
)
from omegaconf import OmegaConf
from peft.tuners.lora import LoraLayer
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor
from torch.testing import assert_close

from timechat.errors import CheckpointError, ConfigError, MissingFilesError, TrainingError
from timechat.models.checkpoints import canonical_name
from timechat.registry import registry
from timechat.runners import Runner
from timechat.runners import runner as runner_module
from timechat.runners.state import Stateful

RANDOM = {"sample_type": "rand", "vis_processor": {"train": {"name": "alpro_video_train"}}}
PLAIN = {"vis_processor": {"train": {"name": "alpro_video_eval"}}}
LONG = ("run.iters_per_epoch=6", "run.accum_grad_iters=2", "run.max_epoch=2", *STEADY)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def videos(base: Path) -> Path:
    make_videos(base / "videos")
    return base / "videos"


@pytest.fixture(scope="module")
def full(base: Path, videos: Path) -> Run:
    """Two epochs with everything random that there is: frames, crops, dropout. Other tests compare with it."""
    return train(base / "full", {"tv": video_entry(videos, ["a.mp4", "b.mp4", "c.mp4", "d.mp4"], **RANDOM)}, *LONG)


@pytest.fixture(scope="module")
def start() -> dict[str, Tensor]:
    """The weights that every run begins with."""
    return {canonical_name(name): p.detach().clone() for name, p in build_tiny().named_parameters()}


def _same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# Learning -------------------------------------------------------------------------------------------------------------


def test_the_loss_falls_on_two_repeated_samples(base: Path, videos: Path) -> None:
    datasets = {"tv": video_entry(videos, ["a.mp4", "d.mp4"], **PLAIN)}
    options = ("run.iters_per_epoch=20", "run.batch_size_train=2", *STEADY, *NO_DROPOUT)
    losses = train(base / "falls", datasets, *options).losses
    assert losses[0] > 5.0
    assert losses[-1] < losses[0] - 2.0
    assert sum(later < earlier for earlier, later in itertools.pairwise(losses)) >= 16


def test_what_is_frozen_stays_and_all_that_learns_changes(full: Run, start: dict[str, Tensor]) -> None:
    learns, after = trainable_names(full.runner), weights_of(full.runner)
    changed = {name for name in start if not torch.equal(after[name], start[name])}
    # Softmax does not see what is added to all keys: their biases have no gradient but rounding noise.
    noise = {name for name in learns if name.endswith("key.bias")}
    assert changed - noise == learns - noise
    assert any(name.startswith("Qformer.") for name in changed)
    assert any("lora_A" in name for name in changed)
    assert all(torch.isfinite(p).all() for p in after.values())


def test_learning_rates_and_numbers_of_the_log(full: Run) -> None:
    assert [(r["epoch"], r["step"]) for r in full.steps] == [(0, 1), (0, 2), (0, 3), (1, 4), (1, 5), (1, 6)]
    assert [r["lr"] for r in full.steps] == pytest.approx([1e-3] * 6)
    assert [r["skipped"] for r in full.steps] == [0] * 6
    for record in full.steps:
        assert 0.0 <= record["data_wait"] <= 1.0
        assert record["tokens_per_s"] > record["videos_per_s"] > 0.0


def test_each_step_has_the_rate_of_the_plan(base: Path, videos: Path) -> None:
    """The published warm-up and cosine, two micro-batches a step."""
    options = ("run.iters_per_epoch=4", "run.accum_grad_iters=2", "run.warmup_steps=3", "run.max_epoch=2")
    runner = build(base / "rates", {"tv": video_entry(videos, ["b.mp4"], **PLAIN)}, *options)
    used = []
    step = runner.engine.step
    runner.engine.step = lambda: (used.extend({g["lr"] for g in runner.engine.optimizer.param_groups}), step())[1]
    runner.train()

    def cosine(i: int) -> float:
        return 1e-5 + 2e-5 * 0.5 * (1 + math.cos(math.pi * i / 8))

    assert used == pytest.approx([1e-6 + (3e-5 - 1e-6) / 3, cosine(3), cosine(5), cosine(7)], rel=1e-9)
    assert [r["lr"] for r in read_lines(base / "rates" / "log.jsonl") if r["event"] == "train"] == used


# Files ----------------------------------------------------------------------------------------------------------------


def test_files_of_a_run(full: Run) -> None:
    names = {path.name for path in full.output.iterdir()}
    checkpoints = {"checkpoint_0.pth", "checkpoint_1.pth", "checkpoints"}
    assert names == checkpoints | {"log.jsonl", "run_info.json", "tensorboard", "config.yaml"}
    events = [(record["event"], record["epoch"]) for record in full.log]
    assert events == [
        ("start", 0),
        *[("train", 0)] * 3,
        ("checkpoint", 0),
        *[("train", 1)] * 3,
        ("checkpoint", 1),
        ("end", 1),
    ]
    assert full.log[0]["config"] == OmegaConf.to_container(full.runner.cfg)
    scalars = EventAccumulator(str(full.output / "tensorboard")).Reload().Scalars("train/loss")
    assert [(s.step, s.value) for s in scalars] == [(r["step"], pytest.approx(r["loss"])) for r in full.steps]


def test_checkpoints_have_the_published_format(full: Run) -> None:
    content = full.checkpoint(1)
    model = full.runner.engine.unwrap()
    buffers = {canonical_name(name) for name, _ in model.named_buffers() if canonical_name(name) in _state(model)}
    assert set(content["model"]) == trainable_names(full.runner) | buffers
    assert "llama_model.base_model.model.model.layers.0.self_attn.q_proj.lora_A.default.weight" in content["model"]
    assert {"optimizer", "scaler", "epoch", "config", "optimized", "progress"} == set(content) - {"model"}
    assert (content["epoch"], content["scaler"]) == (1, None)
    assert content["config"] == OmegaConf.to_container(full.runner.cfg)
    weights = weights_of(full.runner)
    assert all(torch.equal(content["model"][name], weights[name]) for name in trainable_names(full.runner))


def _state(model: torch.nn.Module) -> set[str]:
    return {canonical_name(name) for name in model.state_dict()}


def test_the_optimizers_state_belongs_to_the_named_parameters(full: Run) -> None:
    content = full.checkpoint(1)
    assert set(content["optimized"]) == trainable_names(full.runner)
    state = content["optimizer"]["state"]
    shapes = {name: state[i]["exp_avg"].shape for i, name in enumerate(content["optimized"])}
    assert shapes == {name: content["model"][name].shape for name in content["optimized"]}
    assert {int(s["step"]) for s in state.values()} == {6}


def test_a_checkpoint_loads_as_weights_of_a_model(full: Run) -> None:
    path = full.output / "checkpoint_1.pth"
    model = build_tiny([f"model.ckpt={WEIGHTS}", f"model.ckpt_2={path}"])
    assert _same({canonical_name(n): p for n, p in model.named_parameters()}, weights_of(full.runner))


# Resuming -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def datasets(videos: Path) -> dict[str, Any]:
    return {"tv": video_entry(videos, ["a.mp4", "b.mp4", "c.mp4", "d.mp4"], **RANDOM)}


def test_a_resumed_run_is_bit_identical(base: Path, full: Run, datasets: dict[str, Any]) -> None:
    """Although frames, crops and dropout are random, and random numbers were drawn in between."""
    torch.manual_seed(123)
    resumed = train(
        base / "resumed",
        datasets,
        *LONG,
        f"run.resume_ckpt_path={full.output / 'checkpoint_0.pth'}",
        "run.num_workers=1",
    )
    assert [(r["epoch"], r["step"]) for r in resumed.steps] == [(1, 4), (1, 5), (1, 6)]
    assert resumed.losses == full.losses[3:]
    assert _same(weights_of(resumed.runner), weights_of(full.runner))
    assert not (resumed.output / "checkpoint_0.pth").exists()
    states = [run.checkpoint(1)["optimizer"]["state"] for run in (resumed, full)]
    assert all(torch.equal(states[0][i][k], states[1][i][k]) for i in states[0] for k in states[0][i])


def test_another_seed_gives_another_run(base: Path, full: Run, datasets: dict[str, Any]) -> None:
    other = train(base / "seed", datasets, *LONG, "run.max_epoch=1", "run.seed=43")
    assert other.losses[0] != full.losses[0]


def test_dropout_follows_the_seed_and_the_step(base: Path, videos: Path) -> None:
    """One sample again and again, at rate 0: nothing but dropout makes losses differ."""
    datasets = {"tv": video_entry(videos, ["a.mp4"], **PLAIN)}
    options = ("run.iters_per_epoch=3", "run.init_lr=0.0", "run.min_lr=0.0", "run.weight_decay=0.0")
    first, again, other = (
        train(base / f"dropout{number}", datasets, *options, f"run.seed={seed}").losses
        for number, seed in enumerate((1, 1, 2))
    )
    assert len(set(first)) == 3
    assert again == first
    assert set(other).isdisjoint(first)
    (loss,) = set(train(base / "no_dropout", datasets, *options, *NO_DROPOUT).losses)
    assert loss not in first


def test_a_run_that_is_done_says_so(
    base: Path, full: Run, datasets: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    run = train(base / "done", datasets, *LONG, f"run.resume_ckpt_path={full.output / 'checkpoint_1.pth'}")
    assert "nothing is left to train: run.max_epoch=2" in caplog.text
    assert [record["event"] for record in run.log] == ["start", "end"]


def test_processes_drop_different_units(full: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def drawn(rank: int) -> float:
        monkeypatch.setattr(runner_module.distributed, "rank", lambda: rank)
        full.runner._seed_dropout(0)
        return float(torch.rand(1))

    assert drawn(0) == drawn(0)
    assert drawn(0) != drawn(1)


def test_a_published_checkpoint_starts_the_optimizer_anew(
    base: Path, full: Run, datasets: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """It does not say which parameters its optimizer state belongs to."""
    content = full.checkpoint(0)
    del content["optimized"], content["progress"]
    path = base / "published.pth"
    torch.save(content, path)
    runner = build(base / "published", datasets, *LONG, f"run.resume_ckpt_path={path}")
    assert any(r.levelno == logging.WARNING and "the optimizer starts anew" in r.getMessage() for r in caplog.records)
    assert "has no position within an epoch" in caplog.text
    assert runner.steps == 3
    assert not runner.engine.optimizer.state
    weights = weights_of(runner)
    assert all(torch.equal(weights[name], content["model"][name]) for name in trainable_names(runner))


def test_a_resumed_run_has_the_optimizer_settings_of_its_own_config(
    base: Path, full: Run, datasets: dict[str, Any]
) -> None:
    resume = f"run.resume_ckpt_path={full.output / 'checkpoint_0.pth'}"
    runner = build(base / "settings", datasets, *LONG, resume, "run.weight_decay=0.25", "run.beta2=0.5")
    groups = runner.engine.optimizer.param_groups
    assert [(group["weight_decay"], group["betas"][1]) for group in groups] == [(0.25, 0.5), (0.0, 0.5)]
    assert runner.engine.optimizer.state


def test_the_end_of_an_epoch_is_logged_whatever_log_freq(base: Path, datasets: dict[str, Any]) -> None:
    run = train(base / "log_freq", datasets, "run.max_epoch=2", "run.iters_per_epoch=3", "run.log_freq=2")
    assert [record["step"] for record in run.steps] == [2, 3, 5, 6]


def test_a_checkpoint_of_other_trainable_parameters_starts_the_optimizer_anew(
    base: Path, full: Run, datasets: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    path = full.output / "checkpoint_0.pth"
    runner = build(base / "frozen", datasets, f"run.resume_ckpt_path={path}", "model.freeze_qformer=true")
    assert "the optimizer starts anew" in caplog.text
    assert not runner.engine.optimizer.state


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"run\.resume_ckpt_path=.*no such file"),
        ({"model": {"nothing.of.ours": torch.zeros(1)}}, r"has no epoch.*model\.ckpt"),
        ({"epoch": 0, "model": {"llama_proj.weight": torch.zeros(1)}}, r"misshapen: llama_proj\.weight"),
    ],
)
def test_checkpoints_that_cannot_be_resumed(
    tmp_path: Path, datasets: dict[str, Any], content: dict | None, message: str
) -> None:
    path = tmp_path / "x.pth"
    if content is not None:
        torch.save(content, path)
    with pytest.raises(MissingFilesError if content is None else CheckpointError, match=message):
        build(tmp_path / "out", datasets, f"run.resume_ckpt_path={path}")


# Gradients ------------------------------------------------------------------------------------------------------------


def _sgd_steps(output: Path, datasets: dict[str, Any], *options: str) -> tuple[list[float], dict[str, Tensor]]:
    runner = build(output, datasets, *NO_DROPOUT, "run.init_lr=0.1", "run.min_lr=0.1", "run.weight_decay=0.0", *options)
    use_sgd(runner)
    runner.train()
    return Run(runner, output).losses, weights_of(runner)


def test_accumulation_equals_the_larger_batch(base: Path, videos: Path, start: dict[str, Tensor]) -> None:
    """Four micro-batches of 1 = two of 2 = one of 4, for videos and answers of different lengths."""
    datasets = {"tv": video_entry(videos, ["a.mp4", "b.mp4", "c.mp4", "d.mp4"], **PLAIN)}
    results = [
        _sgd_steps(
            base / f"accumulate{accumulation}",
            datasets,
            f"run.iters_per_epoch={3 * accumulation}",
            f"run.accum_grad_iters={accumulation}",
            f"run.batch_size_train={4 // accumulation}",
        )
        for accumulation in (1, 2, 4)
    ]
    for losses, weights in results[1:]:
        assert losses == pytest.approx(results[0][0], rel=1e-5)
        for name, weight in weights.items():
            moved = (results[0][1][name] - start[name]).abs().max()
            assert_close(weight, results[0][1][name], rtol=0.0, atol=1e-7 + 1e-4 * float(moved), msg=name)


def test_clipping_bounds_the_step(base: Path, videos: Path, start: dict[str, Tensor]) -> None:
    datasets = {"tv": video_entry(videos, ["a.mp4"], **PLAIN)}

    def moved(clip: str) -> float:
        _, weights = _sgd_steps(base / f"clip{clip}", datasets, "run.iters_per_epoch=1", f"run.clip_grad_norm={clip}")
        return float(sum((weights[name] - start[name]).double().square().sum() for name in start) ** 0.5)

    free = moved("null")
    assert free > 0.1 * 0.5 * 1.5
    assert moved("0.5") == pytest.approx(0.1 * 0.5, rel=1e-3)
    assert moved("1e9") == pytest.approx(free, rel=1e-6)


# Data -----------------------------------------------------------------------------------------------------------------


def test_images_and_videos_train_together(base: Path, videos: Path) -> None:
    datasets = {"tv": video_entry(videos, ["a.mp4", "b.mp4"]), "pictures": image_entry(base / "images")}
    runner = build(base / "mixed", datasets, "run.iters_per_epoch=4", "run.batch_size_train=2", *STEADY)
    seen: list[bool] = []
    step = runner.task.train_step
    runner.task.train_step = lambda model, batch: (seen.extend(t is None for t in batch.seconds), step(model, batch))[1]
    runner.train()
    assert set(seen) == {True, False}
    assert all(map(math.isfinite, Run(runner, base / "mixed").losses))


def test_one_pass_draws_every_sample_once(base: Path, videos: Path) -> None:
    """Five samples in steps of 4: the second step has one, and its loss is the mean over that one."""
    datasets = {"tv": video_entry(videos, ["a.mp4", "b.mp4", "c.mp4"]), "pictures": image_entry(base / "images")}
    options = ("run.accum_grad_iters=2", "run.batch_size_train=2", "run.init_lr=0.0", "run.min_lr=0.0", *NO_DROPOUT)
    runner = build(base / "pass", datasets, *options)
    groups = [[key for batch in group for key in batch.keys] for group in runner._step_batches(0)]
    assert [len(group) for group in groups] == [4, 1]
    assert len({*groups[0], *groups[1]}) == 5
    runner.train()
    alone = build(base / "alone", datasets, *options, "run.accum_grad_iters=1", "run.batch_size_train=1")
    (batch,) = list(alone._step_batches(0))[4]
    assert batch.keys == groups[1]
    alone.engine.model.train()
    expected = alone.task.train_step(alone.engine.model, batch).item()
    assert Run(runner, base / "pass").losses[1] == pytest.approx(expected, rel=1e-5)


def test_left_over_micro_batches_end_the_epoch_with_a_smaller_step(base: Path, videos: Path) -> None:
    """Its loss is the mean over the samples that it has; its rate is the schedule's at its last micro-batch."""
    datasets = {"tv": video_entry(videos, ["a.mp4", "b.mp4", "c.mp4", "d.mp4"])}
    still = ("run.iters_per_epoch=5", "run.max_epoch=2", "run.init_lr=0.0", "run.min_lr=0.0", *NO_DROPOUT)
    single = train(base / "single", datasets, *still, "run.accum_grad_iters=1").losses
    left = train(base / "left", datasets, *still, "run.accum_grad_iters=2")
    assert [(record["epoch"], record["step"]) for record in left.steps] == [
        *((0, number) for number in (1, 2, 3)),
        *((1, number) for number in (4, 5, 6)),
    ]
    micro_batches = ([0, 1], [2, 3], [4], [5, 6], [7, 8], [9])
    expected = [sum(single[index] for index in indices) / len(indices) for indices in micro_batches]
    assert left.losses == pytest.approx(expected, rel=1e-5)
    moving = train(base / "left_rates", datasets, *still[:2], "run.accum_grad_iters=2", "run.init_lr=1e-4")
    schedule = moving.runner.plan.schedule
    assert [record["lr"] for record in moving.steps] == [schedule(indices[-1]) for indices in micro_batches]


@pytest.fixture(scope="module")
def broken(videos: Path) -> Path:
    (videos / "bad.mp4").write_text("no video")
    return videos


@pytest.mark.parametrize("workers", [0, 2])
def test_an_unreadable_sample_is_replaced_by_the_next_of_the_stream(base: Path, broken: Path, workers: int) -> None:
    names = ["a.mp4", "bad.mp4", "c.mp4", "d.mp4"]
    datasets = {"tv": video_entry(broken, names, f"broken{workers}.json", **PLAIN)}
    options = ("run.iters_per_epoch=4", f"run.num_workers={workers}")
    runner = build(base / f"replaced{workers}", datasets, *options)
    stream = runner.stream.epoch(0, 4)
    order = [names[stream[position].index] for position in range(4)]
    bad = order.index("bad.mp4")
    expected = [order[(i + 1) % 4] if name == "bad.mp4" else name for i, name in enumerate(order)]
    read: list[str] = []
    step = runner.task.train_step
    runner.task.train_step = lambda model, batch: (read.extend(batch.keys), step(model, batch))[1]
    runner.train()
    assert [key.split()[-1] for key in read] == expected
    run = Run(runner, base / f"replaced{workers}")
    assert [record["skipped"] for record in run.steps] == [0] * bad + [1] * (4 - bad)
    (record,) = read_lines(run.output / "skipped.jsonl")
    assert (record["epoch"], record["position"], record["sample"]) == (0, bad, "tv[1] bad.mp4")
    assert "bad.mp4" in record["error"]


def test_too_many_unreadable_samples_stop_the_run(base: Path, broken: Path) -> None:
    datasets = {"tv": video_entry(broken, ["a.mp4", "bad.mp4"], "half.json", **PLAIN)}
    runner = build(base / "stopped", datasets, "run.iters_per_epoch=100", "run.batch_size_train=2")
    with pytest.raises(TrainingError, match=r"6 of the last 1[0-9] samples .* run\.max_skip_ratio=0\.1"):
        runner.train()
    assert len(read_lines(base / "stopped" / "skipped.jsonl")) == 6
    assert not list((base / "stopped").glob("*.pth"))


def test_nothing_readable_stops_at_once(base: Path, broken: Path) -> None:
    datasets = {"tv": video_entry(broken, ["bad.mp4"], "all.json", **PLAIN)}
    with pytest.raises(TrainingError, match="no sample could be used, although all of the epoch's were tried"):
        train(base / "nothing", datasets, "run.iters_per_epoch=5", "run.max_skip_ratio=1.0")


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_that_no_replacement_mends_reads_the_same_from_a_worker(
    base: Path, videos: Path, workers: int
) -> None:
    """A cut inside the video tokens is the config's fault: one message, without a worker's traceback."""
    datasets = {"tv": video_entry(videos, ["a.mp4"], **PLAIN)}
    with pytest.raises(Exception, match="max_txt_len") as error:
        train(base / f"cut{workers}", datasets, "model.max_txt_len=10", f"run.num_workers={workers}")
    assert type(error.value).__name__ == "ConversationError"
    assert "Traceback" not in str(error.value)


def test_what_is_counted(base: Path, videos: Path) -> None:
    """Videos, and positions of the decoder without padding; both begin anew with each report."""
    datasets = {"tv": video_entry(videos, ["b.mp4", "c.mp4"], **PLAIN)}
    runner = build(
        base / "counted", datasets, "run.batch_size_train=2", "run.accum_grad_iters=2", "run.iters_per_epoch=2"
    )
    (batches,) = [list(group) for group in runner._step_batches(0)]
    runner.meter.reset()
    runner.step(batches, 0.0, 0)
    lengths = [int((row != 0).sum()) for batch in batches for row in batch.input_ids]
    assert len(set(lengths)) == 2
    assert (runner.meter.steps, runner.meter.videos, runner.meter.tokens) == (1, 4, sum(lengths))
    runner.report(0, 0, 0.0)
    assert (runner.meter.steps, runner.meter.videos, runner.meter.tokens, runner.meter.loss) == (0, 0, 0, 0.0)


def test_datasets_are_mixed_by_their_ratio(base: Path, videos: Path) -> None:
    one, other = (video_entry(videos, ["a.mp4"], f"{ratio}.json", sample_ratio=ratio) for ratio in (3.0, 1.0))
    runner = build(base / "ratio", {"one": one, "other": other})
    drawn = runner.stream.epoch(0, 1000).datasets
    assert abs(float((drawn == 1).mean()) - 0.25) < 0.05


# Stops ----------------------------------------------------------------------------------------------------------------


def test_steps_that_are_no_numbers_are_skipped_and_stop_the_run(base: Path, videos: Path) -> None:
    """Nothing is saved of it, and nothing reported: there is no loss to report."""
    datasets = {"tv": video_entry(videos, ["a.mp4"], **PLAIN)}
    runner = build(base / "nan", datasets, "run.iters_per_epoch=4", "run.max_nonfinite=2")
    with torch.no_grad():
        runner.engine.unwrap().llama_proj.weight.fill_(math.nan)
    with pytest.raises(TrainingError, match=r"in 2 steps in a row .*up to step 2 \(.*tv\[0\] a\.mp4\).*run\.init_lr"):
        runner.train()
    assert not list((base / "nan").rglob("*.pth"))
    assert [r["event"] for r in read_lines(base / "nan" / "log.jsonl")] == ["start", "nonfinite", "nonfinite"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("run.evaluate=true",), r"run\.evaluate=true: train\.py only trains.*evaluate\.py"),
        (("run.precision=fp16",), r"run\.precision=fp16 needs a GPU"),
        (("run.runner=runner_iter",), "unknown runner 'runner_iter'.*runner_base"),
        (("run.task=captioning",), "unknown task 'captioning'.*video_text_pretrain"),
        (("run.lr_sched=cosine",), "unknown lr scheduler 'cosine'"),
    ],
)
def test_settings_that_cannot_be(
    tmp_path: Path, datasets: dict[str, Any], options: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        build(tmp_path, datasets, *options)


@pytest.mark.parametrize("error", [OSError("disk full"), RuntimeError("unexpected pos 64 vs 0\nbacktrace")])
def test_a_full_disk_leaves_the_old_checkpoint(
    tmp_path: Path, datasets: dict[str, Any], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """torch says either, depending on where the write fails."""

    def half_written(content: Any, path: Path) -> None:
        path.write_bytes(b"half")
        raise error

    runner = train(tmp_path, datasets, "run.iters_per_epoch=1").runner
    before = _files(tmp_path)
    monkeypatch.setattr(torch, "save", half_written)
    runner.steps += 1
    runner.save()
    with pytest.raises(TrainingError, match=r"step_00000002: cannot be written \(.*\); is the disk full") as stop:
        runner.saver.wait()
    after = _files(tmp_path)
    log = tmp_path / "log.jsonl"
    assert after | {log: b""} == before | {log: b""}
    assert "\n" not in str(stop.value)
    runner.saver.wait()  # said once


def _files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and "events.out" not in path.name}


def test_bf16_trains(base: Path, videos: Path) -> None:
    datasets = {"tv": video_entry(videos, ["a.mp4"], **PLAIN)}
    run = train(base / "bf16", datasets, "run.iters_per_epoch=3", "run.amp=true", *STEADY, *NO_DROPOUT)
    assert run.runner.engine.accelerator.mixed_precision == "bf16"
    adapters = [part for part in run.runner.engine.unwrap().modules() if isinstance(part, LoraLayer)]
    assert {part.cast_input_dtype_enabled for part in adapters} == {False}
    assert run.losses[-1] < run.losses[0]
    assert {tensor.dtype for tensor in run.checkpoint()["model"].values() if tensor.is_floating_point()} == {
        torch.float32
    }


def test_training_mode_is_on_but_not_for_frozen_parts(base: Path, videos: Path) -> None:
    runner = build(base / "modes", {"tv": video_entry(videos, ["b.mp4"])}, "run.iters_per_epoch=1")
    modes: dict[str, bool] = {}
    step: Callable = runner.task.train_step

    def record(model: torch.nn.Module, batch: Any) -> Tensor:
        modes.update({name: part.training for name, part in runner.engine.unwrap().named_children()})
        return step(model, batch)

    runner.task.train_step = record
    runner.train()
    assert not modes["visual_encoder"]
    assert not modes["ln_vision"]
    assert all(modes[name] for name in ("Qformer", "video_Qformer", "llama_model", "llama_proj"))


def test_the_weights_that_no_file_gives_follow_the_seed(tmp_path: Path, datasets: dict[str, Any]) -> None:
    def initial(seed: int, before: int) -> Tensor:
        torch.manual_seed(before)
        runner = build(tmp_path / f"{seed}{before}", datasets, "model.ckpt=", f"run.seed={seed}")
        runner.log.close()
        return weights_of(runner)["llama_proj.weight"]

    first = initial(1, 7)
    assert torch.equal(first, initial(1, 8))
    assert not torch.equal(first, initial(2, 7))


def test_a_used_folder_is_refused_before_the_model_is_built(
    tmp_path: Path, videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two runs in one folder would mix their checkpoints."""
    datasets = {"tv": video_entry(videos, ["a.mp4"])}
    output = tmp_path / "run"
    output.mkdir()
    for number in (2, 10):
        (output / f"checkpoint_{number}.pth").write_bytes(b"")
    monkeypatch.setattr("timechat.tasks.base.build_model", lambda *args: pytest.fail("the model was built"))
    with pytest.raises(ConfigError, match=r"holds checkpoint_10\.pth of an earlier run.*run\.resume_ckpt_path="):
        build(output, datasets)


def test_resized_weights_have_a_new_optimizer_state(
    tmp_path: Path, videos: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With more frame positions the old ones' state fits nothing; that of all other weights goes on."""
    datasets = {"tv": video_entry(videos, ["a.mp4", "b.mp4"], "resized.json", **PLAIN)}
    options = ("run.iters_per_epoch=2", "run.save_every_steps=1")
    train(tmp_path / "first", datasets, *options)
    path = tmp_path / "first" / "checkpoints" / "step_00000001"
    runner = build(tmp_path / "second", datasets, *options, f"run.resume={path}", "model.max_frame_pos=16")
    assert (
        "has another shape of video_frame_position_embedding.weight, whose optimizer state starts anew" in caplog.text
    )
    parameters = [p for group in runner.engine.optimizer.param_groups for p in group["params"]]
    steps = {
        name: runner.engine.optimizer.state[parameter].get("step")
        for name, parameter in zip(runner.state.optimized, parameters, strict=True)
        if parameter in runner.engine.optimizer.state
    }
    assert set(runner.state.optimized) - steps.keys() == {"video_frame_position_embedding.weight"}
    runner.train()
    assert runner.steps == 2
    assert (tmp_path / "second" / "checkpoint_0.pth").is_file()


class Counter:
    """Counts, and goes on after a break."""

    def __init__(self) -> None:
        self.count = 0

    def state_dict(self) -> dict[str, Any]:
        return {"count": self.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.count = state["count"]


class CountingRunner(Runner):
    """Counts its optimizer steps over all starts."""

    def stateful(self) -> dict[str, Stateful]:
        self.counter = Counter()
        return super().stateful() | {"counter": self.counter}

    def step(self, *arguments: Any) -> Any:
        self.counter.count += 1
        return super().step(*arguments)


def test_a_resumed_run_goes_on_with_what_a_subclass_adds(
    tmp_path: Path, datasets: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "get_runner_class", lambda name: CountingRunner)
    train(tmp_path / "run", datasets, "run.iters_per_epoch=2")
    resumed = train(tmp_path / "run", datasets, "run.iters_per_epoch=2", "run.max_epoch=2").runner
    assert resumed.counter.count == resumed.steps == 4
