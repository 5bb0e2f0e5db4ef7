"""The command `timechat`: one module for each verb."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence

from timechat.registry import nearest

# Verb -> what it does; the module of that name has `main(argv) -> exit status`.
VERBS = {
    "train": "train a model as a YAML file describes (with torchrun on several GPUs)",
    "evaluate": "ask a model a benchmark's questions, and score its answers",
    "score": "score a file of predictions, of whatever model",
    "report": "compare finished evaluations on one page",
    "ask": "ask a model about a video",
    "chat": "talk with a model about a video",
    "serve": "answer questions about videos over HTTP, as OpenAI's chat completions",
    "demo": "ask videos in the browser, on a page of this machine",
    "data": "prepare training data: check, convert, cut, compress (timechat data --help)",
    "doctor": "check files, weights, a video and three answers, and explain what looks wrong",
    "export": "write weights for other programs, or as one folder that holds all of them",
    "config": "print config keys with their defaults and their meaning",
    "plot": "draw loss, learning rate and speed of a training run",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a verb; returns the exit status."""
    return run_verb("timechat", VERBS, __name__, sys.argv[1:] if argv is None else argv)


def run_verb(command: str, verbs: Mapping[str, str], package: str, argv: Sequence[str]) -> int:
    """Run the verb that the first argument names; the module of that name is imported only then.

    Args:
        command: as it is typed, for messages.
        verbs: what each verb does.
        package: where the verbs' modules are; each has `main(argv) -> exit status`. A hyphen is an underscore there.
        argv: the verb and its arguments.

    Returns:
        The exit status; 2 if there is no such verb.
    """
    verb, *rest = list(argv) or ["--help"]
    if verb in ("-h", "--help"):
        lines = [f"  {name:<10}{text}" for name, text in verbs.items()]
        listing = "\n".join(lines)
        sys.stdout.write(f"usage: {command} VERB [ARGUMENT ...]\n\n{listing}\n\n{command} VERB --help\n")
        return 0
    if verb not in verbs:
        sys.stderr.write(f"{command}: no verb {verb!r}{nearest(verb, list(verbs))}; there are {', '.join(verbs)}\n")
        return 2
    return int(importlib.import_module(f"{package}.{verb.replace('-', '_')}").main(rest))
