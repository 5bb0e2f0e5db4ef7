"""One tiny model and one short video for all tests of the server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from helpers.tiny import build_tiny, tiny_config
from helpers.videos import write_video

from timechat.app.api import VideoLanguageModel
from timechat.app.server.settings import ServerSettings

if TYPE_CHECKING:
    from helpers.serving import Running


@pytest.fixture(scope="session")
def model() -> VideoLanguageModel:
    """No test changes it for longer than it lasts."""
    return VideoLanguageModel(tiny_config(["run.device=cpu"]), build_tiny())


@pytest.fixture(scope="session")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a video from which the server may read."""
    folder = tmp_path_factory.mktemp("media")
    write_video(folder / "v.mp4")
    return folder


@pytest.fixture(scope="session")
def video(media: Path) -> Path:
    """Twenty frames, two seconds."""
    return media / "v.mp4"


@pytest.fixture(scope="module")
def running(model: VideoLanguageModel, media: Path) -> Iterator[Running]:
    """A server as it is by default; for tests that leave it as it was."""
    from helpers.serving import serving  # skips the tests where it cannot be imported

    with serving(model, ServerSettings(media_dirs=(media,))) as server:
        yield server
