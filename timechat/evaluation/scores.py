"""Scores of records: their order, their spread, and their mean over seeds."""

from __future__ import annotations

import copy
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from timechat.errors import PredictionError
from timechat.evaluation.controls import standard_error

COUNTS = ("found", "parsed", "expected")


def ordered_scores(record: Mapping[str, Any]) -> dict[str, float]:
    """The scores of a record in percent, main ones first; without counts."""
    names = list(dict.fromkeys([*record["main_scores"], *record["percent"]]))
    return {name: record["percent"][name] for name in names if name in record["percent"] and name not in COUNTS}


def spread_of(record: Mapping[str, Any], name: str) -> float | None:
    """Standard deviation of a score over seeds, or standard error of a share of all questions; else None.

    In percent, as the scores are.
    """
    if record.get("seeds"):
        return record["seeds"]["std"].get(name)
    if name not in record["percent"] or not (name == "accuracy" or name.startswith("R@1 ")):
        return None
    return standard_error(record["percent"][name], scored_questions(record))


def scored_questions(record: Mapping[str, Any]) -> int:
    """How many questions the scores are of; EgoSchema asks more than it scores."""
    return int(record["percent"].get("expected", record["counts"]["expected"]))


def mean_record(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One record of runs that differ only in the seed.

    Args:
        records: of the runs, each with its seed under "settings".

    Returns:
        The first record with the means of scores and controls and the sums of counts, and with
        `"seeds": {"seeds": [...], "mean": {...}, "std": {...}}`: scores in percent, standard deviation of a sample.

    Raises:
        PredictionError: fewer than two runs, or runs that differ in something else.
    """
    if len(records) < 2:
        raise PredictionError(f"mean and standard deviation need 2 runs or more, not {len(records)}; raise --seeds")
    first = copy.deepcopy(dict(records[0]))
    for other in records[1:]:
        _must_agree(first, other)
    percents = [ordered_scores(record) for record in records]
    seconds = [r["seconds_per_video"] for r in records if r["seconds_per_video"] is not None]
    reasons: Counter[str] = sum((Counter(record["failure_reasons"]) for record in records), Counter())
    seeds = [record["settings"]["seed"] for record in records]
    return first | {
        "scores": _mean([record["scores"] for record in records]),
        "percent": _mean([record["percent"] for record in records]),
        "controls": _mean([record["controls"] for record in records]),
        "counts": {key: sum(record["counts"][key] for record in records) for key in first["counts"]},
        "failure_reasons": dict(reasons.most_common()),
        "seconds_per_video": statistics.fmean(seconds) if seconds else None,
        "videos_of_this_run": sum(record["videos_of_this_run"] for record in records),
        "settings": first["settings"] | {"seed": seeds},
        "seeds": {
            "seeds": seeds,
            "mean": _mean(percents),
            "std": {name: statistics.stdev(p[name] for p in percents) for name in percents[0]},
        },
    }


def _must_agree(first: Mapping[str, Any], other: Mapping[str, Any]) -> None:
    ours, theirs = ({**r["settings"], "benchmark": r["benchmark"], "seed": None} for r in (first, other))
    keys = [key for key in sorted({*ours, *theirs}) if ours.get(key) != theirs.get(key)]
    keys += ["scores"] if first["percent"].keys() != other["percent"].keys() else []
    if keys:
        raise PredictionError(f"runs of several seeds differ in {', '.join(keys)}; evaluate all of them again")


def _mean(values: Sequence[Any]) -> Any:
    """Of numbers, and of numbers within mappings; of anything else the first."""
    if all(isinstance(value, Mapping) for value in values):
        return {key: _mean([value[key] for value in values if key in value]) for key in values[0]}
    if all(isinstance(value, int | float) for value in values):
        return statistics.fmean(values)
    return values[0]
