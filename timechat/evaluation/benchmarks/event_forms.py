"""Videos with their events as data sets offer them, in one form: image_id, segments, captions or pure_cap, duration.

- The coco form of TimeIT, `{"annotations": [{"image_id", "segments", "pure_cap", ...}]}`; "caption" takes the place of
  "pure_cap" where that is missing (ActivityNet): all captions, joined by ". ".
- ActivityNet Captions' and PDVC's, `{id: {"duration", "timestamps": [[start, end], ...], "sentences": [...]}}`.
- Rows, one per video: the fields of one of these with the video as video_id, vid, video or image_id, or with
  captions_starts, captions_ends and en_captions.
- Rows, one per event: `{"youtube_id" or "video_path", "segment": [start, end], "sentence"}`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from timechat.errors import AnnotationError
from timechat.evaluation.benchmarks.annotations import Row, check_rows, coco_rows, video_file
from timechat.evaluation.benchmarks.dense_captioning import dense_problems
from timechat.evaluation.benchmarks.grounding_forms import first_of
from timechat.evaluation.benchmarks.rows import Rows

VIDEOS = ("image_id", "youtube_id", "video_id", "vid", "video", "video_path")


def event_rows(path: str | Path, content: Any) -> list[tuple[str, Row]]:
    """Where each video stands in the file, and its checked row.

    Args:
        path: of the file, for messages.
        content: what `read_annotations` gives.

    Raises:
        AnnotationError: naming the file, the item, the field and the fix.
    """
    check = dense_problems
    if isinstance(content, Rows):
        rows, check = _table(content.placed), _named_as_downloaded
    elif isinstance(content, dict) and "annotations" in content:
        rows = [(f"annotations[{i}]", _coco_row(row)) for i, row in enumerate(coco_rows(path, content))]
    elif isinstance(content, dict):
        rows, check = [(repr(key), _video_row(key, entry)) for key, entry in content.items()], _named_as_downloaded
    else:
        raise AnnotationError(
            f'{path}: expected {{"ID": {{"duration", "timestamps", "sentences"}}}}, the coco form or rows, '
            f"found {str(content)[:60]!r}"
        )
    return list(zip((where for where, _ in rows), check_rows(path, rows, check, _image_id), strict=True))


def _image_id(row: Row) -> str:
    return row["image_id"]


def _coco_row(row: Any) -> Any:
    if isinstance(row, dict) and row.get("captions") is None and row.get("pure_cap") is None and "caption" in row:
        return {**row, "pure_cap": row["caption"]}
    return row


def _video_row(key: str, entry: Any) -> Any:
    """A video of the form with timestamps and sentences."""
    if not isinstance(entry, dict):
        return entry
    captions = entry.get("sentences", [])
    if isinstance(captions, list):
        captions = [caption.strip() if isinstance(caption, str) else caption for caption in captions]
    return {
        "image_id": video_file(key),
        "duration": entry.get("duration"),
        "segments": entry.get("timestamps"),
        "captions": captions,
    }


def _table(placed: Sequence[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """Rows of either kind; events are gathered under the place of their video's first one."""
    rows: list[tuple[str, Any]] = []
    videos: dict[str, Row] = {}
    for where, raw in placed:
        video = first_of(raw, VIDEOS) if isinstance(raw, dict) else None
        if not isinstance(video, str):
            rows.append((where, {"image_id": video} if isinstance(raw, dict) else raw))
        elif "segment" not in raw:
            rows.append((where, _one_per_video(video, raw)))
        else:
            if video not in videos:
                videos[video] = _video_row(video, {"duration": raw.get("duration"), "timestamps": []})
                videos[video]["video_path"] = raw.get("video_path")
                rows.append((where, videos[video]))
            videos[video]["segments"].append(raw["segment"])
            videos[video]["captions"].append(raw.get("sentence"))
    return rows


def _one_per_video(video: str, raw: Row) -> Any:
    if "captions_starts" in raw:
        starts, ends = raw["captions_starts"], raw.get("captions_ends")
        if isinstance(starts, list) and isinstance(ends, list) and len(starts) == len(ends):
            times = [list(pair) for pair in zip(starts, ends, strict=True)]
            return _video_row(video, {**raw, "timestamps": times, "sentences": raw.get("en_captions")})
    return _coco_row({**raw, "image_id": video_file(video)}) if "segments" in raw else _video_row(video, raw)


def _named_as_downloaded(row: Row) -> Iterable[str]:
    """Problems of a row under the names that the download has for its fields."""
    for problem in dense_problems(row):
        yield problem.replace("segments", "timestamps").replace("captions", "sentences")
