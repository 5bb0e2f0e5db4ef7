"""This project's questions: six for each task, and which of them an item gets.

The choice depends on a seed and on the item alone, so that no other item of a file, and no order, changes it.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).with_name("instructions")
QUERY = "{query}"


@cache
def questions_of(task: str) -> tuple[str, ...]:
    """The questions of a task, one a line of its file."""
    return tuple((FOLDER / f"{task}.txt").read_text(encoding="utf-8").splitlines())


def question_for(task: str, seed: int, *item: str, query: str = "") -> str:
    """The question that an item gets.

    Args:
        task: the name of a file in `instructions/`.
        seed: of the choice.
        item: what tells it from other items: its video, its answer.
        query: what takes the place of the mark in the question.
    """
    choices = questions_of(task)
    key = "\0".join((str(seed), task, query, *item))
    number = int.from_bytes(hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()[:8], "big")
    return choices[number % len(choices)].replace(QUERY, query)
