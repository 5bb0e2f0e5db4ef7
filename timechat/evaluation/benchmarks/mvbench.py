"""MVBench: 20 tasks of 200 multiple-choice questions. Accuracy, of each task and on average.

"accuracy/official" is by the rule of MVBench's own script: the first word of an answer has to be the letter.

Reads the folder of the raw files (`action_sequence.json`, ..., one per task), or one of these files for that task only;
JSON lines and parquet (also `action_sequence/train-00000-of-00001.parquet`) with the same columns as well:
`[{"video", "question", "candidates": [strings], "answer": text}]`; five tasks ask about a part of the video and have
`"start"` and `"end"` in seconds as well (without them, the videos have to be cut already). The id is
`action_sequence/0`: task and number of the row.

The folder of videos is either form that is offered for download: the source data sets as they are (`star/`, `sta/`,
`tvqa/frames_fps3_hq/`: folders of frames, 3 a second), or the clips that have been cut already (`*_segment`) and
converted (`ssv2_video_mp4`, `nturgbd_convert`). Each video is taken from where it is there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from timechat.errors import AnnotationError
from timechat.evaluation.benchmarks.annotations import (
    Row,
    check_rows,
    interval_problems,
    video_problems,
)
from timechat.evaluation.benchmarks.public_rules import PubliclyScored
from timechat.evaluation.benchmarks.question_answering import choice_problems, index_of, row_id
from timechat.evaluation.benchmarks.rows import file_of, part_of, read_rows
from timechat.evaluation.metrics.multiple_choice import LETTERS
from timechat.registry import registry

FRAME_RATE = 3.0  # of tvqa/frames_fps3_hq
_SECOND_DOWNLOAD = "data0613"  # an archive with videos that the first one lacked, in the same folders


class MVBenchTask(NamedTuple):
    """One of the 20 tasks.

    Attributes:
        name: as papers print it.
        folder: where its videos are, below the folder of videos.
        cut_folder: where its videos are when they are cut or converted already; "" where there is no such form.
        clips: whether its rows have start and end.
        frames: whether its videos are folders of frames.
    """

    name: str
    folder: str
    cut_folder: str = ""
    clips: bool = False
    frames: bool = False


_STAR = ("star/Charades_v1_480", "star/Charades_segment", True)
TASKS = {
    "action_sequence": MVBenchTask("Action Sequence", *_STAR),
    "action_prediction": MVBenchTask("Action Prediction", *_STAR),
    "action_antonym": MVBenchTask("Action Antonym", "ssv2_video", "ssv2_video_mp4"),
    "fine_grained_action": MVBenchTask("Fine-grained Action", "Moments_in_Time_Raw/videos"),
    "unexpected_action": MVBenchTask("Unexpected Action", "FunQA_test/test"),
    "object_existence": MVBenchTask("Object Existence", "clevrer/video_validation"),
    "object_interaction": MVBenchTask("Object Interaction", *_STAR),
    "object_shuffle": MVBenchTask("Object Shuffle", "perception/videos"),
    "moving_direction": MVBenchTask("Moving Direction", "clevrer/video_validation"),
    "action_localization": MVBenchTask("Action Localization", "sta/sta_video", "sta/sta_video_segment", True),
    "scene_transition": MVBenchTask("Scene Transition", "scene_qa/video"),
    "action_count": MVBenchTask("Action Count", "perception/videos"),
    "moving_count": MVBenchTask("Moving Count", "clevrer/video_validation"),
    "moving_attribute": MVBenchTask("Moving Attribute", "clevrer/video_validation"),
    "state_change": MVBenchTask("State Change", "perception/videos"),
    "fine_grained_pose": MVBenchTask("Fine-grained Pose", "nturgbd", "nturgbd_convert"),
    "character_order": MVBenchTask("Character Order", "perception/videos"),
    "egocentric_navigation": MVBenchTask("Egocentric Navigation", "vlnqa"),
    "episodic_reasoning": MVBenchTask(
        "Episodic Reasoning", "tvqa/frames_fps3_hq", "tvqa/video_fps3_hq_segment", True, True
    ),
    "counterfactual_inference": MVBenchTask("Counterfactual Inference", "clevrer/video_validation"),
}


@registry.register_benchmark("mvbench")
class MVBench(PubliclyScored):
    """Twenty tasks; see the head of this file for its formats."""

    main_scores = ("accuracy", "average of tasks")

    def read(self, anno_path: str | Path) -> list[Row]:
        """The rows of all tasks, or of the one whose file is named."""
        path = Path(anno_path)
        if not path.is_dir():
            if part_of(path) not in TASKS:
                raise AnnotationError(
                    f"{path}: name the folder of MVBench's 20 files, or one of them ({', '.join(TASKS)})"
                )
            return _read_task(path)
        files = {key: file_of(path, key) for key in TASKS}
        missing = [f"{key}.json" for key, file in files.items() if file is None]
        if missing:
            raise AnnotationError(
                f"{path}: {len(missing)} of MVBench's {len(TASKS)} files are missing ({', '.join(missing)}); "
                "download them, or name one file to evaluate only its task"
            )
        return [row for file in files.values() if file is not None for row in _read_task(file)]

    def clip_of(self, row: Row, video: str) -> tuple[float | None, float | None, float | None]:
        """Start and end, unless the video has been cut already."""
        task = TASKS[row["task"]]
        if not task.clips or _is_below(video, task.cut_folder):
            return None, None, None
        return row["start"], row["end"], FRAME_RATE if task.frames else None

    def read_by_rule(self, answer: str, row: Row) -> int | None:
        """As MVBench's own script: the first word has to be a letter in brackets, or a part of that.

        An answer that fits every option ("(", or nothing), which is always right there, is none here.
        """
        first = answer.strip().split("\n")[0].lower().split(" ")[0]
        letters = [f"({letter.lower()})" for letter in LETTERS[: len(row["options"])]]
        fitting = [i for i, letter in enumerate(letters) if first.replace(".", "") in letter or letter in first]
        return fitting[0] if len(fitting) == 1 else None

    def evaluate(self, rows: list[Row], parsed: Mapping[str, Any], answered: set[str]) -> tuple[dict[str, float], Any]:
        """Accuracy over all questions, of each task, and the mean over the tasks that were asked."""
        scores, predictions = super().evaluate(rows, parsed, answered)
        tasks = [scores[name] for name in dict.fromkeys(row["categories"][0] for row in rows)]
        return {**scores, "average of tasks": sum(tasks) / len(tasks)}, predictions


def _read_task(path: Path) -> list[Row]:
    key = part_of(path)
    placed = read_rows(path, "a list of questions")
    rows = [
        (where, {**row, "id": f"{key}/{n}"} if isinstance(row, dict) else row) for n, (where, row) in enumerate(placed)
    ]
    return [_row(key, row) for row in check_rows(path, rows, lambda row: _problems(row, TASKS[key]), row_id)]


def _row(key: str, raw: Row) -> Row:
    task = TASKS[key]
    return {
        "id": raw["id"],
        "task": key,
        "videos": _names(task, raw),
        "question": raw["question"].strip(),
        "options": raw["candidates"],
        "answer": index_of(raw["answer"], raw["candidates"]),
        "categories": (task.name,),
        "start": raw.get("start"),
        "end": raw.get("end"),
    }


def _names(task: MVBenchTask, raw: Row) -> tuple[str, ...]:
    """Where the video may be: as it is, in the second download, cut or converted (then perhaps as .mp4)."""
    path = PurePosixPath(raw["video"])
    whole = [f"{task.folder}/{path}", f"{_SECOND_DOWNLOAD}/{task.folder}/{path}"]
    if not task.cut_folder:
        return tuple(whole)
    cut = dict.fromkeys(f"{task.cut_folder}/{name}" for name in (path, path.with_suffix(".mp4")))
    return tuple(cut) if task.clips and raw.get("start") is None else (*whole, *cut)


def _is_below(video: str, folder: str) -> bool:
    return bool(folder) and PurePosixPath(folder) in PurePosixPath(video).parents


def _problems(row: Row, task: MVBenchTask) -> Iterable[str]:
    yield from video_problems(row, "video")
    yield from choice_problems(row, "question", "candidates", "answer")
    if task.clips and (row.get("start") is not None or row.get("end") is not None):
        yield from interval_problems([row.get("start"), row.get("end")], "[start, end]")
