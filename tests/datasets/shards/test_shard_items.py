"""Samples of several shards: order, what is there, what is left out, where indexes are kept."""

from __future__ import annotations

import os
import shutil
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from helpers.shards import write_tar

from timechat.datasets.shards.index import ShardIndex, scan
from timechat.datasets.shards.items import ShardItems, read_items
from timechat.errors import AnnotationError

SHARDS = {
    "t-0.tar": {"a.json": b"{}", "a.mp4": b"A" * 700, "b.0.json": b"{}", "b.1.json": b"{}", "b.mp4": b"B" * 700},
    "t-1.tar": {"c.json": b"{}", "lost.json": b"{}", "c.mp4": b"C" * 700},
    "t-2.tar": {},
    "t-3.tar": {"d.json": b"{}", "d.mp4": b"D" * 700},
}
ALL = ["t-0.tar/a.mp4", "t-0.tar/b.mp4", "t-0.tar/b.mp4", "t-1.tar/c.mp4", "t-1.tar/lost", "t-3.tar/d.mp4"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, members in SHARDS.items():
        write_tar(tmp_path / name, members)
    return tmp_path


def items_of(folder: Path, index_dir: str = "") -> ShardItems:
    return read_items([str(folder / name) for name in SHARDS], index_dir, "anno_dir")


def test_samples_in_the_order_of_the_shards(folder: Path) -> None:
    items = items_of(folder)
    assert [item.path for item in items] == ALL
    content = (folder / "t-0.tar").read_bytes()
    offset, size = items[2].video
    assert content[offset : offset + size] == b"B" * 700
    offset, size = items[2].annotation
    assert content[offset - 512 : offset - 504] == b"b.1.json"
    assert size == 2
    assert items[-1].shard == str(folder / "t-3.tar")
    with pytest.raises(IndexError):
        items[6]


def test_what_is_missing_is_counted(folder: Path) -> None:
    """A key without a video, a shard that is cut behind its index, and one that is gone."""
    items_of(folder)  # writes the indexes
    os.truncate(folder / "t-0.tar", 5500)  # inside of b.mp4, behind its annotations
    (folder / "t-3.tar").unlink()
    found = items_of(folder).presence("tv")
    assert (found.samples, found.samples_there) == (6, 2)
    assert found.files == {"tv": 5}
    assert found.missing == {"tv": ["t-0.tar/b.mp4", "t-1.tar/lost", "t-3.tar/d.mp4"]}
    assert found.videos_dir == str(folder)
    assert str(found) == "datasets.tv: 2 of 5 files exist, for 2 of 6 samples"


@pytest.mark.parametrize(
    ("names", "size", "there"),
    [
        (("a.json", "a.mp4"), 2236, 1),  # the last byte of the video
        (("a.json", "a.mp4"), 2235, 0),
        (("a.mp4", "a.json"), 2050, 1),  # the last byte of the annotation
        (("a.mp4", "a.json"), 2049, 0),
        (("a.mp4", "a.json"), 1212, 0),  # the whole video, and nothing else
    ],
)
def test_what_is_cut_by_one_byte_is_missing(names: tuple[str, str], size: int, there: int, tmp_path: Path) -> None:
    content = {"a.json": b"{}", "a.mp4": b"A" * 700}
    shard = write_tar(tmp_path / "t.tar", {name: content[name] for name in names})
    read_items([str(shard)], "", "anno_dir")  # writes the index
    os.truncate(shard, size)
    found = read_items([str(shard)], "", "anno_dir").presence("tv")
    assert (found.samples, found.samples_there) == (1, there)


def test_what_is_left_keeps_its_order_and_its_numbers(folder: Path) -> None:
    items = items_of(folder)
    items.leave_out({"t-0.tar/b.mp4", "t-1.tar/lost", "t-9.tar/a.mp4", "t-1.tar/a.mp4"})
    assert [item.path for item in items] == [ALL[0], ALL[3], ALL[5]]
    assert items.numbers.tolist() == [0, 3, 5]
    assert items.order(7).sizes.tolist() == [1, 1, 1]
    items.leave_out({ALL[0]})
    assert items.numbers.tolist() == [3, 5]
    assert items.presence("tv").files == {"tv": 2}
    assert items.order(7).sizes.tolist() == [1, 1]


def test_sizes_of_shards_for_the_order(folder: Path) -> None:
    order = items_of(folder).order(5)
    assert (order.sizes.tolist(), order.buffer) == ([3, 2, 1], 5)


# Where indexes are ----------------------------------------------------------------------------------------------------


def test_an_index_is_kept_beside_its_shard(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    items_of(folder)
    assert (folder / "t-0.idx").read_text().startswith("v1.2 2\njson 512 2 a.json ")
    monkeypatch.setattr("timechat.datasets.shards.items.scan", None)
    assert [item.path for item in items_of(folder)] == ALL


def test_or_in_a_folder_of_its_own(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards of the same name in other folders have their own."""
    kept, other = tmp_path / "kept", tmp_path / "other"
    other.mkdir()
    write_tar(other / "t-0.tar", {"x.json": b"{}", "x.mp4": b"x"})
    items_of(folder, str(kept))
    read_items([str(other / "t-0.tar")], str(kept), "anno_dir")
    assert not list(folder.glob("*.idx"))
    assert len(list(kept.iterdir())) == 5
    monkeypatch.setattr("timechat.datasets.shards.items.scan", None)
    assert [item.path for item in items_of(folder, str(kept))] == ALL


def test_where_nothing_can_be_kept_it_is_found_out_each_time(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: str, text: str) -> None:
        raise PermissionError(path)

    monkeypatch.setattr("timechat.datasets.shards.items.write_text", full)
    assert [item.path for item in items_of(folder)] == ALL
    assert not list(folder.glob("*.idx"))


# Shards that cannot be used -------------------------------------------------------------------------------------------


def test_all_bad_shards_are_listed(folder: Path) -> None:
    os.truncate(folder / "t-0.tar", 1000)
    (folder / "t-1.idx").write_text("v1.2 9\n")
    shutil.move(folder / "t-3.tar", folder / "gone")
    with pytest.raises(AnnotationError, match=r"anno_dir: 3 of 4 shards cannot be used") as error:
        items_of(folder)
    lines = str(error.value).splitlines()[1:]
    assert "t-0.tar: is cut or damaged behind" in lines[0]
    assert "t-1.idx: is no whole index" in lines[1]
    assert "t-3.tar: no such shard, and no t-3.idx that tells what should be in it" in lines[2]


def test_shards_without_a_sample(tmp_path: Path) -> None:
    shard = write_tar(tmp_path / "t.tar", {"a.mp4": b"", "b.txt": b""})
    with pytest.raises(AnnotationError, match="no sample in its 1 shard, a video"):
        read_items([str(shard)], "", "anno_dir")


def test_videos_without_annotation_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    shard = write_tar(tmp_path / "t.tar", {"a.mp4": b"", "b.json": b"{}", "b.mp4": b""})
    assert len(read_items([str(shard)], "", "anno_dir")) == 1
    assert "anno_dir: 1 video of the shards has no annotation" in caplog.text


def test_a_sample_takes_few_bytes(tmp_path: Path) -> None:
    """Arrays and names; an object for each sample would take ten times as much."""
    members = scan(str(write_tar(tmp_path / "t.tar", {"v/video_0000000.json": b"{}", "v/video_0000000.mp4": b"v"})))
    many = [m._replace(name=m.name.replace("0000000", f"{n:07d}")) for n in range(20_000) for m in members]
    index = ShardIndex.of(many)
    tracemalloc.start()
    items = ShardItems(["t.tar"], [index], [10**9])
    kept = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    own = len(index.names)
    assert (kept + own) / len(items) < 80
    assert items[19_999].path == "t.tar/v/video_0019999.mp4"
    assert items.numbers.dtype == np.int64
