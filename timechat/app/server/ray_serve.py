"""The same server as replicas of a Ray Serve deployment, on as many machines and GPUs as there are.

pip install 'timechat[serve,ray]'

# my_app.py, started with: serve run my_app:app
from timechat.app.server.ray_serve import application
from timechat.app.server.settings import ServerSettings

app = application(
    "eval_configs/timechat.yaml", ServerSettings(), num_replicas=4, ray_actor_options={"num_gpus": 1}
)
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from timechat.app.server.settings import ServerSettings
from timechat.errors import ConfigError


def application(
    source: str | os.PathLike[str],
    settings: ServerSettings,
    *,
    options: Sequence[str] = (),
    device: str | None = None,
    **deployment: Any,
) -> Any:
    """An application for `serve run`; each replica loads the model and has its own queue and cache.

    Args:
        source, options, device: as for `timechat.load`, on every machine.
        settings: of each replica.
        deployment: what Ray's `serve.deployment` takes, such as `num_replicas`. By default Ray sends a replica as many
            requests as `settings.max_queue`, so that they can be answered together.

    Raises:
        ConfigError: Ray Serve is not installed.
    """
    try:
        from ray import serve
    except ImportError as error:
        raise ConfigError(f"{__name__} needs Ray Serve ({error}): pip install 'timechat[serve,ray]'") from error

    def build() -> Any:
        """The app of a replica, made where it runs: a model cannot travel there."""
        from timechat.app.api import load
        from timechat.app.server.app import create_app

        return create_app(load(source, options=options, device=device), settings)

    chosen = {"name": "TimeChat", "max_ongoing_requests": settings.max_queue, **deployment}
    return serve.deployment(**chosen)(serve.ingress(build)()).bind()
