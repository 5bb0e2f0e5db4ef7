"""What the operator of a server decides."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

MEGABYTE = 1 << 20


@dataclass(frozen=True)
class ServerSettings:
    """Limits and permissions of a server.

    Attributes:
        name: what the model is called in requests.
        media_dirs: folders from which `file://` may read; none by default.
        hosts: hosts from which `http://` and `https://` may read, such as `media.example.org`, `*.example.org` or
            `media.example.org:8443`; none by default. Private addresses are refused all the same.
        api_keys: one of them has to come with each request; empty for a server that is open to all who reach it.
        max_body_mb: longest request, in megabytes; a video in a `data:` URL is part of it.
        max_video_mb: largest video or image, in megabytes.
        max_seconds: longest video.
        max_pixels: largest picture, width times height, of a video or an image.
        max_new_tokens: longest answer that may be asked for, and the length of one that says none.
        max_queue: requests that may be in the server at once; more are told to come later.
        max_batch: answers that are written together.
        window_ms: how long a request waits for others to be answered together with it.
        cache_mb: memory for videos that were encoded, in megabytes.
        timeout_s: how long a request may take, from its first byte to the last of its answer.
        fetch_timeout_s: how long reading a video from another host may take.
    """

    name: str = "timechat"
    media_dirs: tuple[Path, ...] = ()
    hosts: tuple[str, ...] = ()
    api_keys: tuple[str, ...] = ()
    max_body_mb: int = 64
    max_video_mb: int = 512
    max_seconds: float = 3 * 3600.0
    max_pixels: int = 4096 * 4096
    max_new_tokens: int = 512
    max_queue: int = 64
    max_batch: int = 8
    window_ms: float = 20.0
    cache_mb: int = 512
    timeout_s: float = 300.0
    fetch_timeout_s: float = 60.0
