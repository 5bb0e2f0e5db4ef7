"""An answer that is read while it is written."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any

from timechat.app.answer import Answer
from timechat.models.watching import PartialAnswer, Watch

_UNFINISHED = "�"  # what a character looks like of which not all tokens are there


class AnswerStream(Iterator[str]):
    """Pieces of an answer, as the model writes them; together they are its text.

    The model works in a thread of its own, which ends with the answer, with `stop`, or when a `with` block is left.

    Args:
        generate: writes the answer; is given what has to watch it. What it raises is raised by the iteration.
        finish: the text -> the answer; called once, before the iteration ends.

    Attributes:
        num_tokens: how many tokens are written.
        ended: whether the model ended the answer itself; false if it was stopped or became too long.
        on_end: called with the whole answer when it has been read to its end.
    """

    def __init__(self, generate: Callable[[Watch], str], finish: Callable[[str], Answer]):
        self.num_tokens, self.ended = 0, False
        self.on_end: Callable[[Answer], Any] = lambda answer: None
        self._given, self._finish = "", finish
        self._answer: Answer | None = None
        self._stopped = threading.Event()
        self._news: queue.SimpleQueue[PartialAnswer | str | BaseException] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, args=(generate,), name="timechat-answer", daemon=True)
        self._thread.start()

    def _work(self, generate: Callable[[Watch], str]) -> None:
        try:
            self._news.put(generate(self._watch))
        except BaseException as error:
            self._news.put(error)

    def _watch(self, answers: list[PartialAnswer]) -> list[bool]:
        self._news.put(answers[0])
        return [self._stopped.is_set()]

    def __next__(self) -> str:
        """The next words. Raises StopIteration after the last ones, or what went wrong."""
        while self._answer is None:
            news = self._news.get()
            if isinstance(news, BaseException):
                self._news.put(news)  # whoever asks again gets it again
                raise news
            if isinstance(news, str):
                self._thread.join()
                self._answer = self._finish(news)
                self.on_end(self._answer)
                whole = news
            else:
                self.num_tokens, self.ended = news.num_tokens, news.ended
                whole = news.text.rstrip(_UNFINISHED)
            if piece := whole[len(self._given) :]:
                self._given = whole
                return piece
        raise StopIteration

    def stop(self) -> None:
        """End the answer after the token that is being written; the iteration still gives what is there."""
        self._stopped.set()

    @property
    def answer(self) -> Answer:
        """The whole answer; waits for the rest. Raises what went wrong."""
        for _ in self:
            pass
        assert self._answer is not None  # the iteration has ended
        return self._answer

    def __enter__(self) -> AnswerStream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop, and wait until the model is free."""
        self.stop()
        self._thread.join()
