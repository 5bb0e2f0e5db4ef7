"""Frame classification as a task: which models and datasets go with it, and a run from config to checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.tiny import dataset_config, tiny_dataset, write_json
from helpers.training import read_lines, train
from omegaconf import DictConfig

from quickstart.frame_classifier import FrameClassifier
from quickstart.task import FrameClassificationTask
from timechat.errors import ConfigError
from timechat.tasks import build_task

MODEL = (
    "model.arch=frame_classifier",
    "model.num_words=4",
    "model.freeze_vit=false",
    "model.vit.depth=1",
    "model.ckpt=",
)
TASK = "run.task=frame_classification"


def entry(folder: Path, caption: str = "a red circle", name: str = "captions.json") -> dict[str, Any]:
    """A `datasets` entry: two videos, an event in each."""
    captions = {"a": caption, "b": "a green square"}
    rows = [{"image_id": f"{n}.mp4", "segments": [[0.0, 1.0]], "captions": [captions[n]]} for n in captions]
    if not (folder / "videos").exists():
        tiny_dataset(folder)
    anno = write_json(folder / name, {"annotations": rows})
    info = {"anno_dir": str(anno), "videos_dir": str(folder / "videos")}
    return {"builder": "frame_words", "build_info": info, "frame_counts": [2]}


def config(folder: Path, datasets: dict[str, Any], *options: str) -> DictConfig:
    """A config of this task."""
    return dataset_config(datasets, [*MODEL, TASK, *options], folder=folder)


def test_the_model_has_an_output_for_each_word(tmp_path: Path) -> None:
    cfg = config(tmp_path, {"one": entry(tmp_path)})
    task = build_task(cfg)
    datasets = task.build_datasets(cfg)
    model = task.build_model(cfg)
    assert isinstance(model, FrameClassifier)
    assert model.head.out_features == len(datasets[0].vocabulary) == 4


def test_another_model_is_refused(tmp_path: Path) -> None:
    cfg = dataset_config({"one": entry(tmp_path)}, [TASK], folder=tmp_path)
    with pytest.raises(ConfigError, match=r"model\.arch=timechat: run\.task=frame_classification trains frame_class"):
        build_task(cfg).build_model(cfg)


def test_datasets_with_other_words_are_refused(tmp_path: Path) -> None:
    datasets = {"one": entry(tmp_path), "two": entry(tmp_path, "a blue circle", "other.json")}
    cfg = config(tmp_path, datasets)
    with pytest.raises(ConfigError, match="must all have the same words"):
        build_task(cfg).build_datasets(cfg)


def test_another_number_of_words_is_refused(tmp_path: Path) -> None:
    cfg = config(tmp_path, {"one": entry(tmp_path)}, "model.num_words=5")
    with pytest.raises(
        ConfigError, match=r"model\.num_words=5: 4 words distinguish the captions; set model\.num_words=4"
    ):
        build_task(cfg).build_datasets(cfg)


def test_captions_that_are_all_alike_are_refused(tmp_path: Path) -> None:
    cfg = config(tmp_path, {"one": entry(tmp_path, "a green square")})
    with pytest.raises(ConfigError, match=r"datasets\.one: all captions have the same words"):
        FrameClassificationTask(cfg).build_datasets(cfg)


@pytest.mark.parametrize(
    ("builder", "task", "message"),
    [
        (
            "frame_words",
            "run.task=video_text_pretrain",
            r"one\.builder=frame_words does not fit run\.task",
        ),
        ("sampled_times", TASK, r"model\.arch=frame_classifier: has no decoder"),
        ("sampled_times", "model.arch=frame_reader", r"model\.arch=frame_reader: has no decoder"),
    ],
)
def test_samples_of_another_task_are_refused(tmp_path: Path, builder: str, task: str, message: str) -> None:
    cfg = config(tmp_path, {"one": entry(tmp_path) | {"builder": builder}}, task)
    with pytest.raises(ConfigError, match=message):
        build_task(cfg).build_datasets(cfg)


def test_a_run_trains_the_encoder_and_writes_it_under_published_names(tmp_path: Path) -> None:
    """With a video that cannot be read, which is replaced and counted."""
    data = entry(tmp_path)
    (tmp_path / "videos" / "b.mp4").write_text("no video")
    run = train(
        tmp_path / "run",
        {"one": data},
        *MODEL,
        TASK,
        "run.iters_per_epoch=2",
        "run.max_epoch=1",
        "run.max_skip_ratio=1",
    )
    assert len(run.losses) == 2
    assert {record["sample"] for record in read_lines(run.output / "skipped.jsonl")} == {"one[1] b.mp4"}
    names = set(run.checkpoint()["model"])
    assert {name.split(".")[0] for name in names} == {"visual_encoder", "ln_vision", "head"}
    assert run.checkpoint()["model"]["head.weight"].shape == (4, 88)
    assert torch.isfinite(torch.tensor(run.losses)).all()
