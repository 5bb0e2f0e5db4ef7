"""How many videos a second an audit looks at, and what 125,000 items take of time and memory.

    python benchmarks/audit_data.py [--videos 2000] [--items 125000]

The videos are copies of one clip as TimeIT's are, a minute at 6 frames a second and 224 pixels, and warm in the cache
of the system. The items are about as many links to it, whose looks are known, as when an audit is run again.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# What is large is imported where it is used: each process of the audit imports this module, as it would the command's.

FLOOR_PER_SECOND = 200
CHECKED_HERE = 200
EVENTS = "  ".join(f"{5 * i}.0 - {5 * i + 4}.5 seconds, the cook adds one more thing to the pan." for i in range(10))


def annotate(path: Path, names: list[str]) -> Path:
    """One item for each video; all are different."""
    with path.open("w") as file:
        for number, name in enumerate(names):
            item = {
                "video": name,
                "QA": [{"q": f"Localize all events, number {number}.", "a": EVENTS}],
                "source": "anet",
            }
            file.write(("[" if not number else ",") + json.dumps(item))
        file.write("]")
    return path


def run(annotations: Path, folder: Path, looks: Path, workers: int) -> tuple[float, int]:
    """Seconds of an audit, and how many videos it looked at."""
    from timechat.data.audit.run import Settings, audit
    from timechat.data.audit.targets import targets_of

    (target,) = targets_of(str(annotations), str(folder), [])
    start = time.perf_counter()
    result = audit(target, Settings(workers=workers), folder / "faults.jsonl", looks)
    assert not result.findings.counts, result.findings.counts
    return time.perf_counter() - start, result.looked


def measure(videos: int, items: int, workers: int) -> float:
    """Write what was measured; returns how many videos were looked at in a second."""
    from read_videos import write

    from timechat.datasets.readers.header import read_header

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clip = write(folder / "clip.mp4", 60, 6, 224)
        names = [f"{number}.mp4" for number in range(videos)]
        for copy in names:
            (folder / copy).write_bytes(clip.read_bytes())
        looks = folder / "looks.jsonl"
        took, looked = run(annotate(folder / "videos.json", names), folder, looks, workers)
        begin = time.process_time()
        for copy in names[:CHECKED_HERE]:
            read_header(str(folder / copy))
        milliseconds = 1000 * (time.process_time() - begin) / CHECKED_HERE
        sys.stdout.write(f"{looked:,} videos in {took:.1f} s: {looked / took:.0f} a second, {workers} processes; ")
        sys.stdout.write(f"a header takes {milliseconds:.1f} ms of the processor\n")
        sys.stdout.flush()
        known = json.loads(looks.read_text().splitlines()[0])
        links = [f"links/{number}.mp4" for number in range(items)]
        (folder / "links").mkdir()
        for link in links:
            (folder / link).symlink_to("../0.mp4")
        looks.write_text(
            "".join(json.dumps(known | same_file(folder / "0.mp4") | {"path": link}) + "\n" for link in links)
        )
        size = annotate(folder / "items.json", links).stat().st_size
        sys.stdout.write(f"{items:,} items, {size / 1e6:.0f} MB of annotations: ")
        sys.stdout.flush()
        subprocess.run([sys.executable, __file__, "--again", str(folder), "--workers", str(workers)], check=True)
    return looked / took


def same_file(path: Path) -> dict[str, int]:
    """What says that a file has not changed."""
    return {"size": path.stat().st_size, "changed": path.stat().st_mtime_ns}


def again(folder: Path, workers: int) -> None:
    """Audit items whose videos are known, in a process of its own."""
    import timechat.data.audit.run
    import timechat.data.audit.targets  # noqa: F401

    before = peak()
    took, looked = run(folder / "items.json", folder, folder / "looks.jsonl", workers)
    more = f"{peak() - before:.0f} MB more than before at most"
    sys.stdout.write(f"{took:.1f} s, {looked:,} videos looked at, {more} in the process that leads\n")


def peak() -> float:
    """The most memory that this process has had, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> int:
    """Measure; the exit status is 1 if fewer videos were looked at in a second than the floor."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--videos", type=int, default=2000)
    parser.add_argument("--items", type=int, default=125_000)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--again", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.again:
        again(args.again, args.workers)
        return 0
    return int(measure(args.videos, args.items, args.workers) < FLOOR_PER_SECOND)


if __name__ == "__main__":
    sys.exit(main())
