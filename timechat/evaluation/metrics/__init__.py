"""Scores of the benchmarks: each function takes (predictions, ground truth) and returns a dict of floats."""

from __future__ import annotations

from timechat.evaluation.metrics.dense_captioning import score_dense_captions
from timechat.evaluation.metrics.grounding import score_grounding
from timechat.evaluation.metrics.highlights import highlight_scores, score_highlights
from timechat.evaluation.metrics.multiple_choice import parse_choice, parse_yes_no, score_choices

__all__ = [
    "highlight_scores",
    "parse_choice",
    "parse_yes_no",
    "score_choices",
    "score_dense_captions",
    "score_grounding",
    "score_highlights",
]
