"""Two processes: the same training as in one, and stops that leave nobody waiting."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import distributed_worker as worker
from helpers.training import (
    ROOT,
    Run,
    image_entry,
    make_videos,
    read_lines,
    torchrun,
    training_config,
    video_entry,
)
from omegaconf import OmegaConf
from torch.testing import assert_close

from timechat.datasets import SampleStream
from timechat.runners import Runner

pytestmark = pytest.mark.distributed

NAMES = ["a.mp4", "b.mp4", "c.mp4", "d.mp4"]
RANDOM = {"sample_type": "rand", "vis_processor": {"train": {"name": "alpro_video_train"}}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos, images and a file that is not a video."""
    folder = tmp_path_factory.mktemp("two")
    make_videos(folder / "videos")
    (folder / "videos" / "bad.mp4").write_text("no video")
    return folder


@pytest.fixture(scope="module")
def datasets(folder: Path) -> dict[str, Any]:
    videos = folder / "videos"
    return {
        "mixed": {"tv": video_entry(videos, NAMES), "pictures": image_entry(folder / "images")},
        "random": {"tv": video_entry(videos, NAMES, "random.json", **RANDOM)},
        "broken": {"tv": video_entry(videos, [*NAMES, "bad.mp4", "a.mp4", "b.mp4", "c.mp4"], "broken.json")},
    }


@pytest.fixture(scope="module")
def ranks(folder: Path, datasets: dict[str, Any]) -> list[dict[str, Any]]:
    """What the two processes found."""
    (folder / "datasets.json").write_text(json.dumps(datasets))
    cfg = training_config(folder / "cli", datasets["random"], "run.iters_per_epoch=2", "run.num_workers=1")
    OmegaConf.save(cfg, folder / "cli.yaml")
    status, output = torchrun(ROOT / "tests" / "helpers" / "distributed_worker.py", str(folder))
    assert status == 0, output[-5000:]
    found = [torch.load(folder / f"rank{rank}.pth", weights_only=True) for rank in (0, 1)]
    return [{**results, "output": output} for results in found]


def test_collectives(ranks: list[dict[str, Any]]) -> None:
    found = [rank["collectives"] for rank in ranks]
    assert [(f["world_size"], f["backend"]) for f in found] == [(2, "gloo")] * 2
    assert [f["sums"] for f in found] == [[3.0, float(2**54 - 3)]] * 2
    assert [f["gathered"] for f in found] == [[{"rank": 0}, {"rank": 1}], None]


def test_the_engine_that_runs_is_ddp_and_exchanges_in_the_last_micro_batch_alone(ranks: list[dict[str, Any]]) -> None:
    found = [rank["exchange"] for rank in ranks]
    assert [f["engine"] for f in found] == ["ddp", "ddp"]
    assert [f["first"] for f in found] == [1.0, 2.0]
    assert [f["last"] for f in found] == [16.5, 16.5]  # the mean of 1 + 10 and 2 + 20
    assert [rank["mixed"]["exchanged"] for rank in ranks] == [[False, True] * 3] * 2


def test_two_processes_train_as_one_does(folder: Path, datasets: dict[str, Any], ranks: list[dict[str, Any]]) -> None:
    """Same global batch, cut in two: videos and answers of different lengths, and images, which leave parts idle."""
    one = worker.mixed(folder / "one", datasets["mixed"])
    assert one["exchanged"] == [True] * 12
    for rank in ranks:
        for expected, found in zip(one["gradients"], rank["mixed"]["gradients"], strict=True):
            assert expected.keys() == found.keys()
            for name, gradient in expected.items():
                scale = float(gradient.abs().max())
                assert_close(found[name], gradient, rtol=0.0, atol=1e-8 + 1e-5 * scale, msg=name)
        for name, weight in one["weights"].items():
            assert_close(rank["mixed"]["weights"][name], weight, rtol=1e-5, atol=1e-6, msg=name)
    first, second = (rank["mixed"]["weights"] for rank in ranks)
    assert all(torch.equal(first[name], second[name]) for name in first)
    losses = [_losses(folder / name) for name in ("one", "two")]
    assert len(losses[0]) == 3
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)


def _losses(output: Path) -> list[float]:
    return [record["loss"] for record in read_lines(output / "log.jsonl") if record["event"] == "train"]


def test_that_mixture_is_a_hard_one() -> None:
    """A step whose last micro-batch has images alone, on both processes, after a video in its first."""
    stream = SampleStream([len(NAMES), 2], None, 3).epoch(0, 12)
    images = [stream[position].dataset == 1 for position in range(12)]
    assert any(not all(images[u : u + 2]) and all(images[u + 2 : u + 4]) for u in range(0, 12, 4))


def test_a_resumed_run_of_two_processes_is_bit_identical(folder: Path, ranks: list[dict[str, Any]]) -> None:
    full, resumed = (Run(Runner, folder / name) for name in ("full", "resumed"))
    assert len(full.losses) == 4
    assert resumed.losses == full.losses[2:]
    states = [run.checkpoint(1)["model"] for run in (full, resumed)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_few_unreadable_samples_are_replaced_and_counted_over_all_processes(
    folder: Path, datasets: dict[str, Any], ranks: list[dict[str, Any]]
) -> None:
    """The next position's sample takes the place, whichever process it belongs to."""
    items = [*NAMES, "bad.mp4", "a.mp4", "b.mp4", "c.mp4"]
    stream = SampleStream([len(items)], None, 3).epoch(0, 8)
    order = [stream[position].index for position in range(8)]
    (bad,) = [position for position, index in enumerate(order) if items[index] == "bad.mp4"]
    order[bad] = order[(bad + 1) % 8]
    expected = [f"tv[{index}] {items[index]}" for index in order]
    assert [rank["replaced"] for rank in ranks] == [expected[0::2], expected[1::2]]
    assert bad % 2 == 1, "the main process is to write down what another one met"
    (record,) = read_lines(folder / "replaced" / "skipped.jsonl")
    assert (record["position"], record["sample"]) == (bad, "tv[4] bad.mp4")
    assert Run(Runner, folder / "replaced").steps[-1]["skipped"] == 1


def test_the_main_process_alone_writes(folder: Path, ranks: list[dict[str, Any]]) -> None:
    records = read_lines(folder / "full" / "log.jsonl")
    assert [record["event"] for record in records] == [
        "start",
        "train",
        "train",
        "checkpoint",
        "train",
        "train",
        "checkpoint",
        "end",
    ]
    assert len(list((folder / "full" / "tensorboard").iterdir())) == 1


def test_unreadable_videos_of_one_process_stop_both(folder: Path) -> None:
    """Through train.py. Only the second process meets them; the first must not wait for it forever."""
    stream = SampleStream([40], None, 42).epoch(0, 40)
    names = ["a.mp4"] * 40
    for position in range(1, 40, 2):
        names[stream[position].index] = "bad.mp4"
    entry = video_entry(folder / "videos", names, "odd.json", vis_processor={"train": {"name": "alpro_video_eval"}})
    cfg = training_config(folder / "stopped", {"tv": entry}, "run.iters_per_epoch=20")
    OmegaConf.save(cfg, folder / "stopped.yaml")
    status, output = torchrun(ROOT / "train.py", "--cfg-path", str(folder / "stopped.yaml"))
    assert status == 1
    message = "6 of the last 18 samples could not be used, more than run.max_skip_ratio=0.1"
    assert output.count(f"\nTrainingError: {message}") == 1
    assert output.count(f"stopped by TrainingError: {message}") == 1
    assert "Traceback" not in output.split("TrainingError")[0]
    records = read_lines(folder / "stopped" / "skipped.jsonl")
    assert [record["position"] for record in records] == [1, 3, 5, 7, 9, 11]
    assert all("bad.mp4" in record["sample"] and "bad.mp4" in record["error"] for record in records)
    assert not list((folder / "stopped").glob("*.pth"))


def test_train_py_in_two_processes(folder: Path, ranks: list[dict[str, Any]]) -> None:
    """One line of each kind, from the main process."""
    assert [rank["status"] for rank in ranks] == [0, 0]
    output = ranks[0]["output"]
    planned = "1 epochs of 2 optimizer steps, 2 samples each (2 processes x 1 micro-batches x 1 samples)"
    assert output.count(planned) == 1
    assert [output.count(f"epoch 0 step {step}: loss") for step in (1, 2)] == [1, 1]
    assert (folder / "cli" / "checkpoint_0.pth").is_file()
