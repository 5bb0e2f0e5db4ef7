"""The page of `timechat demo` as a test sees it in a browser."""

from __future__ import annotations

from typing import Any

from helpers.watched import Slow


class Page:
    """An open page and what was seen of it.

    Attributes:
        tab: playwright's page.
        model: writes the answers.
        hosts: of every request that the browser made.
        outside: what the server's process tried to connect to, other than this machine.
    """

    def __init__(self, tab: Any, model: Slow, outside: list[str]):
        self.tab, self.model, self.outside = tab, model, outside
        self.hosts: set[str] = set()

    def open_example(self, name: str = "a.mp4") -> None:
        """Press an example, and wait for the player."""
        self.tab.locator(f'.tc-example[aria-label*="{name}"]').click()
        self.tab.wait_for_selector("video.tc-video")
        self.tab.wait_for_function("document.querySelector('video.tc-video').readyState >= 1")

    def ask(self, question: str = "When is it bright?", wait: bool = True) -> None:
        """Type a question and press Enter; `wait` for the whole answer."""
        before = self.tab.locator(".tc-asked").count()
        self.tab.fill("#tc-question textarea", question)
        self.tab.press("#tc-question textarea", "Enter")
        self.tab.wait_for_function(f"document.querySelectorAll('.tc-asked').length > {before}")
        if wait:
            self.answered()

    def answered(self) -> None:
        """Wait for the whole answer."""
        self.tab.wait_for_function("!document.querySelector('.tc-busy')")
        self.tab.wait_for_selector("#tc-ask:visible")

    @property
    def talk(self) -> str:
        """The words of the conversation."""
        return str(self.tab.locator("#tc-talk").inner_text())

    @property
    def time(self) -> float:
        """Where the player is, seconds."""
        return float(self.tab.evaluate("document.querySelector('video.tc-video').currentTime"))
