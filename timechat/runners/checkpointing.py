"""Checkpoints on disk: written under a temporary name, verified, found again, pruned.

    output_dir/checkpoints/step_00000200/checkpoint.pth    everything that a resumed run needs
    output_dir/checkpoints/step_00000200/engine/           with some engines: their files
    output_dir/checkpoints/step_00000200/manifest.json     size and SHA-256 of each file of the folder
    output_dir/checkpoint_0.pth                            the one after epoch 0, a second name for the same file

A folder gets its name when all of it is on the disk, so a process may be killed at any moment.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from timechat.errors import CheckpointError, ConfigError, TrainingError
from timechat.io import replacing, sha256_of_file, sync
from timechat.models.weight_files import is_finite

logger = logging.getLogger(__name__)

FOLDER = "checkpoints"
FILE = "checkpoint.pth"
MANIFEST = "manifest.json"
BEST_FILE = "checkpoint_best.pth"
ENGINE_FOLDER = "engine"  # for engines that write files themselves
_REPLACED = ".replaced"  # suffix of a folder whose successor is about to get its name


class Checkpoints:
    """The checkpoints of one run. Only the main process writes, so call the methods only there.

    Args:
        output_dir: of the run.
        keep: how many folders to keep.
    """

    def __init__(self, output_dir: Path, keep: int):
        self.output_dir, self.keep = output_dir, keep
        self.folder = output_dir / FOLDER

    def folder_of(self, step: int) -> Path:
        """The folder of the checkpoint after a step, counted over all epochs."""
        return self.folder / f"step_{step:08d}"

    def numbers(self) -> list[int]:
        """The steps that have a checkpoint, intact or not, in order."""
        return sorted(int(path.name.removeprefix("step_")) for path in self.folder.glob("step_" + "[0-9]" * 8))

    def epoch_files(self) -> list[str]:
        """The names of the epochs' files, in order of epoch."""
        names = (path.name for path in self.output_dir.glob("checkpoint_[0-9]*.pth"))
        return sorted(names, key=lambda name: (len(name), name))

    def must_not_be_beyond(self, step: int) -> None:
        """A run that resumes after a step must not find later checkpoints in its folder: they belong to another run.

        Raises:
            ConfigError: there are some.
        """
        later = [self.folder_of(number).name for number in self.numbers() if number > step]
        if later:
            raise ConfigError(
                f"run.output_dir={self.output_dir} holds {later[-1]}, later than the checkpoint to resume from (after "
                f"step {step}): resume from it with run.resume=auto (and no run.resume_ckpt_path), or give another "
                "folder"
            )

    def damaged(self) -> list[Path]:
        """The folders that were set aside, in order."""
        return sorted(self.folder.glob("step_*.damaged"))

    def newest(self) -> Path | None:
        """The folder of the newest intact checkpoint, None without one; a damaged one is reported and set aside.

        Raises:
            CheckpointError: every checkpoint is damaged.
        """
        self.clean()
        damaged = []
        for number in reversed(self.numbers()):
            folder = self.folder_of(number)
            try:
                verify(folder)
            except CheckpointError as error:
                aside = folder.with_name(f"{folder.name}.damaged")
                shutil.rmtree(aside, ignore_errors=True)
                os.replace(folder, aside)
                logger.warning("%s; set aside as %s; using the checkpoint before it", error, aside.name)
                damaged.append(str(error))
                continue
            return folder
        if damaged:
            raise CheckpointError(f"no checkpoint is intact: {'; '.join(damaged)}; give another run.output_dir")
        return None

    def usable_before(self, step: int) -> Path | None:
        """The folder of the newest checkpoint after this step or an earlier one that is intact and finite, if any."""
        for number in reversed([number for number in self.numbers() if number <= step]):
            folder = self.folder_of(number)
            try:
                verify(folder)
            except CheckpointError:
                continue
            content = torch.load(folder / FILE, map_location="cpu", weights_only=True, mmap=True)
            if not_finite(content["model"], content["optimized"]) is None:
                return folder
        return None

    def way_back(self, step: int) -> str:
        """From which checkpoint, after this step or an earlier one, a run can go on with other settings."""
        folder = self.usable_before(step)
        if folder is None:
            return "No checkpoint from before is intact and finite: begin anew in another run.output_dir"
        later = self.folder_of(self.numbers()[-1]) != folder
        elsewhere = " run.output_dir=ANOTHER_FOLDER" if later else ""
        return f"{folder}, from before, is intact and finite: resume with run.resume={folder}{elsewhere}"

    def must_be_finite(self, step: int, content: dict[str, Any]) -> None:
        """Raises TrainingError: no run could go on from weights like these, so they must not push out good ones."""
        if name := not_finite(content["model"], content["optimized"]):
            raise TrainingError(
                f"after step {step}, {name} has NaN or infinite numbers: not saved. Lower run.init_lr, set "
                f"run.clip_grad_norm or run.precision=fp32. {self.way_back(step)}"
            )

    def begin(self, step: int) -> Path:
        """Make the unfinished folder of the checkpoint after a step, to which engines may add files.

        Raises:
            TrainingError: the disk is full or read-only; earlier checkpoints are untouched. `finish` raises the same.
        """
        folder = self._unfinished(step)
        with self._writing(step):
            self.clean()
            if folder.exists():  # not even now: make room
                os.replace(folder, folder.with_name(f".{folder.name.strip('.')}.{time.time_ns()}.tmp"))
            folder.mkdir(parents=True)
        return folder

    def finish(self, step: int, content: dict[str, Any], spare: int | None = None) -> None:
        """Write the checkpoint that was begun, give it its name, and remove older ones once it is safe on the disk.

        Args:
            step: after which it was taken.
            content: of its file.
            spare: keep the newest one after this step or an earlier one as well.
        """
        folder, written = self.folder_of(step), self._unfinished(step)
        with self._writing(step):
            torch.save(content, written / FILE)
            write_manifest(written)
            replaced = folder.with_name(f".{folder.name}{_REPLACED}")
            if folder.exists():  # of the same step, for example with a shorter skip list
                os.replace(folder, replaced)
            os.replace(written, folder)
            sync(self.folder)
        _discard(replaced)
        numbers = [number for number in self.numbers() if number <= step]
        spared = [number for number in numbers if spare is not None and number <= spare][-1:]
        for number in numbers[: -self.keep]:
            if number not in spared:
                self._remove(self.folder_of(number))

    def _unfinished(self, step: int) -> Path:
        return self.folder / f".{self.folder_of(step).name}.tmp"

    @contextmanager
    def _writing(self, step: int) -> Iterator[None]:
        try:
            yield
        except (OSError, RuntimeError) as error:  # torch's writer raises RuntimeError when the disk is full
            shutil.rmtree(self._unfinished(step), ignore_errors=True)
            raise _not_written(self.folder_of(step), error) from error

    def epoch_file(self, epoch: int) -> Path:
        """The file of the checkpoint after an epoch."""
        return self.output_dir / f"checkpoint_{epoch}.pth"

    def name_epoch(self, epoch: int, step: int) -> Path:
        """Give the checkpoint after an epoch, whose last step is `step`, its permanent name. Raises TrainingError."""
        return self._name(self.folder_of(step) / FILE, self.epoch_file(epoch))

    def name_best(self, epoch: int) -> Path:
        """Give the checkpoint after an epoch the name checkpoint_best.pth as well. Raises TrainingError."""
        return self._name(self.epoch_file(epoch), self.output_dir / BEST_FILE)

    def _name(self, source: Path, path: Path) -> Path:
        try:
            with replacing(path, synced=True) as temporary:
                try:
                    os.link(source, temporary)
                except OSError:  # a file system without hard links
                    shutil.copyfile(source, temporary)
        except OSError as error:
            raise _not_written(path, error) from error
        return path

    def clean(self) -> None:
        """Remove what an interrupted process left half-written or half-removed; restore what it had half replaced.

        What cannot be removed stays, with a warning, for the next time: a network file system keeps a removed file that
        some process still reads, and with it the folder.
        """
        for path in self.folder.glob(f".step_*{_REPLACED}"):
            folder = path.with_name(path.name.removeprefix(".").removesuffix(_REPLACED))
            if folder.exists():
                _discard(path)
            else:
                os.replace(path, folder)
        for path in (*self.folder.glob(".step_*.tmp"), *self.output_dir.glob(".checkpoint_*.tmp")):
            _discard(path)

    def _remove(self, folder: Path) -> None:
        """Under another name first: what is half removed must not look like a damaged checkpoint."""
        aside = folder.with_name(f".{folder.name}.old.tmp")
        try:
            os.replace(folder, aside)
        except OSError as error:
            logger.warning("%s: cannot be removed now (%s); tried again later", folder, error)
        else:
            _discard(aside)


def _discard(path: Path) -> None:
    """Remove a file or a folder, or say that it stays for now."""
    try:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        logger.warning("%s: cannot be removed now (%s); tried again later", path, error)


def not_finite(state: Mapping[str, Tensor], names: Iterable[str]) -> str | None:
    """The first of some tensors that has a NaN or an infinite number; None: all are finite."""
    return next((name for name in names if name in state and not is_finite(state[name])), None)


def write_manifest(folder: Path) -> None:
    """Sync every file of a folder to the disk, and list them in `manifest.json`."""
    files = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        sync(path)
        files[path.relative_to(folder).as_posix()] = {"bytes": path.stat().st_size, "sha256": sha256_of_file(path)}
    manifest = folder / MANIFEST
    manifest.write_text(json.dumps({"files": files}, indent=2) + "\n", encoding="utf-8")
    sync(manifest)
    for path in [*(path for path in folder.rglob("*") if path.is_dir()), folder]:
        sync(path)


def verify(folder: Path) -> None:
    """Compare a checkpoint's files with its manifest. Raises CheckpointError."""
    try:
        files = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
        if FILE not in files:
            raise CheckpointError(f"{folder / MANIFEST}: does not list {FILE}")
        for name, expected in files.items():
            path = folder / name
            if path.stat().st_size != expected["bytes"]:
                raise CheckpointError(f"{path}: has {path.stat().st_size} bytes, not {expected['bytes']}")
            if sha256_of_file(path) != expected["sha256"]:
                raise CheckpointError(f"{path}: its content is not what was written (SHA-256 differs)")
    except OSError as error:
        raise CheckpointError(f"{folder}: is incomplete ({error})") from error
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{folder / MANIFEST}: is damaged ({error!r})") from error


def _not_written(path: Path, error: Exception) -> TrainingError:
    reason = str(error).splitlines()[0]
    return TrainingError(f"{path}: cannot be written ({reason}); is the disk full or read-only?")
