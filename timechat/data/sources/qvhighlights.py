"""QVHighlights: JSON lines `{"qid", "query", "duration", "vid", "relevant_clip_ids", "saliency_scores",
"relevant_windows"}`; a highlight is at clip id x 2 seconds, its saliency the mean of three annotators."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

from timechat.data.reading import BadPart, Found, an_object, duration_of, json_rows, list_of, parse, text_of, window_of
from timechat.data.records import Highlights, Moment, Record
from timechat.data.sources.contract import Asked, Source
from timechat.evaluation.benchmarks.annotations import is_number
from timechat.evaluation.metrics.highlights import CLIP_SECONDS


def read(path: Path, asked: Asked) -> Iterator[Found]:
    """One record for each query."""
    return parse(json_rows(path), partial(_record, asked))


def _record(asked: Asked, where: str, part: Any) -> Record:
    row = an_object(part)
    video, query, length = text_of(row, "vid"), text_of(row, "query"), duration_of(row)
    if not {"relevant_clip_ids", "relevant_windows"} & row.keys():
        raise BadPart("has no labels, as in the split test; nothing can be learned from it")
    if asked.task == "grounding":
        windows = tuple(window_of(value, "relevant_windows") for value in list_of(row, "relevant_windows"))
        return Moment(where, video, query, windows, duration=length)
    return Highlights(where, video, query, _scores(row, length), dict(row), duration=length)


def _scores(row: Mapping[str, Any], length: float | None) -> tuple[tuple[float, float], ...]:
    clips, ratings = list_of(row, "relevant_clip_ids"), list_of(row, "saliency_scores")
    if len(clips) != len(ratings):
        raise BadPart(f"{len(ratings)} saliency_scores, but {len(clips)} relevant_clip_ids; one is needed for each")
    last = None if length is None else int(length / CLIP_SECONDS) - 1
    for clip in clips:
        if not isinstance(clip, int) or isinstance(clip, bool) or clip < 0 or (last is not None and clip > last):
            raise BadPart(f"relevant_clip_ids has {clip!r}: clips are whole numbers from 0 to {last}")
    for given in ratings:
        if not isinstance(given, list) or not given or not all(map(is_number, given)):
            raise BadPart(f"saliency_scores has {str(given)[:60]}: each must be a list of annotators' numbers")
    return tuple((CLIP_SECONDS * clip, fmean(given)) for clip, given in zip(clips, ratings, strict=True))


SOURCE = Source(
    "qvhighlights",
    "highlight_train_release.jsonl or highlight_val_release.jsonl",
    read,
    dict.fromkeys(("highlights", "grounding"), "QVhighlights/videos/{split}/v_{id}.mp4"),
    splits=("train", "val"),
    as_it_is="qvhighlights",
)
