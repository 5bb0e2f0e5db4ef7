"""After each epoch: the loss on validation data, a benchmark on a subset, and the best checkpoint by one of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.tiny import write_json
from helpers.training import (
    STEADY,
    Run,
    build,
    item,
    make_videos,
    read_lines,
    train,
    training_config,
)
from omegaconf import OmegaConf

from timechat import distributed
from timechat.datasets import build_datasets, validation_config
from timechat.datasets.collate import Fetched, collate
from timechat.errors import ConfigError, TrainingError, VideoError
from timechat.evaluation.request import Evaluation
from timechat.runners import Runner
from timechat.runners.signals import StopTraining
from timechat.runners.validation import EXACT, LOSS, Validation

NAMES = ["a.mp4", "b.mp4", "c.mp4"]
RANDOM = {"sample_type": "rand", "vis_processor": {"train": {"name": "alpro_video_train"}}}
TRAINING = (*STEADY, "run.max_epoch=2", "run.iters_per_epoch=1", "run.valid_splits=[val]", "run.loggers=[]")


@pytest.fixture(scope="module")
def entry(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Four videos to train on, at random times and cropped, and three of them for validation."""
    folder = tmp_path_factory.mktemp("videos")
    entry = make_videos(folder) | RANDOM
    entry["build_info"]["valid_anno_dir"] = str(write_json(folder / "valid.json", [item(name) for name in NAMES]))
    (folder / "charades.txt").write_text("a 0.5 1.5##a person cuts bread.\nb 0.1 0.4##a person stirs.\n")
    return entry


def benchmark(entry: dict[str, Any], limit: int = 1) -> list[str]:
    folder = Path(entry["build_info"]["videos_dir"])
    asked = {
        "name": "charades_sta",
        "anno_path": folder / "charades.txt",
        "videos_dir": folder,
        "limit": limit,
        "max_new_tokens": 2,
    }
    return [f"run.valid_benchmark.{key}={value}" for key, value in asked.items()]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, entry: dict[str, Any]) -> Run:
    """Two epochs with everything on."""
    return train(tmp_path_factory.mktemp("run"), {"tv": entry}, *TRAINING, *benchmark(entry))


def valid_records(output: Path) -> list[dict[str, Any]]:
    return [record for record in read_lines(output / "log.jsonl") if record["event"] == "valid"]


def by_hand(runner: Runner) -> float:
    """The mean over the validation samples of each one's loss alone, without dropout."""
    (data,) = build_datasets(validation_config(runner.cfg))
    model = runner.engine.unwrap().eval()
    with torch.no_grad():
        samples = [data.sample(i, torch.Generator().manual_seed(99)) for i in range(len(data))]
        losses = [float(model(collate([Fetched(sample)]))["loss"]) for sample in samples]
    return sum(losses) / len(losses)


def test_the_loss_of_every_sample_once_without_chance(run: Run) -> None:
    first, last = valid_records(run.output)
    assert (first["epoch"], first["step"], last["epoch"], last["step"]) == (0, 1, 1, 2)
    assert first[LOSS] != last[LOSS]
    assert last["valid_skipped"] == 0
    assert last[LOSS] == pytest.approx(by_hand(run.runner), rel=1e-6)


def test_missing_validation_videos_are_an_error_or_left_out_and_counted(tmp_path: Path) -> None:
    entry = make_videos(tmp_path / "videos") | RANDOM
    names = ["gone1.mp4", "a.mp4", "gone2.mp4", "b.mp4"]
    valid = write_json(tmp_path / "videos" / "valid.json", [item(name) for name in names])
    entry["build_info"]["valid_anno_dir"] = str(valid)
    with pytest.raises(ConfigError, match=r"of the validation data are missing:\n +datasets.tv: 2 of 4 files exist"):
        build(tmp_path / "refused", {"tv": entry}, *TRAINING)
    run = train(tmp_path / "dropped", {"tv": entry}, *TRAINING, "run.missing_videos=drop", "run.max_epoch=1")
    (record,) = valid_records(run.output)
    assert record["valid_skipped"] == 2
    write_json(valid, [item(name) for name in names if not name.startswith("gone")])
    assert record[LOSS] == pytest.approx(by_hand(run.runner), rel=1e-6)


@pytest.mark.parametrize("size", [1, 2])
def test_two_processes_share_the_samples(run: Run, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """Three samples, so that the second process has to fill up; what fills up does not count, and both step alike."""
    validation, sums, steps = run.runner.validation, [], []
    monkeypatch.setattr(validation, "cfg", OmegaConf.merge(validation.cfg, {"run": {"batch_size_eval": size}}))
    for rank in (0, 1):
        reduced: list[list[float]] = []
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        monkeypatch.setattr(distributed, "world_size", lambda: 2)
        monkeypatch.setattr(
            distributed, "all_reduce_sum", lambda v, d, reduced=reduced: [reduced.append(list(v)), list(v)][1]
        )
        validation._loss(run.runner.engine, lambda: False)
        sums.append(reduced.pop())
        steps.append(len(reduced))
    assert steps[0] == steps[1]
    loss, exact, count, skipped = (sum(column) for column in zip(*sums, strict=True))
    assert (count, skipped) == (3, 0)
    assert loss / count == pytest.approx(valid_records(run.output)[-1][LOSS], rel=1e-6)
    assert exact / count == valid_records(run.output)[-1][EXACT]


def test_the_training_goes_on_as_if_nothing_was_measured(run: Run, tmp_path: Path, entry: dict[str, Any]) -> None:
    plain = train(tmp_path, {"tv": entry}, *TRAINING[:-2], "run.loggers=[]")
    assert plain.losses == run.losses
    assert not valid_records(tmp_path)
    assert not (tmp_path / "checkpoint_best.pth").exists()


def test_a_benchmark_on_a_subset(run: Run) -> None:
    for epoch, record in enumerate(valid_records(run.output)):
        folder = run.output / "validation" / f"epoch_{epoch}"
        scores = json.loads((folder / "scores.json").read_text())
        assert scores["counts"]["expected"] == 1
        assert record["mIoU"] == scores["percent"]["mIoU"]
        assert record["R@1 IoU=0.5"] == scores["percent"]["R@1 IoU=0.5"]
        assert (folder / "report.md").is_file()


def test_the_best_checkpoint_has_the_lowest_loss(run: Run) -> None:
    records = valid_records(run.output)
    best = min(records, key=lambda record: record[LOSS])["epoch"]
    assert [record["best"] for record in records] == [True, best == 1]
    content = torch.load(run.output / "checkpoint_best.pth", map_location="cpu", weights_only=True)
    assert content["epoch"] == best
    assert run.runner.validation.best == {"score": LOSS, "value": records[best][LOSS], "epoch": best}


def test_a_resumed_run_knows_the_best_and_measures_what_was_not_kept(run: Run, tmp_path: Path, entry: Any) -> None:
    """Killed while it measured the second epoch: the first one's score is in the checkpoint, the second's is new."""
    resumed = build(tmp_path, {"tv": entry}, *TRAINING, f"run.resume={run.output / 'checkpoint_1.pth'}")
    first, second = valid_records(run.output)
    assert resumed.validation.best == {"score": LOSS, "value": first[LOSS], "epoch": 0}
    assert resumed.validation.epoch == 0
    measured = resumed.validation.run(resumed.engine, 1, lambda: False)
    assert measured[LOSS] == second[LOSS]
    info = json.loads((run.output / "run_info.json").read_text())
    assert [(start["step"], start["engine"]) for start in info["starts"]] == [(0, "single")]


@pytest.mark.parametrize(
    ("wanted", "epochs"), [("1e9", 1), ("0.0", 3)], ids=["reached at once", "not reached within max_epoch"]
)
def test_training_ends_at_a_score(
    tmp_path: Path, entry: Any, caplog: pytest.LogCaptureFixture, wanted: str, epochs: int
) -> None:
    options = [*TRAINING, "run.max_epoch=3", f"run.stop_at_score={wanted}"]
    first = train(tmp_path, {"tv": entry}, *options)
    assert [record["epoch"] for record in valid_records(tmp_path)] == [*range(epochs)]
    assert len(first.losses) == epochs
    last = read_lines(tmp_path / "log.jsonl")[-1]
    assert (last["event"], last["step"], last["best"]["score"]) == ("end", epochs, LOSS)
    complaint = "run.stop_at_score=0.0 is not reached after run.max_epoch=3 epochs: the best valid_loss is"
    assert (complaint in caplog.text) == (epochs == 3)
    again = train(tmp_path, {"tv": entry}, *options)  # as when the process was killed while it measured
    assert again.losses == first.losses
    assert [record["epoch"] for record in valid_records(tmp_path)] == [*range(epochs)]


@pytest.mark.parametrize(
    ("score", "best", "enough"), [(LOSS, 0.4, True), (LOSS, 0.6, False), (EXACT, 0.6, True), (EXACT, 0.4, False)]
)
def test_what_is_enough(score: str, best: float, enough: bool) -> None:
    validation = _Scores(score, stop_at=0.5)
    assert not validation.is_enough()
    validation.is_best({score: best}, 0)
    assert validation.is_enough() == enough
    assert not _Scores(score).is_enough()


def test_validation_data_that_cannot_be_used(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bad file is skipped and counted; a folder of bad files is an error."""
    validation, engine = run.runner.validation, run.runner.engine
    (data,) = validation.datasets
    read = type(data).sample
    bad = {1}

    def sample(self: Any, index: int, generator: torch.Generator) -> Any:
        if index in bad:
            raise VideoError(self.key(index), "is empty")
        return read(self, index, generator)

    monkeypatch.setattr(type(data), "sample", sample)
    scores = validation._loss(engine, lambda: False)
    assert scores["valid_skipped"] == 1
    assert scores[LOSS] != valid_records(run.output)[-1][LOSS]
    bad |= {0, 2}
    with pytest.raises(TrainingError, match="valid_anno_dir"):
        validation._loss(engine, lambda: False)
    bad.clear()
    with pytest.raises(StopTraining):
        validation._loss(engine, lambda: True)


class _Scores(Validation):
    """Scores without a model."""

    def __init__(self, score: str, stop_at: float | None = None):
        self.score, self.best, self.epoch = score, None, -1
        self.cfg = OmegaConf.create({"run": {"stop_at_score": stop_at}})


@pytest.mark.parametrize(
    ("score", "values", "best"),
    [
        (LOSS, [2.0, 1.0, 1.5, 1.0], [True, True, False, False]),
        ("mIoU", [2.0, 1.0, 3.0, 3.0], [True, False, True, False]),
    ],
)
def test_lower_losses_and_higher_scores_are_better(score: str, values: list[float], best: list[bool]) -> None:
    validation = _Scores(score)
    found = []
    for epoch, value in enumerate(values):
        found.append(validation.is_best({score: value}, epoch))
        state = validation.state_dict()
        validation = _Scores(score)
        validation.load_state_dict(state)
    assert found == best
    other = _Scores("another")
    other.load_state_dict(state)
    assert other.best is None


def test_the_benchmarks_own_keys_reach_the_evaluation(
    tmp_path: Path, entry: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    requests: list[Evaluation] = []

    def scored(cfg: Any, request: Evaluation, *machine: Any) -> dict[str, Any]:
        requests.append(request)
        return {"main_scores": ["mAP@VeryGood"], "percent": {"mAP@VeryGood": 1.0}}

    monkeypatch.setattr("timechat.runners.validation.evaluate", scored)
    asked = (*benchmark(entry), "run.valid_benchmark.name=qvhighlights", "run.valid_benchmark.clip_of_time=start")
    train(tmp_path, {"tv": entry}, *STEADY, "run.max_epoch=1", "run.iters_per_epoch=1", "run.loggers=[]", *asked)
    assert [(request.benchmark, request.benchmark_options, request.limit) for request in requests] == [
        ("qvhighlights", {"clip_of_time": "start"}, 1)
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["run.valid_splits=[test]"], r"run.valid_splits=\['test'\]: choose \[val\]"),
        (["run.best_score=R@1 IoU=0.5", "run.valid_splits=[val]"], "this run measures valid_loss, valid_exact;"),
        (["run.best_score=valid_loss"], "this run measures nothing"),
        (["run.stop_at_score=0.5"], "run.stop_at_score=0.5: this run measures nothing"),
        (["run.valid_benchmark.name=charades_sta"], "run.valid_benchmark.anno_path is empty"),
        (
            ["run.valid_benchmark.name=charades_sta", "run.strategy=fsdp"],
            "with run.strategy=fsdp none has the whole model",
        ),
        (["run.loggers=[tensorbord]"], r"no tracker 'tensorbord' \(did you mean 'tensorboard'\?\); choose from aim, "),
    ],
)
def test_settings_that_measure_nothing(tmp_path: Path, entry: Any, options: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(tmp_path, {"tv": entry}, *options)


def test_a_split_without_data(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"datasets\.NAME\.build_info\.valid_anno_dir"):
        training_config(tmp_path, {"tv": make_videos(tmp_path / "videos")}, "run.valid_splits=[val]")
