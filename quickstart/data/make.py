"""Render the data of the quick start: short videos, annotations, tokenizers and a tiny LLaMA.

    python -m quickstart.data.make --output data/quickstart

Under the output folder:

    videos/{train,val,test}/*.mp4           coloured shapes that appear, move and leave at known times (H.264)
    train/instruct_{grounding,dense_captions,highlights}.json   TimeIT format; videos_dir is videos/train
    {train,val,test}/charades_sta.txt, grounding.json, dense_captions.json, highlights.jsonl   the benchmarks' formats
    {train,val,test}/scenes.json            what each video shows
    bert/, llama/                           the tokenizers, made from these texts, and LLaMA's random weights
    manifest.json                           seed, counts, sizes, versions; written last

The same arguments give the same bytes, with any number of workers. If everything is done already, a run returns at
once; an interrupted one continues with the missing videos.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import importlib.metadata
import json
import logging
import multiprocessing
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from quickstart.data.annotations import training_annotations, write_annotations
from quickstart.data.render import render_video
from quickstart.data.scenes import MAX_EVENTS, SAMPLED_FRAMES, SHAPES, Scene, plan_scenes
from timechat.errors import ConfigError, TimeChatError
from timechat.io import write_json

DEFAULT_OUTPUT = "data/quickstart"
FORMAT_VERSION = 7  # raise it whenever the same arguments give other bytes
_MANIFEST, _STARTED = "manifest.json", "started.json"
_SPLITS = ("train", "val", "test")
_PACKAGES = ("av", "numpy", "sentencepiece", "transformers", "safetensors")

logger = logging.getLogger(__name__)


def make_quickstart_data(
    output: str | Path,
    seed: int = 0,
    train_videos: int = 2400,
    val_videos: int = 96,
    test_videos: int = 160,
    max_events: int = MAX_EVENTS,
    workers: int | None = None,
    force: bool = False,
) -> dict[str, Any]:
    """Make the data, or what is missing of it.

    Args:
        output: the folder; created if missing.
        seed: of everything random; 0 or more.
        train_videos, val_videos, test_videos: how many; 1 or more.
        max_events: largest number of events of a video, 1 to 4.
        workers: processes that render; None takes one per available CPU. The files do not depend on them.
        force: discard what an earlier run left and render again.

    Returns:
        The manifest.

    Raises:
        ConfigError: a bad argument, or the folder contains data made with other arguments.
        OSError: a file cannot be written.
    """
    output = Path(output)
    counts = {"train_videos": train_videos, "val_videos": val_videos, "test_videos": test_videos}
    _check_arguments(seed, counts, max_events, workers)
    request = {"format_version": FORMAT_VERSION, "seed": seed, **counts, "max_events": max_events}
    if force:
        _remove_earlier(output)
    manifest = _resume(output, request)
    if manifest is not None:
        logger.info("%s is complete already (%s)", output, _describe(manifest))
        return manifest
    write_json(output / _STARTED, request, indent=1)
    scenes = plan_scenes(seed, **counts, max_events=max_events)
    _render_missing(output, scenes, workers or _available_cpus())
    names = write_annotations(output, scenes, seed)
    sizes = _write_vocabularies(output, scenes["train"], seed)
    manifest = _manifest(output, request, scenes, names, sizes)
    write_json(output / _MANIFEST, manifest, indent=1)
    (output / _STARTED).unlink()
    logger.info("%s is complete (%s)", output, _describe(manifest))
    return manifest


def _check_arguments(seed: int, counts: dict[str, int], max_events: int, workers: int | None) -> None:
    lowest = {"seed": (seed, 0), "max_events": (max_events, 1)} | {name: (count, 1) for name, count in counts.items()}
    if workers is not None:
        lowest["workers"] = (workers, 1)
    for name, (value, low) in lowest.items():
        if value < low:
            raise ConfigError(f"--{name.replace('_', '-')}={value}: give {low} or more")
    if max_events > len(SHAPES):
        raise ConfigError(f"--max-events={max_events}: give {len(SHAPES)} or fewer; no two events may share a shape")


def _available_cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _video_files(output: Path) -> list[Path]:
    """The videos that this program rendered there."""
    return [path for split in _SPLITS for path in output.glob(f"videos/{split}/{split}_*.mp4")]


def _remove_unfinished(output: Path) -> None:
    """Remove the videos that killed processes left half written."""
    for split in _SPLITS:
        for path in output.glob(f"videos/{split}/.{split}_*.mp4.*.tmp"):
            path.unlink(missing_ok=True)


def _remove_earlier(output: Path) -> None:
    """Remove videos and bookkeeping; all other files are rewritten anyway."""
    for path in (output / _MANIFEST, output / _STARTED, *_video_files(output)):
        path.unlink(missing_ok=True)


def _resume(output: Path, request: dict[str, Any]) -> dict[str, Any] | None:
    """The manifest, if all files that it lists exist; None if there is work. Videos of a wrong size are removed."""
    record = next((path for path in (output / _MANIFEST, output / _STARTED) if path.is_file()), None)
    if record is None:
        if _video_files(output):
            raise ConfigError(
                f"{output}: contains videos but no {_MANIFEST}, so it is unknown what they show; "
                "give --force to render them again, or another --output"
            )
        return None
    found = _read_record(record)
    others = [f"{key}={found.get(key)} (asked: {value})" for key, value in request.items() if found.get(key) != value]
    if others:
        raise ConfigError(
            f"{record}: the data there was made with {', '.join(others)}; "
            "give --force to render it again, or another --output"
        )
    if record.name == _STARTED:
        return None
    return found if _all_files_fit(output, found["files"]) else None


def _read_record(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text())
    except ValueError as error:
        raise ConfigError(f"{path}: not JSON ({error}); give --force to render again") from error
    if not isinstance(record, dict) or (path.name == _MANIFEST and not isinstance(record.get("files"), dict)):
        raise ConfigError(f"{path}: field files is missing; give --force to render again")
    return record


def _all_files_fit(output: Path, sizes: dict[str, int]) -> bool:
    fit = True
    for name, size in sizes.items():
        path = output / name
        if path.is_file() and path.stat().st_size == size:
            continue
        logger.warning("%s is missing or does not have %d bytes any more; making it again", path, size)
        path.unlink(missing_ok=True)
        fit = False
    return fit


def _render_missing(output: Path, scenes: dict[str, list[Scene]], workers: int) -> None:
    jobs = [(scene, output / "videos" / split / f"{scene.name}.mp4") for split in _SPLITS for scene in scenes[split]]
    missing = [(scene, path) for scene, path in jobs if not path.is_file()]
    _remove_unfinished(output)
    if len(missing) < len(jobs):
        logger.info("%d of %d videos exist already", len(jobs) - len(missing), len(jobs))
    with tqdm(total=len(jobs), initial=len(jobs) - len(missing), desc="videos", unit="video", disable=None) as bar:
        if min(workers, len(missing)) <= 1:
            for scene, path in missing:
                render_video(scene, path)
                bar.update()
            return
        # Spawned, because a fork would copy the locks of the calling program's threads.
        context = multiprocessing.get_context("spawn")
        with concurrent.futures.ProcessPoolExecutor(min(workers, len(missing)), mp_context=context) as pool:
            futures = [pool.submit(render_video, scene, path) for scene, path in missing]
            try:
                for future in concurrent.futures.as_completed(futures):
                    future.result()
                    bar.update()
            finally:  # after an error, do not start further videos
                pool.shutdown(wait=True, cancel_futures=True)


def _write_vocabularies(output: Path, scenes: list[Scene], seed: int) -> dict[str, int]:
    from quickstart.data.vocabularies import write_bert_vocabulary, write_llama_folder  # torch: not if all is there

    items = [item for rows in training_annotations(scenes, seed).values() for item in rows]
    llama = write_llama_folder(output / "llama", items, scenes, seed)
    return {
        "bert_vocab_size": write_bert_vocabulary(output / "bert"),
        "llama_vocab_size": llama["vocab_size"],
        "llama_parameters": llama["parameters"],
    }


def _manifest(
    output: Path, request: dict[str, Any], scenes: dict[str, list[Scene]], names: list[str], sizes: dict[str, int]
) -> dict[str, Any]:
    videos = [f"videos/{split}/{scene.name}.mp4" for split in _SPLITS for scene in scenes[split]]
    others = [str(path.relative_to(output)) for sub in ("bert", "llama") for path in sorted((output / sub).iterdir())]
    files = {name: (output / name).stat().st_size for name in [*names, *others, *videos]}
    return {
        **request,
        "sampled_frames": SAMPLED_FRAMES,
        "events": {split: sum(len(scene.events) for scene in scenes[split]) for split in _SPLITS},
        "video_seconds": {split: sum(scene.duration for scene in scenes[split]) for split in _SPLITS},
        **sizes,
        "total_bytes": sum(files.values()),
        "versions": {"python": platform.python_version()} | {p: importlib.metadata.version(p) for p in _PACKAGES},
        "files": files,
    }


def _describe(manifest: dict[str, Any]) -> str:
    return (
        f"{manifest['train_videos']} training, {manifest['val_videos']} validation and {manifest['test_videos']} test "
        f"videos, "
        f"{sum(manifest['video_seconds'].values()) / 60:.0f} minutes, {manifest['total_bytes'] / 1e6:.1f} MB"
    )


def _parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--output", type=os.path.expanduser, default=DEFAULT_OUTPUT, help="folder to fill (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of everything random (default: %(default)s)")
    parser.add_argument("--train-videos", type=int, default=2400, help="training videos (default: %(default)s)")
    parser.add_argument("--val-videos", type=int, default=96, help="validation videos (default: %(default)s)")
    parser.add_argument("--test-videos", type=int, default=160, help="test videos (default: %(default)s)")
    parser.add_argument("--max-events", type=int, default=MAX_EVENTS, help="most events of a video (%(default)s)")
    parser.add_argument("--workers", type=int, help="processes that render (default: one per available CPU)")
    parser.add_argument("--force", action="store_true", help="discard what is there and render again")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status: 0, or 1 after an error, which is printed on one line."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    try:
        make_quickstart_data(**vars(_parse_arguments(argv)))
    except (TimeChatError, OSError) as error:
        logger.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
