"""The answers in an output folder: which are there already, whether they may be kept, and how they are merged."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from timechat import distributed
from timechat.errors import PredictionError
from timechat.evaluation.benchmarks import Question
from timechat.evaluation.outputs import read_json, read_json_lines
from timechat.io import write_json, write_json_lines

logger = logging.getLogger(__name__)

MERGED = "predictions.jsonl"
UNREADABLE = "unreadable.jsonl"
SETTINGS = "settings.json"
_RANK_FILES = "predictions.rank*.jsonl"
_FIELDS = {"id", "video", "prompt", "answer"}


def rank_file(output_dir: Path) -> Path:
    """Where this process appends its answers."""
    return output_dir / f"predictions.rank{distributed.rank()}.jsonl"


def prepare_folder(
    output_dir: Path, questions: Sequence[Question], settings: Mapping[str, Any], videos_dir: Path, *, overwrite: bool
) -> set[str]:
    """Check and merge the answers that are there; call it in every process.

    Every process checks before the main process writes, so that all of them stop with the same error.

    Args:
        output_dir: of the run.
        questions: all that are asked.
        settings: everything that answers depend on, as JSON has it.
        videos_dir: folder of the videos.
        overwrite: discard the answers instead.

    Returns:
        Ids of the questions that have been answered.

    Raises:
        PredictionError: as `check_earlier_answers`.
    """
    if overwrite and distributed.is_main_process():
        for path in (*_answer_files(output_dir), output_dir / UNREADABLE, output_dir / SETTINGS):
            path.unlink(missing_ok=True)
    distributed.barrier()
    check_earlier_answers(output_dir, questions, settings, videos_dir)
    distributed.barrier()
    if distributed.is_main_process():
        write_json(output_dir / SETTINGS, settings)
        merge_answers(output_dir)
    distributed.barrier()
    done = read_answers(output_dir).keys() & {question.id for question in questions}
    if done:
        logger.info("%s: %d of %d answers are there already", output_dir, len(done), len(questions))
    return done


def read_answers(output_dir: str | Path) -> dict[str, str]:
    """Id -> answer, of all answers in the folder, merged or not."""
    rows = (row for path in _answer_files(Path(output_dir)) for row in read_json_lines(path))
    return {row["id"]: row["answer"] for row in rows}


def merge_answers(output_dir: Path) -> None:
    """All answers into one file, each id once; then the files of the ranks go."""
    files = _answer_files(output_dir)
    rows = {row["id"]: row for path in files for row in read_json_lines(path)}
    write_json_lines(output_dir / MERGED, rows.values())
    for path in files:
        if path.name != MERGED:
            path.unlink()


def check_earlier_answers(
    output_dir: str | Path, questions: Sequence[Question], settings: Mapping[str, Any], videos_dir: str | Path
) -> None:
    """Whether answers that an earlier run left can be kept; a folder without a single answer always passes.

    Annotations and videos may have moved since: what counts is that questions are the same, and that files of videos
    which are there have the same size.

    Raises:
        PredictionError: naming the settings or the question that differ, and how to go on.
    """
    files = {path: read_json_lines(path) for path in _answer_files(Path(output_dir))}
    if any(files.values()):
        _check_settings(Path(output_dir), settings)
        _check_rows(files, questions, Path(videos_dir))


def size_of(video: Path) -> int | None:
    """Bytes of a video's file; None for a folder of frames and where there is none."""
    return video.stat().st_size if video.is_file() else None


def _check_rows(files: Mapping[Path, list[Any]], questions: Sequence[Question], videos_dir: Path) -> None:
    """Earlier answers must belong to the same questions: equal ids may be a coincidence."""
    asked = {question.id: question for question in questions}
    for path, rows in files.items():
        for row in rows:
            if not isinstance(row, dict) or not row.keys() >= _FIELDS:
                raise PredictionError(
                    f"{path}: {str(row)[:60]!r} needs id, video, prompt and answer; remove the line, or --overwrite"
                )
            question = asked.get(row["id"])
            if question and _asked_in(row) != (question.video, question.start, question.end, question.prompt):
                raise PredictionError(
                    f"{path}: answer {row['id']} belongs to another question: {row['video']!r}, {row['prompt']!r} "
                    f"there, {question.video!r}, {question.prompt!r} now; give another --output-dir, or --overwrite"
                )
            now = size_of(videos_dir / row["video"]) if question else None
            if row.get("video_bytes") not in (None, now) and now is not None:
                raise PredictionError(
                    f"{path}: answer {row['id']} is about a file {row['video']} of {row['video_bytes']} bytes, and the "
                    f"one in {videos_dir} has {now}; give another --output-dir, or --overwrite"
                )


def _asked_in(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return row["video"], row.get("start"), row.get("end"), row["prompt"]


def _check_settings(output_dir: Path, asked: Mapping[str, Any]) -> None:
    path = output_dir / SETTINGS
    if not path.is_file():
        raise PredictionError(
            f"{output_dir}: holds answers but no {SETTINGS}, so it is unknown how they were made; "
            "give another --output-dir, or --overwrite to discard them"
        )
    found = read_json(path)
    if not isinstance(found, dict):
        raise PredictionError(f"{path}: expected an object; give another --output-dir, or --overwrite")
    keys = [key for key in sorted({*found, *asked}) if found.get(key) != asked.get(key)]
    if keys:
        listed = "\n  ".join(f"{key}: {found.get(key)!r} there, {asked.get(key)!r} now" for key in keys)
        raise PredictionError(
            f"{path}: the answers there were made with other settings; give another --output-dir, or --overwrite "
            f"to discard them:\n  {listed}"
        )


def _answer_files(output_dir: Path) -> list[Path]:
    merged = output_dir / MERGED
    return [path for path in (merged, *sorted(output_dir.glob(_RANK_FILES))) if path.is_file()]
