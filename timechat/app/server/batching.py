"""One model, one thread, many questions: those that come within a time window are answered in one batch.

Greedy answers are written together. Each row ends on its own: at its own `max_tokens`, at the end that the model sets,
or when nobody waits for it any more. Answers that are drawn are written one at a time, because what a seed draws must
not depend on who else is asking.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch

from timechat.app.api import EncodedVideo, VideoLanguageModel
from timechat.app.server.schema import Sampling
from timechat.models.watching import PartialAnswer
from timechat.text.conversation import Turn

logger = logging.getLogger(__name__)
Result = TypeVar("Result")


@dataclass(frozen=True)
class Question:
    """What the model is asked; see `VideoLanguageModel.answer`."""

    video: EncodedVideo
    prompt: str
    history: tuple[Turn, ...]
    system: str | None
    max_tokens: int
    sampling: Sampling | None
    stop: tuple[str, ...] = ()


class Job:
    """A question, and its answer as far as it is written.

    Args:
        question: what is asked.
        on_change: called after each token, and at the end, in the model's thread.

    Attributes:
        partial: the words so far.
        done: whether that is all.
        error: what went wrong, or None.
        cancelled: whether nobody waits for it any more.
        arrived: when it was made, on the monotonic clock.
    """

    def __init__(self, question: Question, on_change: Callable[[], object] = lambda: None):
        self.question, self._on_change = question, on_change
        self.partial = PartialAnswer("", 0, False)
        self.done, self.cancelled = False, False
        self.error: BaseException | None = None
        self.arrived = time.monotonic()

    def cancel(self) -> None:
        """Let the model stop after the token that it is writing, or not begin."""
        self.cancelled = True

    @property
    def over(self) -> bool:
        """Whether there is nothing left to do for it."""
        return self.done or self.cancelled

    def tell(self, partial: PartialAnswer) -> None:
        """Take what is written so far; the first of the question's `stop` ends it, and is no part of it."""
        if self.over:
            return
        found = [place for stop in self.question.stop if (place := partial.text.find(stop)) >= 0]
        if found:
            partial = replace(partial, text=partial.text[: min(found)], ended=True)
        self.partial = partial
        self.done = partial.ended or partial.num_tokens >= self.question.max_tokens
        self._on_change()

    def fail(self, error: BaseException) -> None:
        """End it without an answer."""
        self.error, self.done = error, True
        self._on_change()


class Batcher:
    """The thread in which the model works.

    Args:
        model: answers.
        max_batch: answers that are written together.
        window_s: how long a question waits for others.
        on_batch: told the number of answers and the seconds that they took.
    """

    def __init__(
        self,
        model: VideoLanguageModel,
        *,
        max_batch: int = 8,
        window_s: float = 0.02,
        on_batch: Callable[[int, float], Any] = lambda size, seconds: None,
    ):
        self._model, self._max_batch, self._window_s, self._on_batch = model, max_batch, window_s, on_batch
        self._tasks: deque[Callable[[], None]] = deque()
        self._waiting: list[Job] = []
        self._stopping = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="timechat-model", daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    @property
    def running(self) -> bool:
        """Whether the thread works."""
        return self._thread.is_alive() and not self._stopping

    def stop(self) -> None:
        """Answer what is there, and end the thread."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join()

    def submit(self, job: Job) -> None:
        """Answer a question, together with others if there are any."""
        with self._changed:
            self._waiting.append(job)
            self._changed.notify()

    def run(self, function: Callable[[], Result]) -> Future[Result]:
        """Call a function in the model's thread, before the next batch; if the future is not cancelled by then."""
        future: Future[Result] = Future()

        def task() -> None:
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(function())
                except BaseException as error:
                    future.set_exception(error)

        with self._changed:
            self._tasks.append(task)
            self._changed.notify()
        return future

    # In the thread ----------------------------------------------------------------------------------------------------

    @torch.inference_mode()
    def _work(self) -> None:
        while (work := self._next()) is not None:
            if callable(work):
                work()
            else:
                began = time.monotonic()
                self._answer(work)
                self._on_batch(len(work), time.monotonic() - began)

    def _next(self) -> Callable[[], None] | list[Job] | None:
        """The next thing to do, when there is one; None at the end."""
        with self._changed:
            while True:
                self._waiting = [job for job in self._waiting if not job.cancelled]
                if self._tasks:
                    return self._tasks.popleft()
                if self._waiting:
                    batch = self._first_batch()
                    left = self._waiting[0].arrived + self._window_s - time.monotonic()
                    full = len(batch) == self._max_batch or batch[0].question.sampling is not None
                    if full or left <= 0 or self._stopping:
                        self._waiting = [job for job in self._waiting if job not in batch]
                        return batch
                    self._changed.wait(left)
                elif self._stopping:
                    return None
                else:
                    self._changed.wait()

    def _first_batch(self) -> list[Job]:
        """The oldest question, and those that may be answered with it."""
        first = self._waiting[0]
        if first.question.sampling is not None:
            return [first]
        alike = [
            job
            for job in self._waiting
            if job.question.sampling is None and job.question.system == first.question.system
        ]
        return alike[: self._max_batch]

    def _answer(self, jobs: Sequence[Job]) -> None:
        """Write answers. Where a batch fails, its halves are tried, until it is one question's own fault."""
        jobs = [job for job in jobs if not job.over]
        if not jobs:
            return
        try:
            self._generate(jobs)
        except Exception as error:
            if isinstance(error, torch.OutOfMemoryError):
                torch.cuda.empty_cache()
            if len(jobs) == 1:
                jobs[0].fail(error)
                return
            logger.warning("a batch of %d failed (%s); its halves are tried", len(jobs), error)
            middle = len(jobs) // 2
            self._answer(jobs[:middle])
            self._answer(jobs[middle:])

    def _generate(self, jobs: Sequence[Job]) -> None:
        """One call of the model."""

        def watch(partials: list[PartialAnswer]) -> list[bool]:
            for job, partial in zip(jobs, partials, strict=True):
                job.tell(partial)
            return [job.over for job in jobs]

        questions = [job.question for job in jobs]
        options: dict[str, Any] = {"histories": [question.history for question in questions]}
        sampling, device = questions[0].sampling, self._model.device
        if sampling is not None:
            options |= {"do_sample": True, "temperature": sampling.temperature, "top_p": sampling.top_p}
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            if sampling is not None:
                torch.manual_seed(secrets.randbits(63) if sampling.seed is None else sampling.seed)
            self._model.answer(
                [question.video.embeddings for question in questions],
                [question.video.seconds for question in questions],
                [question.prompt for question in questions],
                system=questions[0].system,
                max_new_tokens=max(question.max_tokens for question in questions),
                watch=watch,
                **options,
            )
