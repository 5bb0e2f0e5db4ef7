"""From a video file to a sample, beside bare decord; and how two workers scale."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import decord
import torch
import torch.nn.functional as F
from einops import rearrange
from numpy.typing import NDArray

from benchmarks.speed.measure import Patience, Timing, cpu_seconds, in_child
from benchmarks.speed.rows import Comparison, Cost, Row, compare
from benchmarks.speed.sizes import Bench
from benchmarks.videos import write_video
from timechat.datasets import RankBatches, StreamDataset, build_datasets, stream_of
from timechat.datasets.base import VideoDataset
from timechat.datasets.collate import collate
from timechat.datasets.processors import CropProcessor, random_crop_box
from timechat.datasets.video import uniform_indices
from timechat.io import write_json
from timechat.runners.loading import read_batches

SECONDS, FPS, FRAMES, COPIES = 60, 6, 96, 24


def decode(bench: Bench, patience: Patience) -> Iterator[Row]:
    """A clip of a minute."""
    side = bench.size.model.get("image_size", 224)
    folder = bench.folder / "clips"
    folder.mkdir()
    clip = write_video(folder / "0.mp4", SECONDS, FPS, side, preset="fast")
    for number in range(1, COPIES):
        shutil.copyfile(clip, folder / f"{number}.mp4")
    what = f"sample of {FRAMES} frames of {SECONDS} s at {FPS} fps, {side} px"
    note = "'eager' is decord alone, one thread, no check of the file, no conversation; the target is a ratio of 0.77"
    yield compare(f"{what}, as it is", partial(_prepare, bench, "alpro_video_eval"), patience, note)
    note = "'eager' is decord, and the crop of all frames at once, in floats"
    yield compare(f"{what}, cropped at random", partial(_prepare, bench, "alpro_video_train"), patience, note)
    one, two = (in_child(partial(_epoch, bench, workers), patience.threads) for workers in (1, 2))
    (wall, cpu), alone = two.value, one.value
    yield Row(
        f"{COPIES} such samples with two workers; eager: with one",
        Cost(wall, cpu),
        Cost(*alone),
        note="the ratio is how two workers scale",
    )


def _dataset(bench: Bench, processor: str) -> VideoDataset:
    """A dataset of all copies of the clip."""
    items = [{"video": f"{number}.mp4", "QA": [{"q": "When?", "a": "Now."}]} for number in range(COPIES)]
    write_json(bench.folder / "clips.json", items)
    info = {"anno_dir": str(bench.folder / "clips.json"), "videos_dir": str(bench.folder / "clips")}
    entry = {"builder": "video_instruct", "build_info": info, "vis_processor": {"train": {"name": processor}}}
    config = bench.config("model.max_txt_len=2048", f"model.num_frm={FRAMES}", datasets={"clips": entry})
    return build_datasets(config)[0]


def _prepare(bench: Bench, processor: str) -> Comparison:
    dataset = _dataset(bench, processor)
    path, side = str(bench.folder / "clips" / "0.mp4"), dataset.processor.image_size

    def bare() -> NDArray[Any]:
        reader = decord.VideoReader(path, width=side, height=side, num_threads=1)
        frames: NDArray[Any] = reader.get_batch(uniform_indices(len(reader), FRAMES)).asnumpy()
        return frames

    def cropped() -> torch.Tensor:
        frames = rearrange(torch.from_numpy(bare()).float(), "t h w c -> t c h w")
        top, left, height, width = random_crop_box(side, side, torch.Generator().manual_seed(0))
        box = frames[..., top : top + height, left : left + width]
        return F.interpolate(box, size=(side, side), mode="bicubic", align_corners=False)

    reference = cropped if isinstance(dataset.processor, CropProcessor) else bare
    return Comparison({"this": lambda: dataset.sample(0, torch.Generator().manual_seed(0)), "eager": reference})


def _epoch(bench: Bench, workers: int) -> Timing:
    """A pass over all copies, after the workers have started."""
    dataset = _dataset(bench, "alpro_video_train")
    stream = stream_of([dataset], [1.0], 0).epoch(0)
    order = RankBatches(len(stream), 0, 1, 1)
    source = StreamDataset([dataset], stream, 0, 0)
    batches = read_batches(source, workers, 60.0, batch_sampler=order, collate_fn=collate)
    for _ in range(2 * workers):  # those that were fetched ahead
        next(batches)
    cpu, wall = cpu_seconds(), time.perf_counter()
    counted = COPIES - 4 * workers  # without the last ones, during which a worker may have nothing left to do
    for _ in range(counted):
        next(batches)
    wall, cpu = time.perf_counter() - wall, cpu_seconds() - cpu
    batches.close()
    return Timing(COPIES * wall / counted, COPIES * cpu / counted)
