"""How long it takes to find out which videos of TimeIT's 125,000 samples exist.

    python benchmarks/find_videos.py [FOLDER]

Makes 37,500 empty files in FOLDER (a temporary one by default) and looks for 125,000 in 183 folders, three times as
training does, and once by asking for each file. The exit status is 1 when the fastest time is longer than the floor.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

from timechat.datasets.presence import missing_files

SIZES = {"a": 60_000, "b": 40_000, "c": 16_000, **{f"COIN/{number}": 50 for number in range(180)}}
FLOOR_SECONDS = 5.0


def main() -> int:
    """Print the seconds, and those of the processor."""
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as folder:
        root = Path(folder)
        paths = [f"{place}/{number:06d}.mp4" for place, size in SIZES.items() for number in range(size)]
        for place in SIZES:
            (root / place).mkdir(parents=True)
        for path in (path for number, path in enumerate(paths) if number % 10 < 3):
            (root / path).touch()
        times = []
        for _ in range(3):
            started, busy = time.perf_counter(), time.process_time()
            gone = missing_files(paths, root)
            times.append(time.perf_counter() - started)
            busy = time.process_time() - busy
            sys.stdout.write(f"{len(gone):,} of {len(paths):,} missing: {times[-1]:.2f} s (CPU {busy:.2f} s)\n")
        started = time.perf_counter()
        for path in paths:
            os.path.exists(root / path)
        sys.stdout.write(f"one by one: {time.perf_counter() - started:.2f} s\n")
    return int(min(times) > FLOOR_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
