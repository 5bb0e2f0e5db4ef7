"""Which questions are asked, and whether their videos are there."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path

from timechat.errors import ConfigError, PredictionError
from timechat.evaluation.benchmarks import Question

logger = logging.getLogger(__name__)


def asked_ids(ids: str | None) -> list[str] | None:
    """The ids that `--ids` names, each once; None is all.

    Args:
        ids: a file with one id per line, or ids separated by commas.

    Raises:
        ConfigError: there is none.
    """
    if ids is None:
        return None
    try:
        # os.path does not raise for a list that is longer than a file name may be.
        parts = Path(ids).read_text(encoding="utf-8").split("\n") if os.path.isfile(ids) else ids.split(",")
    except UnicodeDecodeError as error:
        raise ConfigError(f"--ids {ids}: is not UTF-8 text ({error}); write one id per line") from error
    named = list(dict.fromkeys(part.strip() for part in parts if part.strip()))
    if not named:
        raise ConfigError(
            f"--ids {ids}: names no question; give a file with one id per line, or ids separated by commas"
        )
    return named


def check_videos(questions: Sequence[Question], videos_dir: Path) -> None:
    """A folder without a single one of the videos is a wrong path, not 1,334 misses.

    Raises:
        ConfigError: there is no such folder.
        PredictionError: none of the videos is in it.
    """
    if not videos_dir.is_dir():
        raise ConfigError(f"--videos-dir {videos_dir}: no such folder")
    names = {question.video for question in questions}
    missing = sorted(name for name in names if not (videos_dir / name).exists())
    if len(missing) == len(names):
        raise PredictionError(
            f"--videos-dir {videos_dir}: holds none of the {len(names)} videos, for example no {missing[0]}"
        )
    if missing:
        logger.warning(
            "%s: %d of %d videos are missing, for example %s", videos_dir, len(missing), len(names), missing[0]
        )
