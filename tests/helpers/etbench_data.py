"""Miniature data of E.T. Bench: samples of all twelve tasks, answers to them, and scores computed by hand."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from helpers.benchmark_data import BenchmarkData, write_json
from helpers.videos import write_video

SECONDS = 20  # of every video
EXAMPLE = "Say it as 'The event happens in <start> - <end>'. For example: 'The event happens in 10.2 - 12.8 seconds'."
DOES = ["sits down", "opens the door", "drinks", "reads a book"]

# task, source -> what each sample has besides what all have; its idx is its position.
SAMPLES: dict[tuple[str, str], list[dict[str, Any]]] = {
    ("rar", "perception_test"): [{"o": DOES, "p": 1, "src": [4.0]}, {"o": DOES, "p": 0, "src": [8.0]}],
    ("eca", "charades_sta"): [{"o": [[0.0, 5.0], [5.0, 10.0], [10.0, 15.0], [15.0, 20.0]], "p": 2}],
    ("rvq", "star"): [{"o": DOES, "p": 3}, {"o": DOES, "p": 1}],
    ("tvg", "charades_sta"): [{"tgt": [2.0, 10.0]}],
    ("tvg", "qvhighlights"): [{"tgt": [0.0, 10.0]}, {"tgt": [0.0, 10.0]}],
    ("epm", "ego4d_nlq"): [{"tgt": [10.0, 20.0]}],
    ("tal", "thumos14"): [{"tgt": [[0.0, 10.0], [12.0, 20.0]]}],
    ("evs", "tvsum"): [{"tgt": [[0.0, 4.0], [10.0, 14.0]]}, {"tgt": [[0.0, 4.0]]}],
    ("vhd", "qvhighlights"): [{"tgt": [[[2.0, 4.0]], [[8.0, 10.0]]]}],
    ("vhd", "youtube_highlights"): [{"tgt": [[0.0, 5.0]]}],
    ("dvc", "youcook2"): [
        {"tgt": [[0.0, 10.0], [10.0, 20.0]], "g": ["cut the bread in half", "add the ham and cheese"]},
        {"tgt": [[0.0, 10.0]], "g": ["boil the eggs in water"]},
    ],
    ("slc", "hirest_step"): [{"tgt": [[0.0, 10.0]], "g": ["peel all of the eggs"]}],
    ("tem", "perception_test"): [{"tgt": [[0.0, 5.0], [10.0, 20.0]], "src": [0.0, 5.0]}],
    ("gvq", "qa_ego4d"): [{"o": DOES, "p": 1, "tgt": [5.0, 15.0]}, {"o": DOES, "p": 0, "tgt": [5.0, 15.0]}],
}
# One answer cannot be parsed (tvg/qvhighlights/1), one is missing (evs/tvsum/1).
ANSWERS = {
    "rar/perception_test/0": "(B) opens the door",
    "rar/perception_test/1": "Best Option: (C",
    "eca/charades_sta/0": "It is the part at 10.0 - 15.0.",
    "rvq/star/0": "D",
    "rvq/star/1": "(A) sits down",
    "tvg/charades_sta/0": "The event happens in 2.0 - 10.0 seconds.",
    "tvg/qvhighlights/0": "The event happens in 0.0 - 5.0 seconds.",
    "tvg/qvhighlights/1": "The event happens in 10.2 - 12.8 seconds.",
    "epm/ego4d_nlq/0": "From 10 to 17 seconds.",
    "tal/thumos14/0": "The event happens in 0.0 - 10.0 and 14.0 - 16.0 seconds.",
    "evs/tvsum/0": "The summary locates in 2.0 - 6.0 seconds.",
    "vhd/qvhighlights/0": "The highlight is at 9.0 seconds.",
    "vhd/youtube_highlights/0": "There are 2 highlights, at 7 seconds and later.",
    "dvc/youcook2/0": "0.0 - 10.0 seconds, cut the bread in half.  10.0 - 20.0 seconds, add the ham and cheese.",
    "dvc/youcook2/1": "0.0 - 5.0 seconds, boil the eggs in water.",
    "slc/hirest_step/0": "0.0 - 10.0 seconds, peel all of the eggs.",
    "tem/perception_test/0": "The event happens in 12.0 - 20.0 seconds.",
    "gvq/qa_ego4d/0": "(B) The event happens in 5.0 - 10.0 seconds.",
    "gvq/qa_ego4d/1": "B. The event happens in 5.0 - 15.0 seconds.",
}
# In percent; METEOR is 1 for equal captions, and random words have nothing in common with any.
BY_HAND = {
    "RAR Acc": 100 / 2,
    "EVC Acc": 100,
    "RVQ Acc": 100 / 2,
    "TVG F1": 100 * (1 + (3 / 4 + 0) / 2) / 2,  # IoU 1 in one source; 0.5 and the prompt's own example in the other
    "EPM F1": 100 * 3 / 4,  # an IoU of exactly 0.7 is less than 0.7
    "TAL F1": 100 * (1 + 3 * 0.5) / 4,  # IoU 1 and 0.25 of two
    "EVS F1": 100 / 3,  # two of four seconds, which should be eight; the missing one does not count
    "EVS F1/expected": 100 / 6,
    "VHD F1": 100 / 2,
    "DVC F1": 100 * (1 + 1 + 1 / 2 + 1 / 2) / 4,  # IoU 1, and 0.5, which is less with 1e-8 in its denominator
    "DVC METEOR": 100 * (1 + 1 / 2) / 2,
    "DVC ROUGE_L": 100 * (1 + 1 / 2) / 2,
    "DVC CIDEr": 100 * (10 + 0) / 2,  # of a single pair every word is in all of its references
    "SLC F1": 100,
    "TEM Rec": 100,  # the better one of two, IoU 0.8
    "GVQ Rec": 100 * (3 / 4 + 0) / 2,  # the second one has the right times and the wrong option
    "GVQ Acc": 100 / 2,
    "Referring Acc": 200 / 3,
    "Grounding F1": 100 * (11 / 16 + 3 / 4 + 5 / 8 + 1 / 3 + 1 / 2) / 5,
    "Captioning F1": 100 * (3 / 4 + 1) / 2,
    "Complex Rec": 100 * (1 + 3 / 8) / 2,
}


def etbench_rows() -> list[dict[str, Any]]:
    """All samples as the merged file has them."""
    return [
        {
            "version": 1.0,
            "idx": idx,
            "task": task,
            "source": source,
            "video": f"{source}/{task}_{idx}.mp4",
            "duration": float(SECONDS),
            **sample,
            "q": f"[{task}/{source}/{idx}] What is asked for? {EXAMPLE}",
        }
        for (task, source), samples in SAMPLES.items()
        for idx, sample in enumerate(samples)
    ]


def write_etbench(folder: Path) -> BenchmarkData:
    """The merged file, and a video for each sample."""
    rows = etbench_rows()
    videos = folder / "videos"
    for number, row in enumerate(rows):
        path = videos / row["video"]
        path.parent.mkdir(parents=True, exist_ok=True)
        if number:
            shutil.copyfile(videos / rows[0]["video"], path)
        else:
            write_video(path, frames=SECONDS, fps=1)
    return BenchmarkData(write_json(folder / "annotations" / "etbench_txt_v1.0.json", rows), videos)
