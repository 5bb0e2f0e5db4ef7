"""Manifests: written and read back, refused where they do not belong, obeyed by every builder."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from helpers.tiny import QA, dataset_config, tiny_dataset, write_json

from timechat.datasets import build_datasets, validation_config
from timechat.datasets.base import VideoDataset
from timechat.datasets.builders import VideoInstructBuilder
from timechat.datasets.manifest import Manifest, read_manifest, write_manifest
from timechat.errors import AnnotationError

NAMES = ("a.mp4", "b.mp4", "c.mp4", "d.mp4")


@pytest.fixture
def info(tmp_path: Path) -> dict[str, str]:
    """The `build_info` of four videos, and a manifest that leaves out the first and the third."""
    info = tiny_dataset(tmp_path / "data", NAMES, frames=4)
    return info | {"manifest": written(tmp_path / "manifest.json", info, missing=[2], unreadable=[0])}


def written(path: Path, info: dict[str, str], **left_out: list[int]) -> str:
    """A manifest of the annotations."""
    write_manifest(Manifest(str(path), len(NAMES), left_out), info["anno_dir"], {"checked": "header"})
    return str(path)


def build(info: dict[str, str], builder: str = "video_instruct") -> VideoDataset:
    """The dataset `tv`."""
    return build_datasets(dataset_config({"tv": {"builder": builder, "build_info": info}}))[0]


def keys_of(dataset: VideoDataset) -> list[str]:
    """The samples."""
    return [dataset.key(index) for index in range(len(dataset))]


def test_it_is_read_as_it_was_written(info: dict[str, str]) -> None:
    manifest = read_manifest(info["manifest"], info["anno_dir"])
    assert manifest == Manifest(info["manifest"], 4, {"missing": [2], "unreadable": [0]})
    assert manifest.numbers == {0, 2}
    assert str(manifest) == f"2 of 4 items are left out by {info['manifest']} (missing 1, unreadable 1)"
    assert json.loads(Path(info["manifest"]).read_text())["checked"] == "header"


def test_the_digest_says_what_is_left_out_and_not_why() -> None:
    first = Manifest("a", 9, {"missing": [2], "unreadable": [0]})
    assert first.digest == Manifest("b", 9, {"too_short": [0, 2], "missing": []}).digest
    assert first.digest != Manifest("a", 9, {"missing": [2]}).digest


def test_a_manifest_that_leaves_nothing_out_is_no_warning(
    info: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    info["manifest"] = written(Path(info["manifest"]).with_name("none.json"), info)
    with caplog.at_level(logging.INFO):
        build(info)
    (record,) = (record for record in caplog.records if "are left out by" in record.getMessage())
    assert record.levelno == logging.INFO


def test_a_dataset_has_no_item_that_is_left_out(info: dict[str, str], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        dataset = build(info)
    assert keys_of(dataset) == ["tv[1] b.mp4", "tv[3] d.mp4"]  # numbers are those of the file
    assert dataset.manifest is not None
    assert f"datasets.tv: 2 of 4 items are left out by {info['manifest']} (missing 1, unreadable 1)" in caplog.text
    dataset.leave_out({"b.mp4"})
    assert keys_of(dataset) == ["tv[3] d.mp4"]


def test_what_is_left_out_is_not_checked(info: dict[str, str], tmp_path: Path) -> None:
    items = json.loads(Path(info["anno_dir"]).read_text())
    items[0] = {"video": "a.mp4"}
    write_json(Path(info["anno_dir"]), items)
    with pytest.raises(AnnotationError, match="item 0: QA is missing"):
        build({key: value for key, value in info.items() if key != "manifest"})
    info["manifest"] = written(tmp_path / "new.json", info, schema=[0])
    assert keys_of(build(info)) == ["tv[1] b.mp4", "tv[2] c.mp4", "tv[3] d.mp4"]


def test_captions_and_images_obey_it(tmp_path: Path) -> None:
    rows = "videoid,page_dir,name\n" + "".join(f"{letter},.,it moves\n" for letter in "abcd")
    (tmp_path / "w.csv").write_text(rows)
    info = {"anno_dir": str(tmp_path / "w.csv"), "videos_dir": str(tmp_path)}
    info["manifest"] = written(tmp_path / "m.json", info, missing=[1, 3])
    assert keys_of(build(info, "caption")) == ["tv[0] ./a.mp4", "tv[2] ./c.mp4"]
    info["anno_dir"] = str(write_json(tmp_path / "i.json", [{"image": f"{n}.png", "QA": QA} for n in range(4)]))
    info["manifest"] = written(tmp_path / "m.json", info, missing=[0])
    entry = {"builder": "image_instruct", "data_type": "images", "build_info": info}
    entry["vis_processor"] = {"train": {"name": "blip2_image_train"}}
    assert keys_of(build_datasets(dataset_config({"tv": entry}))[0]) == [f"tv[{n}] {n}.png" for n in (1, 2, 3)]


def test_items_of_a_guests_builder_are_left_out_as_well(info: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    class Bare:
        """An item that does not know its number."""

        qa = QA

        def __init__(self, path: str) -> None:
            self.path = path

    monkeypatch.setattr(VideoInstructBuilder, "read_items", lambda *_: [Bare(name) for name in NAMES])
    assert [item.path for item in build(info).items] == ["b.mp4", "d.mp4"]


def test_validation_data_is_whole(info: dict[str, str]) -> None:
    entry = {"builder": "video_instruct", "build_info": info | {"valid_anno_dir": info["anno_dir"]}}
    assert len(build_datasets(validation_config(dataset_config({"tv": entry})))[0]) == len(NAMES)


def test_one_of_other_annotations_is_refused(info: dict[str, str]) -> None:
    Path(info["anno_dir"]).write_text(Path(info["anno_dir"]).read_text() + "\n")
    with pytest.raises(AnnotationError, match=r"belongs to other annotations .* audit that file again"):
        build(info)


def test_one_that_leaves_nothing_is_refused(info: dict[str, str], tmp_path: Path) -> None:
    info["manifest"] = written(tmp_path / "all.json", info, missing=[0, 1, 2, 3])
    with pytest.raises(AnnotationError, match=r"all of 4 items left out by build_info\.manifest"):
        build(info)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "timechat manifest 0"}, "its format is 'timechat manifest 0'"),
        ({"left_out": {"missing": [4]}}, "left_out must hold numbers from 0 to 4 - 1"),
        ({"left_out": {"missing": ["0"]}}, "left_out must hold numbers"),
        ({"left_out": [0]}, "not a manifest"),
        ({"annotations": {}}, "not a manifest"),
    ],
)
def test_a_damaged_one_is_refused(info: dict[str, str], change: dict[str, Any], message: str) -> None:
    path = Path(info["manifest"])
    write_json(path, json.loads(path.read_text()) | change)
    with pytest.raises(AnnotationError, match=message):
        build(info)


def test_a_missing_one_is_refused(info: dict[str, str]) -> None:
    Path(info["manifest"]).unlink()
    with pytest.raises(AnnotationError, match=r"build_info\.manifest=.*: no such file"):
        build(info)
    Path(info["manifest"]).write_text("not JSON")
    with pytest.raises(AnnotationError, match="not a manifest"):
        build(info)
