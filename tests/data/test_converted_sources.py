"""A miniature of every source, converted: one optimizer step of the tiny model, its score, and a perfect model's."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from helpers.meteor import without_java
from helpers.source_data import DOWNLOADS
from helpers.training import STEADY, train
from helpers.videos import gray_frames, write_video
from PIL import Image

from timechat.data.convert import Conversion, convert
from timechat.data.sources import SOURCES
from timechat.data.tasks import TASKS, Task
from timechat.evaluation.benchmarks import get_benchmark
from timechat.runners.validation import LOSS

ONE_STEP = (*STEADY, "run.iters_per_epoch=1", "run.max_epoch=1", "run.loggers=[]", "run.valid_splits=[val]")
SCORES = {"charades_sta": "mIoU", "youcook2": "F1", "qvhighlights": "HIT@1@VeryGood/expected", "etbench": "TVG F1"}
# Items whose rows are there, where not all are.
WITH_ROW = {"timelens_100k": [1], "et_instruct": [0]}


def write_media(folder: Path, items: list[dict[str, Any]]) -> Path:
    """A small file in the place of every video and picture."""
    for item in items:
        media = "image" if "image" in item else "video"
        file = folder / item[media]
        file.parent.mkdir(parents=True, exist_ok=True)
        if media == "image":
            Image.fromarray(gray_frames(1)[0]).save(file)
        elif not file.exists():
            write_video(file.with_name("written.mp4"), frames=12).rename(file)
    return folder


def entry(anno: Path, videos: Path, media: str) -> dict[str, Any]:
    """A `datasets` entry, with the same data for validation."""
    kind = {"builder": "image_instruct", "data_type": "images"} if media == "image" else {"builder": "video_instruct"}
    return {**kind, "build_info": {"anno_dir": str(anno), "videos_dir": str(videos), "valid_anno_dir": str(anno)}}


def converted(name: str, folder: Path) -> tuple[Conversion, Task]:
    """A miniature, converted, with rows for evaluation where there are any."""
    (folder / "in").mkdir()
    download = DOWNLOADS[name](folder / "in")
    rows = folder / "rows.json" if download.rows else None
    asked = Conversion(name, download.path, folder / "train.json", rows, **download.options)
    convert(asked)
    return asked, TASKS[asked.task or SOURCES[name].tasks[0]]


def benchmark_options(name: str, asked: Conversion, task: Task, media: Path) -> list[str]:
    """What asks the benchmark that scores a source after each epoch; nothing where there is none."""
    scored: dict[str, Any] = {"name": task.benchmark, "anno_path": asked.eval_output, "videos_dir": media}
    if not task.benchmark and SOURCES[name].as_it_is:  # the benchmark reads the download itself
        folder = (media / SOURCES[name].videos["summarization"]).parent
        scored = {"name": SOURCES[name].as_it_is, "anno_path": asked.path, "videos_dir": folder}
    if not scored["anno_path"]:
        return []
    scored |= {"limit": 1, "max_new_tokens": 2}
    return [f"run.valid_benchmark.{key}={value}" for key, value in scored.items()]


@pytest.mark.parametrize("name", DOWNLOADS)
def test_a_converted_source_trains_one_step_and_is_scored(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_java(monkeypatch)
    asked, task = converted(name, tmp_path)
    anno = tmp_path / "train.json"
    media = write_media(tmp_path / "media", json.loads(anno.read_text()))
    options = benchmark_options(name, asked, task, media)

    run = train(tmp_path / "run", {"mine": entry(anno, media, task.media)}, *ONE_STEP, *options)

    assert [math.isfinite(loss) for loss in run.losses] == [True]
    (valid,) = [record for record in run.log if record["event"] == "valid"]
    assert math.isfinite(valid[LOSS])
    if options:
        scores = json.loads((run.output / "validation" / "epoch_0" / "scores.json").read_text())
        assert scores["counts"]["expected"] == scores["counts"]["found"] == 1


@pytest.mark.parametrize(
    "name", [name for name in DOWNLOADS if name not in ("vitt", "tvsum", "summe", "valley", "llava", "webvid")]
)
def test_who_says_the_converted_answers_has_full_marks(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows and answers say the same, but for one decimal. Chapters have no ends, and other answers no benchmark."""
    without_java(monkeypatch)
    _, task = converted(name, tmp_path)
    items = json.loads((tmp_path / "train.json").read_text())
    benchmark = get_benchmark(task.benchmark, {"clip_of_time": "start"} if task.benchmark == "qvhighlights" else None)
    annotations = benchmark.load_annotations(tmp_path / "rows.json")
    said = [items[number]["QA"][0]["a"] for number in WITH_ROW.get(name, range(len(items)))]
    answers = {benchmark.row_id(row): answer for row, answer in zip(annotations.rows, said, strict=True)}

    result = benchmark.score(answers, annotations)

    assert not result.failures
    percent = benchmark.in_percent(result.scores)
    assert percent[SCORES[task.benchmark]] == pytest.approx(100.0, abs=2.0), percent
