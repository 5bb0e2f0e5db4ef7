"""Samples out of shards are those of single files; damage is a SampleError that names the place."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import fsspec
import pytest
import torch
from helpers.shards import packed, write_tar
from helpers.tiny import QA, dataset_config, tiny_dataset, write_json
from helpers.videos import write_video

from timechat.datasets import build_datasets
from timechat.datasets.shards import dataset as shard_dataset
from timechat.datasets.shards.dataset import ShardDataset, read_members
from timechat.errors import AnnotationError, ConfigError, SampleError, VideoError
from timechat.registry import registry


def build(anno: str | Path, options: tuple[str, ...] = (), folder: Path | None = None, **entry: Any) -> Any:
    """The one dataset of a config."""
    entry = {"builder": "shards", "build_info": {"anno_dir": str(anno)}} | entry
    (data,) = build_datasets(dataset_config({"tv": entry}, options, folder=folder or Path(tempfile.mkdtemp())))
    return data


def draw(data: Any, index: int, seed: int = 3) -> Any:
    return data.sample(index, torch.Generator().manual_seed(seed))


@pytest.fixture
def single(tmp_path: Path) -> dict[str, str]:
    """Three items about two videos."""
    info = tiny_dataset(tmp_path)
    items = [
        {"video": "a.mp4", "QA": QA, "source": "tv"},
        {"video": "b.mp4", "QA": [{"q": "And?", "a": "9.0 seconds."}]},
        {"video": "a.mp4", "QA": [{"q": "When?", "a": "Never."}, {"q": "Why?", "a": "Because."}]},
    ]
    Path(info["anno_dir"]).write_text(json.dumps(items))
    return info


def shards(tmp_path: Path, single: dict[str, str], **settings: Any) -> Path:
    items = json.loads(Path(single["anno_dir"]).read_text())
    return packed(tmp_path / "packed", items, Path(single["videos_dir"]), **settings)[0]


@pytest.mark.parametrize("place", ["disk", "memory"])
def test_samples_equal_those_of_single_files(tmp_path: Path, single: dict[str, str], place: str) -> None:
    """The same frames, crops and tokens; a video's annotations come together."""
    where = str(shards(tmp_path, single, shard_bytes=1))
    if place == "memory":
        for file in Path(where).iterdir():
            fsspec.filesystem("memory").pipe_file(f"/same/{file.name}", file.read_bytes())
        where = "memory://same"
    whole = build("", builder="video_instruct", build_info=single, sample_type="rand")
    data = build(where, sample_type="rand")
    assert isinstance(data, ShardDataset)
    assert len(data) == 3
    for index, other in enumerate((0, 2, 1)):
        ours, theirs = draw(data, index), draw(whole, other)
        assert torch.equal(ours.frames, theirs.frames)
        assert (ours.seconds, ours.input_ids, ours.labels) == (theirs.seconds, theirs.input_ids, theirs.labels)
    assert [data.key(index) for index in range(3)] == [
        "tv[0] train-000000.tar/a.mp4", "tv[1] train-000000.tar/a.mp4", "tv[2] train-000001.tar/b.mp4"
    ]  # fmt: skip
    assert draw(data, 2).key == data.key(2)
    assert data.source(0) == "tv"


def test_of_raw_valley_only_the_clip_is_read(tmp_path: Path) -> None:
    """`video` is the whole one, and v_id the clip that the turns are about."""
    (tmp_path / "videos").mkdir()
    write_video(tmp_path / "videos" / "Ptf_2VRj-V0.mp4", frames=40)  # 4 s
    item = {"video": "Ptf_2VRj-V0.mp4", "v_id": "Ptf_2VRj-V0_000001_000003", "QA": QA}
    info = {"anno_dir": str(write_json(tmp_path / "a.json", [item])), "videos_dir": str(tmp_path / "videos")}
    ours = draw(build(shards(tmp_path, info)), 0)
    theirs = draw(build("", builder="video_instruct", build_info=info), 0)
    assert torch.equal(ours.frames, theirs.frames)
    assert ours.seconds == theirs.seconds
    assert max(ours.seconds) < 2.0


def test_nothing_stays_behind(tmp_path: Path, single: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    data = build(shards(tmp_path, single))
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    draw(data, 0)
    assert not list((tmp_path / "tmp").iterdir())


def test_annotation_and_video_are_read_in_one_piece(
    tmp_path: Path, single: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = build(shards(tmp_path, single))
    asked = []
    real = shard_dataset.read_ranges
    monkeypatch.setattr(shard_dataset, "read_ranges", lambda name, ranges: asked.append(ranges) or real(name, ranges))
    both = read_members(data.items[2])
    assert len(asked[0]) == 1
    monkeypatch.setattr(shard_dataset, "_GAP", -1)
    assert read_members(data.items[2]) == both
    assert len(asked[1]) == 2
    assert json.loads(both[0])["video"] == "b.mp4"
    assert both[1] == (Path(single["videos_dir"]) / "b.mp4").read_bytes()


# Damage ---------------------------------------------------------------------------------------------------------------


def written(tmp_path: Path, annotation: bytes, video: bytes | None = None) -> ShardDataset:
    """A dataset of one sample, as another program may have written it."""
    content = write_video(tmp_path / "v.mp4").read_bytes() if video is None else video
    write_tar(tmp_path / "t.tar", {"k/v.mp4": content, "k/v.json": annotation})
    return build(tmp_path / "t.tar")


def test_a_shard_of_another_program(tmp_path: Path) -> None:
    """Without an index, and with an annotation that does not name the video."""
    assert draw(written(tmp_path, json.dumps({"QA": QA}).encode()), 0).frames.shape[0] == 12


@pytest.mark.parametrize(
    ("annotation", "said"),
    [
        (b"{", r"t\.tar/k/v\.mp4: its annotation is not valid JSON"),
        (b"\xff", "its annotation is not valid JSON"),
        (b"3", "its annotation is the number 3: it must be an object with QA"),
        (b"{}", "QA is missing"),
        (b'{"QA": [{"q": "x", "a": ""}, {"q": 3, "a": "y"}]}', r"QA\[0\]\.a is empty.*QA\[1\]\.q is the number 3"),
    ],
)
def test_a_bad_annotation_is_a_sample_that_is_skipped(tmp_path: Path, annotation: bytes, said: str) -> None:
    with pytest.raises(SampleError, match=said):
        draw(written(tmp_path, annotation), 0)


@pytest.mark.parametrize(("video", "said"), [(b"no video", "cannot be decoded"), (b"", "the file is empty")])
def test_a_bad_video_is_named_by_its_shard(tmp_path: Path, video: bytes, said: str) -> None:
    with pytest.raises(VideoError, match=rf"^t\.tar/k/v\.mp4: .*{said}"):
        draw(written(tmp_path, json.dumps({"QA": QA}).encode(), video), 0)


def test_a_shard_that_is_cut_while_it_is_in_use(tmp_path: Path) -> None:
    data = written(tmp_path, json.dumps({"QA": QA}).encode())
    os.truncate(tmp_path / "t.tar", 900)
    with pytest.raises(VideoError, match=r"t\.tar ends inside of it\. Download"):
        draw(data, 0)
    (tmp_path / "t.tar").unlink()
    with pytest.raises(VideoError, match=r"its shard cannot be read \(FileNotFoundError"):
        draw(data, 0)


def test_a_shard_that_lacks_one_byte(tmp_path: Path) -> None:
    data = written(tmp_path, json.dumps({"QA": QA}).encode())
    end = sum(data.items[0].annotation)  # which is behind the video
    os.truncate(tmp_path / "t.tar", end)
    assert draw(data, 0).frames.shape[0] == 12
    os.truncate(tmp_path / "t.tar", end - 1)
    with pytest.raises(VideoError, match=r"t\.tar ends inside of it\. Download"):
        draw(data, 0)


def test_an_index_that_says_another_size(tmp_path: Path) -> None:
    item = written(tmp_path, json.dumps({"QA": QA}).encode()).items[0]
    offset, size = item.annotation
    with pytest.raises(VideoError, match="is not what its index says"):
        read_members(item._replace(annotation=(offset, size - 1)))


def test_an_index_of_another_shard(tmp_path: Path) -> None:
    data = written(tmp_path, json.dumps({"QA": QA}).encode())
    size = (tmp_path / "t.tar").stat().st_size
    write_tar(tmp_path / "t.tar", {"other.mp4": b"x" * (size // 2), "k/v.mp4": b"v" * size})
    with pytest.raises(VideoError, match="is not what its index says"):
        draw(data, 0)


# Configuration --------------------------------------------------------------------------------------------------------


def test_the_buffer_decides_the_order(tmp_path: Path, single: dict[str, str]) -> None:
    folder = shards(tmp_path, single, shard_bytes=1)
    order = build(folder).order()
    assert (order.sizes.tolist(), order.buffer) == ([2, 1], 10_000)
    assert build(folder, shuffle_buffer=5).order().buffer == 5
    assert build(folder, shuffle_buffer=None).order() is None
    assert build("", builder="video_instruct", build_info=single).order() is None


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"cache_dir": "x"}, "cache_dir=x"),
        ({"build_info": {"anno_dir": "t.tar", "videos_dir": "x"}}, "videos_dir=x"),
        ({"shuffle_buffer": -1}, "shuffle_buffer=-1"),
    ],
)
def test_settings_that_mean_nothing_are_refused(tmp_path: Path, entry: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        build("t.tar", **entry)


def test_no_shards_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"datasets\.tv\.build_info\.anno_dir is empty: name the shards"):
        build("")
    with pytest.raises(AnnotationError, match=r"datasets\.tv\.build_info\.anno_dir=(?s:.*)no such shard"):
        build(tmp_path / "none.tar")


def test_an_audit_is_told_where_the_annotations_are(tmp_path: Path) -> None:
    cfg = dataset_config({"tv": {"builder": "shards", "build_info": {"anno_dir": "t.tar"}}}, folder=tmp_path)
    with pytest.raises(ConfigError, match=r"datasets\.tv: .* audit the annotation file that they were packed from"):
        registry.get_builder_class("shards")("tv", cfg.datasets.tv, cfg.model).sources()
