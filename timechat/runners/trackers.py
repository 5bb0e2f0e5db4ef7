"""Curves in addition to log.jsonl: TensorBoard, wandb and every other tracker that accelerate has a class for.

Your own tracker class works as well, once accelerate's table lists it under a name for `run.loggers` (newer versions of
accelerate have `register_tracker_class` for that).
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker

from timechat.errors import ConfigError
from timechat.registry import nearest

PROJECT = "timechat"
_EXTRAS = {"wandb": "'timechat[wandb]'"}  # packages of trackers that have an extra here


class Trackers:
    """The trackers of one run. Every process creates them, so that all stop at a wrong name; the main process starts
    and feeds them.

    Args:
        names: `run.loggers`.

    Raises:
        ConfigError: a name that accelerate does not know, or a package that cannot be imported.
    """

    def __init__(self, names: Sequence[str]):
        self._classes = {name: _tracker_class(name) for name in names}
        self._running: dict[str, GeneralTracker] = {}

    def start(self, output_dir: Path, step: int, run_id: str, config: Mapping[str, Any], device: torch.device) -> None:
        """Begin or continue: a resumed run continues its curves in TensorBoard and wandb.

        Args:
            output_dir: of the run; wandb shows its name as the run's.
            step: finished steps of the run that is resumed; later points are removed where that is possible.
            run_id: the same for all starts of a run.
            config: of the whole run.
            device: of this process.
        """
        PartialState(cpu=device.type == "cpu")  # accelerate's trackers log through it; an engine may not have made it
        for name, tracker_class in self._classes.items():
            if name == "tensorboard":
                tracker = tracker_class("tensorboard", str(output_dir), purge_step=step + 1)
                tracker.start()
            elif name == "wandb":
                tracker = _start_wandb(tracker_class, output_dir, run_id, config)
            else:
                folder = [str(output_dir)] if tracker_class.requires_logging_directory else []
                tracker = tracker_class(PROJECT, *folder)
                tracker.start()
                tracker.store_init_configuration(dict(_flat(config)))
            self._running[name] = tracker

    def log(self, scalars: Mapping[str, float], step: int) -> None:
        """Add one point to each curve."""
        for name, tracker in self._running.items():
            if name == "wandb":
                # wandb's counter of steps only grows, but a resumed run may go back a few steps.
                tracker.log({**scalars, "step": step})
            else:
                tracker.log(dict(scalars), step=step)

    def close(self) -> None:
        """Write or send the rest."""
        for tracker in self._running.values():
            tracker.finish()
        self._running.clear()


def _tracker_class(name: str) -> type[GeneralTracker]:
    if name not in LOGGER_TYPE_TO_CLASS:
        names = sorted(LOGGER_TYPE_TO_CLASS)
        raise ConfigError(
            f"run.loggers: accelerate has no tracker {name!r}{nearest(name, names)}; choose from {', '.join(names)}; "
            "log.jsonl is written anyway"
        )
    tracker_class = LOGGER_TYPE_TO_CLASS[name]
    if tracker_class.__module__.startswith("accelerate."):  # these are named after the packages that they need
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise ConfigError(
                f"run.loggers: {name} cannot be imported ({error}); pip install {_EXTRAS.get(name, name)}, or take it "
                "out of the list"
            ) from error
    return tracker_class


def _start_wandb(
    tracker_class: type[GeneralTracker], output_dir: Path, run_id: str, config: Mapping[str, Any]
) -> GeneralTracker:
    """Curves on wandb.ai, or in output_dir/wandb with WANDB_MODE=offline; wandb's other variables work, too."""
    project = os.environ.get("WANDB_PROJECT", PROJECT)
    tracker = tracker_class(
        project, dir=str(output_dir), id=run_id, name=output_dir.name, resume="allow", config=dict(config)
    )
    tracker.start()
    tracker.tracker.define_metric("step")
    tracker.tracker.define_metric("*", step_metric="step")
    return tracker


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted key and value of every setting; lists as text, which all trackers take."""
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value if isinstance(value, (bool, int, float, str, type(None))) else str(value)
