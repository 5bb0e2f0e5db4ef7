"""Charades-CON and ActivityNet-CON: does a model stand by its own answer?

Jung et al., CVPR 2025. Where the model finds a moment (IoU 0.5 or more), it is asked more about it:

- rephrased: the same in other words; the moment should be the one that it found first;
- shifted: the same in a video in which the moment was moved; the moment should be where it is now;
- holistic verification: does the event happen in the moment that it found, or is it absent there? For the query, its
  rephrasings, and sentences that are not true of it;
- compositional verification: yes-or-no questions about parts of the event in that moment.

Reads the authors' files (`charades_consistency_test.json`, ...): `{VID: {"duration", "sentences": [...], "timestamps":
[[start, end], ...], "consistency_annotations": [{"A": [...], "M": [...], "C": {"Y": [...], "N": [...]}}],
"shifted_timestamps": [[start, end], ...]}}`, seconds. The ids are VID#k/ground, VID#k/rephrased/0, VID#k/shifted,
VID#k/verify/..., VID#k/compose/..., k counting a video's sentences from 0. The moved videos, which the authors' script
makes, are `shifted_videos/VID_k.mp4` beside the others.

The rules are those of the authors' script: IoU over the hull, rounded to two digits; of hits the true moment is cut at
the video's end. R-Ground, S-Ground, H-Verify and C-Verify are shares of the hits, times Ground; "(relative)" is the
share itself. It draws one of eight questions for each verification, and asks GPT-4o mini about answers of more than one
word. Here each id has its own of two questions, and there is no judge: an answer that says neither yes nor no is wrong.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from timechat.errors import ConfigError
from timechat.evaluation.benchmarks.activitynet import video_files
from timechat.evaluation.benchmarks.annotations import Annotations, Row
from timechat.evaluation.benchmarks.consistency_forms import consistency_rows
from timechat.evaluation.benchmarks.contract import Example, Question, Result
from timechat.evaluation.benchmarks.grounding import TemporalGrounding, true_interval
from timechat.evaluation.benchmarks.structured import Answer
from timechat.evaluation.benchmarks.timeit import is_timeit
from timechat.evaluation.controls import Controls
from timechat.evaluation.metrics.consistency import (
    COMPOSE,
    GROUND,
    HIT_IOU,
    REPHRASED,
    SHIFTED,
    VERIFY,
    Probe,
    published_iou,
    score_consistency,
)
from timechat.evaluation.metrics.multiple_choice import parse_yes_no
from timechat.evaluation.parsing import parse_grounding
from timechat.evaluation.prompting import PROMPTS, fill_prompt, load_prompt
from timechat.registry import registry

PRESENT, ABSENT = "consistency_present.txt", "consistency_absent.txt"
_YES_NO = (VERIFY, COMPOSE)


class Consistency(TemporalGrounding):
    """Grounding with follow-up questions; see the head of this file."""

    task = "consistency of temporal grounding"
    prompt_file = "consistency.txt"
    max_new_tokens = 64
    main_scores = ("Ground", "R-Ground", "S-Ground", "H-Verify", "C-Verify")
    control_scores = ("R@1 IoU=0.3", "Ground", "R@1 IoU=0.7", "mIoU")
    split_score = "Ground"

    def read(self, anno_path: str | Path) -> list[Row]:
        """The rows of every query: that of the query itself, then those that may follow it."""
        return consistency_rows(anno_path)

    def load_annotations(
        self, anno_path: str | Path, *, limit: int | None = None, ids: Collection[str] | None = None
    ) -> Annotations:
        """As of every benchmark; both choose queries, with everything that may follow them."""
        rows = self.read(anno_path)
        unknown = sorted(set(ids or ()) - {row["id"] for row in rows})
        if unknown or (ids is not None and not ids):
            told = f"{len(unknown)} of the ids are not there ({', '.join(unknown[:5])})" if unknown else "no ids"
            raise ConfigError(f"{anno_path}: {told}; correct --ids")
        chosen = [row["key"] for row in rows if ids is None or row["id"] in set(ids)]
        keys = set(list(dict.fromkeys(chosen))[:limit])
        return Annotations(anno_path, [row for row in rows if row["key"] in keys])

    def videos_of(self, row: Row) -> tuple[str, ...]:
        """The video, or the one in which the moment was moved."""
        if row["asks"] == SHIFTED:
            return (f"shifted_videos/{row['key'].replace('#', '_')}.mp4",)
        return video_files(row["image_id"])

    def query_of(self, row: Row) -> str:
        """The question itself; of verification it names the moment that the model found."""
        if row["asks"] not in _YES_NO:
            return fill_prompt(load_prompt(PROMPTS / "grounding.txt"), row["caption"])
        start, end = (f"{min(time, row['duration']):.1f}" for time in row["found"])
        when = f"from {start} to {end} seconds"
        if row["asks"] == COMPOSE:
            return f"{row['caption'].rstrip('? ')} {when} of the video? Reply with yes or no."
        prompt = load_prompt(PROMPTS / (PRESENT if asks_for_presence(row) else ABSENT))
        return fill_prompt(prompt, f"'{row['caption']}', {when}")

    def question_of(self, row: Row) -> str:
        """The sentence or question of the annotations."""
        return row["caption"]

    def names_times(self, row: Row) -> bool:
        """Verification is answered by yes or no."""
        return row["asks"] not in _YES_NO

    def parse(self, answer: str, row: Row) -> Any:
        """The intervals, of which the first one counts, or whether the answer is yes."""
        return parse_yes_no(answer) if row["asks"] in _YES_NO else parse_grounding(answer)

    def questions(
        self, annotations: Annotations, prompt: str, *, videos_dir: str | Path | None = None
    ) -> list[Question]:
        """Where each query happens; `follow_ups` are the others."""
        first = [row for row in annotations.rows if row["asks"] == GROUND]
        return super().questions(Annotations(annotations.path, first), prompt, videos_dir=videos_dir)

    def follow_ups(
        self,
        annotations: Annotations,
        prompt: str,
        answers: Mapping[str, str],
        *,
        videos_dir: str | Path | None = None,
    ) -> list[Question]:
        """Everything about the queries that were found."""
        asked = [row for row in self._asked(annotations, answers, prompt) if row["asks"] != GROUND]
        return super().questions(Annotations(annotations.path, asked), prompt, videos_dir=videos_dir)

    def score(
        self,
        answers: Mapping[str, Answer],
        annotations: Annotations,
        *,
        prompt: str | Mapping[str, str] | None = None,
        **options: Any,
    ) -> Result:
        """As of every benchmark; answers to what follows a query that was not found play no part."""
        asked = self._asked(annotations, answers, prompt)
        ignored = {row["id"] for row in annotations.rows} - {row["id"] for row in asked}
        kept = {key: answer for key, answer in answers.items() if key not in ignored}
        return super().score(kept, Annotations(annotations.path, asked), prompt=prompt, **options)

    def read_train(self, path: str | Path) -> list[Row]:
        """The queries of the benchmark's own form, or TimeIT's form for training."""
        return super().read_train(path) if is_timeit(path) else [r for r in self.read(path) if r["asks"] == GROUND]

    def evaluate(self, rows: list[Row], parsed: Mapping[str, Any], answered: set[str]) -> tuple[dict[str, float], Any]:
        """The authors' scores, and R@1 and mean IoU of the queries."""
        probes = [_probe(row, parsed.get(row["id"]), row["id"] in answered) for row in rows]
        counts = {"found": len(answered), "parsed": len(parsed), "expected": len(rows)}
        return score_consistency(probes) | counts, {
            row["id"]: _as_json(parsed.get(row["id"])) for row in rows if row["id"] in answered
        }

    def shares(
        self, rows: list[Row], parsed: Mapping[str, Any], answered: set[str]
    ) -> Mapping[str, Mapping[str, float]]:
        """Of each query with everything that follows it."""
        groups: dict[str, list[Row]] = {}
        for row in rows:
            groups.setdefault(row["key"], []).append(row)
        shares: dict[str, dict[str, float]] = {name: {} for name in self.main_scores}
        for key, group in groups.items():
            alone, _ = self.evaluate(group, parsed, answered)
            for name in self.main_scores:
                if name in alone:
                    shares[name][f"{key}/{GROUND}"] = alone[name]
        return shares

    def example(self, row: Row, parsed: Any | None) -> Example:
        """Quality is the IoU, or 1 for the right yes or no."""
        if row["asks"] in _YES_NO:
            return Example(
                row["id"], row["image_id"], row["caption"], float(parsed is not None and parsed == expects(row))
            )
        true = tuple(row["found"]) if row["asks"] == REPHRASED else true_interval(row)
        predicted = (parsed or [])[:1]
        quality = published_iou(predicted[0], true) if predicted else 0.0
        return Example(row["id"], self.videos_of(row)[0], row["caption"], quality, [true], predicted)

    def controls(
        self,
        rows: list[Row],
        parsed: Mapping[str, Any],
        answered: set[str],
        train: list[Row] | None,
        durations: Mapping[str, float],
    ) -> Controls:
        """As of temporal grounding, of the queries."""
        first = [row for row in rows if row["asks"] == GROUND]
        ids = {row["id"] for row in first}
        said = {key: value for key, value in parsed.items() if key in ids}
        return super().controls(first, said, answered & ids, train, durations)

    def notes(self, rows: list[Row], parsed: Mapping[str, Any]) -> list[str]:
        """How many queries were followed up, and what a model that always says yes would have."""
        first = [row for row in rows if row["asks"] == GROUND]
        probed = {row["key"] for row in rows if row["asks"] != GROUND}
        told = [f"{len(probed)} of {len(first)} queries were found (IoU {HIT_IOU} or more) and followed up."]
        for asks, name in ((VERIFY, "H-Verify"), (COMPOSE, "C-Verify")):
            right = [expects(row) for row in rows if row["asks"] == asks]
            if right:
                told.append(f"{name} (relative) would be {100 * sum(right) / len(right):.2f} if every answer were yes.")
        return told

    def _asked(
        self, annotations: Annotations, answers: Mapping[str, Answer], prompt: str | Mapping[str, str] | None
    ) -> list[Row]:
        """The queries, and of those that were found what follows, with the moment that was found."""
        first = {row["id"]: row for row in annotations.rows if row["asks"] == GROUND}
        given = {key: answers[key] for key in first if key in answers}
        parsed, _ = self._parse_all(given, Annotations(annotations.path, list(first.values())), prompt)
        found = {first[key]["key"]: moments[0] for key, moments in parsed.items() if _is_hit(first[key], moments[0])}
        return [
            {**row, "found": found.get(row["key"])}
            for row in annotations.rows
            if row["asks"] == GROUND or row["key"] in found
        ]


@registry.register_benchmark("charades_con")
class CharadesCON(Consistency):
    """707 queries about videos of Charades."""


@registry.register_benchmark("activitynet_con")
class ActivityNetCON(Consistency):
    """1,422 queries about videos of ActivityNet."""


def asks_for_presence(row: Row) -> bool:
    """Which of the two questions a verification is: whether the event is there, or whether it is absent."""
    return hashlib.sha256(row["id"].encode()).digest()[0] % 2 == 0


def expects(row: Row) -> bool:
    """Whether the right answer to a verification is yes."""
    return row["true"] if row["asks"] == COMPOSE else row["true"] == asks_for_presence(row)


def _is_hit(row: Row, moment: tuple[float, float]) -> bool:
    start, end = (min(time, row["duration"]) for time in true_interval(row))
    return published_iou(moment, (start, end)) >= HIT_IOU


def _probe(row: Row, said: Any, answered: bool) -> Probe:
    if row["asks"] in _YES_NO:
        return Probe(row["asks"], float(said is not None and said == expects(row)), answered)
    true = tuple(row["found"]) if row["asks"] == REPHRASED else true_interval(row)
    return Probe(row["asks"], published_iou(said[0], true) if said else 0.0, answered)


def _as_json(said: Any) -> Any:
    return [list(interval) for interval in said] if isinstance(said, list) else said
