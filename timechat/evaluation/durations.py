"""How long videos are, for the controls of benchmarks whose annotations do not tell."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from timechat.datasets.video import load_video
from timechat.errors import VideoError
from timechat.evaluation.outputs import read_json
from timechat.io import write_json

logger = logging.getLogger(__name__)

DURATIONS = "durations.json"
_PROBE_SIZE = 16  # pixels: the least that decoders are sure to scale to


def video_durations(paths: Mapping[str, Path]) -> dict[str, float]:
    """Durations in seconds of video files, name -> path; opens each and decodes one small frame.

    A file that cannot be read has no duration: it is left out, and the log says how many are.
    """
    durations = {}
    for name, path in paths.items():
        try:
            durations[name] = load_video(path, n_frms=1, image_size=_PROBE_SIZE).duration
        except VideoError as error:
            logger.debug("no duration: %s", error)
    if len(durations) < len(paths):
        logger.warning("%d of %d videos cannot be read: no duration", len(paths) - len(durations), len(paths))
    return durations


def cached_durations(videos: Mapping[str, Path], output_dir: Path) -> dict[str, float]:
    """How long each video is, in seconds; those that cannot be read are left out.

    Every file has to be opened for this, so the durations are cached in the folder; a file whose size changed is opened
    again.

    Args:
        videos: name -> file.
        output_dir: gets `durations.json`.
    """
    path = output_dir / DURATIONS
    known = read_json(path) if path.is_file() else {}
    sizes = {name: file.stat().st_size for name, file in videos.items() if file.is_file()}
    new = {name: videos[name] for name, size in sizes.items() if known.get(name, {}).get("bytes") != size}
    if new:
        found = video_durations(new)
        known |= {name: {"bytes": sizes[name], "seconds": seconds} for name, seconds in found.items()}
        write_json(path, known)
    return {name: known[name]["seconds"] for name, size in sizes.items() if known.get(name, {}).get("bytes") == size}
