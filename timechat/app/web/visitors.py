"""Who has opened the page, and when they are forgotten."""

from __future__ import annotations

import threading

from timechat.app.web.errors import PageError
from timechat.app.web.model import SharedModel
from timechat.app.web.session import Exchange, Visitor
from timechat.app.web.uploads import Media, Uploads

# How long a page may be silent whose connection was lost: several times as long as between two of its signs of life
# (`player.js`).
PATIENCE_S = 300.0
MOST_VISITORS = 64  # each may keep the frames of a video in memory


class Visitors:
    """All open pages, by the name that the page gives itself; may be used from several threads.

    A connection that is lost ends the answer that is being written. The page itself is forgotten only when nothing was
    heard of it for a while, or when too many others have come since.

    Args:
        model, uploads, max_minutes: as for `Visitor`.
        patience_s: how long a page may be silent whose connection was lost.
    """

    def __init__(self, model: SharedModel, uploads: Uploads, max_minutes: float, patience_s: float = PATIENCE_S):
        self.model, self.uploads, self.max_minutes, self.patience_s = model, uploads, max_minutes, patience_s
        self._visitors: dict[str, Visitor] = {}  # who was heard of last is the last
        self._farewells: dict[str, threading.Timer] = {}  # of those whose connection was lost
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._visitors)

    def get(self, name: str) -> Visitor:
        """The visitor of a page; a new one, if the page has just been opened."""
        with self._lock:
            visitor = self._visitors.pop(name, None) or Visitor(self.model, self.uploads, self.max_minutes)
            self._visitors[name] = visitor
            self._wait_again(name)
            silent = next(iter(self._visitors)) if len(self._visitors) > MOST_VISITORS else None
        if silent is not None:
            self.forget(silent)
        return visitor

    def hear(self, token: str) -> None:
        """A sign of life of the page whose visitor has this token. Raises PageError, if it is forgotten."""
        with self._lock:
            for name, visitor in self._visitors.items():
                if visitor.token == token:
                    self._visitors[name] = self._visitors.pop(name)
                    self._wait_again(name)
                    return
        raise PageError("This page was forgotten. Open the video again.")

    def lose(self, name: str) -> None:
        """The connection to a page was lost: it was closed, or will be heard of again."""
        with self._lock:
            visitor = self._visitors.get(name)
            if visitor:
                self._wait(name)
        if visitor:
            visitor.stop()

    def forget(self, name: str) -> None:
        """A page was closed."""
        with self._lock:
            visitor = self._visitors.pop(name, None)
            if farewell := self._farewells.pop(name, None):
                farewell.cancel()
        if visitor:
            visitor.close()

    def find(self, token: str) -> tuple[Exchange, Media]:
        """An answer, and what it is about. Raises PageError."""
        for visitor in list(self._visitors.values()):
            media = visitor.media
            for exchange in visitor.exchanges:
                if media and exchange.token == token and exchange.answer:
                    return exchange, media
        raise PageError("This answer is no longer here. Ask again.")

    def close(self) -> None:
        """The program ends."""
        for name in list(self._visitors):
            self.forget(name)

    def _wait(self, name: str) -> None:
        """Forget a page in a while, if it stays silent."""
        if before := self._farewells.pop(name, None):
            before.cancel()

        def part() -> None:
            with self._lock:
                if self._farewells.get(name) is not farewell:  # heard of at the last moment
                    return
            self.forget(name)

        farewell = threading.Timer(self.patience_s, part)
        farewell.daemon = True
        self._farewells[name] = farewell
        farewell.start()

    def _wait_again(self, name: str) -> None:
        """From now on, for one that is waited for: gradio's page does not connect again."""
        if name in self._farewells:
            self._wait(name)
