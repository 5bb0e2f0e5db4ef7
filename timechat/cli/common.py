"""What the entry points share: the config arguments, and errors as one clear message."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable

from timechat import distributed
from timechat.errors import FileError, TimeChatError

logger = logging.getLogger(__name__)

INTERRUPTED = 130


def config_parser(description: str, prog: str | None = None) -> argparse.ArgumentParser:
    """A parser with `--cfg-path` and `--options`."""
    parser = argparse.ArgumentParser(prog=prog, description=description)
    parser.add_argument(
        "--cfg-path",
        required=True,
        type=path,
        help="YAML file with the sections model, datasets and run, or the folder of a saved model",
    )
    add_options(parser, "run.max_epoch=1")
    return parser


def add_options(parser: argparse.ArgumentParser, example: str) -> None:
    """The argument `--options`, which may be given several times."""
    about = f"override keys, such as {example}"
    parser.add_argument("--options", nargs="*", action="extend", default=[], metavar="KEY=VALUE", help=about)


def path(text: str) -> str:
    """A path on a command line; `~` is the home directory, also where the shell leaves it, as in `--ckpt=~/x.pth`."""
    return os.path.expanduser(text)


def run_main(main: Callable[[], object]) -> int:
    """Run an entry point and return its exit status; errors that a user can fix become one message, no traceback.

    These are our typed errors, files that cannot be read or written (a full disk, no permission), and Ctrl-C, whose
    status is 130 by convention.
    """
    distributed.setup_logging()
    if not sys.stderr.isatty() and (transformers := sys.modules.get("transformers")):  # which takes a second to import
        transformers.utils.logging.disable_progress_bar()
    try:
        main()
    except (TimeChatError, OSError) as raised:
        error = _typed(raised)
        # Every process stops; if all raised the same error, one message is enough.
        if distributed.is_main_process():
            sys.stderr.write(f"{type(error).__name__}: {error}\n")
        else:
            logger.error("stopped by %s: %s", type(error).__name__, error)
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return INTERRUPTED
    finally:
        distributed.destroy_process_group()
    return 0


def _typed(error: TimeChatError | OSError) -> TimeChatError | OSError:
    """What the system says about a file as an error with a fix; others as they are."""
    if isinstance(error, TimeChatError) or error.filename is None:
        return error
    return FileError(os.fsdecode(error.filename), error)
