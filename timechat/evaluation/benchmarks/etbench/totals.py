"""From samples to E.T. Bench's tables: by task and source, tasks as means over sources, groups as means over tasks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from timechat.evaluation.benchmarks.annotations import Row
from timechat.evaluation.benchmarks.etbench.captions import caption_scores, event_scores
from timechat.evaluation.benchmarks.etbench.rows import EVENTS, TASKS
from timechat.evaluation.benchmarks.etbench.scores import sample_scores
from timechat.evaluation.metrics.captions import Meteor
from timechat.evaluation.metrics.similarity import SentenceSimilarity

# What papers print of each task, in their order.
HEADLINES = tuple(
    name
    for task in TASKS.values()
    for name in ((task.headline, f"{task.name} Sim") if task.answer == EVENTS else (task.headline,))
)
# What papers print of all tasks together -> the scores that it is the mean of.
GROUPS = {
    "Referring Acc": ("RAR Acc", "EVC Acc", "RVQ Acc"),
    "Grounding F1": ("TVG F1", "EPM F1", "TAL F1", "EVS F1", "VHD F1"),
    "Captioning F1": ("DVC F1", "SLC F1"),
    "Captioning Sim": ("DVC Sim", "SLC Sim"),
    "Complex Rec": ("TEM Rec", "GVQ Rec"),
}
# Scores of tasks besides the one that papers print.
FURTHER = ("Acc", "METEOR", "ROUGE_L", "CIDEr", "BLEU_4", "Sim", "Sim/expected", "F1/expected")

Sources = dict[str, dict[str, dict[str, float]]]  # task -> source -> score -> fraction


def by_source(
    rows: Sequence[Row],
    parsed: Mapping[str, Any],
    meteor: Meteor | None = None,
    similarity: SentenceSimilarity | None = None,
) -> Sources:
    """Scores of every task and source, with "Total" and "Failed" (missing or unparsed) as counts.

    Args:
        rows, parsed: as for `Benchmark.evaluate`.
        meteor, similarity: compare captions; None leaves these scores out.
    """
    groups: dict[str, dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        groups[row["task"]][row["source"]].append(row)
    return {
        task: {source: _source_scores(group, parsed, meteor, similarity) for source, group in groups[task].items()}
        for task in TASKS
        if task in groups
    }


def _source_scores(
    rows: Sequence[Row], parsed: Mapping[str, Any], meteor: Meteor | None, similarity: SentenceSimilarity | None
) -> dict[str, float]:
    task = rows[0]["task"]
    said = {row["id"]: parsed[row["id"]] for row in rows if row["id"] in parsed}
    counts = {"Total": len(rows), "Failed": len(rows) - len(said)}
    if TASKS[task].answer == EVENTS:
        captions = caption_scores(rows, said, meteor, similarity) if meteor and similarity else {}
        return counts | event_scores(rows, said) | captions
    scores = _mean([sample_scores(row, parsed.get(row["id"])) for row in rows])
    if task == "evs":  # as published, samples without an answer leave the denominator
        expected = scores["F1"]
        return counts | {"F1": expected * len(rows) / len(said) if said else 0.0, "F1/expected": expected}
    return counts | scores


def task_scores(sources: Sources) -> dict[str, float]:
    """In percent: those of tasks, then those of groups all of whose tasks were asked."""
    scores: dict[str, float] = {}
    for task, by_name in sources.items():
        means = _mean(list(by_name.values()))
        name, headline = TASKS[task].name, TASKS[task].score
        scores |= {f"{name} {key}": 100 * means[key] for key in (headline, *FURTHER) if key in means}
    groups = {
        group: fmean(scores[name] for name in names)
        for group, names in GROUPS.items()
        if all(name in scores for name in names)
    }
    return scores | groups


def weighted_shares(rows: Sequence[Row], parsed: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Score -> id -> percent, so weighted that their mean is the mean over sources."""
    groups: dict[str, dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        counts = TASKS[row["task"]].answer != EVENTS and (row["task"] != "evs" or row["id"] in parsed)
        if counts:
            groups[row["task"]][row["source"]].append(row)
    shares = {}
    for task, by_name in groups.items():
        headline, total = TASKS[task].score, sum(map(len, by_name.values()))
        shares[TASKS[task].headline] = {
            row["id"]: 100 * sample_scores(row, parsed.get(row["id"]))[headline] * total / (len(by_name) * len(group))
            for group in by_name.values()
            for row in group
        }
    return shares


def _mean(scores: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: fmean(score[name] for score in scores) for name in scores[0]}
