"""Writing items one after the other, as a JSON list, in coco form, or one a line; the file is there when all are.

Items are handed over as JSON, so that the processes that make them can do that work, too.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from timechat.errors import ConfigError
from timechat.io import make_folder, remove_empty, remove_left_overs, replacing

LINES = ".jsonl"


def json_of(item: Mapping[str, Any]) -> str:
    """An item as a function of `item_writer` takes it."""
    return json.dumps(item, ensure_ascii=False)


@contextmanager
def item_writer(path: Path, coco: bool = False) -> Iterator[Callable[[str], None]]:
    """A function that adds an item, given as JSON, for a `with` block; an error in it leaves what was there before.

    Args:
        path: .jsonl has one item a line, .json a list.
        coco: whether .json has the list under the key "annotations".
    """
    lines = path.suffix == LINES
    head, tail = ("", "") if lines else ('{"annotations": [', "]}") if coco else ("[", "]")
    between = "\n" if lines else ",\n"
    remove_left_overs([path])
    made = make_folder(path.parent)
    try:
        with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
            file.write(head)
            count = 0

            def write(item: str) -> None:
                nonlocal count
                file.write((between if count else "") + item)
                count += 1

            yield write
            file.write(tail + "\n")
    finally:
        remove_empty(made)


def check_outputs(inputs: list[Path], outputs: list[Path]) -> None:
    """Raise ConfigError for an output that is an input or another output, or has another suffix."""
    for number, file in enumerate(outputs):
        others = [other.resolve() for other in (*inputs, *outputs[:number])]
        if file.resolve() in others:
            raise ConfigError(f"{file}: is named twice, and would be overwritten; give every file a name of its own")
        if file.suffix not in (".json", LINES):
            raise ConfigError(f"{file}: end its name in .json (a list) or {LINES} (one item a line)")


def check_report(report: Path, outputs: list[Path]) -> None:
    """Raise ConfigError if a report is there that belongs to other files, as with `x.json` and `x.jsonl`.

    Args:
        report: the file; what it is about stands under its key `output`.
        outputs: what the new report would be about.
    """
    try:
        named = json.loads(report.read_text(encoding="utf-8"))["output"]
        others = {os.path.realpath(file) for file in named if os.path.exists(file)}
    except (OSError, ValueError, LookupError, TypeError):
        return  # there is none, or none of this package
    if others and not others & {os.path.realpath(file) for file in outputs}:
        raise ConfigError(f"{report}: is the report about {', '.join(map(str, named))}; give the new file another name")
