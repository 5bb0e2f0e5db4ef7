"""The command `timechat`: one module for each verb."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from timechat.registry import nearest

# Verb -> what it does; the module of that name has `main(argv) -> exit status`.
VERBS = {
    "train": "train a model as a YAML file describes (with torchrun on several GPUs)",
    "evaluate": "ask a model a benchmark's questions, and score its answers",
    "score": "score a file of predictions, of whatever model",
    "report": "compare finished evaluations on one page",
    "ask": "ask a model about a video",
    "doctor": "check files, weights, a video and three answers, and explain what looks wrong",
    "export": "write weights for other programs, or as one folder that holds all of them",
    "config": "print config keys with their defaults and their meaning",
    "plot": "draw loss, learning rate and speed of a training run",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a verb; returns the exit status."""
    verb, *rest = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    if verb in ("-h", "--help"):
        lines = [f"  {name:<10}{text}" for name, text in VERBS.items()]
        sys.stdout.write("usage: timechat VERB [ARGUMENT ...]\n\n" + "\n".join(lines) + "\n\ntimechat VERB --help\n")
        return 0
    if verb not in VERBS:
        sys.stderr.write(f"timechat: no verb {verb!r}{nearest(verb, list(VERBS))}; there are {', '.join(VERBS)}\n")
        return 2
    return importlib.import_module(f"timechat.cli.{verb}").main(rest)
