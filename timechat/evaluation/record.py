"""What an evaluation leaves behind: the record of scores.json and the files beside it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from timechat import distributed
from timechat.errors import PredictionError
from timechat.evaluation.answers import read_answers
from timechat.evaluation.benchmarks import Benchmark, Question, Result
from timechat.evaluation.controls import video_durations
from timechat.evaluation.outputs import read_json
from timechat.evaluation.predict import Predictions
from timechat.evaluation.report import SCORES
from timechat.io import git_commit, write_json, write_json_lines, write_text

DURATIONS = "durations.json"


def scores_of(benchmark: Benchmark, result: Result, predictions: Predictions) -> dict[str, Any]:
    """The part of a record that scoring gives: scores, controls, counts, notes, speed."""
    return {
        "benchmark": benchmark.name,
        "task": benchmark.task,
        "scores": result.scores,
        "percent": benchmark.in_percent(result.scores),
        "main_scores": list(benchmark.main_scores),
        "controls": result.controls,
        "counts": {
            "expected": len(result.examples),
            "found": len(predictions.answers),
            "unparsable": len(result.failures),
            "unreadable_videos": len({row["video"] for row in predictions.unreadable}),
        },
        "failure_reasons": dict(Counter(failure.reason for failure in result.failures).most_common()),
        "notes": list(result.notes),
        "seconds_per_video": predictions.seconds_per_video,
        "videos_of_this_run": predictions.new_videos,
        "processes": distributed.world_size(),
        "git_commit": git_commit(),
    }


def write_record(output_dir: Path, record: Mapping[str, Any], result: Result) -> None:
    """Write the record, the predictions in the benchmark's shape, the failures and the benchmark's own files."""
    write_json(output_dir / SCORES, record)
    write_json(output_dir / f"{record['benchmark']}_predictions.json", result.predictions)
    write_json_lines(output_dir / "failures.jsonl", (asdict(failure) for failure in result.failures))
    for name, text in result.files.items():
        write_text(output_dir / name, text)


def check_scores(output_dir: str | Path, questions: Sequence[Question]) -> None:
    """A finished evaluation is not overwritten by one of fewer questions, or of several seeds.

    Raises:
        PredictionError: saying what the folder holds.
    """
    path = Path(output_dir) / SCORES
    if not path.is_file():
        return
    record = _read_scores(path)
    expected, asked = record.get("counts", {}).get("expected", 0), {question.id for question in questions}
    if "seeds" in record:
        raise PredictionError(f"{path}: is the mean of several seeds; give another --output-dir")
    if expected > len(asked) or not read_answers(output_dir).keys() <= asked:
        raise PredictionError(
            f"{path}: is about {expected} questions, and this run would ask {len(asked)} (see --limit and --ids); "
            "give another --output-dir, or --overwrite to discard the answers there"
        )


def check_joint_scores(output_dir: str | Path, seeds: Sequence[int]) -> None:
    """The mean over some seeds is only overwritten by one over these seeds and more.

    Raises:
        PredictionError: saying what the folder holds.
    """
    path = Path(output_dir) / SCORES
    if not path.is_file():
        return
    there = _read_scores(path).get("seeds")
    if not isinstance(there, dict) or not set(there.get("seeds", ())) <= set(seeds):
        found = f"of the seeds {there.get('seeds')}" if isinstance(there, dict) else "of one run"
        raise PredictionError(
            f"{path}: is {found}, this run is of the seeds {list(seeds)}; "
            "give another --output-dir, or --overwrite to discard it"
        )


def _read_scores(path: Path) -> dict[str, Any]:
    record = read_json(path)
    if not isinstance(record, dict):
        raise PredictionError(f"{path}: expected an object; give another --output-dir, or --overwrite")
    return record


def cached_durations(videos: Mapping[str, Path], output_dir: Path) -> dict[str, float]:
    """How long each video is, in seconds; those that cannot be read are left out.

    Every file has to be opened for this, so the durations are cached in the folder; a file whose size changed is opened
    again.

    Args:
        videos: name -> file.
        output_dir: gets `durations.json`.
    """
    path = output_dir / DURATIONS
    known = read_json(path) if path.is_file() else {}
    sizes = {name: file.stat().st_size for name, file in videos.items() if file.is_file()}
    new = {name: videos[name] for name, size in sizes.items() if known.get(name, {}).get("bytes") != size}
    if new:
        found = video_durations(new)
        known |= {name: {"bytes": sizes[name], "seconds": seconds} for name, seconds in found.items()}
        write_json(path, known)
    return {name: known[name]["seconds"] for name, size in sizes.items() if known.get(name, {}).get("bytes") == size}
