"""Miniature data of the benchmarks of long videos: MLVU and LongVideoBench, each one's own files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from helpers.benchmark_data import BenchmarkData, copy_video, write_json

MLVU_FILES = ("1_plotQA", "2_needle", "3_ego", "4_count", "5_order", "6_anomaly_reco", "7_topic_reasoning")
PLACES = ["In the kitchen", "In the garden", "At sea", "On a roof"]


def write_mlvu(folder: Path, rows: int = 1) -> BenchmarkData:
    """Seven files, `rows` questions each, and the two files that are not read."""
    for name in MLVU_FILES:
        write_json(folder / "json" / f"{name}.json", [mlvu_row(name, number) for number in range(rows)])
        for number in range(rows):
            copy_video(folder, folder / "video" / name / f"{number}.mp4")
    for name in ("8_sub_scene", "9_summary"):
        write_json(folder / "json" / f"{name}.json", [{"video": "0.mp4", "question": "What happens?", "answer": "..."}])
    return BenchmarkData(folder / "json", folder / "video")


def mlvu_row(name: str, number: int) -> dict[str, Any]:
    """One question; the right option is the one at `number` modulo 4."""
    return {
        "video": f"{number}.mp4",
        "duration": 480.0,
        "question": f"Where does {name} number {number} end?",
        "candidates": PLACES,
        "answer": PLACES[number % 4],
        "question_type": name[2:],
    }


def write_longvideobench(folder: Path) -> BenchmarkData:
    """Four questions about videos of two lengths; the right options are A, B, C, D."""
    rows = [longvideobench_row(number) for number in range(4)]
    for row in rows:
        copy_video(folder, folder / "videos" / row["video_path"])
    return BenchmarkData(write_json(folder / "lvb_val.json", rows), folder / "videos")


def longvideobench_row(number: int) -> dict[str, Any]:
    """One question with the keys of the download."""
    return {
        "video_id": f"vid{number}",
        "video_path": f"vid{number}.mp4",
        "id": f"vid{number}_0",
        "question": f"Who waves in scene {number}?",
        "candidates": ["A nurse", "A pilot", "A clown", "A child"],
        "correct_choice": number,
        "duration": 12.5 if number < 3 else 2400.0,
        "duration_group": 15 if number < 3 else 3600,
        "question_category": "S2E" if number < 2 else "TOS",
        "topic_category": "MO",
        "subtitle_path": f"vid{number}_en.json",
        "starting_timestamp_for_subtitles": 0,
        "level": "L1",
    }
