"""Miniature data of TVSum and SumMe: four videos of 40 seconds, which two users each summarize.

A video has 20 shots of 2 seconds, with 4 frames each; three of them are 15 %. One user wants the shots 0, 7 and 15, the
other one 0, 7 and 11.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from helpers.benchmark_data import BenchmarkData
from helpers.videos import write_video

FPS, SHOT, SHOTS = 2, 4, 20  # frames a second, frames of a shot, shots
WANTED = ((0, 7, 15), (0, 7, 11))
# Name -> seconds of its file, by which a scripted model tells them apart.
VIDEOS = {"Air_force": 40, "Base_jump": 30, "Cooking": 20, "Diving": 10}
ANSWERS = {
    "Air_force": "There are 3 highlight moments in the 0, 14, 31 second. Their saliency scores are 5.0, 5.0, 5.0.",
    "Base_jump": "There is 1 highlight moment in the 22 second. Its saliency score is 3.0.",
    "Cooking": "Somebody cooks.",
}
# Shots 0, 7 and 15: F1 1 and 2/3. Shot 11 alone: F1 0 and 1/2. Unparsable; missing. Ranks are of every 15th frame, in
# the shots 0, 3, 7, 11, 15 and 18: tau-b with the two users is 1 and 1/3, then -3/sqrt(45) and 3/sqrt(45).
TVSUM = {"F1": (5 / 6 + 1 / 4) / 4, "Kendall tau": 2 / 3 / 4, "Spearman rho": 2 / 3 / 4}
# With the nearest user; ranks with the share of users, 1, 0, 1, 1/2, 1/2, 0: 8 pairs in order, and 2 against 2.
SUMME = {"F1": (1 + 1 / 2) / 4, "Kendall tau": 8 / np.sqrt(9 * 12) / 4, "Spearman rho": 12 / np.sqrt(16 * 13.5) / 4}


def kept(shots: tuple[int, ...]) -> NDArray[np.int64]:
    """1 in the frames of these shots, else 0."""
    return np.repeat(np.isin(np.arange(SHOTS), shots), SHOT).astype(np.int64)


def write_tvsum(folder: Path) -> BenchmarkData:
    """Both files of the download, and the videos."""
    data = folder / "data"
    data.mkdir(parents=True, exist_ok=True)
    lines = [
        f"{name}\tVT\t{','.join(str(1 + 4 * value) for value in kept(shots))}\n" for name in VIDEOS for shots in WANTED
    ]
    (data / "ydata-tvsum50-anno.tsv").write_text("".join(lines))
    head = "category\tvideo_id\ttitle\turl\tlength\n"
    rows = [f'VT\t{name}\tA "title" of {name}\thttps://example.org\t0:40\n' for name in VIDEOS]
    (data / "ydata-tvsum50-info.tsv").write_text(head + "".join(rows))
    return BenchmarkData(data / "ydata-tvsum50-anno.tsv", _write_videos(folder / "video"))


def write_summe(folder: Path) -> BenchmarkData:
    """A file of MATLAB for each video, and the videos."""
    from scipy.io import savemat

    (folder / "GT").mkdir(parents=True, exist_ok=True)
    table = np.stack([kept(shots) for shots in WANTED], axis=1) * np.array([[3, 1]])
    for name in VIDEOS:
        content = {"user_score": table, "FPS": float(FPS), "nFrames": len(table), "gt_score": table.mean(axis=1)}
        savemat(folder / "GT" / f"{name}.mat", content)
    return BenchmarkData(folder / "GT", _write_videos(folder / "videos"))


def _write_videos(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, seconds in VIDEOS.items():
        write_video(folder / f"{name}.mp4", frames=seconds, fps=1)
    return folder
