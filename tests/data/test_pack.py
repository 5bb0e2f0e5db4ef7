"""Shards from an annotation file and videos: all of it, the same each time, and going on after a stop."""

from __future__ import annotations

import json
import os
import re
import signal
import tarfile
from pathlib import Path
from typing import Any

import pytest
from helpers.shards import packed
from helpers.tiny import write_json

from timechat.data import pack as packing
from timechat.data.pack import Packing, pack
from timechat.datasets.manifest import Manifest, write_manifest
from timechat.datasets.shards.index import index_text, scan
from timechat.errors import AnnotationError, ConfigError

VIDEOS = {"in/a.b.mp4": b"A" * 3000, "in/c d%.MKV": b"C" * 700, "c.webm": b"w", "c.mp4": b"4", "é.mp4": b"e" * 99}


def item(video: str, **fields: Any) -> dict[str, Any]:
    return {"video": video, "QA": [{"q": "When?", "a": "Now."}], **fields}


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    for name, content in VIDEOS.items():
        path = tmp_path / "videos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path / "videos"


def members_of(folder: Path) -> list[dict[str, bytes]]:
    """What is in each shard, in its order."""
    found = []
    for shard in sorted(folder.glob("*.tar")):
        with tarfile.open(shard) as archive:
            found.append({m.name: archive.extractfile(m).read() for m in archive})
    return found


def test_every_video_once_with_all_of_its_annotations(tmp_path: Path, videos: Path) -> None:
    items = [item("in/a.b.mp4", source="x", more=[1]), item("in/c d%.MKV"), item("in/./a.b.mp4"), item("c.webm")]
    items += [item("c.mp4"), item("é.mp4")]
    folder, done = packed(tmp_path / "p", items, videos)
    (members,) = members_of(folder)
    assert list(members) == [
        "in/a%2Eb.0.json", "in/a%2Eb.1.json", "in/a%2Eb.mp4", "in/c%20d%25.json", "in/c%20d%25.mkv", "c.json",
        "c.webm", "c_mp4.json", "c_mp4.mp4", "é.json", "é.mp4",
    ]  # fmt: skip
    assert json.loads(members["in/a%2Eb.0.json"]) == items[0]
    assert json.loads(members["in/a%2Eb.1.json"]) == items[2]
    assert [members[name] for name in members if not name.endswith("json")] == list(VIDEOS.values())
    assert (done.samples, done.videos, done.shards, done.found, done.failures) == (6, 5, 1, 0, [])
    assert done.size == (folder / "train-000000.tar").stat().st_size


def test_the_index_is_what_a_look_at_the_headers_finds(tmp_path: Path, videos: Path) -> None:
    """Also behind the longer headers of names that are long or not ASCII."""
    long = "n" * 150
    (videos / f"{long}.mp4").write_bytes(b"long")
    folder, _ = packed(tmp_path / "p", [item(name) for name in (*VIDEOS, f"{long}.mp4", "c.mp4")], videos)
    shard = folder / "train-000000.tar"
    assert (folder / "train-000000.idx").read_text() == index_text(scan(str(shard)))


def test_shards_are_as_large_as_they_may_be(tmp_path: Path, videos: Path) -> None:
    folder, done = packed(tmp_path / "p", [item(name) for name in VIDEOS], videos, shard_bytes=4608)
    names = [[name for name in members if not name.endswith("json")] for members in members_of(folder)]
    assert names == [["in/a%2Eb.mp4"], ["in/c%20d%25.mkv", "c.webm"], ["c_mp4.mp4", "é.mp4"]]
    assert done.shards == 3
    assert [path.name for path in sorted(folder.glob("*.tar"))] == [f"train-00000{n}.tar" for n in range(3)]


def test_the_same_input_gives_the_same_bytes(tmp_path: Path, videos: Path) -> None:
    items = [item(name) for name in VIDEOS]
    runs = [packed(tmp_path / f"{n}", items, videos, seed=seed, workers=n + 1)[0] for n, seed in enumerate((4, 4, 5))]
    first, again, other = (b"".join(p.read_bytes() for p in sorted(run.glob("*.tar"))) for run in runs)
    assert first == again
    assert first != other
    assert sorted(members_of(runs[0])[0]) == sorted(members_of(runs[2])[0])


def test_the_input_is_not_changed(tmp_path: Path, videos: Path) -> None:
    def state() -> dict[str, tuple[int, bytes]]:
        paths = [path for path in videos.rglob("*") if path.is_file()]
        return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in paths}

    before = state()
    packed(tmp_path / "p", [item(name) for name in VIDEOS], videos)
    assert state() == before


# Videos that are not there --------------------------------------------------------------------------------------------


def test_missing_videos_stop_it_or_are_listed(tmp_path: Path, videos: Path) -> None:
    (videos / "empty.mp4").touch()
    (videos / "lfs.mp4").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 7\n")
    (videos / "folder.mp4").mkdir()
    names = ["c.mp4", "gone.mp4", "empty.mp4", "lfs.mp4", "folder.mp4", "text.txt"]
    items = [item(name) for name in names] + [item("gone.mp4")]
    with pytest.raises(AnnotationError, match=r"5 of 6 videos in .* cannot be packed") as error:
        packed(tmp_path / "p", items, videos)
    assert "--missing drop" in str(error.value)
    assert not (tmp_path / "p" / "shards" / "pack.json").exists()
    folder, done = packed(tmp_path / "p", items, videos, drop=True)
    assert (done.samples, done.samples_left_out) == (1, 6)
    lines = (folder / "left_out.txt").read_text().splitlines()
    assert [line.split("\t")[0] for line in lines] == names[1:]
    reasons = [line.split("\t")[1] for line in lines]
    assert reasons[:2] == ["is missing", "is empty"]
    assert "git-lfs pointer" in reasons[2]
    assert reasons[3] == "is not a file"
    assert "no video of a known kind" in reasons[4]


def test_broken_annotations(tmp_path: Path, videos: Path) -> None:
    with pytest.raises(AnnotationError, match=r"item 1: video '\.\./x\.mp4' points outside"):
        packed(tmp_path / "p", [item("c.mp4"), item("../x.mp4")], videos)


# Going on -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("inside", [False, True])
def test_killed_it_goes_on_where_it_stopped(tmp_path: Path, videos: Path, inside: bool) -> None:
    """Between a shard and its index, or in the middle of a shard."""
    items = [item(name) for name in VIDEOS]
    whole, _ = packed(tmp_path / "whole", items, videos, shard_bytes=1)
    child = os.fork()
    if not child:
        real, count = packing._add if inside else packing.write_text, [0]

        def fatal(*args: Any) -> Any:
            count[0] += 1
            if count[0] == 5:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args)

        setattr(packing, "_add" if inside else "write_text", fatal)
        packed(tmp_path / "p", items, videos, shard_bytes=1, workers=1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    folder = tmp_path / "p" / "shards"
    there = {path: path.stat().st_mtime_ns for path in folder.glob("*.idx")}
    assert 1 <= len(there) < 5
    _, done = packed(tmp_path / "p", items, videos, shard_bytes=1)
    assert (done.shards, done.found) == (5, len(there))
    assert {path: path.stat().st_mtime_ns for path in there} == there
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix in (".tar", ".idx")}
    assert files == {path.name: path.read_bytes() for path in whole.iterdir() if path.suffix in (".tar", ".idx")}
    assert not list(folder.glob(".*.tmp"))


@pytest.mark.parametrize(
    ("change", "said"),
    [({"shard_bytes": 5}, "shard_bytes"), ({"seed": 1}, "seed"), ({"name": "other"}, "name")],
)
def test_a_folder_holds_one_packing(tmp_path: Path, videos: Path, change: dict[str, Any], said: str) -> None:
    items = [item(name) for name in VIDEOS]
    packed(tmp_path / "p", items, videos)
    with pytest.raises(ConfigError, match=rf"holds shards that were packed with another {said} \(pack\.json\)"):
        packed(tmp_path / "p", items, videos, **change)
    (videos / "c.mp4").write_bytes(b"longer")
    with pytest.raises(ConfigError, match="with another videos_sha256"):
        packed(tmp_path / "p", items, videos)
    (tmp_path / "p" / "shards" / "pack.json").unlink()
    with pytest.raises(ConfigError, match=re.escape("holds train-*.tar, but no pack.json")):
        packed(tmp_path / "p", items, videos)


def test_a_video_that_cannot_be_read_fails_its_shard_alone(
    tmp_path: Path, videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others are written; the next run writes the rest."""
    anno = write_json(tmp_path / "anno.json", [item(name) for name in VIDEOS])
    job = Packing(anno, videos, tmp_path / "out", "train", shard_bytes=1, seed=None)
    sizes = packing._sizes
    monkeypatch.setattr(packing, "_sizes", lambda job, paths: _grown(*sizes(job, paths)))
    done = pack(job)
    assert done.failures == [f"{tmp_path}/out/train-000003.tar: {videos}/c.mp4 has changed meanwhile; start again"]
    assert len(list((tmp_path / "out").glob("*.tar"))) == len(list((tmp_path / "out").glob("*.idx"))) == 4


def _grown(sizes: dict[str, int], unusable: dict[str, str]) -> tuple[dict[str, int], dict[str, str]]:
    return sizes | {"c.mp4": 2}, unusable


def test_what_an_audit_leaves_out_is_not_packed(tmp_path: Path, videos: Path) -> None:
    """Not even checked."""
    items = [item("c.mp4"), item("gone.mp4"), {"video": 3}, item("é.mp4")]
    anno = write_json(tmp_path / "anno.json", items)
    write_manifest(Manifest(str(tmp_path / "m.json"), 4, {"missing": [1], "broken": [2]}), anno, {})
    done = pack(Packing(anno, videos, tmp_path / "out", "t", 10**9, manifest=tmp_path / "m.json"))
    assert (done.samples, done.videos, done.left_out) == (2, 2, {})
    write_manifest(Manifest(str(tmp_path / "m.json"), 4, {"missing": [0, 1, 2, 3]}), anno, {})
    with pytest.raises(AnnotationError, match="has no items to pack"):
        pack(Packing(anno, videos, tmp_path / "none", "t", 10**9, manifest=tmp_path / "m.json"))
