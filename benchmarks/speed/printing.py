"""Figures alone on the standard output, each as soon as it is there."""

from __future__ import annotations

import logging
import sys
import warnings

import transformers


def be_quiet() -> None:
    """Without logs, warnings and progress bars."""
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()


def say(line: str) -> None:
    """Print at once: measurements take minutes."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
