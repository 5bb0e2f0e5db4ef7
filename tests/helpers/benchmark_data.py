"""Miniature data of the video QA benchmarks: each one's own files, with tiny videos that can be decoded."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow
from PIL import Image
from pyarrow import parquet

from helpers.videos import gray_frames, write_video

FPS, FRAMES = 10, 20  # every video lasts 2 seconds
FOLDER_FRAMES = 12  # at 3 a second: 4 seconds

# What MVBench calls the videos of a task, below its folder of videos, and what it asks about each.
MVBENCH_FOLDERS = {
    "action_sequence": "star/Charades_v1_480",
    "action_prediction": "star/Charades_v1_480",
    "action_antonym": "ssv2_video",
    "fine_grained_action": "Moments_in_Time_Raw/videos",
    "unexpected_action": "FunQA_test/test",
    "object_existence": "clevrer/video_validation",
    "object_interaction": "star/Charades_v1_480",
    "object_shuffle": "perception/videos",
    "moving_direction": "clevrer/video_validation",
    "action_localization": "sta/sta_video",
    "scene_transition": "scene_qa/video",
    "action_count": "perception/videos",
    "moving_count": "clevrer/video_validation",
    "moving_attribute": "clevrer/video_validation",
    "state_change": "perception/videos",
    "fine_grained_pose": "nturgbd",
    "character_order": "perception/videos",
    "egocentric_navigation": "vlnqa",
    "episodic_reasoning": "tvqa/frames_fps3_hq",
    "counterfactual_inference": "clevrer/video_validation",
}
MVBENCH_CLIPS = ("action_sequence", "action_prediction", "object_interaction", "action_localization")
_SUFFIXES = {"action_antonym": ".webm", "fine_grained_pose": ".avi"}
_CODECS = {".webm": "libvpx", ".avi": "mpeg4", ".mp4": "libx264"}


class BenchmarkData(NamedTuple):
    """Arguments of evaluate.py: `--anno-path` and `--videos-dir`."""

    anno: Path
    videos: Path


def write_mvbench(folder: Path, rows: int = 1) -> BenchmarkData:
    """Twenty files, `rows` questions each; four tasks about clips, one about a clip of a folder of frames."""
    anno, videos = folder / "json", folder / "video"
    for task in MVBENCH_FOLDERS:
        write_json(anno / f"{task}.json", [mvbench_row(task, number) for number in range(rows)])
        for number in range(rows):
            path = videos / MVBENCH_FOLDERS[task] / mvbench_row(task, number)["video"]
            if task == "episodic_reasoning":
                write_frame_folder(path)
            else:
                copy_video(folder, path)
    return BenchmarkData(anno, videos)


def mvbench_row(task: str, number: int) -> dict[str, Any]:
    """One question; the right option is the one at `number` modulo 3."""
    name = f"{task}_{number}"
    row: dict[str, Any] = {
        "video": name if task == "episodic_reasoning" else name + _SUFFIXES.get(task, ".mp4"),
        "question": f"What happens in {name}?",
        "candidates": ["a ball rolls", "a door opens", "a cup falls"],
    }
    row["answer"] = row["candidates"][number % 3]
    if task in MVBENCH_CLIPS:
        row |= {"start": 0.5, "end": 1.5}
    if task == "episodic_reasoning":
        row |= {"start": 1.0, "end": 3.0}
    return row


TEMPCOMPASS = {
    "multi-choice": {
        "v1": {
            "action": [
                {"question": "What is he doing?\nA. running\nB. walking\nC. a dunk", "answer": "C. a dunk"},
                {"question": "What does she do?\nA. sits\nB. stands", "answer": "A. sits"},
            ]
        },
        "v2": {"speed": [{"question": "How fast is it?\nA. fast\nB. slow", "answer": "B. slow"}]},
    },
    "yes_no": {
        "v1": {"action": [{"question": "Is he running?", "answer": "no"}, {"question": "A dunk?", "answer": "yes"}]},
        "v2": {"speed": [{"question": "Is it slow?", "answer": "yes"}]},
    },
    "caption_matching": {
        "v1": {
            "order": [
                {
                    "question": "Which caption fits?\nCaption A: He runs.\nCaption B: He dunks.",
                    "answer": "Caption B: He dunks.",
                }
            ]
        },
        "v2": {
            "order": [
                {
                    "question": "Which one fits?\nOption 1: It is fast.\nOption 2: It is slow.",
                    "answer": "Option 2: It is slow.",
                }
            ]
        },
    },
    "captioning": {
        "v1": {
            "action": [
                {
                    "question": "Describe what he does.",
                    "answer": "B. dunking",
                    "mc_question": "What is he doing?\nA. running\nB. dunking",
                    "mc_answer": "B. dunking",
                }
            ]
        }
    },
}


def write_tempcompass(folder: Path) -> BenchmarkData:
    """The four files of the folder questions/, about two videos."""
    for task, content in TEMPCOMPASS.items():
        write_json(folder / "questions" / f"{task}.json", content)
    for name in ("v1", "v2"):
        copy_video(folder, folder / "videos" / f"{name}.mp4")
    return BenchmarkData(folder / "questions", folder / "videos")


def write_egoschema(folder: Path) -> BenchmarkData:
    """Four questions; the answers to the first three are public: 0, 3, 4."""
    names = [f"{number:08x}-aaaa" for number in range(4)]
    write_json(folder / "annotations" / "questions.json", [egoschema_row(name) for name in names])
    write_json(folder / "annotations" / "subset_answers.json", dict(zip(names, (0, 3, 4), strict=False)))
    for name in names:
        copy_video(folder, folder / "videos" / f"{name}.mp4")
    return BenchmarkData(folder / "annotations", folder / "videos")


def egoschema_row(name: str) -> dict[str, str]:
    """One question with five options."""
    does = ("cooks", "reads", "cleans", "builds", "plays")
    row = {"q_uid": name, "google_drive_id": "none", "question": "What does C do over the course of the video?"}
    return row | {f"option {number}": f"C {word}." for number, word in enumerate(does)}


def write_video_mme(folder: Path, form: str = "rows") -> BenchmarkData:
    """One video of each length with two questions each; `form` is "rows", "lines" or "grouped"."""
    rows = [row for length in ("short", "medium", "long") for row in video_mme_rows(length)]
    if form == "lines":
        anno = folder / "video_mme.jsonl"
        anno.parent.mkdir(parents=True, exist_ok=True)
        anno.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif form == "grouped":
        groups: dict[str, list[Any]] = {}
        for row in rows:
            plain = {key: row[key] for key in ("videoID", "question", "answer", "duration")}
            groups.setdefault(row["videoID"], []).append(plain | {"option": row["options"]})
        anno = write_json(folder / "video-mme.json", groups)
    else:
        anno = write_json(folder / "video_mme.json", rows)
    for length in ("short", "medium", "long"):
        copy_video(folder, folder / "videos" / f"{length}Clip.mp4")
    return BenchmarkData(anno, folder / "videos")


def video_mme_rows(length: str) -> list[dict[str, Any]]:
    """Two questions with the columns of the download; the right options are A and D."""
    options = ["A. A dog.", "B. A cat.", "C. A bird.", "D. A fish."]
    common = {"video_id": "001", "duration": length, "domain": "Knowledge", "sub_category": "Biology"}
    common |= {"url": "none", "videoID": f"{length}Clip", "options": options}
    return [
        common | {"question_id": f"{length}-1", "task_type": "Counting", "question": "Who barks?", "answer": "A"},
        common | {"question_id": f"{length}-2", "task_type": "Reasoning", "question": "Who swims?", "answer": "D"},
    ]


def write_json(path: Path, content: Any) -> Path:
    """Write a file, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def write_parquet(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Rows as parquet; the folders above it are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path


def copy_video(folder: Path, path: Path) -> None:
    """A tiny video of the kind that the suffix says; encoded once in `folder`."""
    original = folder / f"original{path.suffix}"
    if not original.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        write_video(original, FRAMES, fps=FPS, codec=_CODECS[path.suffix])
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(original, path)


def write_frame_folder(path: Path) -> None:
    """Numbered pictures from dark to bright."""
    path.mkdir(parents=True, exist_ok=True)
    for number, pixels in enumerate(gray_frames(FOLDER_FRAMES), 1):
        Image.fromarray(pixels).save(path / f"{number:05d}.jpg")
