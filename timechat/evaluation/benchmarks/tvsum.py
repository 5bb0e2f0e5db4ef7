"""TVSum: 50 videos, each second of which 20 users rated from 1 to 5. F1 and rank correlation, means over users.

Reads `ydata-tvsum50-anno.tsv` of the download: no head; video, category, and a rating for each frame, joined by commas;
one line per user. Beside it must stand `ydata-tvsum50-info.tsv`, whose columns `video_id` and `length` (`m:ss`) say how
long a video lasts. The id is the video's, its file VIDEO.mp4.

Each user's summary is made from their ratings as the model's is from its own; F1 is the mean over users, and so are the
rank correlations with each user's ratings.
"""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from timechat.errors import AnnotationError
from timechat.evaluation.benchmarks.annotations import Row, check_rows, read_annotation_text, video_problems
from timechat.evaluation.benchmarks.summarization import SummarizationConfig, VideoSummarization
from timechat.evaluation.metrics.summarization import summarize
from timechat.registry import registry

ANNO, INFO = "ydata-tvsum50-anno.tsv", "ydata-tvsum50-info.tsv"
LOWEST, HIGHEST = 1, 5
_LENGTH = re.compile(r"(?:([0-9]+):)?([0-9]{1,3}):([0-9]{2})")


@registry.register_benchmark("tvsum", config=SummarizationConfig)
class TVSum(VideoSummarization):
    """Ratings of frames; see the head of this file for its format."""

    def read_videos(self, anno_path: str | Path) -> list[Row]:
        """The videos, with all ratings of each."""
        path = Path(anno_path) / ANNO if Path(anno_path).is_dir() else Path(anno_path)
        lines = [line for line in read_annotation_text(path).split("\n") if line.strip()]
        lengths = _read_lengths(path.with_name(INFO))
        users: dict[str, list[str]] = defaultdict(list)
        for number, line in enumerate(lines, 1):
            parts = line.rstrip("\r").split("\t")
            if len(parts) != 3:
                raise AnnotationError(
                    f"{path}, line {number}: {len(parts)} columns; expected video, category and ratings, with tabs"
                )
            users[parts[0]].append(parts[2])
        raw = [
            (f"video {name}", {"id": name, "ratings": _ratings(given), "duration": lengths.get(name)})
            for name, given in users.items()
        ]
        return [_row(row) for row in check_rows(path, raw, _problems, lambda row: row["id"])]

    def user_summaries(self, row: Row) -> NDArray[np.bool_]:
        """Made from each user's ratings, of the same segments."""
        segments = self.segments_of(row)
        return np.array([summarize(ratings, segments) for ratings in row["importance"]])

    def f1_over_users(self, scores: NDArray[Any]) -> float:
        """The mean."""
        return float(scores.mean())

    def annotated_ranks(self, row: Row) -> NDArray[Any]:
        """Each user's ratings."""
        return row["importance"]


def _read_lengths(path: Path) -> dict[str, float]:
    """Video -> seconds."""
    rows = list(csv.DictReader(read_annotation_text(path).splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE))
    if not rows or not {"video_id", "length"} <= rows[0].keys():
        raise AnnotationError(f"{path}: expected the columns video_id and length, with tabs; download it again")
    lengths = {}
    for row in rows:
        match = _LENGTH.fullmatch((row["length"] or "").strip())
        if match:
            hours, minutes, seconds = (int(part or 0) for part in match.groups())
            lengths[row["video_id"]] = 3600.0 * hours + 60 * minutes + seconds
    return lengths


def _ratings(lines: list[str]) -> list[NDArray[Any] | None]:
    """Each user's ratings as numbers; None where a line holds something else."""
    return [_numbers(line) for line in lines]


def _numbers(line: str) -> NDArray[Any] | None:
    try:
        return np.array(line.strip().strip(",").split(","), dtype=np.float64)
    except ValueError:
        return None


def _row(raw: Row) -> Row:
    return {
        "id": raw["id"],
        "videos": (f"{raw['id']}.mp4",),
        "duration": raw["duration"],
        "importance": np.stack(raw["ratings"]),
    }


def _problems(row: Row) -> Iterable[str]:
    yield from video_problems(row, "id")
    if not row["duration"]:
        yield f"no length as m:ss in {INFO}; add its line"
    ratings = row["ratings"]
    if any(user is None or not ((user >= LOWEST) & (user <= HIGHEST)).all() for user in ratings):
        yield f"its ratings must be numbers from {LOWEST} to {HIGHEST}, joined by commas"
    elif len({len(user) for user in ratings}) > 1:
        yield "its users rated different numbers of frames; download the file again"
