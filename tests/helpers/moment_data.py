"""Miniature data of the newer benchmarks about moments: each one's own files, with gray videos, a frame a second."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from helpers.benchmark_data import BenchmarkData, write_json
from helpers.temporal_data import write_videos

# What is looked for in three videos of 20 seconds, and when it happens; the answers are those of Charades-STA.
MOMENTS = {
    "AAAAA": {"a person opens a door.": [0.0, 10.0], "a person sits down.": [10.0, 20.0]},
    "BBBBB": {"a person drinks.": [0.0, 10.0]},
    "CCCCC": {"a person reads.": [5.0, 15.0]},
    "DDDDD": {"a person sleeps.": [5.0, 15.0]},
}
SECONDS = dict.fromkeys(MOMENTS, 20)


def write_timelens(folder: Path, name: str = "charades") -> BenchmarkData:
    """Five queries about four videos in the form of one of the three sets."""
    content = {
        video: {"duration": 20.0, "spans": list(queries.values()), "queries": list(queries)}
        for video, queries in MOMENTS.items()
    }
    anno = write_json(folder / f"{name}-timelens.json", content)
    return BenchmarkData(anno, write_videos(folder / "videos" / name, SECONDS))


def write_tacos(folder: Path) -> BenchmarkData:
    """The same in frames, of which there are two a second."""
    content = {
        f"{video}.avi": {
            "timestamps": [[2 * start, 2 * end] for start, end in queries.values()],
            "sentences": list(queries),
            "fps": 2.0,
            "num_frames": 40,
        }
        for video, queries in MOMENTS.items()
    }
    files = {name if name == "AAAAA" else f"{name}-cam-002": seconds for name, seconds in SECONDS.items()}
    return BenchmarkData(write_json(folder / "test.json", content), write_videos(folder / "videos", files))


def write_ego4d_nlq(folder: Path) -> BenchmarkData:
    """The same as clips; AAAAA is the second half of a video of 40 seconds. A query without text is left out."""
    videos = [
        {
            "video_uid": f"{clip}-whole",
            "clips": [
                {
                    "clip_uid": clip,
                    "video_start_sec": 20.0,
                    "video_end_sec": 40.0,
                    "annotations": [{"annotation_uid": "u", "language_queries": [*map(_query, queries.items()), {}]}],
                }
            ],
        }
        for clip, queries in MOMENTS.items()
    ]
    anno = write_json(folder / "annotations" / "nlq_val.json", {"videos": videos})
    files = {f"{name}-whole" if name == "AAAAA" else name: 40 if name == "AAAAA" else 20 for name in SECONDS}
    return BenchmarkData(anno, write_videos(folder / "videos", files))


def _query(query: tuple[str, list[float]]) -> dict[str, Any]:
    text, (start, end) = query
    return {"query": text, "clip_start_sec": start, "clip_end_sec": end, "template": "Objects: Where is object X?"}


# Question -> right option, moments; the options are the colours.
COLOURS = ["red", "green", "blue", "white", "black"]
QUESTIONS: dict[str, tuple[str, list[list[float]]]] = {
    "what did the boy throw": ("red", [[0.0, 10.0]]),
    "why did the girl run": ("green", [[0.0, 4.0], [10.0, 20.0]]),
    "how did the dog eat": ("blue", [[5.0, 15.0]]),
    "who sleeps at the end": ("white", [[5.0, 15.0]]),
}


def write_nextgqa(folder: Path) -> BenchmarkData:
    """Four questions about four videos, which are in folders, as the map says."""
    rows, moments = [], {}
    for number, (question, (answer, spans)) in enumerate(QUESTIONS.items()):
        video = f"{2000 + number}"
        options = {f"a{index}": colour for index, colour in enumerate(COLOURS)}
        rows.append(
            {"video_id": video, "frame_count": "20", "width": "320", "height": "240", "question": question}
            | {"answer": answer, "qid": str(number), "type": "CW"}
            | options
        )
        moments[video] = {"duration": 20, "location": {str(number): spans}, "fps": 1.0}
    folder = folder / "annotations"
    folder.mkdir(parents=True)
    with (folder / "test.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    write_json(folder / "gsub_test.json", moments)
    write_json(folder / "map_vid_vidorID.json", {video: f"1164/{video}" for video in moments})
    videos = write_videos(folder.parent / "videos" / "1164", dict.fromkeys(moments, 20)).parent
    return BenchmarkData(folder / "test.csv", videos)


def write_rextime(folder: Path) -> BenchmarkData:
    """The same questions with four options and one moment each, half of them about videos of ActivityNet."""
    rows = []
    for number, (question, (answer, spans)) in enumerate(QUESTIONS.items()):
        video = f"v_abcdefghij{number}" if number % 2 else f"clip{number}_0.0_20.0"
        rows.append(
            {
                "qid": f"anet_val{number}",
                "vid": video,
                "duration": 20.0,
                "question": question,
                "options": COLOURS[:4],
                "answer": "From <s0> to <e0>, <option>.",
                "ans": "ABCD"[COLOURS.index(answer)],
                "span": spans[-1],
                "category": "sequential",
            }
        )
    anno = write_json(folder / "rextime_val.json", rows)
    write_videos(folder / "videos" / "activitynet", {r["vid"]: 20 for r in rows if r["vid"].startswith("v_")})
    write_videos(folder / "videos" / "qvhighlights", {r["vid"]: 20 for r in rows if r["vid"].startswith("clip")})
    return BenchmarkData(anno, folder / "videos")


def write_consistency(folder: Path, name: str = "charades") -> BenchmarkData:
    """The queries of MOMENTS with two rephrasings, one wrong sentence, and one question with either answer each."""
    words = {
        "a person opens a door.": ("the door is opened", "someone opens it", "the door is shut", "Is a door opened?"),
        "a person sits down.": ("she takes a seat", "she is seated", "she gets up", "Is she sitting?"),
    }
    content = {}
    for video, queries in MOMENTS.items():
        probes = []
        for query in queries:
            first, second, wrong, question = words.get(query, ("a", "b", "c", "Is it?"))
            probes.append({"A": [first, second], "M": [wrong], "C": {"Y": [question], "N": ["Is it raining?"]}})
        shifted = [[10.0, 20.0], [11.0, 20.0]][: len(queries)]
        content[video] = {"duration": 20.0, "sentences": list(queries), "timestamps": list(queries.values())}
        content[video] |= {"consistency_annotations": probes, "shifted_timestamps": shifted}
    anno = write_json(folder / f"{name}_consistency_test.json", content)
    videos = write_videos(folder / "videos" / name, SECONDS)
    write_videos(videos / "shifted_videos", {"AAAAA_0": 20, "AAAAA_1": 20})
    return BenchmarkData(anno, videos)


def json_lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Write rows, one per line."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
