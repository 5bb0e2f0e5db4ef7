"""QuerYD: spoken descriptions with their times, in two files of one folder, and lists of its splits.

`raw_captions_combined_filtered-v2.pkl` is `{video: [[word, ...], ...]}`, `times_captions_combined_filtered-v2.pkl`
`{video: [[start, end], ...]}`, in seconds; without -v2, or with .json in place of .pkl, they are found too.
`train_list.txt` (or `exists_train_list.txt`) names the videos of the split. Pickles are read by `plain_pickle.py`,
which builds nothing but plain data. As TimeIT does, videos described beyond 300 seconds are left out. TimeIT's files of
videos have no suffix; evaluation needs one (`--videos "QuerYD/videos/{id}.mp4"`).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from timechat.data.plain_pickle import read_plain_pickle
from timechat.data.reading import BadPart, Found, OutByRule, json_object, text_lines, window_of
from timechat.data.sources.captioned import Captioned, event_of, read_captioned
from timechat.data.sources.contract import Asked, Source
from timechat.errors import AnnotationError

LONGEST_S = 300.0
_FORMS = ("-v2.pkl", ".pkl", "-v1.pkl", "-v2.json", ".json")


def read(path: Path, asked: Asked) -> Iterator[Found]:
    """One record for each description, or for each video."""
    words, times = (_load(path, f"{name}_captions_combined_filtered") for name in ("raw", "times"))
    wanted = _split(path, asked.split)
    videos = [(video, (video, words.get(video), times[video])) for video in times]
    return read_captioned(videos, partial(_captioned, wanted), asked)


def _load(folder: Path, name: str) -> dict[str, Any]:
    file = next((folder / f"{name}{form}" for form in _FORMS if (folder / f"{name}{form}").is_file()), None)
    if file is None:
        raise AnnotationError(f"{folder}: no {name}-v2.pkl; download it into this folder")
    if file.suffix == ".json":
        return json_object(file, "{video: [...]}")
    content = read_plain_pickle(file)
    if not isinstance(content, dict):
        raise AnnotationError(f"{file}: expected {{video: [...]}}, found {str(content)[:60]!r}; download it again")
    return content


def _split(folder: Path, split: str) -> set[str]:
    names = (f"{split}_list.txt", f"exists_{split}_list.txt")
    file = next((folder / name for name in names if (folder / name).is_file()), None)
    if file is None:
        raise AnnotationError(f"{folder}: no {names[0]}, which names the videos of the split; download it too")
    return {line for _, line in text_lines(file)}


def _captioned(wanted: set[str], part: tuple[str, Any, Any]) -> Captioned:
    video, words, times = part
    if video not in wanted:
        raise OutByRule("not in the split's list")
    if not isinstance(words, list) or not isinstance(times, list) or len(words) != len(times) or not times:
        raise BadPart("descriptions and times must be two lists of one length")
    windows = [window_of(pair, "the time") for pair in times]
    if max(end for _, end in windows) > LONGEST_S:
        raise OutByRule(f"described beyond {LONGEST_S:.0f} seconds")
    told = [{"description": _joined(said)} for said in words]
    return Captioned(
        None,
        [partial(event_of, pair, "the time", row, "description") for pair, row in zip(times, told, strict=True)],
    )


def _joined(words: Any) -> Any:
    """Words as one text; what is no list of words stays as it is, to be refused."""
    return " ".join(words) if isinstance(words, list) and all(isinstance(word, str) for word in words) else words


SOURCE = Source(
    "queryd",
    "the folder of its two .pkl files and train_list.txt",
    read,
    dict.fromkeys(("grounding", "dense_captioning"), "QuerYD/QuerYD_downloader/videos/{id}"),
    splits=("train", "val", "test"),
    folder=True,
)
