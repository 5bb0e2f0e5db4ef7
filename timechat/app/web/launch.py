"""Open the page: load the model, serve until Ctrl-C, and leave nothing behind."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from timechat.app.web.model import SharedModel
from timechat.app.web.page import appearance, build_page
from timechat.app.web.routes import guarded, own_routes
from timechat.app.web.uploads import Media, Uploads, find_examples
from timechat.app.web.visitors import PATIENCE_S, Visitors
from timechat.datasets.video import Video
from timechat.errors import ConfigError, TimeChatError

logger = logging.getLogger(__name__)

MOST_EXAMPLES = 12
EXAMPLE_FRAMES = 4  # decoded for the picture of an example


@dataclass(frozen=True)
class PageSettings:
    """What the page offers, and where.

    Attributes:
        host, port: where it listens; port 0 is the first free one from 7860 on.
        share: make it known under a public address of gradio's, which is then in between.
        examples: folder of videos and images; None shows none.
        suggestions: questions to begin with.
        max_upload_mb: the largest file that it takes.
        max_minutes: the longest video.
        patience_s: how long a page whose connection was lost may be silent before it is forgotten.
    """

    host: str = "127.0.0.1"
    port: int = 7860
    share: bool = False
    examples: str | None = None
    suggestions: Sequence[str] = field(default_factory=list)
    max_upload_mb: float = 500
    max_minutes: float = 240
    patience_s: float = PATIENCE_S


@contextlib.contextmanager
def serving(model: SharedModel, name: str, settings: PageSettings) -> Iterator[str]:
    """Serve the page for as long as the block runs; gives its address.

    Args:
        model: answers.
        name: shown in the page.
        settings: what the page offers.

    Raises:
        ConfigError: the folder of examples is not there, or the port is taken.
    """
    uploads = Uploads(int(settings.max_upload_mb * (1 << 20)), _examples(settings.examples))
    visitors = Visitors(model, uploads, settings.max_minutes, settings.patience_s)
    page = build_page(visitors, name, _pictures(model, uploads.examples), settings.suggestions)
    try:
        yield _launch(page, own_routes(uploads, visitors), settings)
    finally:
        page.close(verbose=False)
        visitors.close()
        uploads.close()


def serve(model: SharedModel, name: str, settings: PageSettings) -> None:
    """Serve the page until Ctrl-C, or until the process is told to end. Raises ConfigError as `serving` does."""
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    logging.getLogger("httpx").setLevel(logging.WARNING)  # gradio asks its own page whether it is there
    with serving(model, name, settings) as address:
        logger.info("the page is at %s; Ctrl-C ends it", address)
        ended.wait()


def _launch(page: Any, own: Any, settings: PageSettings) -> str:
    try:
        _, local, public = page.launch(
            server_name=settings.host,
            server_port=settings.port or None,
            share=settings.share,
            prevent_thread_lock=True,
            quiet=True,
            ssr_mode=False,
            pwa=False,
            mcp_server=False,
            enable_monitoring=False,
            run_history=False,
            footer_links=[],
            max_file_size=0,  # gradio's own way to send files is closed, too
            app_kwargs=guarded(own),
            **appearance(),
        )
    except OSError as error:
        raise ConfigError(
            f"--port {settings.port}: cannot listen on {settings.host} ({error}); choose another port"
        ) from error
    return str(public or local)


def _examples(folder: str | None) -> list[Path]:
    if folder is None:
        return []
    if not Path(folder).is_dir():
        raise ConfigError(f"--examples {folder}: no such folder; name one with videos in it")
    return find_examples(Path(folder), MOST_EXAMPLES)


def _pictures(model: SharedModel, examples: Sequence[Media]) -> list[tuple[Media, Video | None]]:
    """Some frames of each example; an example that cannot be read says so when it is opened."""
    pictures: list[tuple[Media, Video | None]] = []
    for media in examples:
        try:
            pictures.append((media, model.decode(media.path, EXAMPLE_FRAMES)))
        except TimeChatError as error:
            logger.warning("no picture of this example: %s", error)
            pictures.append((media, None))
    return pictures
