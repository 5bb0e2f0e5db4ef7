"""Highlight detection (QVHighlights): mAP and HIT@1 at three levels of saliency, in percent.

Scores are per clip of 2 seconds; each clip of the ground truth was rated 0 to 4 by three annotators.
"""

from __future__ import annotations

import logging
import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from timechat.errors import AnnotationError, PredictionError
from timechat.evaluation.metrics.intervals import check_known_ids

logger = logging.getLogger(__name__)

CLIP_SECONDS = 2
SALIENCY_LEVELS = {"Fair": 2, "Good": 3, "VeryGood": 4}


def published_clip_of_time(seconds: float) -> int:
    """The published rule: the clip of a highlight at `seconds` is int((seconds - 1) / 2)."""
    return int((seconds - 1) / CLIP_SECONDS)


def highlight_scores(
    highlights: Sequence[tuple[float, float]],
    duration_s: float,
    clip_of_time: Callable[[float], int] = published_clip_of_time,
) -> list[float]:
    """Turn parsed highlights into one saliency score per 2-second clip, 0 where nothing was said.

    As published, a clip that several highlights name has the mean of their scores, and times behind the end of the
    video are dropped. A time in the rest of the video behind its last whole clip counts for that clip, a time that
    `clip_of_time` maps to less than 0 for the first one.

    Args:
        highlights: (second, score) pairs, as `parse_highlights` gives them.
        duration_s: length of the video in seconds, at least one clip.
        clip_of_time: seconds -> clip index.

    Raises:
        ValueError: a duration under one clip, or a time or score that is not finite.
    """
    clips = int(duration_s / CLIP_SECONDS)
    if clips < 1:
        raise ValueError(f"duration_s={duration_s} is shorter than one clip of {CLIP_SECONDS} seconds")
    said: dict[int, list[float]] = defaultdict(list)
    for seconds, score in highlights:
        if not (math.isfinite(seconds) and math.isfinite(score)):
            raise ValueError(f"highlight ({seconds}, {score}) is not finite")
        if seconds <= duration_s:
            said[min(max(clip_of_time(seconds), 0), clips - 1)].append(score)
    return [math.fsum(said[clip]) / len(said[clip]) if clip in said else 0.0 for clip in range(clips)]


def score_highlights(
    predictions: Sequence[Mapping[str, Any]], ground_truth: Sequence[Mapping[str, Any]]
) -> dict[str, float]:
    """Score saliency per clip as QVHighlights does.

    The published scorer drops queries without a prediction. "mAP@..." and "HIT@1@..." do the same, for comparable
    numbers; the keys that end in "/expected" count those queries as misses, and "found" and "expected" tell how many
    there are. Predictions with fewer or more scores than the video has clips are filled with zeros or cut, as
    published, and the log says how many.

    Args:
        predictions: [{"qid", "pred_saliency_scores": [float, one per clip]}, ...].
        ground_truth: rows of the QVHighlights file, with "qid", "duration" in seconds, "relevant_clip_ids" and
            "saliency_scores" [one per relevant clip][one per annotator].

    Returns:
        "mAP@L", "HIT@1@L", "mAP@L/expected", "HIT@1@L/expected" for L in Fair, Good, VeryGood, in percent with two
        decimals; "found" and "expected" as counts.

    Raises:
        PredictionError: an unknown or repeated qid, missing scores, a score that is not finite.
        AnnotationError: a ground truth that is empty, broken, unlabelled or uses a qid twice.
    """
    truth = _read_ground_truth(ground_truth)
    predicted = _read_predictions(predictions)
    check_known_ids(predicted, truth)
    unequal = sum(len(scores) != len(truth[qid]) for qid, scores in predicted.items())
    if unequal:
        logger.warning("%d of %d predictions have another length than their video has clips", unequal, len(predicted))
    result: dict[str, float] = {}
    for level, threshold in SALIENCY_LEVELS.items():
        positive = {qid: truth[qid] >= threshold for qid in predicted}
        ap = sum(_query_average_precision(positive[qid], scores) for qid, scores in predicted.items())
        hits = sum(_is_hit(positive[qid], scores) for qid, scores in predicted.items())
        for name, total in ((f"mAP@{level}", ap), (f"HIT@1@{level}", hits)):
            result[name] = _percent(total, len(predicted))
            result[f"{name}/expected"] = _percent(total, len(truth))
    return result | {"found": float(len(predicted)), "expected": float(len(truth))}


def average_precision(positive: NDArray[Any], scores: NDArray[Any]) -> float:
    """Interpolated average precision as in the published scorer.

    Clips of equal score enter together; precision is made non-increasing in recall and averaged over the *distinct*
    recall levels (not over positives). Without any negative clip it is 1, without any positive clip 0.

    Args:
        positive: bool [N].
        scores: float [N].
    """
    if not positive.any() or positive.all():
        return float(positive.all())
    order = np.argsort(-scores, kind="stable")
    last_of_tie = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    true_positives = np.cumsum(positive[order])[last_of_tie]
    precision = true_positives / (last_of_tie + 1)
    interpolated = np.maximum.accumulate(precision[::-1])[::-1]
    return float(interpolated[np.diff(true_positives, prepend=0) > 0].mean())


def _query_average_precision(positive: NDArray[Any], scores: NDArray[Any]) -> float:
    fitted = np.zeros(len(positive))
    length = min(len(positive), len(scores))
    fitted[:length] = scores[:length]
    return float(np.mean([average_precision(column, fitted) for column in positive.T]))


def _is_hit(positive: NDArray[Any], scores: NDArray[Any]) -> bool:
    clip = int(np.argmax(scores))
    return clip < len(positive) and bool(positive[clip].any())


def _percent(total: float, count: int) -> float:
    return float(f"{100 * total / count:.2f}") if count else 0.0


def _read_predictions(predictions: Sequence[Mapping[str, Any]]) -> dict[Any, NDArray[Any]]:
    result: dict[Any, NDArray[Any]] = {}
    for index, row in enumerate(predictions):
        where = f"predictions[{index}]"
        if not isinstance(row, Mapping) or "qid" not in row or not row.get("pred_saliency_scores"):
            raise PredictionError(f'{where}: needs "qid" and "pred_saliency_scores", a list with one number per clip')
        where += f" (qid {row['qid']!r})"
        if row["qid"] in result:
            raise PredictionError(f"{where}: this qid is used twice; keep one prediction per query")
        try:
            scores = np.asarray(row["pred_saliency_scores"], dtype=np.float64)
        except (TypeError, ValueError):
            scores = np.full(1, np.nan)
        if scores.ndim != 1 or not np.isfinite(scores).all():
            raise PredictionError(f"{where}: pred_saliency_scores must be a flat list of finite numbers")
        result[row["qid"]] = scores
    return result


def _read_ground_truth(rows: Sequence[Mapping[str, Any]]) -> dict[Any, NDArray[Any]]:
    """qid -> saliency [clips, annotators], 0 in clips that are not relevant."""
    if not rows:
        raise AnnotationError("ground truth: no rows; give the list of rows of the QVHighlights file")
    result: dict[Any, NDArray[Any]] = {}
    for index, row in enumerate(rows):
        where = f"ground truth row {index} (qid {row.get('qid')!r})"
        missing = [x for x in ("qid", "duration", "relevant_clip_ids", "saliency_scores") if x not in row]
        if missing:
            raise AnnotationError(f"{where}: {', '.join(missing)} missing; use a labelled split such as val")
        if row["qid"] in result:
            raise AnnotationError(f"{where}: this qid is used twice")
        result[row["qid"]] = _saliency_of_row(row, where)
    return result


def _saliency_of_row(row: Mapping[str, Any], where: str) -> NDArray[Any]:
    clips = int(row["duration"] / CLIP_SECONDS)
    ids = np.asarray(row["relevant_clip_ids"], dtype=np.int64)
    try:
        ratings = np.asarray(row["saliency_scores"], dtype=np.float64)
    except (TypeError, ValueError):
        ratings = np.zeros(0)
    if ratings.ndim != 2 or not ratings.shape[1] or len(ids) != len(ratings):
        raise AnnotationError(f"{where}: saliency_scores needs one list of ratings for each of {len(ids)} clips")
    if len(ids) and not 0 <= ids.min() <= ids.max() < clips:
        raise AnnotationError(f"{where}: relevant_clip_ids must lie in 0..{clips - 1} ({row['duration']} seconds)")
    saliency = np.zeros((clips, ratings.shape[1]))
    saliency[ids] = ratings
    return saliency
