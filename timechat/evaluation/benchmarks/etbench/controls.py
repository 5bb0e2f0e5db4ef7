"""Controls of E.T. Bench: each task's score for answers that ignore video or question."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from timechat.evaluation.benchmarks.annotations import Row
from timechat.evaluation.benchmarks.etbench.answers import GroundedOption, Option
from timechat.evaluation.benchmarks.etbench.rows import CHOICE, EVENTS, GROUNDED_CHOICE, MOMENT, TASKS
from timechat.evaluation.benchmarks.etbench.totals import by_source, task_scores
from timechat.evaluation.controls import (
    BLIND,
    CONSTANT,
    NO_DURATION,
    SHUFFLED,
    WHOLE,
    Controls,
    ControlTable,
    missing_durations,
)

FIRST = Option(0)
NOTES = {
    CONSTANT: "always option (A); it is not fitted, because there is no train split",
    WHOLE: "from 0 to the end of the video, as one event in DVC and SLC, with option (A) in GVQ; in VHD its middle",
    SHUFFLED: "the answer to another sample of the same task and source",
}


def task_controls(
    rows: list[Row], parsed: Mapping[str, Any], answered: set[str], lengths: Mapping[str, float | None]
) -> Controls:
    """All tasks' controls in one table.

    Args:
        rows, parsed, answered: as for `Benchmark.evaluate`.
        lengths: id -> seconds of the sample's video, where they are known.
    """
    merged = Controls(table={}, by_queries={}, left_out={}, notes={})
    for task in TASKS:
        asked = [row for row in rows if row["task"] == task]
        if asked:
            merged["table"] |= _controls_of(task, asked, parsed, answered, lengths)["table"]
    used = {control for values in merged["table"].values() for control in values}
    merged["notes"] = {control: note for control, note in NOTES.items() if control in used}
    if WHOLE in used:
        merged["notes"][WHOLE] += missing_durations([lengths[row["id"]] for row in rows])
    elif any(TASKS[row["task"]].answer != CHOICE for row in rows):
        merged["left_out"][WHOLE] = NO_DURATION
    if SHUFFLED not in used:
        merged["left_out"][SHUFFLED] = "needs two samples of the same task and source"
    merged["left_out"][BLIND] = "needs several queries about a video, and most videos have one"
    return merged


def _controls_of(
    task: str,
    rows: list[Row],
    parsed: Mapping[str, Any],
    answered: set[str],
    lengths: Mapping[str, float | None],
) -> Controls:
    own = {row["id"] for row in rows}
    table = ControlTable(
        lambda asked, said, _: task_scores(by_source(asked, said)),
        rows,
        {key: said for key, said in parsed.items() if key in own},
        answered & own,
        lambda row: row["id"],
        (TASKS[task].headline,),
    )
    if TASKS[task].answer == CHOICE:
        table.add(CONSTANT, dict.fromkeys(own, FIRST), NOTES[CONSTANT])
    known = {key: length for key, length in lengths.items() if key in own and length is not None}
    if TASKS[task].answer != CHOICE and known:
        table.add(WHOLE, {key: _whole(task, length) for key, length in known.items()}, NOTES[WHOLE])
    table.shuffle_within_groups(lambda row: row["source"], "of the same task and source")
    return table.result()


def _whole(task: str, length: float) -> Any:
    """The answer that takes the whole video, as `parse` would return it."""
    form, whole = TASKS[task].answer, (0.0, length)
    if form == MOMENT:
        return length / 2
    if form == EVENTS:
        return [{"timestamp": list(whole), "caption": ""}]
    return GroundedOption(FIRST, (whole,)) if form == GROUNDED_CHOICE else [whole]
