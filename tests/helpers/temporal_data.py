"""Miniature data of the temporal benchmarks: each one's own files, with gray videos of one frame a second."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from helpers.benchmark_data import BenchmarkData, write_json
from helpers.videos import write_video

CHARADES = """AAAAA 0.0 10.0##a person opens a door.
AAAAA 10.0 20.0##a person sits down.
BBBBB 0.0 10.0##a person drinks.
CCCCC 5.0 15.0##a person reads.
DDDDD 5.0 15.0##a person sleeps.
"""
# Events of four videos; each video lasts as long as its name says.
EVENTS: dict[str, list[tuple[float, float, str]]] = {
    "video_of_20": [(0.0, 10.0, "cut the bread in half"), (10.0, 20.0, "add the ham and cheese")],
    "video_of_10": [(0.0, 10.0, "boil the eggs in water")],
    "video_of_30": [(0.0, 15.0, "peel all of the eggs")],
    "video_of_40": [(0.0, 10.0, "eat the eggs with salt")],
}
SECONDS = {name: int(name[-2:]) for name in EVENTS}


def write_charades(folder: Path) -> BenchmarkData:
    """Five queries about four videos of 20 seconds; the id is the line from 0."""
    folder.mkdir(parents=True)
    anno = folder / "charades_sta_test.txt"
    anno.write_text(CHARADES)
    return BenchmarkData(anno, write_videos(folder / "videos", dict.fromkeys(("AAAAA", "BBBBB", "CCCCC", "DDDDD"), 20)))


def write_youcook2(folder: Path) -> BenchmarkData:
    """The raw download: EVENTS as its subset validation, and one video of the subset training."""
    database = {
        name: {
            "subset": "validation",
            "duration": float(SECONDS[name]),
            "annotations": [{"segment": [start, end], "sentence": text} for start, end, text in events],
        }
        for name, events in EVENTS.items()
    }
    database["only_for_training"] = database["video_of_20"] | {"subset": "training"}
    anno = write_json(folder / "youcookii_annotations_trainval.json", {"database": database})
    return BenchmarkData(anno, write_videos(folder / "videos", SECONDS))


def write_activitynet(folder: Path) -> BenchmarkData:
    """The raw download with EVENTS, whose ids have v_ before them; the files' names have it or not."""
    content = {
        f"v_{name}": {
            "duration": float(SECONDS[name]),
            "timestamps": [[start, end] for start, end, _ in events],
            "sentences": [f" {text}." for _, _, text in events],
        }
        for name, events in EVENTS.items()
    }
    files = {name if name == "video_of_20" else f"v_{name}": seconds for name, seconds in SECONDS.items()}
    return BenchmarkData(write_json(folder / "val_2.json", content), write_videos(folder / "videos", files))


def write_qvhighlights(folder: Path) -> BenchmarkData:
    """Four queries about four videos of 10 seconds, which are five clips."""
    clips = ({1: [4, 4, 4], 2: [2, 2, 2]}, {4: [4, 4, 4]}, {0: [4, 4, 4]}, {0: [4, 4, 4]})
    rows: list[dict[str, Any]] = [
        {
            "qid": number,
            "query": f"query {number}",
            "duration": 10,
            "vid": f"vid{number}_0.0_10.0",
            "relevant_clip_ids": list(saliency),
            "saliency_scores": list(saliency.values()),
            "relevant_windows": [[0, 2]],
        }
        for number, saliency in enumerate(clips, 1)
    ]
    folder.mkdir(parents=True)
    anno = folder / "highlight_val_release.jsonl"
    anno.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return BenchmarkData(anno, write_videos(folder / "videos", {row["vid"]: 10 for row in rows}))


def write_videos(folder: Path, seconds: Mapping[str, int]) -> Path:
    """NAME.mp4 for each name, with one frame a second; returns the folder."""
    folder.mkdir(parents=True)
    for name, frames in seconds.items():
        write_video(folder / f"{name}.mp4", frames=frames, fps=1)
    return folder
