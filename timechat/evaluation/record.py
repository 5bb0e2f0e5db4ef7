"""What an evaluation leaves behind: the record of scores.json and the files beside it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from timechat.errors import PredictionError
from timechat.evaluation.answers import read_answers
from timechat.evaluation.benchmarks import Benchmark, Result
from timechat.evaluation.outputs import read_json, read_json_lines
from timechat.evaluation.report import SCORES
from timechat.evaluation.resampling import QuestionScores, bootstrap, is_mean
from timechat.io import git_commit, write_json, write_json_lines, write_text

QUESTION_SCORES = "question_scores.jsonl"


def scores_of(
    benchmark: Benchmark, result: Result, *, unreadable_videos: int = 0, resamples: int = 0
) -> dict[str, Any]:
    """The part of a record that scoring gives: scores, controls, counts, confidence intervals, notes.

    Args:
        benchmark, result: what was scored.
        unreadable_videos: how many there were.
        resamples: of the bootstrap; 0 leaves it out.
    """
    percent = benchmark.in_percent(result.scores)
    record: dict[str, Any] = {
        "benchmark": benchmark.name,
        "task": benchmark.task,
        "scores": result.scores,
        "percent": percent,
        "main_scores": list(benchmark.main_scores),
        "controls": result.controls,
        "counts": {
            "expected": len(result.examples),
            "found": len(result.examples) - len(result.unanswered),
            "unparsable": len(result.failures),
            "unreadable_videos": unreadable_videos,
        },
        "failure_reasons": dict(Counter(failure.reason for failure in result.failures).most_common()),
        "notes": list(result.notes),
        "git_commit": git_commit(),
    }
    if resamples:
        record["bootstrap"] = bootstrap(question_scores(benchmark, result), percent, benchmark.main_scores, resamples)
    return record


def question_scores(benchmark: Benchmark, result: Result) -> QuestionScores:
    """Each question's share of the main scores, in percent; scores of which they are not the mean are left out."""
    percent = benchmark.in_percent(result.scores)
    shares = {
        name: {key: benchmark.in_percent({name: value})[name] for key, value in values.items()}
        for name, values in result.shares.items()
    }
    videos = {example.id: example.video for example in result.examples}
    return QuestionScores(videos, {name: s for name, s in shares.items() if is_mean(s, percent.get(name))})


def write_record(output_dir: Path, record: Mapping[str, Any], benchmark: Benchmark, result: Result) -> None:
    """Write the record, the predictions in the benchmark's shape, each question's scores, the failures and the
    benchmark's own files."""
    write_json(output_dir / SCORES, record)
    write_json(output_dir / f"{record['benchmark']}_predictions.json", result.predictions)
    write_json_lines(output_dir / QUESTION_SCORES, question_scores(benchmark, result).rows())
    write_json_lines(output_dir / "failures.jsonl", (asdict(failure) for failure in result.failures))
    for name, text in result.files.items():
        write_text(output_dir / name, text)


def read_question_scores(output_dir: str | Path) -> QuestionScores | None:
    """What `write_record` wrote about each question; None where an evaluation has no such file.

    Raises:
        PredictionError: it is not what was written.
    """
    path = Path(output_dir) / QUESTION_SCORES
    if not path.is_file():
        return None
    try:
        return QuestionScores.of_rows(read_json_lines(path))
    except (KeyError, TypeError, AttributeError) as error:
        raise PredictionError(f"{path}: needs id, video and scores in each line ({error}); score it again") from error


def check_scores(output_dir: str | Path, ids: Collection[str]) -> None:
    """A finished evaluation is not overwritten by one of fewer questions, or of several seeds.

    Args:
        ids: of the questions that a run may ask.

    Raises:
        PredictionError: saying what the folder holds.
    """
    path = Path(output_dir) / SCORES
    if not path.is_file():
        return
    record = _read_scores(path)
    expected, asked = record.get("counts", {}).get("expected", 0), set(ids)
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
