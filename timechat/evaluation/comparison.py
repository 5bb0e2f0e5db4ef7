"""Several evaluations side by side, for a terminal, and a test of whether their answers differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from timechat.evaluation.resampling import CONFIDENCE, PAIRED_RESAMPLES, QuestionScores, paired_test
from timechat.evaluation.scores import spread_of
from timechat.evaluation.tables import MISSING, number, text_table

_WIDEST = 48  # characters of a setting that are shown
_OUTCOMES = ("found / expected", "unparsable", "s / video")

Record = Mapping[str, Any]


def compare(records: Mapping[str, Record], questions: Mapping[str, QuestionScores | None] | None = None) -> str:
    """Finished evaluations, one row each.

    One table per benchmark: main scores in percent, what was counted, seconds per video; below it the settings in
    which its runs differ, and a paired test of the first run and each other one. Where no benchmark was evaluated
    twice, there is one table for all.

    Args:
        records: name of a run -> its record.
        questions: name of a run -> its scores of each question, None where it has none; without, nothing is tested.
    """
    groups: dict[str, dict[str, Record]] = {}
    for name, record in records.items():
        groups.setdefault(record["benchmark"], {})[name] = record
    if len(groups) == len(records):
        return _joint_table(records)
    parts = []
    for benchmark, runs in groups.items():
        parts.append(_benchmark_table(benchmark, runs))
        first, *others = runs
        parts += [_paired(runs, first, other, questions) for other in others if questions is not None]
    return "\n".join(parts)


def _joint_table(records: Mapping[str, Record]) -> str:
    rows = [
        (
            record["benchmark"],
            "  ".join(f"{name} {_score(record, name)}" for name in record["main_scores"]),
            *_outcomes(record),
        )
        for record in records.values()
    ]
    return text_table(("benchmark", "scores (percent)", *_OUTCOMES), rows)


def _benchmark_table(benchmark: str, runs: Mapping[str, Record]) -> str:
    names = list(dict.fromkeys(name for record in runs.values() for name in record["main_scores"]))
    rows = [(run, *(_score(record, name) for name in names), *_outcomes(record)) for run, record in runs.items()]
    table = text_table((benchmark, *names, *_OUTCOMES), rows)
    settings = {run: _settings(record) for run, record in runs.items()}
    differing = [
        (key, *(_short(of_run.get(key)) for of_run in settings.values()))
        for key in dict.fromkeys(key for of_run in settings.values() for key in of_run)
        if any(of_run.get(key) != next(iter(settings.values())).get(key) for of_run in settings.values())
    ]
    if len(runs) < 2:
        return table
    if not differing:
        return f"{table}All settings are equal.\n"
    return f"{table}\nSettings that differ:\n{text_table(('setting', *runs), differing)}"


def _paired(runs: Mapping[str, Record], first: str, second: str, questions: Mapping[str, QuestionScores | None]) -> str:
    """Whether two runs differ, score by score, over the questions that both have."""
    ours, theirs = questions.get(first), questions.get(second)
    if ours is None or theirs is None:
        without = " and ".join(name for name in (first, second) if questions.get(name) is None)
        return f"{first} against {second}: no paired test, because {without} has no scores of each question.\n"
    rows, untested = [], []
    for name in runs[first]["main_scores"]:
        test = paired_test(ours, theirs, name)
        if test is None:
            untested.append(name)
            continue
        values = (test.first, test.second, test.difference)
        interval, p = f"{test.low:+.2f} to {test.high:+.2f}", f"{test.p:.4f}"
        rows.append((name, *map(number, values), interval, p, str(test.questions), str(test.videos)))
    notes = [*_unshared(first, ours, theirs), *_unshared(second, theirs, ours)]
    notes += (
        [f"Not tested: {', '.join(untested)} (no mean over questions, or none that both have)."] if untested else []
    )
    if rows:
        head = ("score", "first", "second", "difference", f"{CONFIDENCE:g}% interval", "p", "questions", "videos")
        notes.insert(
            0,
            "Over the questions that both have. Interval: bootstrap over videos; p: answers exchanged between the runs "
            f"by video; {PAIRED_RESAMPLES} resamples each.",
        )
        return f"{first} (first) against {second} (second):\n{text_table(head, rows)}" + "\n".join(notes) + "\n"
    return "\n".join([f"{first} against {second}: no question is scored in both.", *notes]) + "\n"


def _unshared(name: str, own: QuestionScores, other: QuestionScores) -> list[str]:
    """How many questions only this run has; the same id about another video is another question."""
    alone = [key for key, video in own.videos.items() if other.videos.get(key) != video]
    if not alone:
        return []
    return [f"{len(alone)} of {len(own.videos)} questions are only in {name}, for example {alone[0]}: left out."]


def _score(record: Record, name: str) -> str:
    value = record["percent"].get(name)
    return number(value) if value is None else number(value, spread_of(record, name))


def _outcomes(record: Record) -> tuple[str, str, str]:
    counts = record["counts"]
    speed = record.get("seconds_per_video")
    return f"{counts['found']} / {counts['expected']}", str(counts["unparsable"]), number(speed)


def _settings(record: Record) -> dict[str, Any]:
    """Everything that was set, flat; what does not change scores is left out."""
    names = (
        "limit",
        "ids",
        "anno_path",
        "annotations_sha256",
        "videos_dir",
        "train_anno",
        "system_prompt",
        "git_commit",
    )
    weights = {f"model.{name}": path for name, path in record.get("checkpoint", {}).items()}
    options = {f"benchmark option {name}": value for name, value in (record.get("benchmark_options") or {}).items()}
    own = {key: record[key] for key in names if key in record}
    return {
        **record.get("settings", {}),
        **weights,
        "prompt file": record.get("prompt", {}).get("file"),
        **options,
        **own,
    }


def _short(value: Any) -> str:
    text = MISSING if value is None else " ".join(str(value).split())
    return text if len(text) <= _WIDEST else f"...{text[3 - _WIDEST :]}"
