"""What shards cost and gain against single files: speed, mixing, and a million samples.

    python benchmarks/read_shards.py [FOLDER]

Writes into FOLDER (a temporary one by default): 96 videos of 10 s as single files and as shards, of which it reads the
bytes, and samples with two workers, as training does, in turns; and the indexes of 1,000 shards of 1,000 samples,
beside an annotation file of as many items. The exit status is 1 when samples come out of shards at less than 0.8 of the
speed of single files, or when a million of them take more than 200 MB.
"""

from __future__ import annotations

import gc
import json
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from helpers.tiny import dataset_config, write_json  # noqa: E402
from helpers.videos import write_video  # noqa: E402

from timechat.data.pack import Packing, pack  # noqa: E402
from timechat.datasets import RankBatches, SampleStream, StreamDataset, build_datasets  # noqa: E402
from timechat.datasets.annotations import read_instructions  # noqa: E402
from timechat.datasets.collate import collate, stream_of  # noqa: E402
from timechat.datasets.sampler import ShardOrder  # noqa: E402
from timechat.datasets.shards.dataset import read_members  # noqa: E402
from timechat.datasets.shards.index import Member, index_text  # noqa: E402
from timechat.datasets.shards.items import read_items  # noqa: E402
from timechat.runners.loading import read_batches  # noqa: E402

VIDEOS, SHARDS, OF_EACH, BATCH = 96, 1000, 1000, 32
BUFFERS = (0, 1_000, 10_000, 100_000, None)
SLOWEST, MOST_MB = 0.8, 200.0


def main() -> int:
    """Print the figures."""
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as name:
        folder = Path(name)
        ratio = _speed(folder)
        _mixing()
        megabytes = _million(folder)
    return int(ratio < SLOWEST or megabytes > MOST_MB)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


# Speed ----------------------------------------------------------------------------------------------------------------


def _speed(folder: Path) -> float:
    """Samples a second; the ratio of shards to single files, from the best of three rounds each, in turns."""
    videos = folder / "videos"
    videos.mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (60, 30, 40, 3), dtype=np.uint8).repeat(8, 1).repeat(8, 2)
    write_video(videos / "0.mp4", noise, fps=6, gop=6)
    for number in range(1, VIDEOS):
        (videos / f"{number}.mp4").write_bytes((videos / "0.mp4").read_bytes())
    items = [{"video": f"{number}.mp4", "QA": [{"q": "When?", "a": "Now."}]} for number in range(VIDEOS)]
    anno = write_json(folder / "anno.json", items)
    started = time.perf_counter()
    packed = pack(Packing(anno, videos, folder / "shards", "train", 10_000_000))
    took = time.perf_counter() - started
    _say(f"packed {packed.videos} videos, {packed.size / 1e6:.0f} MB, into {packed.shards} shards in {took:.2f} s")
    entries = {
        "single files": {"builder": "video_instruct", "build_info": {"anno_dir": str(anno), "videos_dir": str(videos)}},
        "shards": {"builder": "shards", "build_info": {"anno_dir": str(folder / "shards")}, "shuffle_buffer": 100},
    }
    _bytes(videos, folder / "shards")
    rounds = [{name: _samples_a_second(folder, entry) for name, entry in entries.items()} for _ in range(3)]
    speeds = {name: max(speed[name] for speed in rounds) for name in entries}
    for name, speed in speeds.items():
        _say(f"{name}: {speed:.1f} samples/s with 2 workers")
    return speeds["shards"] / speeds["single files"]


def _bytes(videos: Path, shards: Path) -> None:
    """Milliseconds of the processor for the bytes of a video, and its annotation, that are in memory already."""
    items = read_items([str(path) for path in sorted(shards.glob("*.tar"))], "", "anno_dir")
    ways = {
        "a single file": [partial(path.read_bytes) for path in videos.iterdir()],
        "out of a shard, with its annotation": [partial(read_members, item) for item in items],
    }
    for name, calls in ways.items():
        started = time.process_time()
        for call in calls:
            call()
        _say(f"bytes of {name}: {1000 * (time.process_time() - started) / len(calls):.2f} ms")


def _samples_a_second(folder: Path, entry: dict[str, Any]) -> float:
    cfg = dataset_config({"tv": entry}, ("model.image_size=224", "model.num_frm=8"), folder=folder)
    datasets = build_datasets(cfg)
    stream = stream_of(datasets, [1.0], 0).epoch(0)
    order = RankBatches(len(stream), 0, 1, 4)
    batches = read_batches(StreamDataset(datasets, stream, 0, 0), 2, 60.0, batch_sampler=order, collate_fn=collate)
    next(batches)  # the workers have started
    started = time.perf_counter()
    count = sum(len(batch) for batch in batches)
    return count / (time.perf_counter() - started)


# Mixing ---------------------------------------------------------------------------------------------------------------


def _mixing() -> None:
    """How many shards are in a batch, and how far apart in the pass over the shards its samples are."""
    size = SHARDS * OF_EACH
    for buffer in BUFFERS:
        orders = None if buffer is None else [ShardOrder(np.full(SHARDS, OF_EACH), buffer)]
        started = time.perf_counter()
        indices = SampleStream([size], seed=0, orders=orders).epoch(0, size).indices
        took = time.perf_counter() - started
        batches = np.sort(indices[: size // BATCH * BATCH].reshape(-1, BATCH) // OF_EACH, axis=1)
        shards = 1 + (np.diff(batches, axis=1) > 0).sum(1).mean()
        name = "all (single files)" if buffer is None else f"{buffer:,}"
        _say(f"shuffle_buffer {name}: {shards:.1f} shards in a batch of {BATCH}; the order of a pass took {took:.2f} s")


# A million ------------------------------------------------------------------------------------------------------------


def _million(folder: Path) -> float:
    """Megabytes that a million samples take in shards."""
    names = []
    for shard in range(SHARDS):
        members, offset = [], 512
        for number in range(OF_EACH):
            key = f"collection/videos/{shard:04d}_{number:07d}"
            members.append(Member(f"{key}.json", offset, 400))
            members.append(Member(f"{key}.mp4", offset + 1024, 1_000_000))
            offset += 1024 + 1_000_448 + 512
        tar = folder / f"million-{shard:06d}.tar"
        tar.with_suffix(".idx").write_text(index_text(members))
        with tar.open("wb") as file:
            file.truncate(offset)  # sparse: nobody reads it here
        names.append(str(tar))
    items, megabytes = _grown(lambda: read_items(names, "", "anno_dir"), "a million samples in 1,000 shards")
    started = time.perf_counter()
    found = items.presence("tv")
    _say(f"which of them are there: {found.samples_there:,}, {time.perf_counter() - started:.2f} s")
    del items, found
    lines = folder / "million.jsonl"
    with lines.open("w") as file:
        for number in range(SHARDS * OF_EACH):
            turns = [{"q": f"When does the {number}th thing happen?", "a": f"From {number}.0 to {number}.5 seconds."}]
            file.write(json.dumps({"video": f"collection/videos/{number:012d}.mp4", "QA": turns}) + "\n")
    _grown(lambda: read_instructions(lines, folder), "a million items of single files")
    return megabytes


def _grown(make: Callable[[], Any], what: str) -> tuple[Any, float]:
    gc.collect()
    before, started = _resident(), time.perf_counter()
    made = make()
    took = time.perf_counter() - started
    megabytes = _resident() - before
    _say(f"{what}: {megabytes:.0f} MB, read in {took:.1f} s")
    return made, megabytes


def _resident() -> float:
    """Megabytes that this process holds."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1000


if __name__ == "__main__":
    sys.exit(main())
