"""Config entry -> dataset, as users write it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.timed_videos import number_of, write_numbered
from helpers.tiny import QA, dataset_config, tiny_config, tiny_dataset, write_json
from helpers.videos import write_video
from PIL import Image

from timechat.datasets import build_datasets
from timechat.datasets.annotations import CAPTION_QUESTION
from timechat.datasets.builders import LOOKS
from timechat.datasets.instruction import InstructionDataset
from timechat.errors import AnnotationError, ConfigError


def build(entry: dict[str, Any], name: str = "mine", options: tuple[str, ...] = ()) -> InstructionDataset:
    """The one dataset of a config."""
    (data,) = build_datasets(dataset_config({name: entry}, options))
    return data


def draw(data: InstructionDataset, index: int = 0, seed: int = 0) -> Any:
    """One sample."""
    return data.sample(index, torch.Generator().manual_seed(seed))


def test_video_instruct(tmp_path: Path) -> None:
    data = build({"builder": "video_instruct", "build_info": tiny_dataset(tmp_path)})
    assert [item.path for item in data.items] == ["a.mp4", "b.mp4"]
    sample = draw(data, 1)
    assert sample.frames.shape == (12, 3, 56, 56)  # model.max_frame_pos frames of model.image_size
    assert len(sample.seconds) == 12
    assert sample.input_ids.count(700) == 3 * 6  # 12 frames in windows of 4, 6 tokens each


def test_frames_follow_the_model_section(tmp_path: Path) -> None:
    options = ("model.num_frm=5", "model.image_size=28", "model.stride=2", "model.num_video_query_token=3")
    sample = draw(build({"builder": "video_instruct", "build_info": tiny_dataset(tmp_path)}, options=options))
    assert sample.frames.shape == (5, 3, 28, 28)
    assert sample.input_ids.count(700) == 3 * 3


def test_frames_by_rate(tmp_path: Path) -> None:
    """As many tokens as windows that the frames fill; the number of positions is the upper bound."""
    entry = {"builder": "video_instruct", "build_info": tiny_dataset(tmp_path, frames=40)}  # 4 s
    sample = draw(build(entry, options=("model.fps=2",)))
    assert sample.seconds == [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5]
    assert sample.input_ids.count(700) == 2 * 6  # windows of 4
    assert len(draw(build(entry, options=("model.fps=5",))).seconds) == 12


def test_random_frames_of_both_halves_are_keyed(tmp_path: Path) -> None:
    info = tiny_dataset(tmp_path, frames=40)
    data = build({"builder": "video_instruct", "build_info": info, "sample_type": "headtail"})
    first, again, other = (draw(data, seed=seed) for seed in (0, 0, 1))
    assert first.seconds == again.seconds != other.seconds
    assert torch.equal(first.frames, again.frames)
    assert sum(second < 2.0 for second in first.seconds) == 6


@pytest.mark.parametrize("cached", [False, True])
def test_raw_valley_is_read_from_start_to_end(tmp_path: Path, cached: bool) -> None:
    """Two clips of one video, and the whole one, each with its own frames; times count from the start of the clip."""
    video = tmp_path / "videos" / "Ptf_2VRj-V0.mp4"
    video.parent.mkdir()
    write_numbered(video, count=80)
    turns = [{"from": "human", "value": "What?\n<video>"}, {"from": "gpt", "value": "Numbers."}]
    entry = {"source": "VATEX", "video": video.name, "conversations": turns}
    ids = ("000001_000003", "000004_000006")
    content = [*({**entry, "v_id": f"{video.stem}_{part}"} for part in ids), entry]
    info = {"anno_dir": str(write_json(tmp_path / "valley.json", content)), "videos_dir": str(video.parent)}
    plain = {"vis_processor": {"train": {"name": "alpro_video_eval"}}, "cache_dir": str(tmp_path) if cached else ""}
    data = build({"build_info": info, **plain}, "valley72k_instruct", ("model.num_frm=4",))
    for _ in range(2):
        samples = [draw(data, index) for index in range(3)]
        numbers = [[number_of(frame.permute(1, 2, 0).numpy()) for frame in sample.frames] for sample in samples]
        assert numbers == [[10, 15, 20, 25], [40, 45, 50, 55], [0, 20, 40, 60]]
        assert samples[1].seconds == pytest.approx([0.0, 0.5, 1.0, 1.5])


def test_train_processor_crops_and_eval_processor_does_not(tmp_path: Path) -> None:
    info = tiny_dataset(tmp_path, frames=4)
    entry = {"builder": "video_instruct", "build_info": info}
    whole = entry | {"vis_processor": {"train": {"name": "alpro_video_eval"}}}
    frames = np.zeros((4, 48, 64, 3), np.uint8)
    frames[:, :, 32:] = 255
    write_video(Path(info["videos_dir"]) / "a.mp4", frames=frames)
    assert not torch.equal(draw(build(entry), seed=0).frames, draw(build(entry), seed=1).frames)
    assert torch.equal(draw(build(whole), seed=0).frames, draw(build(whole), seed=1).frames)


def test_looks_at_packets_are_kept_with_the_frames(tmp_path: Path) -> None:
    """A settings change decodes anew, but need not look anew."""
    entry = {"builder": "video_instruct", "build_info": tiny_dataset(tmp_path), "cache_dir": str(tmp_path / "cache")}
    draw(build(entry))
    draw(build(entry, options=("model.num_frm=5",)))
    assert len(list((tmp_path / "cache").glob("*.safetensors"))) == 2
    assert len(list((tmp_path / "cache" / LOOKS).glob("*.npz"))) == 1


def test_image_instruct(tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    Image.fromarray(np.full((9, 9, 3), 50, np.uint8)).save(images / "x.jpg")
    turns = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "A cat."}]
    anno = write_json(tmp_path / "llava.json", [{"image": "x.jpg", "conversations": turns}])
    data = build({"build_info": {"anno_dir": str(anno), "videos_dir": str(images)}}, "llava_instruct")
    sample = draw(data)
    assert data.timestamps is False
    assert sample.seconds is None
    assert sample.frames.shape == (1, 3, 56, 56)
    assert sample.input_ids.count(700) == 6


def test_caption(tmp_path: Path) -> None:
    info = tiny_dataset(tmp_path)
    anno = tmp_path / "webvid.csv"
    anno.write_text("videoid,page_dir,name\na,,A chef cuts bread\n")
    data = build({"build_info": info | {"anno_dir": str(anno)}}, "webvid")
    assert data.items[0].qa == ({"q": CAPTION_QUESTION, "a": "A chef cuts bread"},)
    assert draw(data).frames.shape == (12, 3, 56, 56)


def test_several_datasets_keep_the_order_of_the_config(tmp_path: Path) -> None:
    info = tiny_dataset(tmp_path)
    entries = {name: {"builder": "video_instruct", "build_info": info} for name in ("z", "a", "valley72k_instruct")}
    assert [data.name for data in build_datasets(dataset_config(entries))] == ["z", "a", "valley72k_instruct"]


def test_every_named_dataset_has_a_builder(tmp_path: Path) -> None:
    """Each stops at its missing annotation file, so its builder and its processor are there."""
    names = (
        *("time_instruct", "valley72k_instruct", "youcook2_instruct", "charades_instruct", "qvhighlights_instruct"),
        *("webvid_instruct", "webvid", "llava_instruct"),
    )
    for name in names:
        entry = {"build_info": {"anno_dir": str(tmp_path / "gone"), "videos_dir": str(tmp_path)}}
        with pytest.raises(AnnotationError, match="gone: no such annotation file"):
            build(entry, name)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"builder": "video_instrukt"}, ConfigError, r"unknown builder 'video_instrukt' \(did you mean"),
        ({"data_type": "images"}, ConfigError, r"datasets\.mine\.data_type=images: choose video"),
        ({"builder": "image_instruct", "data_type": "video"}, ConfigError, r"data_type=video: choose images"),
        ({"vis_processor": {"train": {"name": "alpro"}}}, ConfigError, "unknown processor 'alpro'"),
    ],
)
def test_entries_that_cannot_be_built(tmp_path: Path, change: dict[str, Any], error: type, message: str) -> None:
    entry = {"builder": "video_instruct", "build_info": tiny_dataset(tmp_path)} | change
    with pytest.raises(error, match=message):
        build(entry)


def test_an_entry_without_annotations(tmp_path: Path) -> None:
    """A config for evaluation may have such an entry; only training needs them."""
    cfg = dataset_config({"webvid": {}}, folder=tmp_path)
    with pytest.raises(ConfigError, match=r"datasets\.webvid\.build_info\.anno_dir is empty"):
        build_datasets(cfg)


def test_no_datasets() -> None:
    with pytest.raises(ConfigError, match="datasets is empty"):
        build_datasets(tiny_config())


def test_annotation_problems_come_through(tmp_path: Path) -> None:
    info = tiny_dataset(tmp_path)
    Path(info["anno_dir"]).write_text(json.dumps([{"video": "../a.mp4", "QA": QA}]))
    with pytest.raises(AnnotationError, match=r"train\.json: 1 problem"):
        build({"builder": "video_instruct", "build_info": info})
