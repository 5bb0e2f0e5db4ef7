"""Dense video captioning (YouCook2, ActivityNet): SODA_c, CIDEr, METEOR, precision, recall and F1, as fractions.

But for the paragraph scores, every score is computed per video and averaged over *all* videos of the ground truth. The
rules are those of the published scorer (checked to 1e-4):

- A prediction and a true event match when their IoU is *greater* than 0.3, 0.5, 0.7, 0.9; the union has 1e-8 added to
  it, so a quotient of exactly 0.5 is no match. Precision is the share of
  predictions with a match, recall the share of events with one. F1 is taken per video from the precision and recall
  averaged over the four thresholds; "F1@0.3" ... from those at one threshold.
- CIDEr and METEOR of a video at a threshold are corpus scores over all matched pairs; a prediction without a match
  counts as a pair whose reference nothing can match. They are averaged over thresholds.
- SODA_c (Fujita et al., ECCV 2020) is the F1 of the best order-preserving one-to-one alignment under IoU x METEOR.
  METEOR takes the *prediction* as reference there, as in the SODA code.
- The published scorer numbers a video's predictions by strings and reads METEOR back in the order "0", "1", "10", "11",
  "2", ...: from the 11th prediction on, a prediction is weighed with the caption of another. "SODA_c" keeps that, since
  the numbers of the literature have it; "SODA_c_aligned" is the same score without the mix-up. Up to ten predictions
  per video the two are equal. Predictions and true events are ordered by their starts first; those that start
  together stay in the order of their file.
- "Paragraph_CIDEr" and "Paragraph_METEOR" are corpus scores over videos: all captions of a video, joined in the order
  of time, against the true ones, of both only the letters A to Z, in lower case. Times play no other part. A video
  without predictions has an empty paragraph (the published scorer compares the paragraphs of different videos then).

Videos are scored in the order of their names, so the scores are the same bits whatever the order of the files.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from timechat.errors import AnnotationError, PredictionError
from timechat.evaluation.metrics.captions import NO_WORDS, UNMATCHED, CaptionPair, Meteor, cider, tokenize
from timechat.evaluation.metrics.intervals import check_known_ids, interval_iou, read_interval

IOU_THRESHOLDS = (0.3, 0.5, 0.7, 0.9)
SHORTEST_CAPTION = 5  # characters: anything this short is not a caption, where captions are split at full stops

Event = tuple[float, float, str]  # start, end in seconds, caption


@dataclass
class _Video:
    """Predictions (ordered by time) and true events of one video; captions are tokenized, iou is [N, M]."""

    predicted: list[str]
    true: list[str]
    iou: NDArray[Any]

    def pairs(self, threshold: float) -> list[CaptionPair]:
        """Pairs for CIDEr and METEOR; empty when nothing matches, since the score is 0 then."""
        matched = self.iou > threshold
        if not matched.any():
            return []
        pairs = [(self.predicted[i], self.true[j]) for i, j in np.argwhere(matched)]
        return pairs + [(self.predicted[i], UNMATCHED) for i in np.flatnonzero(~matched.any(axis=1))]

    @property
    def string_order(self) -> list[int]:
        """Positions of the predictions when their numbers are sorted as strings."""
        return sorted(range(len(self.predicted)), key=str)

    def soda_pairs(self) -> dict[tuple[int, int], CaptionPair]:
        """(i, j) -> the pair whose METEOR SODA_c needs: prediction as reference, event as hypothesis.

        Only what overlaps has weight, in the order of the file or in that of the strings.
        """
        needed = self.iou > 0
        needed[self.string_order] |= self.iou > 0
        return {(i, j): (self.true[j], self.predicted[i]) for i, j in np.argwhere(needed)}


def score_dense_captions(
    predictions: Mapping[str, Sequence[Mapping[str, Any]]],
    ground_truth: Mapping[str, Any],
    meteor: Meteor | None = None,
) -> dict[str, float]:
    """Score predicted events and captions of every video. A video without predictions scores 0 everywhere.

    Args:
        predictions: {"<image_id>": [{"timestamp": [start, end], "caption": str}, ...]} in seconds.
        ground_truth: {"annotations": [{"image_id", "segments": [[start, end], ...], and either "captions": [str, ...]
            or "pure_cap": all captions, joined by ". "}]}.
        meteor: a METEOR process to use, for several calls in a row; None starts one and ends it.

    Returns:
        Fractions "SODA_c", "SODA_c_aligned", "CIDEr", "METEOR", "F1", "Precision@0.3" ... "Recall@0.9" ... "F1@0.9",
        "Precision" and "Recall" (means over thresholds), "Paragraph_CIDEr", "Paragraph_METEOR";
        "predictions_per_video"; the counts "found" (videos with an entry), "parsed" (those with at least one event)
        and "expected".

    Raises:
        PredictionError: an id that the ground truth does not have, or a broken event.
        AnnotationError: a ground truth that is empty or broken, or a video with more captions than segments or fewer.
        TimeChatError: no Java runtime, or METEOR or the tokenizer failed.
    """
    truth = _read_ground_truth(ground_truth)
    check_known_ids(predictions, truth)
    events = {key: _read_predictions(key, predictions[key]) for key in sorted(predictions)}
    parsed = {key: value for key, value in events.items() if value}
    counts = {
        "predictions_per_video": sum(map(len, parsed.values())) / len(truth),
        "found": float(len(events)),
        "parsed": float(len(parsed)),
        "expected": float(len(truth)),
    }
    if not parsed:
        return _mean_scores([], len(truth)) | {"Paragraph_CIDEr": 0.0, "Paragraph_METEOR": 0.0} | counts
    with Meteor() if meteor is None else nullcontext(meteor) as running:
        running.start()  # it loads its tables while the captions are tokenized
        scores = _video_scores(_tokenized_videos(parsed, truth), running)
        paragraphs = _paragraph_scores(parsed, truth, running)
    return _mean_scores(scores, len(truth)) | paragraphs | counts


def score_dense_caption_videos(
    predictions: Mapping[str, Sequence[Mapping[str, Any]]],
    ground_truth: Mapping[str, Any],
    meteor: Meteor | None = None,
) -> dict[str, dict[str, float]]:
    """Each video's scores, whose means over all videos are those of `score_dense_captions`; paragraphs have none.

    Args:
        predictions, ground_truth, meteor: as there.

    Returns:
        <image_id> -> the fractions; a video without events is not there, it adds 0.

    Raises:
        PredictionError, AnnotationError, TimeChatError: as there.
    """
    truth = _read_ground_truth(ground_truth)
    check_known_ids(predictions, truth)
    parsed = {key: events for key in sorted(predictions) if (events := _read_predictions(key, predictions[key]))}
    if not parsed:
        return {}
    with Meteor() if meteor is None else nullcontext(meteor) as running:
        running.start()
        return dict(zip(parsed, _video_scores(_tokenized_videos(parsed, truth), running), strict=True))


def align_in_order(weights: NDArray[Any]) -> float:
    """Weight of the best one-to-one alignment of rows and columns that keeps both in order; weights [N, M] >= 0."""
    best: NDArray[Any] = np.zeros(weights.shape[1] + 1)  # best[j]: rows so far against the first j columns
    for row in weights:
        with_row = np.maximum(best[1:], best[:-1] + row)
        best = np.maximum.accumulate(np.concatenate(([0.0], with_row)))
    return float(best[-1])


def _detection_scores(iou: NDArray[Any]) -> dict[str, float]:
    """Precision and recall of one video at every threshold, their means, and F1 of the means; iou [N, M]."""
    precision = {t: float((iou > t).any(axis=1).mean()) for t in IOU_THRESHOLDS}
    recall = {t: float((iou > t).any(axis=0).mean()) for t in IOU_THRESHOLDS}
    p, r = (sum(x.values()) / len(IOU_THRESHOLDS) for x in (precision, recall))
    scores = {"F1": _f1(p, r), "Precision": p, "Recall": r}
    scores |= {f"Precision@{t}": value for t, value in precision.items()}
    scores |= {f"Recall@{t}": value for t, value in recall.items()}
    return scores | {f"F1@{t}": _f1(precision[t], recall[t]) for t in IOU_THRESHOLDS}


def _f1(precision: float, recall: float) -> float:
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _caption_scores(videos: Sequence[_Video], meteor: Meteor) -> list[tuple[float, float]]:
    """(CIDEr, METEOR) of every video, averaged over thresholds."""
    corpora = [video.pairs(threshold) for video in videos for threshold in IOU_THRESHOLDS]
    matched = [index for index, pairs in enumerate(corpora) if pairs]
    scores = np.zeros((len(corpora), 2))
    scores[matched, 0] = [cider(corpora[index]) for index in matched]
    scores[matched, 1] = meteor.corpus_scores([corpora[index] for index in matched])
    means = scores.reshape(len(videos), len(IOU_THRESHOLDS), 2).mean(axis=1)
    return [(float(c), float(m)) for c, m in means]


def _soda_scores(videos: Sequence[_Video], meteor: Meteor) -> list[tuple[float, float]]:
    """(SODA_c as published, SODA_c with captions aligned) of every video."""
    pairs = [video.soda_pairs() for video in videos]
    scores = meteor.segment_scores(pair for needed in pairs for pair in needed.values())
    result = []
    for video, needed in zip(videos, pairs, strict=True):
        table = np.zeros(video.iou.shape)
        for position, pair in needed.items():
            table[position] = scores[pair]
        published, aligned = (align_in_order(video.iou * x) for x in (table[video.string_order], table))
        size = sum(video.iou.shape)
        result.append((2 * published / size, 2 * aligned / size))
    return result


def _video_scores(videos: Sequence[_Video], meteor: Meteor) -> list[dict[str, float]]:
    """All scores of every video."""
    captions, soda = _caption_scores(videos, meteor), _soda_scores(videos, meteor)
    return [
        {"SODA_c": published, "SODA_c_aligned": aligned, "CIDEr": c, "METEOR": m, **_detection_scores(video.iou)}
        for video, (c, m), (published, aligned) in zip(videos, captions, soda, strict=True)
    ]


def _mean_scores(scores: Sequence[Mapping[str, float]], videos: int) -> dict[str, float]:
    """Sums over the scored videos, divided by the number of all videos."""
    names = ("SODA_c", "SODA_c_aligned", "CIDEr", "METEOR", *_detection_scores(np.zeros((1, 1))))
    return {name: float(sum(of_video[name] for of_video in scores)) / videos for name in names}


def _paragraph_scores(
    predicted: Mapping[str, list[Event]], truth: Mapping[str, list[Event]], meteor: Meteor
) -> dict[str, float]:
    """Corpus scores of whole paragraphs; that of a video without predictions is empty."""
    pairs = [(_paragraph(predicted.get(key, [])), _paragraph(truth[key])) for key in sorted(truth)]
    return {"Paragraph_CIDEr": cider(pairs), "Paragraph_METEOR": meteor.corpus_scores([pairs])[0]}


def _paragraph(events: Sequence[Event]) -> str:
    """All captions in one text, as the published scorer prepares it: letters alone, and not as PTB splits words."""
    words = re.sub("[^a-zA-Z]", " ", " ".join(caption for _, _, caption in events)).lower().split()
    return " ".join(words) or NO_WORDS


def _tokenized_videos(predicted: Mapping[str, list[Event]], truth: Mapping[str, list[Event]]) -> list[_Video]:
    """The videos that have predictions; all captions are tokenized in one call."""
    texts = sorted({e[2] for key, events in predicted.items() for e in (*events, *truth[key])})
    tokens = dict(zip(texts, tokenize(texts), strict=True))
    return [
        _Video(
            predicted=[tokens[e[2]] for e in events],
            true=[tokens[e[2]] for e in truth[key]],
            iou=interval_iou([e[:2] for e in events], [e[:2] for e in truth[key]]),
        )
        for key, events in predicted.items()
    ]


def split_captions(joined: str, count: int) -> list[str]:
    """Captions that were joined by ". ", each with a full stop.

    Where that does not give as many as there should be, every full stop ends a caption, and what has five characters
    or fewer is dropped: this is how the published code reads the captions of ActivityNet.

    Returns:
        `count` captions, or another number when neither rule gives as many.
    """
    captions = [part.strip() for part in joined.split(". ")]
    if len(captions) != count:
        published = [part.strip() for part in joined.split(".") if len(part) > SHORTEST_CAPTION]
        captions = published if len(published) == count else captions
    return [caption.removesuffix(".") + "." for caption in captions]


def _read_predictions(key: str, events: Sequence[Mapping[str, Any]]) -> list[Event]:
    if not isinstance(events, list | tuple):
        raise PredictionError(f"predictions[{key!r}]: {type(events).__name__} found; write a list of events")
    result = []
    for index, event in enumerate(events):
        where = f"predictions[{key!r}][{index}]"
        if not isinstance(event, Mapping) or not isinstance(event.get("caption"), str) or "timestamp" not in event:
            raise PredictionError(f'{where}: write {{"timestamp": [start, end], "caption": "..."}}')
        interval = read_interval(event["timestamp"], f'{where}["timestamp"]', PredictionError)
        result.append((*interval, event["caption"]))
    return sorted(result, key=_start)


def _read_ground_truth(ground_truth: Mapping[str, Any]) -> dict[str, list[Event]]:
    rows = ground_truth.get("annotations") if isinstance(ground_truth, Mapping) else None
    if not rows:
        raise AnnotationError('ground truth: "annotations" is missing or empty; give {"annotations": [...]}')
    truth: dict[str, list[Event]] = {}
    for index, row in enumerate(rows):
        where = f"ground truth annotations[{index}] (video {row.get('image_id')!r})"
        if "image_id" not in row or not row.get("segments"):
            raise AnnotationError(f"{where}: image_id and at least one segment are needed")
        if row["image_id"] in truth:
            raise AnnotationError(f"{where}: this video is listed twice")
        truth[row["image_id"]] = _events_of_row(row, where)
    return truth


def _events_of_row(row: Mapping[str, Any], where: str) -> list[Event]:
    if row.get("captions") is not None:
        captions = list(row["captions"])
    elif isinstance(row.get("pure_cap"), str):
        captions = split_captions(row["pure_cap"], len(row["segments"]))
    else:
        raise AnnotationError(f'{where}: neither "captions" nor "pure_cap" is there')
    if len(captions) != len(row["segments"]):
        raise AnnotationError(
            f'{where}: {len(captions)} captions for {len(row["segments"])} segments; give the list "captions"'
        )
    intervals = [read_interval(x, f'{where}["segments"][{i}]', AnnotationError) for i, x in enumerate(row["segments"])]
    _check_text(captions, where)
    return sorted(((*interval, caption) for interval, caption in zip(intervals, captions, strict=True)), key=_start)


def _start(event: Event) -> float:
    """What events are ordered by: those that start together keep the order of their file, as published."""
    return event[0]


def _check_text(captions: Sequence[str], where: str) -> None:
    broken = next((caption for caption in captions if any("\ud800" <= letter <= "\udfff" for letter in caption)), None)
    if broken is not None:
        raise AnnotationError(
            f"{where}: caption {broken!r} holds half of a UTF-16 pair, which is no text; correct it, or download the "
            "file again"
        )
