"""Checkpoints are written while training goes on: it waits only for their copy in main memory.

A thread of the main process writes one at a time; a save that is not done delays the next. Whoever needs the file (the
end of a run, a stop, the name of the best epoch) waits for it. What goes wrong in the thread is raised on all
processes, at their next agreement.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from timechat import distributed
from timechat.errors import TimeChatError
from timechat.runners.checkpointing import ENGINE_FOLDER, Checkpoints
from timechat.runners.engines import Engine

logger = logging.getLogger(__name__)


class Saver:
    """Writes the checkpoints of a run.

    Args:
        checkpoints: of the run.

    Attributes:
        newest: the step after which the newest checkpoint was taken, None without one.
        time: when that was, from time.monotonic.
    """

    def __init__(self, checkpoints: Checkpoints):
        self.checkpoints = checkpoints
        self.newest: int | None = None
        self.time = time.monotonic()
        self._work: Future[None] | None = None  # only on the main process

    def is_due(self, step: int, minutes: float | None) -> bool:
        """Whether so many minutes are over, by the main process's clock, and the run has learned something since."""
        if minutes is None or not step or self.newest == step or not distributed.is_main_process():
            return False
        return time.monotonic() - self.time >= 60 * minutes

    def save(
        self, step: int, content: Callable[[], dict[str, Any]], engine: Engine, epoch: int | None, spare: int
    ) -> Path:
        """Begin to write the checkpoint after a step, unless that is done already. Collective.

        Args:
            step: counted over all epochs.
            content: gives what to write, in memory of its own; collective.
            engine: writes what it keeps in files itself, before this returns.
            epoch: the one that ends with this step, whose name the checkpoint gets as well.
            spare: keep the newest one after this step or an earlier one, too.

        Returns:
            Its folder or, with an epoch, its file.

        Raises:
            TrainingError: on all processes, if a weight is not finite, or this checkpoint cannot be begun, or the one
                before it could not be written; all earlier ones stay untouched.
        """
        self.wait()
        written = None
        if self.newest != step:
            written = content()
            distributed.on_main_process(lambda: self.checkpoints.must_be_finite(step, written))
            folder = distributed.on_main_process(lambda: self.checkpoints.begin(step))
            engine.save(folder / ENGINE_FOLDER)
            self.newest = step
        self.time = time.monotonic()
        if distributed.is_main_process():
            self._start(lambda: self._write(step, written, epoch, spare))
        return self.checkpoints.folder_of(step) if epoch is None else self.checkpoints.epoch_file(epoch)

    def _start(self, work: Callable[[], None]) -> None:
        thread = ThreadPoolExecutor(1, "checkpoint")
        self._work = thread.submit(work)
        thread.shutdown(wait=False)  # it ends with this work

    def _write(self, step: int, content: dict[str, Any] | None, epoch: int | None, spare: int) -> None:
        started, path = time.perf_counter(), self.checkpoints.folder_of(step)
        if content is not None:
            self.checkpoints.finish(step, content, spare)
        if epoch is not None:
            path = self.checkpoints.name_epoch(epoch, step)
        logger.info("saved %s in %.1f s", path, time.perf_counter() - started)

    @property
    def failed(self) -> bool:
        """Whether the thread has met an error that was not raised yet; only the main process knows."""
        return self._work is not None and self._work.done() and self._work.exception() is not None

    def wait(self) -> None:
        """Wait until the newest checkpoint has its names. Collective.

        Raises:
            TrainingError: on all processes, if it could not be written; earlier ones are untouched.
        """
        distributed.on_main_process(self._result)

    def _result(self) -> None:
        work, self._work = self._work, None
        if work is not None:
            work.result()

    def close(self) -> None:
        """Wait, at the end of a run that may have failed already; an error is only logged. Not collective."""
        try:
            self._result()
        except TimeChatError as error:
            logger.error("%s", error)
