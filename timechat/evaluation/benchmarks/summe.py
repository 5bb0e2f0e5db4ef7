"""SumMe: 25 videos, of which 15 to 18 users made summaries. F1 with the nearest user, rank correlation with all.

Reads the folder `GT/` of the download, or one file in it: NAME.mat with `user_score` [frames, users], above 0 where a
user kept the frame, and `FPS`. The id is NAME, the video NAME.mp4 or NAME.webm. MATLAB's files need SciPy:

    pip install 'timechat[summe]'

F1 is the largest over users, as papers have it since 2016; ranks are compared with the share of users who kept a frame.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from timechat.errors import AnnotationError, ConfigError
from timechat.evaluation.benchmarks.annotations import Row, check_rows, is_number, video_problems
from timechat.evaluation.benchmarks.summarization import SummarizationConfig, VideoSummarization
from timechat.lfs import refuse_pointer
from timechat.registry import registry


@registry.register_benchmark("summe", config=SummarizationConfig)
class SumMe(VideoSummarization):
    """Summaries by users; see the head of this file for its format."""

    def read_videos(self, anno_path: str | Path) -> list[Row]:
        """The videos of all files, in the order of their names."""
        path = Path(anno_path)
        files = sorted(path.glob("*.mat")) if path.is_dir() else [path]
        if not files:
            raise AnnotationError(f"{path}: holds no files NAME.mat; give SumMe's folder GT/")
        raw = [(file.name, {"id": file.stem, **_read_mat(file)}) for file in files]
        return [_row(row) for row in check_rows(path, raw, _problems, lambda row: row["id"])]

    def user_summaries(self, row: Row) -> NDArray[np.bool_]:
        """What users kept."""
        return row["importance"] > 0

    def f1_over_users(self, scores: NDArray[Any]) -> float:
        """The largest."""
        return float(scores.max())

    def annotated_ranks(self, row: Row) -> NDArray[Any]:
        """The share of users who kept each frame."""
        return row["importance"].mean(axis=0, keepdims=True)


def _read_mat(file: Path) -> dict[str, Any]:
    """`user_score` and `FPS` of a file, None where it has none."""
    if not file.is_file():
        raise AnnotationError(f"{file}: no such annotation file; correct its path, in an evaluation --anno-path")
    refuse_pointer(file, AnnotationError)
    if importlib.util.find_spec("scipy") is None:
        raise ConfigError(f"{file}: files of MATLAB need SciPy: pip install 'timechat[summe]'")
    from scipy.io import loadmat

    try:
        content = loadmat(file, variable_names=["user_score", "FPS"])
    except Exception as error:  # broken files raise whatever their bytes lead to
        raise AnnotationError(f"{file}: cannot be read as a file of MATLAB ({error}); download it again") from error
    rate = np.ravel(content.get("FPS", []))
    return {"user_score": content.get("user_score"), "fps": float(rate[0]) if rate.size == 1 else None}


def _row(raw: Row) -> Row:
    kept = (np.asarray(raw["user_score"], dtype=np.float64) > 0).astype(np.float64).T
    return {
        "id": raw["id"],
        "videos": (f"{raw['id']}.mp4", f"{raw['id']}.webm"),
        "duration": kept.shape[1] / raw["fps"],
        "importance": kept,
    }


def _problems(row: Row) -> Iterable[str]:
    yield from video_problems(row, "id")
    scores = row["user_score"]
    if scores is None or np.ndim(scores) != 2 or not np.issubdtype(np.asarray(scores).dtype, np.number):
        yield "user_score must be a table of numbers, [frames, users]; download it again"
    elif not (np.asarray(scores) > 0).any():
        yield "user_score keeps no frame; download it again"
    if not is_number(row["fps"]) or row["fps"] <= 0:
        yield f"FPS is {row['fps']!r}: it must be a number above 0"
