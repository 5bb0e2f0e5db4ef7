"""How long reading takes: the look at packets, `auto` beside bare decord, few frames of a long video, near and far
key frames; and both readers' pixels.

    python benchmarks/read_videos.py

Videos are made for it in a temporary folder. Times are the shortest of several tries, because machines are busy.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import decord
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.videos import write_video
from timechat.datasets.readers import ReaderSettings
from timechat.datasets.readers.decord import DecordReader
from timechat.datasets.readers.look import look_at
from timechat.datasets.readers.look_cache import kept_look
from timechat.datasets.readers.pyav import PyAVReader
from timechat.datasets.video import load_video, uniform_indices

TRIES = 7


def shortest(work: Callable[[], object]) -> float:
    """Seconds."""
    times = []
    for _ in range(TRIES):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def bare_decord(path: Path) -> None:
    """96 frames as the published code reads them."""
    reader = decord.VideoReader(str(path), width=224, height=224, num_threads=1)
    reader.get_batch(uniform_indices(len(reader), 96)).asnumpy()


def pixels(path: Path, side: int | None) -> str:
    """How far apart both readers are on one file, in levels of 255."""
    look = look_at(str(path))
    indices = uniform_indices(len(look.stamps), 24)
    first, second = (kind(str(path), side, look).read(indices)[0].astype(int) for kind in (DecordReader, PyAVReader))
    apart = np.abs(first - second)
    return f"largest {apart.max()}, mean {apart.mean():.4f}"


def say(line: str) -> None:
    sys.stdout.write(line + "\n")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        clip = write_video(Path(folder) / "clip.mp4", 60, 6, 224, preset="fast")
        load_video(clip, 96)  # starts the process that reads
        bare = shortest(lambda: bare_decord(clip))
        say(f"96 frames of 60 s at 6 fps, 224 px: decord alone {1000 * bare:.1f} ms")
        for settings in (ReaderSettings(), ReaderSettings(timeout_s=None), ReaderSettings("pyav")):
            taken = shortest(lambda settings=settings: load_video(clip, 96, settings=settings))
            say(f"    {settings.reader}, limit {settings.timeout_s}: {1000 * taken:.1f} ms, {taken / bare:.2f} times")
        looks = str(Path(folder) / "looks")
        kept_look(str(clip), 1, 1, looks)
        again = shortest(lambda: kept_look(str(clip), 1, 1, looks))
        say(
            f"    the look: {1000 * shortest(lambda: look_at(str(clip))):.1f} ms, once a file; later {1000 * again:.1f}"
        )

        for gop in (12, 250):
            dense = write_video(Path(folder) / f"gop{gop}.mp4", 32, 25, 224, preset="fast", g=str(gop))
            for reader in ("decord", "pyav"):
                read = partial(load_video, dense, settings=ReaderSettings(reader, timeout_s=None))
                few, many = shortest(partial(read, 24)), shortest(partial(read, 96))
                what = f"32 s at 25 fps, a key frame every {gop} frames, {reader}"
                say(f"{what}: 24 frames {1000 * few:.1f} ms, 96 frames {1000 * many:.1f} ms")

        long = write_video(Path(folder) / "long.mp4", 7200, 6, 64, preset="ultrafast")
        count, taken = len(look_at(str(long)).stamps), shortest(lambda: look_at(str(long)))
        say(f"two hours at 6 fps: the look {taken:.2f} s of {count} frames")
        opened = shortest(lambda: decord.VideoReader(str(long), num_threads=1))
        say(f"    decord opens it in {opened:.2f} s")

        params = "open-gop=1:keyint=60:bframes=3:log-level=error"
        hevc = write_video(
            Path(folder) / "open.mp4", 3600, 3, 64, "libx265", preset="ultrafast", **{"x265-params": params}
        )
        few, all_ = (
            shortest(lambda n=n: load_video(hevc, n, 56, settings=ReaderSettings("pyav"))) for n in (8, 100000)
        )
        say(f"an hour of x265 with open groups, {3600 * 3} frames: 8 frames {few:.2f} s, all frames {all_:.2f} s")

        for name, codec, options in (
            ("H.264 mp4", "libx264", {}),
            ("H.265 mp4", "libx265", {"x265-params": "open-gop=0:log-level=error"}),
            ("MPEG-4 mp4", "mpeg4", {}),
            ("VP9 webm", "libvpx-vp9", {"deadline": "realtime"}),
        ):
            path = write_video(Path(folder) / f"{codec}.{name.split()[1]}", 4, 12, 360, codec, **options)
            for side in (56, 224, None):
                say(f"{name}, {side or 'original'} px, decord and PyAV apart: {pixels(path, side)}")


if __name__ == "__main__":
    main()
