"""Several evaluations side by side, for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from timechat.evaluation.scores import spread_of
from timechat.evaluation.tables import MISSING, number, text_table

_WIDEST = 48  # characters of a setting that are shown
_OUTCOMES = ("found / expected", "unparsable", "s / video")

Record = Mapping[str, Any]


def compare(records: Mapping[str, Record]) -> str:
    """Finished evaluations, one row each.

    One table per benchmark: main scores in percent, what was counted, seconds per video; below it the settings in
    which its runs differ. Where no benchmark was evaluated twice, there is one table for all.

    Args:
        records: name of a run -> its record.
    """
    groups: dict[str, dict[str, Record]] = {}
    for name, record in records.items():
        groups.setdefault(record["benchmark"], {})[name] = record
    if len(groups) == len(records):
        return _joint_table(records)
    return "\n".join(_benchmark_table(benchmark, runs) for benchmark, runs in groups.items())


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


def _score(record: Record, name: str) -> str:
    value = record["percent"].get(name)
    return number(value) if value is None else number(value, spread_of(record, name))


def _outcomes(record: Record) -> tuple[str, str, str]:
    counts = record["counts"]
    speed = record.get("seconds_per_video")
    return f"{counts['found']} / {counts['expected']}", str(counts["unparsable"]), number(speed)


def _settings(record: Record) -> dict[str, Any]:
    """Everything that was set, flat; what does not change scores is left out."""
    own = {key: record.get(key) for key in ("limit", "ids", "train_anno", "system_prompt", "git_commit")}
    options = {f"benchmark option {name}": value for name, value in (record.get("benchmark_options") or {}).items()}
    return {**record.get("settings", {}), "prompt file": record.get("prompt", {}).get("file"), **options, **own}


def _short(value: Any) -> str:
    text = MISSING if value is None else " ".join(str(value).split())
    return text if len(text) <= _WIDEST else f"...{text[3 - _WIDEST :]}"
