"""Answer questions about videos over HTTP, in the form of OpenAI's chat completions.

timechat serve --cfg-path my_model --media-dir /data/videos
curl http://127.0.0.1:8000/v1/chat/completions -H 'content-type: application/json' -d @request.json
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import socket
import sys
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from timechat.app.defaults import DEFAULT_MODEL
from timechat.app.server.settings import ServerSettings
from timechat.cli.asking import add_prompts, load_named, must_be_prompts
from timechat.cli.common import add_options, path, run_main
from timechat.errors import ConfigError

logger = logging.getLogger(__name__)

KEY_VARIABLE = "TIMECHAT_API_KEY"
_DEFAULTS = ServerSettings()


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="timechat serve",
        description="Answer questions about videos over HTTP, as OpenAI's chat completions (docs/SERVING.md).",
    )
    add = parser.add_argument
    add(
        "--cfg-path",
        "--model",
        dest="model",
        type=path,
        metavar="MODEL",
        help=f"YAML file, folder of a saved model, or hub id (default: {DEFAULT_MODEL})",
    )
    add_options(parser, "model.ckpt=other.pth")
    add("--device", metavar="DEVICE", help="auto, cpu, cuda or cuda:N (default: run.device)")
    add_prompts(parser)
    add(
        "--host",
        default="127.0.0.1",
        help="address to listen on; 0.0.0.0 for all of the machine's (default: %(default)s)",
    )
    add("--port", type=int, default=8000, help="port to listen on; 0 for a free one (default: %(default)s)")
    _add_permissions(parser)
    _add_limits(parser)
    return parser


def _add_permissions(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--name", default=_DEFAULTS.name, help="what the model is called in requests (default: %(default)s)")
    add(
        "--media-dir",
        type=path,
        action="append",
        default=[],
        metavar="DIR",
        help="folder from which file:// may read; may be given several times",
    )
    add(
        "--allow-host",
        action="append",
        default=[],
        metavar="HOST",
        help="host from which http(s):// may read: media.example.org, media.example.org:8443 or *.example.org; may be "
        "given several times",
    )
    add(
        "--api-key-file",
        type=path,
        metavar="FILE",
        help=f"keys that requests need, one a line; a single one may stand in the variable {KEY_VARIABLE}",
    )


# Argument, key of the settings, type, what it is.
_LIMITS: tuple[tuple[str, str, type, str], ...] = (
    ("--max-body-mb", "max_body_mb", int, "longest request, data: URLs included"),
    ("--max-video-mb", "max_video_mb", int, "largest video or image"),
    ("--max-seconds", "max_seconds", float, "longest video"),
    ("--max-pixels", "max_pixels", int, "largest picture, width times height"),
    ("--max-new-tokens", "max_new_tokens", int, "longest answer"),
    ("--max-queue", "max_queue", int, "requests in the server at once; more get status 429"),
    ("--max-batch", "max_batch", int, "answers that are written together"),
    ("--window-ms", "window_ms", float, "how long a question waits for others to be answered with it"),
    ("--cache-mb", "cache_mb", int, "memory for encoded videos; 0 keeps none"),
    ("--timeout", "timeout_s", float, "seconds that a request may take"),
    ("--fetch-timeout", "fetch_timeout_s", float, "seconds that reading a video from another host may take"),
)
_MAY_BE_ZERO = ("--window-ms", "--cache-mb")


def _add_limits(parser: argparse.ArgumentParser) -> None:
    for name, key, kind, about in _LIMITS:
        metavar = "N" if kind is int else "X"
        parser.add_argument(
            name,
            type=kind,
            default=getattr(_DEFAULTS, key),
            metavar=metavar,
            dest=key,
            help=f"{about} (default: %(default)s)",
        )
    parser.add_argument(
        "--grace",
        type=int,
        default=60,
        metavar="S",
        help="seconds that running requests have to end after SIGTERM (default: %(default)s)",
    )


def main(argv: list[str] | None = None) -> int:
    """Parse, load the model, serve until a signal; returns the exit status."""
    args = build_parser().parse_args(argv)
    return run_main(lambda: _serve(args))


def _serve(args: argparse.Namespace) -> None:
    try:
        import uvicorn
    except ModuleNotFoundError as error:
        raise ConfigError(f"serving needs uvicorn ({error}): pip install 'timechat[serve]'") from error
    from timechat.app.server.app import create_app  # says what else to install

    settings = settings_of(args)
    warn_of_strangers(args.host, settings)
    must_be_free(args.host, args.port)
    must_be_prompts(args.prompts)
    model = load_named(args)
    app = create_app(model, settings)
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            host=args.host,
            port=args.port,
            lifespan="on",
            ws="none",
            access_log=False,
            log_config=None,  # our own logging
            server_header=False,
            timeout_graceful_shutdown=args.grace,
        )
    )
    # uvicorn finishes what runs, and then sends itself the signal again, which would end the process with a failure.
    signal.signal(signal.SIGTERM, lambda number, frame: None)
    with suppress(SystemExit):  # uvicorn's way to say that it cannot listen
        server.run()
    if not server.started:
        raise ConfigError(f"cannot listen on {args.host}:{args.port}: the reason stands above; choose another --port")


def settings_of(args: argparse.Namespace) -> ServerSettings:
    """The settings of a command line. Raises ConfigError."""
    limits: dict[str, Any] = {}
    for name, key, _, _ in _LIMITS:
        limits[key] = value = getattr(args, key)
        if not value >= (0 if name in _MAY_BE_ZERO else 1):
            raise ConfigError(f"{name} {value:g}: give {0 if name in _MAY_BE_ZERO else 1} or more")
    if not 0 <= args.port < 65536:
        raise ConfigError(f"--port {args.port}: give a number from 0 to 65535")
    return ServerSettings(
        name=args.name,
        media_dirs=tuple(map(Path, args.media_dir)),
        hosts=tuple(args.allow_host),
        api_keys=_keys(args.api_key_file),
        **limits,
    )


def _keys(file: str | None) -> tuple[str, ...]:
    """The keys in a file, and the one in the environment. Raises ConfigError."""
    keys = [key] if (key := os.environ.get(KEY_VARIABLE, "").strip()) else []
    if file is not None:
        try:
            lines = Path(file).read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError as error:
            raise ConfigError(f"--api-key-file {file}: not a text file ({error.reason})") from error
        found = [line.strip() for line in lines if line.strip()]
        if not found:
            raise ConfigError(f"--api-key-file {file}: there is no key in it; write one a line")
        keys += found
    for key in keys:
        if not (key.isascii() and key.isprintable()):
            where = f"--api-key-file {file}" if file else KEY_VARIABLE
            raise ConfigError(f"{where}: a key has characters that clients cannot send; use letters, digits and signs")
    return tuple(keys)


def must_be_free(host: str, port: int) -> None:
    """Find out before the weights are read whether the port can be used. Raises ConfigError."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, address in found:
            with socket.socket(family, kind, protocol) as tried:
                tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does
                tried.bind(address)
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {host}:{port} ({error.strerror or error}); choose another --host or --port"
        ) from error


def warn_of_strangers(host: str, settings: ServerSettings) -> None:
    """Say it where everybody on a network may ask."""
    try:
        is_local = ip_address(host).is_loopback
    except ValueError:
        is_local = host == "localhost"
    if not is_local and not settings.api_keys:
        logger.warning(
            "--host %s without an API key: everybody who reaches this machine may ask; see --api-key-file", host
        )


if __name__ == "__main__":
    sys.exit(main())
